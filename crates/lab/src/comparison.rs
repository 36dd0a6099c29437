//! One comparison: questions, arms and budgets on one model, from answers to report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::DType;
use diffprune::Budget;
use diffprune::vlm::Turn;
use diffprune_eval::{
    Absent, Annotations, Arm, Benchmark, CostOptions, EvidenceOptions, Figures, Format, Given, Meta,
    ModelShape, PromptRules, Protocols, Question, Record, Replica, Report, ReportOptions, Run, RunOptions,
    RunTimes, RunTiming, TimingContext, failure_list, failures_of,
};
use serde_json::Value;

use crate::clock::timed;
use crate::error::LabError;
use crate::methods::Method;
use crate::model::{LoadedModel, WeightType};
use crate::observer::Observer;
use crate::pictures;

/// Questions, arms and budgets on one model. Every front end that compares methods builds one of these: the records of a
/// comparison, its report, its times and its pictures follow from it alone.
pub struct Comparison<'a> {
    /// The model.
    pub model: &'a LoadedModel,
    /// Name of the device, or of several, for the report.
    pub device: String,
    /// Copies of the model on further devices, each with the arms there; they share the questions with the first.
    pub copies: Vec<Replica>,
    /// The questions, in the words of the protocols.
    pub questions: Vec<Question>,
    /// Names of the arms, in the order of the tables.
    pub names: Vec<String>,
    /// The arms; those that differ in their seed only share a name.
    pub arms: Vec<Arm>,
    /// Arms that cannot run at a budget, with the reason, for the tables.
    pub absent: Vec<Absent>,
    /// The budgets.
    pub budgets: Vec<Budget>,
    /// Relevance of the tokens of the pictures, for oracle arms.
    pub truth: Option<Box<dyn Annotations + 'a>>,
    /// Settings of the run over the questions.
    pub run: RunSettings,
    /// Seed of the intervals.
    pub seed: u64,
    /// Resamples behind each interval; `None` takes the default.
    pub resamples: Option<usize>,
    /// Verdicts on claims that records cannot judge.
    pub given: Vec<Given>,
}

/// Settings of the run over the questions of a comparison.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunSettings {
    /// Whose rules score the answers.
    pub protocols: Protocols,
    /// Longest answer in new tokens; `None` takes the protocol's.
    pub max_new_tokens: Option<usize>,
    /// End at the first sample that fails, in place of leaving it out.
    pub strict: bool,
    /// Worker threads; `None` takes one for each core of a CPU, and one on any other device.
    pub threads: Option<usize>,
    /// Names everything that the answers depend on; a record file of another run is refused.
    pub fingerprint: String,
}

/// Answers with the clock beside them.
pub struct Answers {
    /// One record for each arm, budget and question.
    pub records: Vec<Record>,
    /// The answers that are missing and the reason of the first, as the end of a note; empty when none is.
    pub unanswered: String,
    /// Wall-clock time of the call, seconds.
    pub wall_s: f64,
    times: RunTimes,
}

/// The circumstances that a report names beside its numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heading {
    /// Revision of the code.
    pub revision: String,
    /// `full`, `shape` or `mini`.
    pub tier: String,
    /// Headline of the pages.
    pub title: String,
    /// Model, data and position rule in a few sentences; printed under every table.
    pub note: String,
    /// Notes that a reader needs before the numbers, a sentence each; printed once, above the tables.
    pub notes: Vec<String>,
    /// The record file, from the folder of the report.
    pub records: String,
    /// Further settings: an object, to which the comparison adds its own.
    pub config: Value,
}

/// Pictures of kept tokens at the end of a report.
pub struct Pictures<'m> {
    /// Number of pictures.
    pub count: usize,
    /// The methods that choose, by name.
    pub methods: Vec<(&'m str, Method)>,
    /// Their budget.
    pub budget: Budget,
}

