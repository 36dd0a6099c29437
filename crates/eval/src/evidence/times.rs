//! The tier `shape`, claims about times: from a table that was measured on the published shape.

use super::claims::{Claims, PaperClaim, Tier};
use super::estimand::Estimand;
use super::ledger::TierVerdict;
use crate::EvalError;
use crate::cost::{TimedMethod, TimedStage, TimesTable};
use crate::stats::{Estimate, Verdict};

/// The shape and the kept tokens of the papers' table of times.
const SHAPE: &str = "llava-1.5-7b";
const KEPT: usize = 64;
/// The names of its rows in a table of ours: the unpruned model and the method.
const FULL: &str = "full";
const OURS: &str = "diffprune";

/// The verdicts of a measured table on every claim about times, at the tier [`Tier::Shape`]: on the device and with the kernels
/// that the table names. None when the table was not measured on the published shape at its budget, because times of
/// another model say nothing about it.
///
/// # Errors
/// When the data of this crate are damaged.
pub fn judge_times(table: &TimesTable) -> Result<Vec<(String, TierVerdict)>, EvalError> {
    let kept = table.budget.resolve(table.visual).unwrap_or(0);
    if table.shape.as_deref() != Some(SHAPE) || kept != KEPT {
        return Ok(Vec::new());
    }
    let claims = Claims::builtin()?;
    let timed = Timed {
        table,
        claims: &claims,
    };
    let remark = format!("{}, {} rounds", table.context, table.rounds());
    let of = |claim: &PaperClaim| {
        let verdict = timed.judge(&claim.estimand)?;
        Some((claim.id.clone(), verdict.remarked(&remark)))
    };
    Ok(claims
        .claims
        .iter()
        .filter(|claim| !claim.untestable.contains_key(&Tier::Shape))
        .filter_map(of)
        .collect())
}

struct Timed<'a> {
    table: &'a TimesTable,
    claims: &'a Claims,
}

