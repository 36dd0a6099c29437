//! The study about the length of a training, from the trainings of an experiment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use diffprune::Method;
use diffprune_eval::Estimate;
use diffprune_eval::chart::{Line, Lines, Palette};
use diffprune_pilots::{PilotError, Study, StudyFigure, StudyTable};
use serde::Deserialize;

use super::trainings::Training;
use super::{Experiment, STAGES};
use crate::error::LabError;

/// Id of the study, and name of its files.
pub(super) const ID: &str = "length";
/// The log of a training, in its folder.
const LOG: &str = "metrics.jsonl";

/// A line of the log; most of them are about updates.
#[derive(Deserialize)]
struct Logged {
    step: usize,
    #[serde(default)]
    val_nll: Option<f64>,
}

/// The validation losses of one training, by update.
type Losses = BTreeMap<usize, f64>;

impl Experiment<'_> {
    /// The trainings of DiffPrune as it is, by length, budget and seed; empty when all of them are equally long.
    pub(super) fn lengths(&self) -> Result<Vec<Training>, LabError> {
        let mut trainings = self.trainings()?;
        let own = Method::default();
        trainings.retain(|training| {
            let learned = &training.learned;
            learned.method == own && learned.variant.is_none() && learned.recipe.is_none()
        });
        match trainings.iter().any(|training| training.learned.steps.is_some()) {
            true => Ok(trainings),
            false => Ok(Vec::new()),
        }
    }

    /// Validation losses along these trainings.
    pub(super) fn length(&self, trainings: &[Training]) -> Result<Study, LabError> {
        let mut arms: Vec<(String, usize, Vec<Losses>)> = Vec::new();
        for training in trainings {
            let losses = read(&self.out.join(STAGES).join(&training.stage).join(LOG))?;
            let arm = match training.budget {
                Some(budget) => format!("{} at {budget}", training.learned.arm),
                None => training.learned.arm.clone(),
            };
            let steps = training.learned.steps.unwrap_or(self.plan.steps);
            match arms.iter_mut().find(|known| known.0 == arm) {
                Some(known) => known.2.push(losses),
                None => arms.push((arm, steps, vec![losses])),
            }
        }
        let budget = self.plan.train_budget;
        let setting = format!(
            "DiffPrune on {}, {} captions an update, {} held-out captions, {} of the tokens unless a row says otherwise, {} training \
             seeds.",
            self.model.name(),
            self.plan.batch,
            self.plan.counts.val_captions,
            budget,
            arms.iter().map(|arm| arm.2.len()).max().unwrap_or(0)
        );
        let rows = arms.iter().map(|(arm, steps, runs)| row(arm, *steps, runs));
        let rows: Vec<Vec<String>> = rows.collect();
        let shared = arms.iter().filter(|arm| !arm.0.contains(" at "));
        let lines: Vec<Line> = shared.map(|(arm, steps, runs)| line(arm, *steps, runs)).collect();
        let start = arms.first().map(|arm| mean(&firsts(&arm.2))).unwrap_or(f64::NAN);
        let found: Vec<String> = arms
            .iter()
            .filter(|arm| !arm.0.contains(" at "))
            .map(|(_, steps, runs)| format!("{:.3} in {steps}", lowest(runs)))
            .collect();
        let chart = Lines {
            name: ID.into(),
            title: format!("Lowest held-out loss: {} updates", found.join(", ")),
            x: "updates".into(),
            y: "held-out loss, nats per token".into(),
            log_x: true,
            falling: false,
            x_marks: marks(&lines),
            level: None,
            decimals: None,
            note: format!(
                "Mean over the training seeds; bars from the lowest to the highest of them. Before the first update: {start:.3}."
            ),
            lines,
        };
        let names: Vec<&str> = arms.iter().map(|arm| arm.0.as_str()).collect();
        let svg = chart.svg(&Palette::of(names)).map_err(LabError::from)?;
        Ok(Study {
            id: ID.into(),
            title: "How far does more training take DiffPrune?".into(),
            question: "Does the held-out loss fall further with more updates, or with a training for each budget?".into(),
            findings: Vec::new(),
            tables: vec![StudyTable {
                title: "Held-out loss, nats per token".into(),
                columns: ["arm", "updates", "seeds", "before", "lowest", "range over seeds", "at update", "at the end"]
                    .map(String::from)
                    .to_vec(),
                rows,
            }],
            figures: vec![StudyFigure {
                file: format!("{ID}.svg"),
                caption: setting.clone(),
                bytes: svg.into_bytes(),
            }],
            setting,
            limits: "The loss is that of captions with soft gates, which a lower number serves and questions need not follow: what the arms \
                     answer stands in the rows of the same names in the report. Losses at different budgets are not comparable. Learning \
                     rate and temperature are stretched over the updates of each training."
                .into(),
        })
    }
}

