//! The launch of a run under `burn-train`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use burn::data::dataloader::DataLoader;
use burn::optim::AdamWConfig;
use burn_train::metric::Adaptor;
use burn_train::renderer::MetricsRenderer;
use burn_train::{
    InferenceStep, Interrupter, Learner, LearnerModel, SupervisedTraining, TrainStep, TrainingStrategy,
};
use diffprune_files::Stop;

use super::renderer::{ProgressRenderer, SharedProgress};
use super::strategy::{ByUpdate, Notes, Outcome, Verdict};
use super::{Gauge, Readings, SteppedRun};
use crate::Progress;

/// What people see of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum View {
    /// A bar on a terminal, plain lines elsewhere.
    #[default]
    Lines,
    /// The dashboard of `burn-train`, which takes the whole terminal; lines where the crate is built without `dashboard`.
    Dashboard,
}

/// How a run is shown and where its metrics are logged.
pub struct LearnOptions {
    directory: PathBuf,
    label: String,
    train: Vec<Gauge>,
    valid: Vec<Gauge>,
    shown: Vec<(String, &'static str)>,
    view: View,
    stop: Stop,
}

impl LearnOptions {
    /// A run of that name, whose metrics are logged below `directory` (`train/epoch-1/NAME.log`, and so on).
    pub fn new(directory: impl Into<PathBuf>, label: &str) -> Self {
        Self {
            directory: directory.into(),
            label: label.to_string(),
            train: Vec::new(),
            valid: Vec::new(),
            shown: Vec::new(),
            view: View::default(),
            stop: Stop::default(),
        }
    }

    /// The same with metrics of the updates.
    pub fn with_train(mut self, gauges: impl IntoIterator<Item = Gauge>) -> Self {
        self.train.extend(gauges);
        self
    }

    /// The same with metrics of the validations.
    pub fn with_valid(mut self, gauges: impl IntoIterator<Item = Gauge>) -> Self {
        self.valid.extend(gauges);
        self
    }

    /// The same with metrics that plain lines show: names of [`Self::with_train`], each with a short word.
    pub fn with_shown(mut self, shown: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        let shown = shown.into_iter().map(|(name, word)| (name.to_string(), word));
        self.shown.extend(shown);
        self
    }

    /// The same in another view.
    pub fn with_view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// The same; ends after the update in which `stop` is requested.
    pub fn with_stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }
}

/// A run that has ended.
pub struct Learned<R> {
    /// The run in its last state.
    pub run: R,
    /// `true` when it was asked to stop, by [`LearnOptions::with_stop`] or at the dashboard, before it was over.
    pub stopped: bool,
}

/// Walks a run to its end, or until it is asked to stop, under `burn-train`'s `SupervisedTraining`.
///
/// The learner's own optimiser and schedule stay idle: those of the run are used. Its log of the whole program is not
/// installed. Metrics are computed on a thread of their own.
///
/// # Errors
/// Those of the run.
///
/// # Panics
/// When a metric cannot be logged (the disk is full), and when somebody kills the program at the dashboard.
pub fn learn<M, R>(
    run: R,
    train: Arc<dyn DataLoader<<M as TrainStep>::Input>>,
    valid: Arc<dyn DataLoader<<M as InferenceStep>::Input>>,
    options: LearnOptions,
    progress: &mut Progress,
) -> Result<Learned<R>, R::Error>
where
    M: LearnerModel,
    R: SteppedRun<M>,
    <M as TrainStep>::Output: Adaptor<Readings>,
    <M as InferenceStep>::Output: Adaptor<Readings>,
{
    let (plan, model) = (run.plan(), run.model());
    let view = match cfg!(feature = "dashboard") {
        true => options.view,
        false => View::Lines,
    };
    let shared = SharedProgress::new(std::mem::replace(progress, Progress::silent()));
    let interrupter = Interrupter::new();
    let renderer: Box<dyn MetricsRenderer> = match dashboard(view, &interrupter, plan.epoch()) {
        Some(dashboard) => dashboard,
        None => Box::new(ProgressRenderer::new(shared.clone(), options.shown, plan)),
    };
    let (notes, held) = notes(view, &shared);
    let ended: Outcome<R, R::Error> = Arc::default();
    let verdict = Verdict::default();
    let strategy = ByUpdate {
        run: Mutex::new(Some(run)),
        ended: ended.clone(),
        verdict: verdict.clone(),
        stop: options.stop,
        notes,
    };
    let mut training = SupervisedTraining::<M>::new(&options.directory, train, valid)
        .with_application_logger(None)
        .with_interrupter(interrupter)
        .with_training_strategy(TrainingStrategy::Custom(Arc::new(strategy)))
        .early_stopping(verdict)
        .renderer(renderer)
        .label(&options.label)
        .num_epochs(plan.epochs())
        .checkpoint(plan.epoch() - 1);
    for gauge in options.train {
        training = training.metric_train_numeric(gauge);
    }
    for gauge in options.valid {
        training = training.metric_valid_numeric(gauge);
    }
    let learner = Learner::new(model, AdamWConfig::new().init(), 0.0);
    let result = training.launch(learner);
    // Closes the dashboard.
    drop(result);
    *progress = shared.take();
    for note in held.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        progress.note(&note);
    }
    let ended = ended.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (run, outcome) = ended.expect("the strategy was launched once");
    Ok(Learned {
        stopped: outcome?,
        run,
    })
}

/// Notes that cannot be shown yet.
type Held = Arc<Mutex<Vec<String>>>;

/// Where notes go: beside the progress, or, as long as the dashboard has the terminal, to the end.
fn notes(view: View, shared: &SharedProgress) -> (Notes, Held) {
    let held = Held::default();
    let (later, shared) = (held.clone(), shared.clone());
    let notes: Notes = match view {
        View::Dashboard => Box::new(move |note| {
            later
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(note.into())
        }),
        View::Lines => Box::new(move |note| shared.with(|progress| progress.note(note))),
    };
    (notes, held)
}

#[cfg(feature = "dashboard")]
fn dashboard(view: View, interrupter: &Interrupter, epoch: usize) -> Option<Box<dyn MetricsRenderer>> {
    use burn_train::renderer::tui::TuiMetricsRendererWrapper;
    let resumed = (epoch > 1).then_some(epoch - 1);
    (view == View::Dashboard).then(|| {
        let dashboard = TuiMetricsRendererWrapper::new(interrupter.clone(), resumed);
        Box::new(dashboard) as Box<dyn MetricsRenderer>
    })
}

#[cfg(not(feature = "dashboard"))]
fn dashboard(_: View, _: &Interrupter, _: usize) -> Option<Box<dyn MetricsRenderer>> {
    None
}
