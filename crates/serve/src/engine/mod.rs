//! A model on its own thread: a queue in front of it, a batch that requests join and leave, and what is kept between them.

mod admit;
mod cache;
mod inside;
mod job;
mod methods;
mod pictures;
mod prefixes;
mod queue;
mod run;
mod select;
mod sequence;
mod stop;
mod timer;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use diffprune_lab::{LoadedModel, shipped_scorer, verify_checksums};
use diffprune_vlm::Vlm;
use serde::Serialize;
use tokio::sync::watch;

use crate::config::ServeConfig;
use crate::error::ApiError;
use crate::metrics::ModelMetrics;
use inside::Decisions;
use methods::{Methods, Offered};
use pictures::Pictures;
use prefixes::Prefixes;
use queue::Queue;
use run::{Engine, Load};

pub(crate) use job::{ChatJob, Event, Job, Outcome, SelectJob, Wishes};
pub(crate) use queue::{Place, Refusal};

/// Why a model could not be read, in words.
pub type LoadFailure = Box<dyn std::error::Error + Send + Sync>;

type Read = Box<dyn FnOnce() -> Result<Loaded, LoadFailure> + Send>;

/// A model that was read.
struct Loaded {
    vlm: Box<dyn Vlm>,
    /// The trained scorer that it brings along.
    scorer: Option<PathBuf>,
}

/// The name of a scorer that a model brings along.
const OURS: &str = "diffprune";

/// A model that a server is to offer. It is read on its own thread, while the server already listens.
pub struct ModelSource {
    name: String,
    load: Read,
    scorers: Vec<(String, PathBuf)>,
    pruner: Option<String>,
}

impl ModelSource {
    /// A model by the name that requests use, read by `load`.
    pub fn new(
        name: impl Into<String>,
        load: impl FnOnce() -> Result<Box<dyn Vlm>, LoadFailure> + Send + 'static,
    ) -> Self {
        let load = || {
            Ok(Loaded {
                vlm: load()?,
                scorer: None,
            })
        };
        Self::reading(name.into(), Box::new(load))
    }

    /// A checkpoint by the name that requests use, read by `load`. A trained scorer beside its weights is the method
    /// `diffprune` and, unless another is chosen, the default.
    pub fn checkpoint(
        name: impl Into<String>,
        load: impl FnOnce() -> Result<LoadedModel, LoadFailure> + Send + 'static,
    ) -> Self {
        let load = || {
            let model = load()?;
            let scorer = shipped_scorer(&model.dir);
            if let Some(scorer) = &scorer {
                verify_checksums(scorer)?;
            }
            Ok(Loaded {
                vlm: model.vlm,
                scorer,
            })
        };
        Self::reading(name.into(), Box::new(load))
    }

    fn reading(name: String, load: Read) -> Self {
        Self {
            name,
            load,
            scorers: Vec::new(),
            pruner: None,
        }
    }

    /// The same with a trained scorer of the folder `dir`, which requests call `name`.
    pub fn with_scorer(mut self, name: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        self.scorers.push((name.into(), dir.into()));
        self
    }

    /// The same with a default method of its own, in place of [`ServeConfig::pruner`](crate::ServeConfig::pruner).
    pub fn with_pruner(mut self, pruner: impl Into<String>) -> Self {
        self.pruner = Some(pruner.into());
        self
    }

    /// The name that requests use.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelSource")
            .field("name", &self.name)
            .field("scorers", &self.scorers)
            .field("pruner", &self.pruner)
            .finish_non_exhaustive()
    }
}

/// How far a model is.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// Its weights are being read.
    Loading,
    /// It answers.
    Ready(Arc<ModelInfo>),
    /// It could not be read.
    Failed(String),
}

/// What `GET /v1/models` says about a model.
#[derive(Debug, Serialize)]
pub(crate) struct ModelInfo {
    pub family: String,
    pub default_pruner: String,
    pub default_visual_tokens: String,
    pub kv_bytes_per_token: u64,
    pub methods: Vec<MethodInfo>,
}

/// What `GET /v1/models` says about a method.
#[derive(Debug, Serialize)]
pub(crate) struct MethodInfo {
    pub name: String,
    pub about: String,
    /// True when it acts inside the language model.
    pub inside: bool,
    /// True when kept tokens may be made of several.
    pub merges: bool,
    pub reads_question: bool,
    /// True when its choice depends on the seed.
    pub seeded: bool,
}

impl From<&Offered> for MethodInfo {
    fn from(offered: &Offered) -> Self {
        Self {
            name: offered.name.clone(),
            about: offered.about.clone(),
            inside: offered.is_inside(),
            merges: offered.method.merges(),
            reads_question: offered.reads_question(),
            seeded: offered.seeded,
        }
    }
}

/// A model that runs on its own thread.
#[derive(Debug)]
pub(crate) struct Model {
    pub name: String,
    queue: Arc<Queue<Job>>,
    state: watch::Receiver<State>,
    load: Arc<Load>,
    metrics: ModelMetrics,
    thread: Option<JoinHandle<()>>,
}