impl Comparison<'_> {
    /// Answers every question with every arm at every budget, and goes on where the record file ends. Copies and threads
    /// share the work; the order of the records does not depend on them.
    ///
    /// # Errors
    /// When the record file is that of another run, the arms cannot be told apart, an arm fails on every question, the
    /// observer asks to stop, another process works in the folder, or the disk refuses. The records written until then stay.
    pub fn answer(&self, records: &Path, observer: &dyn Observer) -> Result<Answers, LabError> {
        let times = RunTimes::default();
        let run = Run {
            questions: &self.questions,
            arms: &self.arms,
            budgets: &self.budgets,
            annotations: self
                .truth
                .as_ref()
                .map(|truth| truth.as_ref() as &dyn Annotations),
            options: self
                .run_options()
                .with_times(times.clone())
                .with_progress(observer.shows_answers())
                .with_stop(observer.stop()),
        };
        let vlm = self.model.vlm.as_ref();
        let path = records;
        let (records, wall_s) = timed(|| match self.copies.as_slice() {
            [] => run.execute(vlm, records),
            copies => {
                let first = std::iter::once((vlm, &self.arms));
                let others = copies.iter().map(|copy| (copy.vlm.as_ref(), &copy.arms));
                let replica = |(vlm, arms): (&dyn diffprune::Vlm, &Vec<Arm>)| Replica {
                    vlm: vlm.clone_box(),
                    arms: arms.clone(),
                };
                run.execute_on(first.chain(others).map(replica).collect(), records)
            }
        });
        let records = records?;
        Ok(Answers {
            records,
            unanswered: unanswered(path)?,
            wall_s,
            times,
        })
    }

    /// The numbers, with intervals and verdicts.
    ///
    /// # Errors
    /// When the records do not belong together, or a prompt cannot be built.
    pub fn report(&self, records: &[Record], heading: &Heading) -> Result<Report, LabError> {
        let mut options = ReportOptions::default()
            .with_order(self.names.clone())
            .with_cost(self.cost()?)
            .with_prompt_rules(PromptRules::of(&self.questions, &self.run.protocols))
            .with_absent(self.absent.clone())
            .with_evidence(EvidenceOptions::default().with_given(self.given.clone()));
        options.bootstrap.seed = self.seed;
        if let Some(resamples) = self.resamples {
            options.bootstrap.resamples = resamples;
        }
        let meta = Meta {
            revision: heading.revision.clone(),
            device: self.device.clone(),
            seed: self.seed,
            tier: heading.tier.clone(),
            config: self.config(heading, &options)?,
            title: heading.title.clone(),
            note: heading.note.clone(),
            notes: heading.notes.clone(),
        };
        Ok(Report::from_records(records, meta, &options)?)
    }

    /// Writes a report into `out` in every format, with pictures of the kept tokens of a few images. Pictures that cannot
    /// be drawn end a strict run; otherwise the report goes without them.
    ///
    /// # Errors
    /// When the disk refuses or, in a strict run, a picture cannot be drawn.
    pub fn write(
        &self,
        report: &Report,
        pictures: &Pictures<'_>,
        out: &Path,
        observer: &mut dyn Observer,
    ) -> Result<(), LabError> {
        report.write(out)?;
        let figures = match self.draw(pictures, out) {
            Err(error) if !self.run.strict => {
                observer.note(&format!("no pictures of kept tokens: {}", error.with_causes()));
                Figures::default()
            }
            drawn => drawn?,
        };
        report.write_as(out, &[Format::Markdown, Format::Html], &figures)?;
        Ok(())
    }

    /// The times of a call of [`Self::answer`].
    pub fn timing(&self, answers: &Answers) -> RunTiming {
        let options = self.run_options();
        RunTiming {
            wall_s: answers.wall_s,
            context: timing_context(
                self.model.dtype,
                self.model.is_on_cpu(),
                &self.device,
                options.prompts_per_batch,
            ),
            workers: match self.copies.len() {
                0 => options.threads.max(1),
                copies => copies + 1,
            },
            arms: answers.times.medians(),
        }
    }

    /// Number of different pictures that the questions are about.
    pub fn n_pictures(&self) -> usize {
        let name = |question: &'_ Question| (question.benchmark, question.image.clone());
        self.questions.iter().map(name).collect::<BTreeSet<_>>().len()
    }

    fn run_options(&self) -> RunOptions {
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let threads = if self.model.is_on_cpu() { cores() } else { 1 };
        RunOptions::default()
            .with_threads(self.run.threads.unwrap_or(threads))
            .with_protocols(self.run.protocols.clone())
            .with_max_new_tokens(self.run.max_new_tokens)
            .with_strict(self.run.strict)
            .with_fingerprint(self.run.fingerprint.clone())
    }

    /// The settings of the heading and those of every comparison.
    fn config(&self, heading: &Heading, options: &ReportOptions) -> Result<Value, LabError> {
        let own = serde_json::json!({
            "model": self.model.name(),
            "prompts": self.run.protocols,
            "dtype": self.model.dtype.name(),
            "records": heading.records,
            "report": options,
        });
        let mut config = heading.config.as_object().cloned().unwrap_or_default();
        config.extend(own.as_object().cloned().unwrap_or_default());
        Ok(config.into())
    }

    /// The sizes of the model and the mean length of the prompts, which price the prefill; `None` when the sizes are
    /// unknown.
    fn cost(&self) -> Result<Option<CostOptions>, LabError> {
        let config = self.model.dir.join("config.json");
        let Ok(shape) = ModelShape::from_config(&config, &self.model.name()) else {
            return Ok(None);
        };
        let mut tokens = 0;
        for question in &self.questions {
            let turn = Turn::ask(question.text.clone()).with_images(1);
            // The placeholder of the picture is no token of the text.
            tokens += self.model.vlm.prompt_ids(&[turn])?.len().saturating_sub(1);
        }
        let text_tokens = (tokens as f64 / self.questions.len().max(1) as f64).round() as usize;
        Ok(Some(
            CostOptions::new(shape)
                .with_text_tokens(text_tokens)
                .with_bytes_per_value(DType::from(self.model.dtype).size()),
        ))
    }

    fn draw(&self, wanted: &Pictures<'_>, out: &Path) -> Result<Figures, LabError> {
        let Pictures {
            count,
            methods,
            budget,
        } = wanted;
        let vlm = self.model.vlm.as_ref();
        pictures::draw_some(vlm, &self.questions, *count, methods, *budget, out)?;
        pictures::drawn_pictures(out)
    }
}

