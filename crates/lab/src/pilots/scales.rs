//! The study about sizes: one method's scores over rates of pruning, on several models of one family.

use std::path::{Path, PathBuf};

use diffprune::{Budget, LoadOptions};
use diffprune_eval::{Benchmark, Record};
use diffprune_mini::{MiniCounts, MiniWorld};
use diffprune_pilots::{ScaledAnswer, ScaledModel, ScalesPlan, Study, scales};

use super::OURS;
use crate::data::protocol;
use crate::error::LabError;
use crate::evaluation::Evaluation;
use crate::experiment::{STAGES, write_world};
use crate::files::make_folder;
use crate::model::LoadedModel;
use crate::observer::Observer;

/// The benchmarks of the papers' figure.
pub const SCALE_BENCHMARKS: [Benchmark; 3] = [Benchmark::Mme, Benchmark::ScienceQa, Benchmark::MmBench];
/// The arm of the unpruned model.
const FULL: &str = "full";

/// The questions of the study.
#[derive(Debug, Clone, PartialEq)]
pub enum ScaleQuestions {
    /// About so many of each benchmark, of the small world.
    Generated(usize),
    /// Those of a folder with `mme`, `scienceqa` and `mmbench` (or some of them) in their official formats.
    Folder(PathBuf),
}

/// DiffPrune on several sizes of one model, at each rate of the plan: claim `a1.no-collapse`. Each model has the scorer that lies
/// beside its weights. `load` reads one model after the other; answers are kept below `out` and not asked again.
///
/// # Errors
/// When a model cannot be read or has no scorer, there are no questions, a rate is no budget, or the observer asks to stop.
pub fn scale_study<E: From<LabError>>(
    dirs: &[PathBuf],
    mut load: impl FnMut(&Path) -> Result<LoadedModel, E>,
    questions: &ScaleQuestions,
    plan: &ScalesPlan,
    out: &Path,
    observer: &mut dyn Observer,
) -> Result<Study, E> {
    let stages = out.join(STAGES);
    make_folder(&stages)?;
    let (data, source) = match questions {
        ScaleQuestions::Folder(folder) => (folder.clone(), folder.display().to_string()),
        ScaleQuestions::Generated(count) => {
            let world = world(*count, plan.seed);
            let folder = stages.join(format!("data-{count}-{}", plan.seed));
            observer.stage("data", false);
            write_world(&world, &folder, observer)?;
            (folder, format!("the small world of seed {}", plan.seed))
        }
    };
    let mut models = Vec::new();
    let mut asked = 0;
    for dir in dirs {
        let model = load(dir)?;
        let name = model.name();
        observer.stage(&format!("{name}: answers at {} rates", plan.rates.len()), false);
        let records = answers(&model, &data, plan, &stages.join(&name), observer)?;
        let answers: Vec<ScaledAnswer> = records.iter().filter_map(|record| scored(record, plan)).collect();
        asked = answers.iter().filter(|answer| answer.rate == 0).count();
        let n_weights = LoadedModel::needed_bytes(dir, &LoadOptions::f32())? / size_of::<f32>() as u64;
        models.push(ScaledModel {
            name,
            n_weights: n_weights as usize,
            answers,
        });
    }
    let setting = format!("DiffPrune's scorer of each model, {asked} questions of {source};");
    Ok(scales(&setting, &models, plan).map_err(LabError::from)?)
}

/// The answers of the unpruned model and of DiffPrune at the rates.
fn answers(
    model: &LoadedModel,
    data: &Path,
    plan: &ScalesPlan,
    out: &Path,
    observer: &mut dyn Observer,
) -> Result<Vec<Record>, LabError> {
    let pruned = plan.rates.iter().filter(|rate| rate.1 < 1.0);
    let budget = |(name, _): &(String, f64)| {
        name.parse::<Budget>().map_err(|error| LabError::Setup {
            subject: format!("rate {name}"),
            found: error.to_string(),
            wanted: "a share of the tokens such as 1/9".into(),
        })
    };
    let budgets: Vec<Budget> = pruned.map(budget).collect::<Result<_, _>>()?;
    let evaluation = Evaluation {
        benchmarks: SCALE_BENCHMARKS.to_vec(),
        arms: [FULL, OURS].map(String::from).to_vec(),
        budgets,
        seed: plan.seed,
        ..Evaluation::new(data, protocol(model.vlm.as_ref()).into())
    };
    evaluation.prepare(model)?.answers(out, observer)
}

/// An answer of the study; other arms have none.
fn scored(record: &Record, plan: &ScalesPlan) -> Option<ScaledAnswer> {
    let rate = match record.arm.as_str() {
        FULL => plan.rates.iter().position(|rate| rate.1 >= 1.0),
        _ => plan.rates.iter().position(|rate| rate.0 == record.budget),
    };
    Some(ScaledAnswer {
        rate: rate?,
        benchmark: record.benchmark.name().into(),
        image: record.image.clone(),
        score: record.score,
    })
}

/// About `count` questions of each of the benchmarks.
fn world(count: usize, seed: u64) -> MiniWorld {
    MiniWorld {
        counts: MiniCounts {
            // Two questions about each picture of five parts; four turns of each question.
            mme_pictures: count.div_ceil(10),
            mmbench_questions: count.div_ceil(4),
            scienceqa_questions: count,
            ..MiniCounts::none()
        },
        seed,
        ..MiniWorld::default()
    }
}
