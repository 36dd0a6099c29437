//! The run: encode each picture once, let every arm select from the same tokens, generate, score, record.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use diffprune_files::{FolderLock, Stop};
use diffprune_pruner::{Budget, Layout};
use diffprune_vlm::Vlm;

use super::arm::{Arm, Truth};
use super::batch::{Unit, spread, units};
use super::failures::{self, Failure};
use super::progress::Progress;
use super::record::{Key, Record, RecordFile};
use super::times::RunTimes;
use super::workers::Replica;
use super::yes_no::YesNoIds;
use crate::EvalError;
use crate::data::{Benchmark, Protocols, Question};

/// Knowledge about pictures beside their pixels, for oracle arms.
pub trait Annotations: Sync {
    /// The relevance of each token of the picture, in the order of the layout; `None` when nothing is known.
    fn relevance(&self, image: &Path, layout: &Layout) -> Option<Vec<f32>>;
}

impl<F: Fn(&Path, &Layout) -> Option<Vec<f32>> + Sync> Annotations for F {
    fn relevance(&self, image: &Path, layout: &Layout) -> Option<Vec<f32>> {
        self(image, layout)
    }
}

/// Options of a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RunOptions {
    /// The protocol whose rules score the answers to each benchmark; the questions have their words already.
    pub protocols: Protocols,
    /// Longest answer in new tokens; `None` takes the protocol's.
    pub max_new_tokens: Option<usize>,
    /// Pictures encoded together.
    pub images_per_batch: usize,
    /// Prompts continued together.
    pub prompts_per_batch: usize,
    /// Worker threads, each with a copy of the model and one thread of its own for tensors; 0 and 1 run in the caller's
    /// thread with whatever threads tensors have there.
    pub threads: usize,
    /// True when the first sample that fails ends the run. Otherwise the run goes on without it and lists it beside the
    /// records; the next call tries it again.
    pub strict: bool,
    /// True when progress is shown on standard error.
    pub progress: bool,
    /// Ends the run after the answers that are being made; the next call goes on there.
    pub stop: Stop,
    /// Takes the times of the run's batches; without it they are dropped, and nobody waits for the device between the
    /// stages of a batch.
    pub times: Option<RunTimes>,
    /// Names everything that the answers depend on (weights, data, settings); a record file of another run is refused.
    pub fingerprint: String,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            protocols: Protocols::default(),
            max_new_tokens: None,
            images_per_batch: 8,
            prompts_per_batch: 32,
            threads: 1,
            strict: false,
            progress: false,
            stop: Stop::default(),
            times: None,
            fingerprint: String::new(),
        }
    }
}

impl RunOptions {
    /// The same, scored by the rules of these protocols.
    pub fn with_protocols(mut self, protocols: impl Into<Protocols>) -> Self {
        self.protocols = protocols.into();
        self
    }

    /// The same with answers of at most so many tokens; `None` takes the protocol's number.
    pub fn with_max_new_tokens(mut self, max_new_tokens: impl Into<Option<usize>>) -> Self {
        self.max_new_tokens = max_new_tokens.into();
        self
    }

    /// The same with so many pictures encoded together.
    pub fn with_images_per_batch(mut self, images_per_batch: usize) -> Self {
        self.images_per_batch = images_per_batch;
        self
    }

    /// The same with so many prompts continued together.
    pub fn with_prompts_per_batch(mut self, prompts_per_batch: usize) -> Self {
        self.prompts_per_batch = prompts_per_batch;
        self
    }

    /// The same with so many worker threads.
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// The same with a flag that ends the run between two answers.
    pub fn with_stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// The same; `true` ends the run at the first sample that fails.
    pub fn with_strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// The same with or without progress on standard error.
    pub fn with_progress(mut self, progress: bool) -> Self {
        self.progress = progress;
        self
    }

    /// The same with the times of the batches collected here.
    pub fn with_times(mut self, times: impl Into<Option<RunTimes>>) -> Self {
        self.times = times.into();
        self
    }

    /// The same for a run with this fingerprint.
    pub fn with_fingerprint(mut self, fingerprint: impl Into<String>) -> Self {
        self.fingerprint = fingerprint.into();
        self
    }
}

/// Questions, arms and budgets.
pub struct Run<'a> {
    /// The questions.
    pub questions: &'a [Question],
    /// The arms that are compared.
    pub arms: &'a [Arm],
    /// Budgets of the arms with a method or a smaller picture; the others run once with every token.
    pub budgets: &'a [Budget],
    /// The truth about the pictures, for oracle arms.
    pub annotations: Option<&'a dyn Annotations>,
    /// Options of the run.
    pub options: RunOptions,
}

/// One arm at one budget.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) arm: &'a Arm,
    pub(crate) budget: Budget,
}

