//! Whether two runs of different sizes, on questions of their own, have the same result.

use super::{Metric, Report, TableId};
use crate::stats::Verdict;

/// Joint level at which rows of two runs are compared.
const LEVEL: f64 = 0.95;

/// A number that lies further apart in two runs than their intervals allow.
#[derive(Debug, Clone, PartialEq)]
pub struct Apart {
    /// The arm.
    pub arm: String,
    /// The budget.
    pub budget: String,
    /// First run less second, in table units.
    pub difference: f64,
    /// The largest difference that the intervals of both allow.
    pub allowed: f64,
}

/// A claim that one run says holds and the other says fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The claim.
    pub id: String,
    /// What the first run says.
    pub first: Verdict,
    /// What the second run says.
    pub second: Verdict,
}

/// The comparison of two runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SameResult {
    /// Averages that both runs have: arms at budgets.
    pub compared: usize,
    /// Those that lie too far apart.
    pub apart: Vec<Apart>,
    /// Claims that both runs have judged.
    pub judged: usize,
    /// Those of opposite verdicts.
    pub contradictions: Vec<Contradiction>,
}

impl SameResult {
    /// `true` when something was compared, no average is apart and no claim contradicted.
    pub fn holds(&self) -> bool {
        self.compared > 0 && self.apart.is_empty() && self.contradictions.is_empty()
    }
}

impl Report {
    /// Compares this run with another one of the same model on other questions.
    ///
    /// The average of every arm at every budget that both have: the half-widths `a` and `b` of the two 95 % intervals allow a
    /// difference of `sqrt(a² + b²) z / 1.96`, where `z` is the two-sided normal quantile at 95 % for as many rows as are
    /// compared (Bonferroni). Claims contradict each other when one run says `holds` and the other `fails`.
    pub fn same_result(&self, other: &Self) -> SameResult {
        let mut found = SameResult::default();
        let rows = |report: &Self| {
            report
                .table(TableId::Main)
                .map_or(Vec::new(), |table| table.rows.clone())
        };
        let own = rows(self);
        let pairs: Vec<_> = own
            .iter()
            .filter(|row| row.metric == Metric::Average)
            .filter_map(|row| {
                Some((
                    row,
                    other.row(TableId::Main, &row.arm, &row.budget, &Metric::Average)?,
                ))
            })
            .collect();
        found.compared = pairs.len();
        let factor = two_sided(1.0 - (1.0 - LEVEL) / pairs.len().max(1) as f64) / two_sided(0.95);
        for (first, second) in pairs {
            let half = |lo: f64, hi: f64| (hi - lo) / 2.0;
            let allowed = factor * half(first.lo, first.hi).hypot(half(second.lo, second.hi));
            let difference = first.value - second.value;
            if difference.abs() > allowed {
                found.apart.push(Apart {
                    arm: first.arm.clone(),
                    budget: first.budget.clone(),
                    difference,
                    allowed,
                });
            }
        }
        for claim in &self.claims {
            let Some(twin) = other.claims.iter().find(|twin| twin.id == claim.id) else {
                continue;
            };
            found.judged += 1;
            let pair = [claim.verdict, twin.verdict];
            if pair.contains(&Verdict::Holds) && pair.contains(&Verdict::Fails) {
                found.contradictions.push(Contradiction {
                    id: claim.id.clone(),
                    first: claim.verdict,
                    second: twin.verdict,
                });
            }
        }
        found
    }
}

/// The `z` with that share of the standard normal distribution between `-z` and `z`.
fn two_sided(share: f64) -> f64 {
    let (mut low, mut high) = (0.0, 40.0);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        match 1.0 - libm::erfc(middle / std::f64::consts::SQRT_2) < share {
            true => low = middle,
            false => high = middle,
        }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(values: &[(f64, f64, f64)], verdict: &str) -> Report {
        let rows: Vec<_> = values
            .iter()
            .enumerate()
            .map(|(arm, (value, lo, hi))| {
                serde_json::json!({"arm": format!("arm-{arm}"), "budget": "1/9", "metric": "average", "value": value,
                    "lo": lo, "hi": hi, "n": 100})
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "meta": {"revision": "", "device": "", "seed": 0, "tier": "mini", "config": {}},
            "tables": [{"id": "main", "title": "", "rows": rows}],
            "claims": [{"id": "c", "statement": "", "verdict": verdict, "estimate": 1.0, "lo": 0.5, "hi": 1.5}],
        }))
        .unwrap()
    }

    #[test]
    fn quantiles_are_those_of_the_normal_distribution() {
        for (share, z) in [(0.95, 1.959_963_985), (0.99, 2.575_829_304)] {
            assert!((two_sided(share) - z).abs() < 1e-8);
        }
    }

    #[test]
    fn rows_apart_and_claims_at_odds_are_found() {
        let first = report(&[(60.0, 57.0, 63.0), (50.0, 48.0, 52.0)], "holds");
        let near = report(&[(63.0, 61.0, 65.0), (51.0, 50.0, 52.0)], "tie");
        let found = first.same_result(&near);
        assert_eq!((found.compared, found.judged), (2, 1));
        assert!(found.holds());
        // Two rows: half-widths 2 and 1 allow sqrt(5) * 2.2414 / 1.96 = 2.557.
        let far = report(&[(63.0, 61.0, 65.0), (52.6, 51.6, 53.6)], "fails");
        let found = first.same_result(&far);
        assert_eq!(found.apart.len(), 1);
        assert!((found.apart[0].allowed - 2.557).abs() < 1e-3, "{found:?}");
        assert_eq!(found.contradictions[0].second, Verdict::Fails);
        assert!(!found.holds());
        assert!(!first.same_result(&report(&[], "holds")).holds());
    }
}
