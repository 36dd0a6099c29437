//! The papers' table of times: methods measured in turn on one model.

use std::path::{Path, PathBuf};

use diffprune_files::write_whole;
use diffprune_pruner::Budget;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::timing::TimingContext;
use crate::EvalError;
use crate::page::{Block, Page, Section, Sheet};
use crate::report::Absent;
use crate::report::terminal::columns;
use crate::stats::{Estimate, quantile};

/// Resamples of the rounds behind an interval.
const RESAMPLES: usize = 2000;

/// Times of an answer up to its first token, a row for each method (Table 4 of DiffPrune).
///
/// In each round every method runs once, so that whatever else the machine does falls on all of them; the single times are
/// kept, so that anyone can recompute medians and intervals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimesTable {
    /// The model, in words.
    pub model: String,
    /// The published shape that the model has, with random weights; `None` for a model with trained ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
    /// Visual tokens of the picture.
    pub visual: usize,
    /// Other tokens of the prompt.
    pub text: usize,
    /// The budget of every row but the unpruned one.
    pub budget: Budget,
    /// Number format, attention path, device, batch.
    pub context: TimingContext,
    /// Revision of the code.
    pub revision: String,
    /// The rows, the unpruned model first.
    pub rows: Vec<TimedMethod>,
    /// Methods without a row, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Absent>,
}

/// The times of one method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimedMethod {
    /// Its name.
    pub method: String,
    /// Visual tokens that enter a layer of the language model, on average over its layers.
    pub tokens: f64,
    /// FLOPs of the prefill, counted as the papers' profiler does: two per multiply-add, no products between tokens, logits of
    /// the whole prompt.
    pub prefill_flops: f64,
    /// The vision tower, seconds in each round.
    pub encode_s: Vec<f64>,
    /// The method's choice; of a method inside the language model its choices there.
    pub select_s: Vec<f64>,
    /// The language model's reading of the prompt, without what [`Self::select_s`] has of it.
    pub prefill_s: Vec<f64>,
    /// Everything from pixels to the scores of the first token, projection included.
    pub first_token_s: Vec<f64>,
}

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimedStage {
    /// [`TimedMethod::encode_s`].
    Encode,
    /// [`TimedMethod::select_s`].
    Select,
    /// [`TimedMethod::prefill_s`].
    Prefill,
    /// [`TimedMethod::first_token_s`].
    FirstToken,
}

impl TimedStage {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Encode, Self::Select, Self::Prefill, Self::FirstToken];

    /// Name in the head of the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Encode => "encode",
            Self::Select => "select",
            Self::Prefill => "prefill",
            Self::FirstToken => "to the first token",
        }
    }
}

impl TimedMethod {
    /// Seconds of a stage, in the order of the rounds.
    pub fn seconds(&self, stage: TimedStage) -> &[f64] {
        match stage {
            TimedStage::Encode => &self.encode_s,
            TimedStage::Select => &self.select_s,
            TimedStage::Prefill => &self.prefill_s,
            TimedStage::FirstToken => &self.first_token_s,
        }
    }
}

impl TimesTable {
    /// Name of the file beside a report.
    pub const FILE: &'static str = "times.json";