impl<'a> Timed<'a> {
    /// `None` for claims that are not about times.
    fn judge(&self, estimand: &Estimand) -> Option<TierVerdict> {
        match estimand {
            Estimand::SpeedUp {
                quantity, printed, ..
            } => self.with(&[FULL, OURS], |rows| {
                let stage = stage(quantity)?;
                let of = rows.map(|row| (row, stage));
                Some(above(
                    self.table
                        .estimate(&of, &|medians| medians[0] / medians[1] - printed),
                    "",
                ))
            }),
            Estimand::Lowest { quantity } => self.with(&[OURS], |[ours]| {
                let stage = stage(quantity)?;
                let others = self.table.rows.iter().filter(|row| row.method != OURS);
                let lead = |other: &'a TimedMethod| {
                    (
                        other,
                        self.table.estimate(&[(other, stage), (ours, stage)], &|medians| {
                            1e3 * (medians[0] - medians[1])
                        }),
                    )
                };
                let (other, least) = others.map(lead).min_by(|a, b| a.1.value.total_cmp(&b.1.value))?;
                Some(above(least, &format!("least against {}", other.method)))
            }),
            Estimand::SmallShare { quantity, of, share } => self.with(&[OURS], |[ours]| {
                let (small, whole) = (stage(quantity)?, stage(of)?);
                let number = |medians: &[f64]| 1e3 * (share * medians[1] - medians[0]);
                Some(above(
                    self.table.estimate(&[(ours, small), (ours, whole)], &number),
                    "",
                ))
            }),
            Estimand::Order { quantity, rows } => {
                let names: Vec<String> = rows.iter().map(|row| self.arm(row)).collect();
                let found: Option<Vec<&TimedMethod>> =
                    names.iter().map(|name| self.table.row(name)).collect();
                let Some(found) = found else {
                    return Some(self.lacks(&names));
                };
                let stage = stage(quantity)?;
                let step = |pair: &[&'a TimedMethod]| {
                    let number = |medians: &[f64]| 1e3 * (medians[0] - medians[1]);
                    (
                        pair[0],
                        pair[1],
                        self.table
                            .estimate(&[(pair[0], stage), (pair[1], stage)], &number),
                    )
                };
                let steps = found.windows(2).map(step);
                let (slower, faster, least) = steps.min_by(|a, b| a.2.value.total_cmp(&b.2.value))?;
                Some(above(
                    least,
                    &format!("least: {} less {}", slower.method, faster.method),
                ))
            }
            Estimand::Flat { quantity, bound } => self.with(&[FULL], |[full]| {
                let stage = stage(quantity)?;
                let others = self.table.rows.iter().filter(|row| row.method != FULL);
                let share = |other: &'a TimedMethod| {
                    let number = |medians: &[f64]| 100.0 * (medians[0] / medians[1] - 1.0);
                    (
                        other,
                        self.table.estimate(&[(other, stage), (full, stage)], &number),
                    )
                };
                let (other, most) = others
                    .map(share)
                    .max_by(|a, b| a.1.value.abs().total_cmp(&b.1.value.abs()))?;
                let verdict = if most.lo.abs().max(most.hi.abs()) < *bound {
                    Verdict::Equivalent
                } else if most.lo > *bound || most.hi < -bound {
                    Verdict::Fails
                } else {
                    Verdict::Tie
                };
                let entered = TierVerdict::of(verdict, most.value, most.lo, most.hi);
                Some(entered.remarked(&format!("most: {}", other.method)))
            }),
            _ => None,
        }
    }

    /// Judges these rows, or says that the table lacks one.
    fn with<const N: usize>(
        &self,
        names: &[&str; N],
        judge: impl FnOnce([&'a TimedMethod; N]) -> Option<TierVerdict>,
    ) -> Option<TierVerdict> {
        let rows: Option<Vec<&TimedMethod>> = names.iter().map(|name| self.table.row(name)).collect();
        match rows.and_then(|rows| <[&TimedMethod; N]>::try_from(rows).ok()) {
            Some(rows) => judge(rows),
            None => Some(self.lacks(&names.map(String::from))),
        }
    }

    /// The row of ours that stands for a row of the papers; its printed name where there is none.
    fn arm(&self, printed: &str) -> String {
        let standing = self.claims.row(printed).map_or(&[][..], |row| &row.arms);
        let measured = standing.iter().find(|arm| self.table.row(arm).is_some());
        match measured.or(standing.first()) {
            Some(arm) => arm.clone(),
            None => printed.to_lowercase(),
        }
    }

    fn lacks(&self, names: &[String]) -> TierVerdict {
        let absent = names.iter().filter(|name| self.table.row(name).is_none());
        let absent: Vec<&str> = absent.map(String::as_str).collect();
        TierVerdict::untestable(format!("the table of times has no row {}", absent.join(", ")))
    }
}

/// The column that a claim calls by the name of the papers' table.
fn stage(quantity: &str) -> Option<TimedStage> {
    match quantity {
        "encode_ms" => Some(TimedStage::Encode),
        "pruner_ms" => Some(TimedStage::Select),
        "prefill_ms" => Some(TimedStage::Prefill),
        "ttft_ms" => Some(TimedStage::FirstToken),
        _ => None,
    }
}

fn above(estimate: Estimate, remark: &str) -> TierVerdict {
    let Estimate { value, lo, hi } = estimate;
    TierVerdict::of(Verdict::of(lo, hi), value, lo, hi).remarked(remark)
}

#[cfg(test)]
mod tests {
    use diffprune_pruner::Budget;

    use super::*;
    use crate::cost::TimingContext;

    /// Rows with encode, select, prefill and first token in milliseconds; every round a little slower than the one before.
    fn table(rows: &[(&str, [f64; 4])]) -> TimesTable {
        let row = |(method, stages): &(&str, [f64; 4])| {
            let seconds = |ms: f64| {
                (0..30)
                    .map(|round| 1e-3 * ms * (1.0 + 1e-4 * f64::from(round)))
                    .collect()
            };
            let [encode_s, select_s, prefill_s, first_token_s] = stages.map(seconds);
            TimedMethod {
                method: (*method).into(),
                tokens: 64.0,
                prefill_flops: 1e12,
                encode_s,
                select_s,
                prefill_s,
                first_token_s,
            }
        };
        TimesTable {
            model: "the shape".into(),
            shape: Some(SHAPE.into()),
            visual: 576,
            text: 97,
            budget: Budget::rate(1, 9),
            context: TimingContext::new("f16", "composed", "a device", 1),
            revision: String::new(),
            rows: rows.iter().map(row).collect(),
            absent: Vec::new(),
        }
    }

    fn verdict(table: &TimesTable, id: &str) -> Verdict {
        let found = judge_times(table).unwrap();
        found.iter().find(|(claim, _)| claim == id).unwrap().1.verdict
    }

    #[test]
    fn the_printed_times_hold_and_their_reverse_fails() {
        let printed = table(&[
            ("full", [30.0, 0.0, 118.66, 149.5]),
            ("prunesid", [30.0, 43.39, 42.0, 116.0]),
            ("pyramiddrop-published", [30.0, 5.02, 70.0, 105.0]),
            ("holov", [30.0, 2.77, 42.0, 75.0]),
            ("diffprune", [30.0, 0.69, 41.6, 73.0]),
        ]);
        for id in [
            "t4.prefill-2.85",
            "t4.ttft",
            "t4.selector-0.69",
            "t4.selector-order",
        ] {
            assert_eq!(verdict(&printed, id), Verdict::Holds, "{id}");
        }
        assert_eq!(verdict(&printed, "t4.encode-flat"), Verdict::Equivalent);
        let other = table(&[
            ("full", [30.0, 0.0, 60.0, 90.0]),
            ("prunesid", [30.0, 0.1, 40.0, 70.1]),
            ("pyramiddrop-published", [30.0, 0.2, 40.0, 70.2]),
            ("holov", [30.0, 0.3, 40.0, 70.3]),
            ("diffprune", [45.0, 4.0, 40.0, 89.0]),
        ]);
        for (id, _) in judge_times(&other).unwrap() {
            assert_eq!(verdict(&other, &id), Verdict::Fails, "{id}");
        }
    }

    #[test]
    fn other_shapes_and_budgets_say_nothing_and_absent_rows_are_named() {
        let full = ("full", [30.0, 0.0, 60.0, 90.0]);
        let small = TimesTable {
            shape: None,
            ..table(&[full])
        };
        let wide = TimesTable {
            budget: Budget::rate(1, 3),
            ..table(&[full])
        };
        assert!(judge_times(&small).unwrap().is_empty() && judge_times(&wide).unwrap().is_empty());
        let found = judge_times(&table(&[full])).unwrap();
        let (_, order) = found.iter().find(|(id, _)| id == "t4.selector-order").unwrap();
        assert_eq!(order.verdict, Verdict::Untestable);
        assert!(order.reason.as_deref().unwrap().contains("holov"), "{order:?}");
    }
}
