//! Every claim with its verdict at every tier.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::claims::{Claims, PaperClaim, Tier};
use crate::stats::Verdict;

/// The verdict of one tier on a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TierVerdict {
    /// The verdict.
    pub verdict: Verdict,
    /// The number that decides, in the claim's unit; `None` where nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<f64>,
    /// Lower end of its interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lo: Option<f64>,
    /// Upper end of its interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hi: Option<f64>,
    /// p value of the same comparison, adjusted for its family: at most 0.05 exactly where the verdict is not a tie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// Questions behind the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<usize>,
    /// Training seeds behind the number: with one the interval holds the training fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<usize>,
    /// Share of the training seeds in the variance of the estimate, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed_share: Option<f64>,
    /// Why there is no verdict, or what to know beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same number read in other ways, which do not decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readings: Vec<Reading>,
}

/// A number beside the one that decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The name of the reading.
    pub name: String,
    /// The verdict by it.
    pub verdict: Verdict,
    /// The number.
    pub estimate: f64,
    /// Lower end of its interval.
    pub lo: f64,
    /// Upper end of its interval.
    pub hi: f64,
}

impl TierVerdict {
    /// No verdict, and why.
    pub fn untestable(reason: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Untestable,
            estimate: None,
            lo: None,
            hi: None,
            p: None,
            n: None,
            seeds: None,
            seed_share: None,
            reason: Some(reason.into()),
            readings: Vec::new(),
        }
    }

    /// A verdict about a number.
    pub fn of(verdict: Verdict, estimate: f64, lo: f64, hi: f64) -> Self {
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        Self {
            verdict,
            estimate: finite(estimate),
            lo: finite(lo),
            hi: finite(hi),
            reason: None,
            ..Self::untestable("")
        }
    }

    /// The same verdict with a remark; remarks add up.
    pub fn remarked(mut self, remark: &str) -> Self {
        if !remark.is_empty() {
            self.reason = Some(match self.reason.take() {
                Some(before) => format!("{before}; {remark}"),
                None => remark.to_string(),
            });
        }
        self
    }

    /// `estimate [lo, hi]` with so many digits; `None` where nothing was measured.
    pub fn number(&self, digits: usize) -> Option<String> {
        let value = self.estimate?;
        Some(match (self.lo, self.hi) {
            (Some(lo), Some(hi)) => format!("{value:.digits$} [{lo:.digits$}, {hi:.digits$}]"),
            _ => format!("{value:.digits$}"),
        })
    }
}

/// One claim with what every tier says of it; a tier that was not run is not there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClaimVerdict {
    /// The claim's id.
    pub id: String,
    /// Who says it.
    pub papers: Vec<String>,
    /// The place in the paper.
    pub place: String,
    /// The statement.
    pub says: String,
    /// The quantity that is measured.
    pub measure: String,
    /// The unit of the number.
    pub unit: String,
    /// The verdict of each tier.
    pub tiers: BTreeMap<Tier, TierVerdict>,
}

impl ClaimVerdict {
    /// A claim that no tier has judged yet.
    pub fn new(claim: &PaperClaim) -> Self {
        Self {
            id: claim.id.clone(),
            papers: claim.papers.clone(),
            place: claim.place.clone(),
            says: claim.says.clone(),
            measure: claim.measure.clone(),
            unit: claim.unit.clone(),
            tiers: BTreeMap::new(),
        }
    }
}

/// Every claim with its verdicts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger {
    /// The claims, in the order of [`Claims`].
    pub claims: Vec<ClaimVerdict>,
}

impl Ledger {
    /// Every claim, not judged yet.
    pub fn new(claims: &Claims) -> Self {
        Self {
            claims: claims.claims.iter().map(ClaimVerdict::new).collect(),
        }
    }

    /// The claim of that id.
    pub fn claim(&self, id: &str) -> Option<&ClaimVerdict> {
        self.claims.iter().find(|claim| claim.id == id)
    }

    /// Enters what a tier says of a claim, in place of what it said before. An unknown id is left out.
    pub fn enter(&mut self, id: &str, tier: Tier, verdict: TierVerdict) {
        if let Some(claim) = self.claims.iter_mut().find(|claim| claim.id == id) {
            claim.tiers.insert(tier, verdict);
        }
    }

    /// The number of claims with each verdict at a tier; claims that the tier does not hold are not counted.
    pub fn counts(&self, tier: Tier) -> BTreeMap<&'static str, usize> {
        let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
        for verdict in self.claims.iter().filter_map(|claim| claim.tiers.get(&tier)) {
            *counts.entry(verdict.verdict.name()).or_default() += 1;
        }
        counts
    }

    /// The tiers that say something.
    pub fn tiers(&self) -> Vec<Tier> {
        let has = |tier: &Tier| self.claims.iter().any(|claim| claim.tiers.contains_key(tier));
        Tier::ALL.into_iter().filter(has).collect()
    }

    /// The ledger over several models: each claim with the verdict of the model that can judge it.
    ///
    /// Where several can, the claim is about all of them: its verdict is that of the smallest number, from the smallest lower
    /// to the smallest upper end, so it holds where it holds on each, and fails where it fails on one. Who said what is in
    /// the remark. Claims of equivalence are equivalent where they are on each.
    pub fn together(models: &[(&str, &Ledger)]) -> Ledger {
        let Some((_, first)) = models.first() else {
            return Ledger::default();
        };
        let mut together = (*first).clone();
        for claim in &mut together.claims {
            let own = |ledger: &Ledger, tier: Tier| ledger.claim(&claim.id)?.tiers.get(&tier).cloned();
            for tier in Tier::ALL {
                let found: Vec<(&str, TierVerdict)> = models
                    .iter()
                    .filter_map(|(model, ledger)| Some((*model, own(ledger, tier)?)))
                    .collect();
                if let Some(verdict) = smallest(tier, &found) {
                    claim.tiers.insert(tier, verdict);
                }
            }
        }
        together
    }
}