impl Model {
    /// Starts the thread of a model.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        source: ModelSource,
        config: Arc<ServeConfig>,
        metrics: ModelMetrics,
    ) -> std::io::Result<Self> {
        let queue = Queue::new(config.limits.queue);
        let load = Arc::new(Load::default());
        let (tell, state) = watch::channel(State::Loading);
        let name = source.name.clone();
        let body = Body {
            source,
            config,
            queue: queue.clone(),
            load: load.clone(),
            metrics: metrics.clone(),
            tell,
        };
        let thread = std::thread::Builder::new()
            .name(format!("model {name}"))
            .spawn(move || body.run())?;
        Ok(Self {
            name,
            queue,
            state,
            load,
            metrics,
            thread: Some(thread),
        })
    }

    /// How far the model is.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits until the model answers, or is known not to.
    pub async fn settled(&self) -> Result<Arc<ModelInfo>, String> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Loading)).await;
        match settled.as_deref() {
            Ok(State::Ready(info)) => Ok(info.clone()),
            Ok(State::Failed(problem)) => Err(problem.clone()),
            _ => Err("the thread of the model ended".into()),
        }
    }

    /// Puts work into the queue.
    pub fn submit(&self, job: Job) -> Result<Place<Job>, ApiError> {
        match self.state() {
            State::Ready(_) => {}
            State::Loading => {
                let message = format!("the model `{}` is still being read", self.name);
                return Err(ApiError::unavailable("model_loading", message, 2));
            }
            State::Failed(_) => {
                let message = format!(
                    "the model `{}` could not be read; see the server's messages",
                    self.name
                );
                return Err(ApiError::unavailable("model_failed", message, 60));
            }
        }
        self.queue.push(job).map_err(|refusal| match refusal {
            Refusal::Full => ApiError::busy(self.queue.len(), 1),
            Refusal::Closed => ApiError::unavailable("stopping", "the server is stopping", 1),
        })
    }

    /// Brings the metrics of load up to date.
    pub fn tell_load(&self) {
        let running = self.load.running.load(Ordering::Relaxed);
        let kv_bytes = self.load.kv_bytes.load(Ordering::Relaxed);
        self.metrics.load(self.queue.len(), running, kv_bytes);
    }

    /// Takes no more work.
    pub fn close(&self) {
        self.queue.close();
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.queue.close();
        // A model that is being read cannot be told to stop; its thread ends by itself, or with the process.
        let reads = matches!(self.state(), State::Loading);
        if let Some(thread) = self.thread.take().filter(|_| !reads) {
            // A panic of the thread was told when it happened.
            let _ = thread.join();
        }
    }
}

/// What the thread of a model begins with.
struct Body {
    source: ModelSource,
    config: Arc<ServeConfig>,
    queue: Arc<Queue<Job>>,
    load: Arc<Load>,
    metrics: ModelMetrics,
    tell: watch::Sender<State>,
}

impl Body {
    fn run(self) {
        let ModelSource {
            load,
            mut scorers,
            pruner,
            ..
        } = self.source;
        let failed = |problem: String| {
            self.queue.close();
            self.tell.send_replace(State::Failed(problem));
        };
        let Loaded { vlm, scorer } = match catch_unwind(AssertUnwindSafe(load)) {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(error)) => return failed(in_words(error.as_ref())),
            Err(_) => return failed("reading it failed without a reason".into()),
        };
        let ours = scorer.map(|scorer| (OURS.to_string(), scorer));
        let default = pruner.or_else(|| self.config.pruner.clone());
        let default = default.or_else(|| ours.as_ref().map(|(name, _)| name.clone()));
        // One of that name on the command line comes first.
        scorers.extend(ours);
        let methods = match Methods::new(vlm.as_ref(), &scorers, default.as_deref()) {
            Ok(methods) => methods,
            Err(error) => return failed(in_words(&error)),
        };
        let budget = self.config.visual_tokens;
        let limits = &self.config.limits;
        self.tell.send_replace(State::Ready(Arc::new(ModelInfo {
            family: vlm.family().to_string(),
            default_pruner: methods.default_name().into(),
            default_visual_tokens: budget.to_string(),
            kv_bytes_per_token: vlm.kv_bytes_per_token(),
            methods: methods.offered().iter().map(MethodInfo::from).collect(),
        })));
        let mut engine = Engine {
            vlm: vlm.as_ref(),
            pictures: Pictures::new(vlm.as_ref(), &methods, budget, limits, self.metrics.clone()),
            prefixes: Prefixes::new(limits.prefix_cache_bytes, self.metrics.clone()),
            decisions: Decisions::new(self.metrics.clone()),
            metrics: self.metrics.clone(),
            load: self.load,
            most: limits.running.max(1),
            joins: limits.joins.max(1),
            join_time: limits.join_time,
        };
        engine.run(&self.queue);
    }
}

/// An error with its causes.
fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
