//! `diffprune eval`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use diffprune::Budget;
use diffprune_eval::Benchmark;
use diffprune_lab::{
    Evaluated, Evaluation, LoadedModel, ORACLE_QUESTIONS, protocol, revision, unknown_folders,
};

use crate::model::ModelArgs;
use crate::print::{self, say, tell};
use crate::questions::{QuestionArgs, at_least_one};
use crate::signals;
use crate::watch::Terminal;

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
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// What is compared [default: the controls, every scorer given, and `inverted` when one is called `diffprune`].
    #[arg(long, value_delimiter = ',', value_name = "A,B,C", help_heading = "Pruning")]
    arms: Vec<String>,
    /// Tokens that stay: counts (64), fractions (1/9) or percentages.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1/3,2/9,1/9",
        help_heading = "Pruning"
    )]
    budgets: Vec<Budget>,
    /// A trained scorer under the name of its arm; may be repeated. That of a shipped model is `diffprune` unless another
    /// has the name.
    #[arg(long, value_name = "NAME=DIR", help_heading = "Pruning")]
    scorer: Vec<String>,
    /// Benchmarks that are asked [default: all that have a folder].
    #[arg(long, value_delimiter = ',', value_name = "A,B,C")]
    benchmarks: Vec<Benchmark>,
    /// At most so many questions of each benchmark.
    #[arg(long, value_parser = at_least_one)]
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
    #[arg(long, help_heading = "Output")]
    answer_files: bool,
    /// Test pictures on which the report shows the tokens that [CLS] attention (or what stands for it) and each scorer keep at
    /// the last budget.
    #[arg(long, default_value_t = 3, help_heading = "Output")]
    pictures: usize,
    /// Seed of everything that is drawn, intervals included.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the report and the times as one JSON object in place of tables (docs/json.md).
    #[arg(long, help_heading = "Output", conflicts_with = "upload")]
    json: bool,
}

impl EvalArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let devices = diffprune_devices::list(&self.model.device);
        for device in &devices {
            diffprune_devices::parse(device)?;
        }
        let model = self.on(devices[0])?;
        let evaluation = self.evaluation(&model)?;
        let mut prepared = evaluation.prepare(&model)?;
        let left_out = prepared.left_out();
        if !left_out.is_empty() {
            tell!("{}", left_out.trim_start());
        }
        let unknown = unknown_folders(&self.data);
        if !unknown.is_empty() {
            tell!(
                "note: no benchmark has these folders, which are passed over: {}",
                unknown.join(", ")
            );
        }
        for device in &devices[1..] {
            prepared.add_copy(self.on(device)?)?;
        }
        let (_watch, stop) = signals::after("answers")?;
        match prepared.run(&self.out, &mut Terminal::new("eval", stop))? {
            Evaluated::Report(report, timing) => {
                let page = self.out.join("report.md");
                if self.json {
                    return print::json(&serde_json::json!({
                        "page": page, "report": report, "timing": timing,
                    }));
                }
                say!("{}\n{}\n{}", report.to_text(), timing.to_text(), page.display());
            }
            Evaluated::Uploads(folder) => say!(
                "the answers are known to servers only, so there is no report; upload files: {}",
                folder.display()
            ),
        }
        Ok(())
    }

    fn evaluation(&self, model: &LoadedModel) -> anyhow::Result<Evaluation> {
        let scorers = self.scorer.iter().map(|given| match given.split_once('=') {
            Some((name, dir)) => Ok((name.to_string(), PathBuf::from(dir))),
            None => bail!("scorer: found `{given}`, expected NAME=DIR"),
        });
        Ok(Evaluation {
            data: self.data.clone(),
            reading: self.questions.reading(protocol(model.vlm.as_ref())),
            benchmarks: self.benchmarks.clone(),
            limit: self.limit,
            arms: self.arms.iter().map(|name| name.trim().to_string()).collect(),
            budgets: self.budgets.clone(),
            scorers: scorers.collect::<anyhow::Result<_>>()?,
            random_seeds: self.random_seeds,
            oracle_questions: self.oracle_questions,
            max_new_tokens: self.max_new_tokens,
            strict: self.strict,
            answer_files: self.answer_files,
            pictures: self.pictures,
            seed: self.seed,
            device: self.model.device.clone(),
            revision: revision(),
        })
    }

    /// The model on one of the devices.
    fn on(&self, device: &str) -> anyhow::Result<LoadedModel> {
        let model = ModelArgs {
            device: device.into(),
            ..self.model.clone()
        };
        model.load()
    }
}