/// The failures listed beside a record file, as the end of a note.
fn unanswered(records: &Path) -> Result<String, LabError> {
    let failures = failures_of(records)?;
    let Some(first) = failures.first() else {
        return Ok(String::new());
    };
    let mut questions: BTreeMap<Benchmark, BTreeSet<&str>> = BTreeMap::new();
    for failure in &failures {
        questions
            .entry(failure.benchmark)
            .or_default()
            .insert(&failure.question);
    }
    let questions: Vec<String> = questions
        .iter()
        .map(|(benchmark, ids)| format!("{benchmark} {}", ids.len()))
        .collect();
    Ok(format!(
        " Questions without an answer of some arm: {} ({} answers are missing; listed in {}; the first because {}).",
        questions.join(", "),
        failures.len(),
        failure_list(records)
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        first.error
    ))
}

/// The circumstances of a measurement, printed with every time: `batch` prompts together, the weights of this type.
pub(crate) fn timing_context(
    dtype: WeightType,
    is_on_cpu: bool,
    device: &str,
    batch: usize,
) -> TimingContext {
    // The fused kernels serve f32 on the CPU; everything else takes the composed form.
    let is_fused = dtype == WeightType::F32 && is_on_cpu;
    let path = if is_fused { "fused" } else { "composed" };
    TimingContext::new(format!("{dtype} weights"), path, device, batch)
}