/// One verdict of those of several models.
fn smallest(tier: Tier, found: &[(&str, TierVerdict)]) -> Option<TierVerdict> {
    let judged: Vec<&(&str, TierVerdict)> = found
        .iter()
        .filter(|(_, verdict)| verdict.verdict != Verdict::Untestable)
        .collect();
    let said = |(model, verdict): &&(&str, TierVerdict)| {
        let number = verdict
            .number(1)
            .map_or(String::new(), |number| format!(" {number}"));
        format!("{model}: {}{number}", verdict.verdict)
    };
    match judged.as_slice() {
        [] => found.first().map(|found| found.1.clone()),
        [one] => {
            let alone = found.len() > 1 && tier != Tier::Published;
            let remark = if alone {
                format!("on {}", one.0)
            } else {
                String::new()
            };
            Some(one.1.clone().remarked(&remark))
        }
        [first, ..] if tier == Tier::Published => Some(first.1.clone()),
        several => {
            let least = |of: fn(&TierVerdict) -> Option<f64>| {
                several
                    .iter()
                    .filter_map(|found| of(&found.1))
                    .fold(f64::INFINITY, f64::min)
            };
            let is = |verdict: Verdict| {
                several
                    .iter()
                    .filter(move |found| found.1.verdict == verdict)
                    .count()
            };
            let verdict = if is(Verdict::Fails) > 0 {
                Verdict::Fails
            } else if is(Verdict::Tie) > 0 {
                Verdict::Tie
            } else {
                several[0].1.verdict
            };
            let ps = several.iter().filter_map(|found| found.1.p);
            let p = if verdict == Verdict::Fails {
                ps.fold(1.0, f64::min)
            } else {
                ps.fold(0.0, f64::max)
            };
            let mut together = TierVerdict::of(
                verdict,
                least(|verdict| verdict.estimate),
                least(|verdict| verdict.lo),
                least(|verdict| verdict.hi),
            );
            together.p = Some(p);
            together.n = Some(several.iter().filter_map(|found| found.1.n).sum());
            together.seeds = several.iter().filter_map(|found| found.1.seeds).min();
            Some(together.remarked(&several.iter().map(said).collect::<Vec<_>>().join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(verdict: TierVerdict) -> Ledger {
        let claims = Claims::builtin().unwrap();
        let mut ledger = Ledger::new(&claims);
        ledger.enter("s.above-random", Tier::Mini, verdict);
        ledger
    }

    #[test]
    fn one_failure_among_models_is_a_failure() {
        let (up, down) = (
            with(TierVerdict::of(Verdict::Holds, 3.0, 1.0, 5.0)),
            with(TierVerdict::of(Verdict::Fails, -2.0, -3.0, -1.0)),
        );
        let nothing = with(TierVerdict::untestable("no arm"));
        let of = |models: &[(&str, &Ledger)]| {
            let together = Ledger::together(models);
            together.claim("s.above-random").unwrap().tiers[&Tier::Mini].clone()
        };
        let both = of(&[("a", &up), ("b", &down), ("c", &nothing)]);
        assert_eq!(
            (both.verdict, both.estimate, both.hi),
            (Verdict::Fails, Some(-2.0), Some(-1.0))
        );
        let remark = both.reason.unwrap();
        assert!(
            remark.contains("a: holds 3.0 [1.0, 5.0]") && remark.contains("b: fails"),
            "{remark}"
        );
        let one = of(&[("c", &nothing), ("a", &up)]);
        assert_eq!(
            (one.verdict, one.reason.as_deref()),
            (Verdict::Holds, Some("on a"))
        );
        assert_eq!(of(&[("c", &nothing)]).reason.as_deref(), Some("no arm"));
    }

    #[test]
    fn a_ledger_is_written_and_read() {
        let ledger = with(TierVerdict::of(Verdict::Tie, 1.0, f64::NEG_INFINITY, 2.0));
        let text = serde_json::to_string(&ledger).unwrap();
        let read: Ledger = serde_json::from_str(&text).unwrap();
        assert_eq!(read, ledger);
        assert_eq!(ledger.counts(Tier::Mini)["tie"], 1);
        assert_eq!(ledger.tiers(), [Tier::Mini]);
        assert!(text.contains("\"mini\":{\"verdict\":\"tie\""), "{text}");
    }
}