fn read(path: &Path) -> Result<Losses, LabError> {
    let text = std::fs::read_to_string(path).map_err(LabError::io(path, "read"))?;
    let mut losses = Losses::new();
    for line in text.lines() {
        let logged: Logged = serde_json::from_str(line).map_err(|source| LabError::Json {
            path: PathBuf::from(path),
            wanted: "no log of a training; remove the folder",
            source,
        })?;
        losses.extend(logged.val_nll.map(|val_nll| (logged.step, val_nll)));
    }
    match losses.is_empty() {
        false => Ok(losses),
        true => Err(LabError::Pilot(PilotError::Plan {
            field: "validation",
            found: format!("no losses in {}", path.display()),
            expected: "a training that was validated".into(),
        })),
    }
}

/// The first loss of each training.
fn firsts(runs: &[Losses]) -> Vec<f64> {
    runs.iter()
        .filter_map(|run| run.values().next().copied())
        .collect()
}

/// Update and loss of the lowest of each training.
fn bests(runs: &[Losses]) -> Vec<(usize, f64)> {
    let best = |run: &Losses| {
        let lowest = run.iter().min_by(|a, b| a.1.total_cmp(b.1));
        lowest.map(|(&step, &loss)| (step, loss))
    };
    runs.iter().filter_map(best).collect()
}

/// Mean of the lowest losses.
fn lowest(runs: &[Losses]) -> f64 {
    let lowest: Vec<f64> = bests(runs).iter().map(|best| best.1).collect();
    mean(&lowest)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean over the trainings, from the lowest to the highest of them.
fn spread(values: &[f64]) -> Estimate {
    Estimate {
        value: mean(values),
        lo: values.iter().copied().fold(f64::INFINITY, f64::min),
        hi: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    }
}

fn row(arm: &str, steps: usize, runs: &[Losses]) -> Vec<String> {
    let bests = bests(runs);
    let lowest: Vec<f64> = bests.iter().map(|best| best.1).collect();
    let at: Vec<String> = bests.iter().map(|best| best.0.to_string()).collect();
    let ends: Vec<f64> = runs
        .iter()
        .filter_map(|run| run.values().next_back().copied())
        .collect();
    let spread = spread(&lowest);
    vec![
        arm.into(),
        steps.to_string(),
        runs.len().to_string(),
        format!("{:.4}", mean(&firsts(runs))),
        format!("{:.4}", spread.value),
        format!("{:.4} to {:.4}", spread.lo, spread.hi),
        at.join(", "),
        format!("{:.4}", mean(&ends)),
    ]
}

/// The losses after the first update, which a logarithmic axis can show.
fn line(arm: &str, steps: usize, runs: &[Losses]) -> Line {
    let first = runs
        .first()
        .into_iter()
        .flat_map(|run| run.keys())
        .filter(|step| **step > 0);
    let point = |&step: &usize| {
        let values: Vec<f64> = runs.iter().filter_map(|run| run.get(&step).copied()).collect();
        (step as f64, spread(&values))
    };
    Line {
        name: arm.into(),
        label: format!("{steps} updates"),
        points: first.map(point).collect(),
        dashed: false,
    }
}

/// First and last update of each line.
fn marks(lines: &[Line]) -> Vec<f64> {
    let ends = lines
        .iter()
        .flat_map(|line| [line.points.first(), line.points.last()]);
    let mut marks: Vec<f64> = ends.flatten().map(|point| point.0).collect();
    marks.sort_unstable_by(f64::total_cmp);
    marks.dedup();
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_read_from_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join(LOG);
        let text = "{\"step\":0,\"val_nll\":0.5}\n{\"nll\":1.0,\"step\":1}\n{\"step\":2,\"val_nll\":0.25}\n";
        std::fs::write(&log, text).unwrap();
        let run = read(&log).unwrap();
        assert_eq!(run, Losses::from([(0, 0.5), (2, 0.25)]));
        let other = Losses::from([(0, 0.5), (2, 0.35)]);
        let found = row("diffprune-240", 240, &[run.clone(), other.clone()]);
        assert_eq!(
            found[3..],
            ["0.5000", "0.3000", "0.2500 to 0.3500", "2, 2", "0.3000"]
        );
        assert_eq!(line("a", 240, &[run, other]).points.len(), 1);
        std::fs::write(&log, "{\"nll\":1.0,\"step\":1}\n").unwrap();
        assert!(read(&log).unwrap_err().to_string().contains("no losses"));
        std::fs::write(&log, "nothing").unwrap();
        assert!(matches!(read(&log), Err(LabError::Json { .. })));
    }
}