    /// Reads a table.
    ///
    /// # Errors
    /// When the file cannot be read or is none.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let bytes = std::fs::read(path).map_err(|source| EvalError::io(path, "read", source))?;
        let table: Self = serde_json::from_slice(&bytes).map_err(|error| {
            EvalError::line(
                path,
                error.line(),
                format!("no table of times ({error})"),
                "what `diffprune bench --methods` writes",
            )
        })?;
        let rounds = table.rows.first().map_or(0, |row| row.encode_s.len());
        let is_even = |row: &TimedMethod| {
            TimedStage::ALL
                .iter()
                .all(|stage| row.seconds(*stage).len() == rounds)
        };
        match rounds > 0 && table.rows.iter().all(is_even) {
            true => Ok(table),
            false => Err(EvalError::Setup {
                subject: path.display().to_string(),
                found: "rows without times, or of different numbers of rounds".into(),
                wanted: "every stage of every method in every round; measure again".into(),
            }),
        }
    }

    /// Writes `times.json` and `times.md` into a folder; gives the path of the first.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, EvalError> {
        let path = folder.join(Self::FILE);
        let mut bytes = serde_json::to_vec(self)
            .map_err(|error| EvalError::io(&path, "encode the times", error.into()))?;
        bytes.push(b'\n');
        write_whole(&path, &bytes)?;
        write_whole(folder.join("times.md"), self.page().to_markdown().as_bytes())?;
        Ok(path)
    }

    /// Rounds behind each median.
    pub fn rounds(&self) -> usize {
        self.rows.first().map_or(0, |row| row.encode_s.len())
    }

    /// A row by the name of its method.
    pub fn row(&self, method: &str) -> Option<&TimedMethod> {
        self.rows.iter().find(|row| row.method == method)
    }

    /// A number made of the medians of some stages, in the order of `of`, with its 95 % interval over resampled rounds.
    pub fn estimate(&self, of: &[(&TimedMethod, TimedStage)], number: &dyn Fn(&[f64]) -> f64) -> Estimate {
        let rounds = self.rounds();
        let at = |chosen: &[usize]| {
            let median = |(row, stage): &(&TimedMethod, TimedStage)| {
                let mut seconds: Vec<f64> = chosen.iter().map(|&round| row.seconds(*stage)[round]).collect();
                seconds.sort_unstable_by(f64::total_cmp);
                quantile(&seconds, 0.5).unwrap_or(f64::NAN)
            };
            number(&of.iter().map(median).collect::<Vec<_>>())
        };
        let all: Vec<usize> = (0..rounds).collect();
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let mut draws: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                at(&all
                    .iter()
                    .map(|_| random.random_range(0..rounds))
                    .collect::<Vec<_>>())
            })
            .collect();
        draws.sort_unstable_by(f64::total_cmp);
        let end = |share| quantile(&draws, share).unwrap_or(f64::NAN);
        Estimate {
            value: at(&all),
            lo: end(0.025),
            hi: end(0.975),
        }
    }

    /// Medians with their intervals in milliseconds, and the speed-up of the first token against the first row.
    pub fn to_sheet(&self) -> Sheet {
        let mut header = vec!["method".to_string(), "tokens a layer".into()];
        header.extend(TimedStage::ALL.map(|stage| format!("{}, ms", stage.name())));
        header.extend(["speed-up".to_string(), "prefill, GFLOPs".into()]);
        let cells = |row: &TimedMethod| {
            let mut cells = vec![row.method.clone(), format!("{:.1}", row.tokens)];
            cells.extend(TimedStage::ALL.map(|stage| {
                let Estimate { value, lo, hi } = self.estimate(&[(row, stage)], &|medians| 1e3 * medians[0]);
                format!("{value:.2} [{lo:.2}, {hi:.2}]")
            }));
            let whole = TimedStage::FirstToken;
            cells.push(self.rows.first().map_or(String::new(), |first| {
                let ratio = |medians: &[f64]| medians[0] / medians[1];
                format!(
                    "{:.2}",
                    self.estimate(&[(first, whole), (row, whole)], &ratio).value
                )
            }));
            cells.push(format!("{:.3}", row.prefill_flops / 1e9));
            cells
        };
        Sheet::new(header).with(self.rows.iter().map(cells))
    }

    /// The circumstances in a sentence or two.
    pub fn note(&self) -> String {
        let few = match self.rounds() < super::StageTimer::LEAST_RUNS {
            true => " (few: no claim)",
            false => "",
        };
        format!(
            "{}: {} visual and {} other tokens, budget {}, {}. Medians of {} rounds{few}, in each of which every method runs once; \
             brackets are bootstrap 95 % intervals over rounds. The choices of a method inside the language model count as \
             `select`, the attention that it asks for as `prefill`. Revision {}.",
            self.model,
            self.visual,
            self.text,
            self.budget,
            self.context,
            self.rounds(),
            self.revision
        )
    }

    /// The table for a terminal, and what was not measured.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n{}\n", columns(&self.to_sheet()), self.note());
        for Absent { arm, reason, .. } in &self.absent {
            text += &format!("{arm} was not measured: {reason}\n");
        }
        text
    }

    /// The table as part of a page.
    fn section(&self, title: &str) -> Section {
        let mut blocks = vec![Block::Text(self.note()), Block::Sheet(self.to_sheet())];
        if !self.absent.is_empty() {
            let row = |absent: &Absent| vec![absent.arm.clone(), absent.reason.clone()];
            blocks.push(Block::Sheet(
                Sheet::new(["not measured", "why"]).with(self.absent.iter().map(row)),
            ));
        }
        Section::new(title, blocks)
    }

    fn page(&self) -> Page {
        Page {
            title: "Times (Table 4)".into(),
            lead: Vec::new(),
            sections: vec![self.section("Up to the first token")],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(method: &str, scale: f64) -> TimedMethod {
        let seconds = |base: f64| {
            (0..30)
                .map(|round| scale * base * (1.0 + 0.01 * f64::from(round)))
                .collect::<Vec<f64>>()
        };
        TimedMethod {
            method: method.into(),
            tokens: 16.0,
            prefill_flops: 2e9,
            encode_s: seconds(0.01),
            select_s: seconds(0.001),
            prefill_s: seconds(0.02),
            first_token_s: seconds(0.032),
        }
    }

    fn table() -> TimesTable {
        TimesTable {
            model: "a model".into(),
            shape: None,
            visual: 144,
            text: 20,
            budget: Budget::rate(1, 9),
            context: TimingContext::new("f32", "fused", "cpu", 1),
            revision: "r".into(),
            rows: vec![row("full", 2.0), row("diffprune", 1.0)],
            absent: Vec::new(),
        }
    }

    #[test]
    fn ratios_of_rounds_that_rise_together_are_exact() {
        let table = table();
        let stages = [
            (&table.rows[0], TimedStage::Prefill),
            (&table.rows[1], TimedStage::Prefill),
        ];
        let found = table.estimate(&stages, &|medians| medians[0] / medians[1]);
        assert!((found.value - 2.0).abs() < 1e-12 && (found.hi - found.lo).abs() < 1e-12);
        let alone = table.estimate(&stages[..1], &|medians| medians[0]);
        assert!(alone.lo < alone.value && alone.value < alone.hi);
        assert_eq!(table.to_sheet().rows[1][6], "2.00");
    }

    #[test]
    fn tables_are_read_as_written_and_uneven_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut table = table();
        let path = table.write(folder.path()).unwrap();
        assert_eq!(TimesTable::read(&path).unwrap(), table);
        let page = std::fs::read_to_string(folder.path().join("times.md")).unwrap();
        assert!(page.contains("| diffprune |"), "{page}");
        table.rows[1].select_s.pop();
        std::fs::write(&path, serde_json::to_vec(&table).unwrap()).unwrap();
        assert!(TimesTable::read(&path).is_err());
    }
}