impl Setting<'_> {
    /// Arm, budget and seed.
    fn name(&self) -> (&str, String, u64) {
        (&self.arm.name, self.budget.to_string(), self.arm.seed)
    }

    /// True when a record of this key is the setting's.
    fn owns(&self, key: &Key) -> bool {
        key.0 == self.arm.name && key.1 == self.budget.to_string() && key.2 == self.arm.seed
    }

    /// The key of the record of a question.
    pub(crate) fn key(&self, question: &Question) -> Key {
        (
            self.arm.name.clone(),
            self.budget.to_string(),
            self.arm.seed,
            question.benchmark,
            question.id.clone(),
        )
    }
}

impl<'a> Run<'a> {
    /// Answers every question with every arm and budget, continuing the record file where it ends.
    ///
    /// The records come back in the order arm, budget, question, whatever the threads did, and stand so in the file of a
    /// run that has ended. A picture that cannot be read, and a question on which the model or a method fails, is left out
    /// and listed in a file beside the records (`records.failed.jsonl`), unless the options are strict.
    ///
    /// # Errors
    /// When the set-up is ambiguous, an arm fails on every question, a sample fails and the options are strict, the run is
    /// stopped, another process works in the folder of the records, or the disk refuses. What was recorded until then stays
    /// and is continued by the next call.
    pub fn execute(&self, vlm: &dyn Vlm, records: &Path) -> Result<Vec<Record>, EvalError> {
        self.carried_out(records, |shared| {
            let threads = self.options.threads.min(shared.units.len());
            if threads <= 1 {
                return shared.take_units(vlm, shared.settings);
            }
            shared.work((0..threads).map(|_| (vlm.clone_box(), shared.settings)))
        })
    }

    /// As [`Self::execute`], with one worker per replica: copies of one model on several devices share the work. The
    /// option `threads` is not used. A picture's answers come from whichever device is free, so devices should compute
    /// alike.
    ///
    /// # Errors
    /// As [`Self::execute`]; also when there is no replica, or one has other arms than the run.
    pub fn execute_on(&self, replicas: Vec<Replica>, records: &Path) -> Result<Vec<Record>, EvalError> {
        let (vlms, arms): (Vec<_>, Vec<_>) = replicas.into_iter().map(|one| (one.vlm, one.arms)).unzip();
        let own = settings_of(self.arms, self.budgets);
        let settings: Vec<Vec<Setting<'_>>> =
            arms.iter().map(|arms| settings_of(arms, self.budgets)).collect();
        let is_other = |settings: &Vec<Setting<'_>>| {
            !settings
                .iter()
                .map(Setting::name)
                .eq(own.iter().map(Setting::name))
        };
        if vlms.is_empty() || settings.iter().any(is_other) {
            return Err(EvalError::Setup {
                subject: "replicas".into(),
                found: format!("{} of the model, some with other arms or none", vlms.len()),
                wanted: "at least one, each with the arms of the run in their order".into(),
            });
        }
        self.carried_out(records, |shared| shared.work(vlms.into_iter().zip(&settings)))
    }

    fn carried_out(
        &self,
        path: &Path,
        work: impl FnOnce(&Shared<'_>) -> Result<(), EvalError>,
    ) -> Result<Vec<Record>, EvalError> {
        let settings = settings_of(self.arms, self.budgets);
        self.check(&settings)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let _lock = FolderLock::take(folder.unwrap_or(Path::new(".")))?;
        let (file, found) = RecordFile::open(path, &self.options.fingerprint)?;
        let limits = self.arms.iter().filter_map(|arm| arm.questions);
        let chosen = ChosenQuestions(
            limits
                .map(|limit| (limit, spread(self.questions, limit)))
                .collect(),
        );
        let wanted: HashSet<Key> = settings
            .iter()
            .flat_map(|s| {
                let questions = self.questions.iter().filter(|q| chosen.asks(s.arm, q));
                questions.map(|q| s.key(q))
            })
            .collect();
        let (found, others): (Vec<Record>, Vec<Record>) = found
            .into_iter()
            .partition(|record| wanted.contains(&record.key()));
        let shared = Shared {
            run: self,
            units: units(self.questions, self.options.images_per_batch),
            settings: &settings,
            chosen,
            yes_no: OnceLock::new(),
            progress: Progress::new(wanted.len(), found.len(), self.options.progress),
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            sink: Mutex::new(Sink {
                done: found.iter().map(Record::key).collect(),
                file,
                records: found,
                failures: Vec::new(),
            }),
        };
        work(&shared)?;
        if shared.stopped.load(Ordering::SeqCst) {
            return Err(EvalError::Stopped {
                records: path.into(),
                answered: shared.sink().done.len(),
                of: wanted.len(),
            });
        }
        shared.progress.finish(&failures::list_of(path));
        let sink = shared.sink.into_inner();
        let mut sink = sink.unwrap_or_else(std::sync::PoisonError::into_inner);
        failures::write(path, &mut sink.failures)?;
        let records = self.in_order(&settings, sink)?;
        RecordFile::put(path, &self.options.fingerprint, records.iter().chain(&others))?;
        Ok(records)
    }

    fn check(&self, settings: &[Setting<'_>]) -> Result<(), EvalError> {
        let setup = |subject: &str, found: String, wanted: &str| {
            Err(EvalError::Setup {
                subject: subject.into(),
                found,
                wanted: wanted.into(),
            })
        };
        let mut seen = HashSet::new();
        for Setting { arm, budget } in settings {
            if !seen.insert((&arm.name, arm.seed, budget.to_string())) {
                let found = format!("`{}` with seed {} twice at budget {budget}", arm.name, arm.seed);
                return setup("arms", found, "arms that differ in name or seed");
            }
        }
        let truth = |setting: &&Setting<'_>| {
            setting.arm.signals().relevance && setting.arm.truth == Truth::Annotations
        };
        if let (None, Some(setting)) = (self.annotations, settings.iter().find(truth)) {
            let subject = format!("arm `{}`", setting.arm.name);
            return setup(
                &subject,
                "no annotations".into(),
                "annotated relevance of the pictures",
            );
        }
        let mut ids = HashSet::new();
        match self
            .questions
            .iter()
            .find(|question| !ids.insert((question.benchmark, &question.id)))
        {
            Some(twin) => setup(
                "questions",
                format!("{} `{}` twice", twin.benchmark, twin.id),
                "unique ids",
            ),
            None => Ok(()),
        }
    }

    /// The records in the order of settings and questions, without those that failed.
    fn in_order(&self, settings: &[Setting<'_>], mut sink: Sink) -> Result<Vec<Record>, EvalError> {
        let mut by_key: HashMap<Key, Record> = sink
            .records
            .into_iter()
            .map(|record| (record.key(), record))
            .collect();
        let mut records = Vec::with_capacity(by_key.len());
        for setting in settings {
            let before = records.len();
            let keys = self.questions.iter().map(|question| setting.key(question));
            records.extend(keys.filter_map(|key| by_key.remove(&key)));
            let all_failed = records.len() == before;
            let own = |failure: &Failure| setting.owns(&failure.key);
            if let (true, Some(place)) = (all_failed, sink.failures.iter().position(own)) {
                return Err(sink.failures.swap_remove(place).error);
            }
        }
        Ok(records)
    }
}

/// Every arm at each of its budgets.
fn settings_of<'a>(arms: &'a [Arm], budgets: &[Budget]) -> Vec<Setting<'a>> {
    let of_arm = |arm: &'a Arm| {
        arm.budgets(budgets)
            .into_iter()
            .map(move |budget| Setting { arm, budget })
    };
    arms.iter().flat_map(of_arm).collect()
}

