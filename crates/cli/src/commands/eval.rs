//! `diffprune eval`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::tensor::DType;
use clap::Args;
use diffprune::vlm::Turn;
use diffprune::{Budget, DiffPrune};
use diffprune_eval::{
    Annotations, Arm, CostOptions, Figures, Format, Meta, ModelShape, PromptRules, Question, Replica, Report,
    ReportOptions, Run, RunOptions, RunTimes, RunTiming, TimingContext,
};

use crate::annotations::SceneTruth;
use crate::arms::{ArmSource, ORACLE_QUESTIONS};
use crate::clock::timed;
use crate::data::QuestionArgs;
use crate::digest::{self, Digest};
use crate::model::{Loaded, ModelArgs, WeightType};
use crate::{answers, data, device, pruners, repro};

/// Tier of numbers about the small world.
pub const MINI: &str = "mini";
/// Name of the records in an output folder.
pub const RECORDS: &str = "records.jsonl";

/// Asks every question with every arm at every budget, keeps each answer, and reports.
///
/// An interrupted run is continued by the same command. Several devices (--device cuda:0,cuda:1) share the questions, each
/// with its own copy of the model; the order of the records is that of one device.
#[derive(Debug, Args)]
pub struct EvalArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Folder with benchmarks (gqa, pope, textvqa, mme, ...) in their official formats.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    questions: QuestionArgs,
    /// Folder for records and report.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What is compared [default: the controls, every scorer given, and `inverted` when one is called `diffprune`].
    #[arg(long, value_delimiter = ',', value_name = "A,B,C")]
    arms: Vec<String>,
    /// Tokens that stay: counts (64), fractions (1/9) or percentages.
    #[arg(long, value_delimiter = ',', default_value = "1/3,2/9,1/9")]
    budgets: Vec<Budget>,
    /// A trained scorer under the name of its arm; may be repeated.
    #[arg(long, value_name = "NAME=DIR")]
    scorer: Vec<String>,
    /// At most so many questions of each benchmark.
    #[arg(long)]
    limit: Option<usize>,
    /// Seeds over which the arm `random` is averaged.
    #[arg(long, default_value_t = 5)]
    random_seeds: u64,
    /// Questions, spread evenly over all, that the arm `oracle-loo` is asked: each costs as many forward passes as its
    /// picture has tokens.
    #[arg(long, default_value_t = ORACLE_QUESTIONS)]
    oracle_questions: usize,
    /// Longest answer in new tokens [default: that of the benchmark's protocol].
    #[arg(long)]
    max_new_tokens: Option<usize>,
    /// End at the first sample of the data that cannot be used and the first picture or question that fails [default: leave
    /// it out, list it beside the records, go on].
    #[arg(long)]
    strict: bool,
    /// Also write the answers in the files that official programs and servers take, below `answers`.
    #[arg(long)]
    answer_files: bool,
    /// Test pictures on which the report shows the tokens that [CLS] attention (or what stands for it) and each scorer keep at
    /// the last budget.
    #[arg(long, default_value_t = 3)]
    pictures: usize,
    /// Seed of everything that is drawn, intervals included.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl EvalArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let devices = device::list(&self.model.device);
        for device in &devices {
            device::parse(device)?;
        }
        let model = self.on(devices[0])?;
        let reading = self.questions.reading(data::protocol(model.vlm.as_ref()));
        let mut sound = data::read(&self.data, &reading, self.strict)?;
        let left_out = sound.note();
        let questions = data::limited(std::mem::take(&mut sound.questions), self.limit);
        let truth = SceneTruth::open(&self.data)?;
        let scorer_hashes = self.scorer_hashes()?;
        let scorers = self.scorers(&model)?;
        let (names, arms) = self.arms(&model, scorers.clone())?;
        let fingerprint = Digest::new()
            .text(&model.fingerprint()?)
            .text(&data::fingerprint(&questions))
            .text(&format!(
                "{reading:?} {:?} {scorer_hashes:?}",
                self.max_new_tokens
            ))
            .text(&format!("{} {}", device::alike(&devices), model.dtype.name()));
        let times = RunTimes::default();
        let options = RunOptions {
            times: Some(times.clone()),
            max_new_tokens: self.max_new_tokens,
            strict: self.strict,
            protocols: reading.protocols.clone(),
            fingerprint: fingerprint.hex(),
            ..run_options(&model)
        };
        let truth = truth.as_ref().map(|truth| truth as &dyn Annotations);
        let run = Run {
            questions: &questions,
            arms: &arms,
            budgets: &self.budgets,
            annotations: truth,
            options,
        };
        if !left_out.is_empty() {
            eprintln!("{}", left_out.trim_start());
        }
        let replicas = devices[1..].iter().map(|device| self.replica(device));
        let replicas: Vec<Replica> = replicas.collect::<anyhow::Result<_>>()?;
        let workers = match replicas.len() {
            0 => run.options.threads.max(1),
            others => others + 1,
        };
        let path = self.out.join(RECORDS);
        let (records, wall_s) = timed(|| match replicas.is_empty() {
            true => run.execute(model.vlm.as_ref(), &path),
            false => {
                let first = Replica {
                    vlm: model.vlm.clone_box(),
                    arms: arms.clone(),
                };
                run.execute_on(std::iter::once(first).chain(replicas).collect(), &path)
            }
        });
        let records = records?;
        sound.list(&self.out)?;
        if self.questions.upload {
            answers::write(&self.data, &self.out, &model.name(), &questions, &records)?;
            println!(
                "the answers are known to servers only, so there is no report; upload files: {}",
                self.out.join(answers::FOLDER).display()
            );
            return Ok(());
        }
        let mut options = report_options(&names);
        options.bootstrap.seed = self.seed;
        options.cost = cost(&model, &questions)?;
        options.prompt_rules = PromptRules::of(&questions, &reading.protocols);
        let meta = Meta {
            revision: repro::revision(),
            device: self.model.device.clone(),
            seed: self.seed,
            tier: tier(&self.data).into(),
            config: serde_json::json!({
                "model": model.name(), "arms": names, "budgets": self.budgets, "limit": self.limit,
                "random_seeds": self.random_seeds, "prompts": reading.protocols, "reading": reading, "oracle_questions": self.oracle_questions,
                "dtype": model.dtype.name(), "options": model.options,
                "records": RECORDS, "report": options,
            }),
            title: format!("Visual-token pruning on {}", model.name()),
            note: note(&model, &arms, &questions) + &left_out,
        };
        let report = Report::from_records(&records, meta, &options)?;
        let figures = match self.draw(&model, &scorers, &questions) {
            Err(error) if !self.strict => {
                eprintln!("no pictures of kept tokens: {error:#}");
                Figures::default()
            }
            drawn => drawn?,
        };
        report.write_as(&self.out, &Format::ALL, &figures)?;
        if self.answer_files {
            answers::write(&self.data, &self.out, &model.name(), &questions, &records)?;
        }
        let timing = RunTiming {
            wall_s,
            context: context(&model, &self.model.device, run.options.prompts_per_batch),
            workers,
            arms: times.medians(),
        };
        timing.write(&self.out)?;
        let page = self.out.join("report.md");
        println!("{}\n{}\n{}", report.to_text(), timing.to_text(), page.display());
        Ok(())
    }

    /// Draws what is kept of a few pictures, for the end of the report.
    fn draw(
        &self,
        model: &Loaded,
        scorers: &BTreeMap<String, DiffPrune>,
        questions: &[Question],
    ) -> anyhow::Result<Figures> {
        let vlm = model.vlm.as_ref();
        let seen = pruners::default_for(vlm.family());
        let mut methods = vec![(seen, pruners::Method::parse(seen, vlm, self.seed)?)];
        for (name, scorer) in scorers {
            methods.push((name, pruners::Method::learned(scorer.clone())));
        }
        let budget = self.budgets.last().copied().unwrap_or(Budget::All);
        repro::draw_some(vlm, questions, self.pictures, &methods, budget, &self.out)?;
        repro::pictures(&self.out)
    }

    /// The model on one of the devices.
    fn on(&self, device: &str) -> anyhow::Result<Loaded> {
        let model = ModelArgs {
            device: device.into(),
            ..self.model.clone()
        };
        model.load()
    }

    /// A copy of the model on another device, with the arms there.
    fn replica(&self, device: &str) -> anyhow::Result<Replica> {
        let model = self.on(device)?;
        let (_, arms) = self.arms(&model, self.scorers(&model)?)?;
        Ok(Replica { vlm: model.vlm, arms })
    }

    /// The names of what is compared, and the arms for this model.
    fn arms(
        &self,
        model: &Loaded,
        scorers: BTreeMap<String, DiffPrune>,
    ) -> anyhow::Result<(Vec<String>, Vec<Arm>)> {
        let names = self.names(&scorers);
        let source = ArmSource {
            vlm: model.vlm.as_ref(),
            scorers,
            random_seeds: self.random_seeds,
            seed: self.seed,
        };
        let arms = names.iter().map(|name| source.arms(name));
        let mut arms = arms.collect::<anyhow::Result<Vec<_>>>()?.concat();
        let limited = arms.iter_mut().filter_map(|arm| arm.questions.as_mut());
        limited.for_each(|count| *count = self.oracle_questions);
        Ok((names, arms))
    }

    /// Names and folders of the scorers given.
    fn scorer_folders(&self) -> impl Iterator<Item = anyhow::Result<(&str, &Path)>> {
        self.scorer.iter().map(|given| match given.split_once('=') {
            Some((name, dir)) => Ok((name, Path::new(dir))),
            None => bail!("scorer: found `{given}`, wanted NAME=DIR"),
        })
    }

    /// The scorers given, by name, for this model.
    fn scorers(&self, model: &Loaded) -> anyhow::Result<BTreeMap<String, DiffPrune>> {
        let scorer = |given: anyhow::Result<(&str, &Path)>| {
            let (name, dir) = given?;
            Ok((name.to_string(), pruners::scorer(dir, model.vlm.as_ref())?))
        };
        self.scorer_folders().map(scorer).collect()
    }

    /// A hash of the files of each scorer given.
    fn scorer_hashes(&self) -> anyhow::Result<Vec<String>> {
        let hash = |given: anyhow::Result<(&str, &Path)>| {
            let (name, dir) = given?;
            Ok(format!(
                "{name}={}",
                digest::of_folder(dir, &["diffprune.json"])?.hex()
            ))
        };
        let mut hashes: Vec<String> = self.scorer_folders().map(hash).collect::<anyhow::Result<_>>()?;
        hashes.sort();
        Ok(hashes)
    }

    /// The names of the arms: those given, or the controls, the scorers, and the one called `diffprune` upside down.
    fn names(&self, scorers: &BTreeMap<String, DiffPrune>) -> Vec<String> {
        if !self.arms.is_empty() {
            return self.arms.iter().map(|name| name.trim().to_string()).collect();
        }
        let controls = [
            "full",
            "random",
            "stratified",
            "uniform-grid",
            "average-pool",
            "downsampled-image",
            "cls-attention",
            "untrained",
            "text-only",
        ];
        let inverted = scorers.contains_key("diffprune").then(|| "inverted".to_string());
        controls
            .into_iter()
            .map(String::from)
            .chain(scorers.keys().cloned())
            .chain(inverted)
            .collect()
    }
}

