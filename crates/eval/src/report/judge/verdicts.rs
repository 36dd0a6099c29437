//! From comparisons to verdicts.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::planned::{Planned, Rule};
use crate::evidence::{Reading, TierVerdict};
use crate::stats::{Compared, Equivalence, Family, TwoLevel, Verdict, equivalence, normal};

/// Joint coverage of intervals, and size of one-sided tests.
const LEVEL: f64 = 0.95;
const ALPHA: f64 = 0.05;
/// Seed of the draws of standard deviations.
const SPREAD_SEED: u64 = 0x5eed;

/// The verdict of a claim's comparisons. Where the tier cannot judge the claim, the number stands there without a verdict.
pub(super) fn judge(
    planned: &Planned,
    found: &TwoLevel,
    n_questions: usize,
    cannot: Option<&String>,
) -> TierVerdict {
    let places: Vec<usize> = planned.members.iter().map(|member| member.0).collect();
    let family = match planned.rule {
        Rule::Spread => spread(found, &places, planned.seeds),
        Rule::Level(printed) => less(found.among(&places), printed),
        _ => found.among(&places),
    };
    let Some((decides, mut verdict)) = decide(planned.rule, &family) else {
        return TierVerdict::untestable("no comparison is defined on these questions");
    };
    verdict.n = Some(n_questions);
    let variance = places.get(decides).and_then(|&place| found.variances.get(place));
    if planned.seeds != usize::MAX {
        verdict.seeds = Some(planned.seeds);
    }
    verdict.seed_share = variance
        .filter(|variance| variance.seeds > 0.0)
        .map(|variance| variance.seed_share());
    if places.len() > 1 {
        let name = planned
            .members
            .get(decides)
            .map_or("", |member| member.1.as_str());
        verdict = verdict.remarked(&format!("least of {}: {name}", places.len()));
        let behind = count_behind(&family, planned.rule, planned);
        verdict = verdict.remarked(&behind);
    }
    for remark in &planned.remarks {
        verdict = verdict.remarked(remark);
    }
    if !planned.without.is_empty()
        && !matches!(planned.rule, Rule::Level(_) | Rule::Spread)
        && let Some((_, beside)) = decide(planned.rule, &found.among(&planned.without))
        && let (Some(estimate), Some(lo), Some(hi)) = (beside.estimate, beside.lo, beside.hi)
    {
        verdict.readings.push(Reading {
            name: "all but TextVQA".into(),
            verdict: beside.verdict,
            estimate,
            lo,
            hi,
        });
    }
    match cannot {
        None => verdict,
        Some(reason) => TierVerdict {
            verdict: Verdict::Untestable,
            p: None,
            ..verdict.remarked(reason)
        },
    }
}

/// The comparison that decides, with the verdict; `None` for an empty family or undefined numbers.
fn decide(rule: Rule, family: &Family) -> Option<(usize, TierVerdict)> {
    if family.values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    match rule {
        Rule::Within(bound) => {
            let tests = equivalence(family, bound, ALPHA);
            let farthest = |a: &usize, b: &usize| tests[*a].value.abs().total_cmp(&tests[*b].value.abs());
            let decides = (0..tests.len()).max_by(farthest)?;
            let p = tests.iter().map(|test| test.p).fold(0.0, f64::max);
            let is = |verdict| tests.iter().any(|test: &Equivalence| test.verdict() == verdict);
            let verdict = if is(Verdict::Fails) {
                Verdict::Fails
            } else if is(Verdict::Tie) {
                Verdict::Tie
            } else {
                Verdict::Equivalent
            };
            let test = tests[decides];
            let mut entered = TierVerdict::of(verdict, test.value, test.lo, test.hi);
            entered.p = Some(p);
            Some((
                decides,
                entered.remarked(&format!("bound {bound}, interval of 90 %")),
            ))
        }
        Rule::Smallest | Rule::Level(_) | Rule::Spread => {
            let least = family.smallest(LEVEL)?;
            let decides =
                (0..family.values.len()).min_by(|&a, &b| family.values[a].total_cmp(&family.values[b]))?;
            let mut entered = TierVerdict::of(least.verdict(), least.value, least.lo, least.hi);
            entered.p = Some(least.p);
            Some((decides, entered))
        }
    }
}

/// Which comparisons are surely below zero, and which are not told from it.
fn count_behind(family: &Family, rule: Rule, planned: &Planned) -> String {
    if rule != Rule::Smallest {
        return String::new();
    }
    let compared: Vec<(Compared, &str)> = family
        .compared(LEVEL)
        .into_iter()
        .zip(planned.members.iter().map(|member| member.1.as_str()))
        .collect();
    let named = |wanted: Verdict| -> Vec<&str> {
        compared
            .iter()
            .filter(|(one, _)| one.verdict() == wanted)
            .map(|(_, name)| *name)
            .collect()
    };
    let (below, ties) = (named(Verdict::Fails), named(Verdict::Tie));
    let mut told = Vec::new();
    if !below.is_empty() {
        told.push(format!("below {}", below.join(", ")));
    }
    if !ties.is_empty() {
        told.push(format!("{} of {} are ties", ties.len(), compared.len()));
    }
    told.join("; ")
}

/// The same numbers less a level.
fn less(mut family: Family, level: f64) -> Family {
    family.values.iter_mut().for_each(|value| *value -= level);
    family
}

/// Standard error by pictures less the standard deviation over seeds. Draws of the latter follow the law of a standard deviation
/// of so many normal numbers: `s sqrt(nu / chi2)` with `nu` degrees of freedom.
fn spread(found: &TwoLevel, places: &[usize], n_seeds: usize) -> Family {
    let freedom = n_seeds.saturating_sub(1).max(1);
    let deviation = |place: usize| (found.variances[place].seeds * n_seeds as f64).sqrt();
    let deviations: Vec<f64> = places.iter().map(|&place| deviation(place)).collect();
    let draw = |number: usize| {
        let mut rng = ChaCha8Rng::seed_from_u64(SPREAD_SEED);
        rng.set_stream(number as u64);
        let squares: f64 = (0..freedom).map(|_| normal(&mut rng).powi(2)).sum();
        let stretch = (freedom as f64 / squares).sqrt();
        deviations.iter().map(|s| s * (1.0 - stretch)).collect()
    };
    Family {
        values: places
            .iter()
            .zip(&deviations)
            .map(|(&place, s)| found.variances[place].pictures.sqrt() - s)
            .collect(),
        errors: deviations
            .iter()
            .map(|s| s / (2.0 * freedom as f64).sqrt())
            .collect(),
        deviations: (0..found.family.deviations.len()).map(draw).collect(),
    }
}