/// The questions of arms that are not asked all of them, by the number of these.
struct ChosenQuestions<'a>(HashMap<usize, HashSet<(Benchmark, &'a str)>>);

impl ChosenQuestions<'_> {
    fn asks(&self, arm: &Arm, question: &Question) -> bool {
        let chosen = arm.questions.and_then(|limit| self.0.get(&limit));
        chosen.is_none_or(|chosen| chosen.contains(&(question.benchmark, question.id.as_str())))
    }
}

/// The place where answers go.
pub(super) struct Sink {
    file: RecordFile,
    records: Vec<Record>,
    done: HashSet<Key>,
    pub(super) failures: Vec<Failure>,
}

/// The part of a run that its workers share.
pub(crate) struct Shared<'a> {
    pub(crate) run: &'a Run<'a>,
    pub(crate) settings: &'a [Setting<'a>],
    pub(super) units: Vec<Unit<'a>>,
    chosen: ChosenQuestions<'a>,
    /// Of the vocabulary that all models of the run share.
    pub(crate) yes_no: OnceLock<YesNoIds>,
    pub(super) progress: Progress,
    pub(super) next: AtomicUsize,
    pub(super) stop: AtomicBool,
    /// The run was asked to stop before all was answered.
    pub(super) stopped: AtomicBool,
    sink: Mutex<Sink>,
}

impl Shared<'_> {
    pub(super) fn sink(&self) -> MutexGuard<'_, Sink> {
        self.sink
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// True when the arm of the setting is asked this question.
    pub(crate) fn asks(&self, setting: &Setting<'_>, question: &Question) -> bool {
        self.chosen.asks(setting.arm, question)
    }

    /// True when every one of these questions was answered before.
    pub(crate) fn is_done(&self, setting: &Setting<'_>, questions: &[(&Question, usize)]) -> bool {
        let sink = self.sink();
        questions
            .iter()
            .all(|(question, _)| sink.done.contains(&setting.key(question)))
    }

    /// True when the run was asked to stop; what is left to do is then not done.
    pub(super) fn ends_early(&self) -> bool {
        let asked = self.run.options.stop.is_requested();
        if asked {
            self.stopped.store(true, Ordering::SeqCst);
        }
        asked
    }

    /// Writes down the answers that were not there before.
    pub(crate) fn record(&self, mut records: Vec<Record>) -> Result<(), EvalError> {
        let mut sink = self.sink();
        records.retain(|record| !sink.done.contains(&record.key()));
        let new = sink.file.append(&records)?;
        sink.done.extend(new.iter().map(Record::key));
        self.progress.add(new.len());
        sink.records.extend(new);
        Ok(())
    }
}
