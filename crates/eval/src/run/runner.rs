//! The run: encode each picture once, let every arm select from the same tokens, generate, score, record.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use diffprune_pruner::{Budget, Layout};
use diffprune_vlm::Vlm;

use super::arm::Arm;
use super::batch::{Unit, units};
use super::progress::Progress;
use super::record::{Key, Record, RecordFile};
use super::worker::Worker;
use crate::EvalError;
use crate::data::{Protocol, Question};

/// What is known about pictures beside their pixels, for oracle arms.
pub trait Annotations: Sync {
    /// How relevant each token of the picture is, in the order of the layout; `None` when nothing is known.
    fn relevance(&self, image: &Path, layout: &Layout) -> Option<Vec<f32>>;
}

impl<F: Fn(&Path, &Layout) -> Option<Vec<f32>> + Sync> Annotations for F {
    fn relevance(&self, image: &Path, layout: &Layout) -> Option<Vec<f32>> {
        self(image, layout)
    }
}

/// How a run is carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOptions {
    /// Whose rules score the answers; the questions keep LLaVA's prompts.
    pub protocol: Protocol,
    /// Longest answer in new tokens; `None` takes the protocol's.
    pub max_new_tokens: Option<usize>,
    /// Pictures encoded together.
    pub images_per_batch: usize,
    /// Prompts continued together.
    pub prompts_per_batch: usize,
    /// Worker threads, each with a copy of the model and one thread of its own for tensors; 0 and 1 run in the caller's
    /// thread with whatever threads tensors have there.
    pub threads: usize,
    /// Whether progress is shown on standard error.
    pub progress: bool,
    /// Names everything that the answers depend on (weights, data, settings); a record file of another run is refused.
    pub fingerprint: String,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            protocol: Protocol::Llava,
            max_new_tokens: None,
            images_per_batch: 8,
            prompts_per_batch: 32,
            threads: 1,
            progress: false,
            fingerprint: String::new(),
        }
    }
}

/// Questions, arms and budgets.
pub struct Run<'a> {
    /// What is asked.
    pub questions: &'a [Question],
    /// What is compared.
    pub arms: &'a [Arm],
    /// Budgets of the arms with a method; the others run once with every token.
    pub budgets: &'a [Budget],
    /// The truth about the pictures, for oracle arms.
    pub annotations: Option<&'a dyn Annotations>,
    /// How the run is carried out.
    pub options: RunOptions,
}

/// One arm at one budget.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) arm: &'a Arm,
    pub(crate) budget: Budget,
}

impl Setting<'_> {
    /// What makes the record of a question unique.
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
    /// The records come back in the order arm, budget, question, whatever the threads did.
    ///
    /// # Errors
    /// When the set-up is ambiguous, a picture cannot be read, the model or a method fails, or the disk refuses. What
    /// was recorded until then stays and is continued by the next call.
    pub fn execute(&self, vlm: &dyn Vlm, records: &Path) -> Result<Vec<Record>, EvalError> {
        let settings = self.settings();
        self.check(&settings)?;
        let (file, found) = RecordFile::open(records, &self.options.fingerprint)?;
        let wanted: HashSet<Key> = settings
            .iter()
            .flat_map(|s| self.questions.iter().map(|q| s.key(q)))
            .collect();
        let found: Vec<Record> = found
            .into_iter()
            .filter(|record| wanted.contains(&record.key()))
            .collect();
        let shared = Shared {
            run: self,
            units: units(self.questions, self.options.images_per_batch),
            settings: &settings,
            done: found.iter().map(Record::key).collect(),
            progress: Progress::new(wanted.len(), found.len(), self.options.progress),
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            sink: Mutex::new(Sink { file, records: found }),
        };
        shared.work(vlm)?;
        shared.progress.finish();
        self.in_order(&settings, shared.sink)
    }

    fn settings(&self) -> Vec<Setting<'a>> {
        let of_arm = |arm: &'a Arm| {
            arm.budgets(self.budgets)
                .into_iter()
                .map(move |budget| Setting { arm, budget })
        };
        self.arms.iter().flat_map(of_arm).collect()
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

    fn in_order(&self, settings: &[Setting<'_>], sink: Mutex<Sink>) -> Result<Vec<Record>, EvalError> {
        let records = sink
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .records;
        let mut by_key: HashMap<Key, Record> =
            records.into_iter().map(|record| (record.key(), record)).collect();
        let keys = settings
            .iter()
            .flat_map(|setting| self.questions.iter().map(|question| setting.key(question)));
        let take = |key: Key| {
            by_key.remove(&key).ok_or_else(|| EvalError::Setup {
                subject: "records".into(),
                found: format!("none for {key:?}"),
                wanted: "one per arm, budget and question".into(),
            })
        };
        keys.map(take).collect()
    }
}

/// Where answers go.
struct Sink {
    file: RecordFile,
    records: Vec<Record>,
}

/// What the workers of a run share.
pub(crate) struct Shared<'a> {
    pub(crate) run: &'a Run<'a>,
    pub(crate) settings: &'a [Setting<'a>],
    units: Vec<Unit<'a>>,
    done: HashSet<Key>,
    progress: Progress,
    next: AtomicUsize,
    stop: AtomicBool,
    sink: Mutex<Sink>,
}

impl Shared<'_> {
    /// Works on all units, on as many threads as the options say.
    fn work(&self, vlm: &dyn Vlm) -> Result<(), EvalError> {
        let threads = self.run.options.threads.min(self.units.len());
        if threads <= 1 {
            return self.take_units(vlm);
        }
        let copies: Vec<Box<dyn Vlm>> = (0..threads).map(|_| vlm.clone_box()).collect();
        std::thread::scope(|scope| {
            let workers: Vec<_> = copies
                .into_iter()
                .map(|vlm| scope.spawn(move || self.in_own_pool(vlm)))
                .collect();
            let lost = || EvalError::Setup {
                subject: "worker thread".into(),
                found: "a panic (see above)".into(),
                wanted: "an answer or an error".into(),
            };
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(lost())))
        })
    }

    /// One worker whose tensors use one thread.
    fn in_own_pool(&self, vlm: Box<dyn Vlm>) -> Result<(), EvalError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .map_err(|error| EvalError::Setup {
                subject: "worker thread".into(),
                found: error.to_string(),
                wanted: "a thread; run with fewer threads".into(),
            })?;
        pool.install(move || self.take_units(vlm.as_ref()))
    }

    /// Takes units until none is left or a worker has failed.
    fn take_units(&self, vlm: &dyn Vlm) -> Result<(), EvalError> {
        while !self.stop.load(Ordering::Relaxed) {
            let Some(unit) = self.units.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            if let Err(error) = (Worker {
                vlm,
                shared: self,
                unit,
            })
            .run()
            {
                self.stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether every one of these questions was answered before.
    pub(crate) fn is_done(&self, setting: &Setting<'_>, questions: &[(&Question, usize)]) -> bool {
        questions
            .iter()
            .all(|(question, _)| self.done.contains(&setting.key(question)))
    }

    /// Writes down the answers that were not there before.
    pub(crate) fn record(&self, records: Vec<Record>) -> Result<(), EvalError> {
        let new: Vec<Record> = records
            .into_iter()
            .filter(|record| !self.done.contains(&record.key()))
            .collect();
        let mut sink = self
            .sink
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let new = sink.file.append(&new)?;
        self.progress.add(new.len());
        sink.records.extend(new);
        Ok(())
    }
}