/// How a run is carried out with this model: on the CPU one thread per core, with progress, scored as its family is.
pub fn run_options(model: &Loaded) -> RunOptions {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    RunOptions {
        threads: if device::is_cpu(&model.vlm.device()) {
            cores
        } else {
            1
        },
        progress: true,
        protocols: data::protocol(model.vlm.as_ref()).into(),
        ..RunOptions::default()
    }
}

/// Tables in the order of the arms.
pub fn report_options(names: &[String]) -> ReportOptions {
    ReportOptions {
        order: names.to_vec(),
        ..ReportOptions::default()
    }
}

/// Under which circumstances a model answers: printed with every time.
pub fn context(model: &Loaded, device: &str, batch: usize) -> TimingContext {
    let fused = model.dtype == WeightType::F32 && device::is_cpu(&model.vlm.device());
    TimingContext::new(
        format!("{} weights", model.dtype.name()),
        // The fused kernels serve f32 on the CPU; everything else takes the composed form.
        if fused { "fused" } else { "composed" },
        device,
        batch,
    )
}

/// What the model's prefill is priced with: its sizes and the mean length of the prompts.
pub fn cost(model: &Loaded, questions: &[Question]) -> anyhow::Result<Option<CostOptions>> {
    let config = model.dir.join("config.json");
    let Ok(shape) = ModelShape::from_config(&config, &model.name()) else {
        return Ok(None);
    };
    let mut tokens = 0;
    for question in questions {
        let turn = Turn::ask(question.text.clone()).with_images(1);
        // The placeholder of the picture is no token of the text.
        tokens += model.vlm.prompt_ids(&[turn])?.len().saturating_sub(1);
    }
    let text_tokens = (tokens as f64 / questions.len().max(1) as f64).round() as usize;
    Ok(Some(CostOptions {
        text_tokens,
        bytes_per_value: DType::from(model.dtype).size(),
        ..CostOptions::new(shape)
    }))
}

/// Whether numbers speak of real pictures or of the small world, which has a manifest.
fn tier(data: &Path) -> &'static str {
    if data.join("manifest.json").is_file() {
        MINI
    } else {
        "full"
    }
}

/// Model, data and position rule in a few sentences.
pub fn note(model: &Loaded, arms: &[Arm], questions: &[Question]) -> String {
    let images: std::collections::BTreeSet<_> = questions
        .iter()
        .map(|question| (question.benchmark, &question.image))
        .collect();
    let reindexed = arms.iter().any(|arm| arm.positions.is_some());
    let rule = if reindexed {
        " unless the arm says otherwise"
    } else {
        ""
    };
    format!(
        "Model {}; {} questions about {} pictures; kept tokens keep their position ids{rule}.",
        model.with_options(&model.name()),
        questions.len(),
        images.len()
    )
}

/// Makes a folder, with an error that names it.
pub fn make_folder(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| {
        format!(
            "cannot create the folder {}; choose one that can be written, with room in it",
            dir.display()
        )
    })
}
