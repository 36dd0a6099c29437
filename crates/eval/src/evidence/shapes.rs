//! The tier `shape`: what follows from the shape of a published model.

use super::claims::{Claims, PaperClaim, Tier};
use super::estimand::Estimand;
use super::ledger::TierVerdict;
use crate::cost::{Counting, ModelShape, Schedule, prefill_flops};
use crate::stats::Verdict;

/// The model of table 4, its visual tokens, and the other tokens that are the only number to give both 8.89 and 2.13.
const MODEL: &str = "llava-1.5-7b";
const VISUAL: usize = 576;
const OTHERS: usize = 97;

/// The verdicts of the shape on every claim that it can judge by arithmetic alone; claims about times are left to a benchmark.
pub fn judge_shape(claims: &Claims) -> Vec<(String, TierVerdict)> {
    let of = |claim: &PaperClaim| {
        let verdict = match (claim.untestable.get(&Tier::Shape), &claim.estimand) {
            (Some(reason), _) => TierVerdict::untestable(reason.clone()),
            (None, Estimand::Flops { bound }) => flops(*bound)?,
            (None, _) => return None,
        };
        Some((claim.id.clone(), verdict))
    };
    claims.claims.iter().filter_map(of).collect()
}

/// Prefill TFLOPs of the rows of table 4, computed less printed: the one that is farthest off, within a bound.
pub(crate) fn flops(bound: f64) -> Option<TierVerdict> {
    let shape = ModelShape::preset(MODEL)?;
    let n_layers = shape.language.n_layers;
    // PyramidDrop ranks before each stage by queries and keys; published shares of 576 over eight layers each.
    let stages = [VISUAL, VISUAL / 2, VISUAL / 4, VISUAL / 8].map(|kept| (n_layers / 4, kept));
    let rows = [
        ("unpruned", Schedule::uniform(n_layers, VISUAL), 8.89),
        ("64 tokens", Schedule::uniform(n_layers, VISUAL / 9), 2.13),
        ("PyramidDrop", Schedule::stages(stages).with_ranking(2), 4.89),
    ];
    let computed =
        |schedule: Schedule| prefill_flops(&shape, &schedule.plus(OTHERS), Counting::PROFILER) / 1e12;
    let differences: Vec<(&str, f64, f64)> = rows
        .into_iter()
        .map(|(name, schedule, printed)| (name, computed(schedule), printed))
        .collect();
    let farthest = differences
        .iter()
        .map(|row| row.1 - row.2)
        .max_by(|a, b| a.abs().total_cmp(&b.abs()))?;
    let verdict = if farthest.abs() < bound {
        Verdict::Equivalent
    } else {
        Verdict::Fails
    };
    let said =
        |(name, computed, printed): &(&str, f64, f64)| format!("{name} {computed:.3} ({printed} printed)");
    let remark = differences.iter().map(said).collect::<Vec<_>>().join(", ");
    Some(TierVerdict::of(verdict, farthest, farthest, farthest).remarked(&remark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_flops_are_those_of_the_shape() {
        let verdicts = judge_shape(&Claims::builtin().unwrap());
        let (_, flops) = verdicts.iter().find(|(id, _)| id == "t4.flops").unwrap();
        assert_eq!(flops.verdict, Verdict::Equivalent, "{flops:?}");
        assert!(
            verdicts.iter().all(|(id, _)| id != "t4.ttft"),
            "times need a benchmark"
        );
        assert!(super::flops(1e-6).is_some_and(|tight| tight.verdict == Verdict::Fails));
    }
}
