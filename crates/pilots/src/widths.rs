//! Agreement of the scorer's gradients over batches, on networks of one architecture and several widths.

use diffprune_eval::Estimate;
use diffprune_eval::chart::{Line, Lines, Palette};

use crate::coherence::{Measured, mean, measure, range, size};
use crate::error::refuse;
use crate::study::number;
use crate::units::{jackknife, reach};
use crate::{
    Advance, CoherenceArm, CoherencePlan, CoherencePoint, Finding, Outcome, PilotError, Study, StudyFigure,
    StudyTable,
};

/// Id of the study, and name of its files.
const ID: &str = "widths";

/// A network of the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkWidth {
    /// Name of the network.
    pub name: String,
    /// Width of its tokens.
    pub width: usize,
    /// Number of fresh scorers; coherence is averaged over them.
    pub n_scorers: usize,
}

/// Claim `f1.size`: the gradients through a surrogate agree less the larger the network is.
///
/// `networks` are of one architecture, and [`GradientAt::point`](crate::GradientAt::point) counts them; all see the same
/// pictures. The claim holds when the coherence of each of `surrogates` on the narrowest network minus that on the widest is
/// above 0 (simultaneous 95 % intervals, Bonferroni, jackknife over batches, paired by pictures), fails when one is below 0,
/// and is a tie otherwise.
///
/// # Errors
/// When there are fewer than two widths, the plan makes no study, a gradient cannot be computed, or `advance` stops the study.
pub fn coherence_over_widths(
    setting: &str,
    networks: &[NetworkWidth],
    arms: &mut [CoherenceArm<'_>],
    surrogates: &[&str],
    plan: &CoherencePlan,
    advance: &mut Advance<'_>,
) -> Result<Study, PilotError> {
    let narrowest = networks
        .iter()
        .enumerate()
        .min_by_key(|(_, network)| network.width);
    let widest = networks
        .iter()
        .enumerate()
        .max_by_key(|(_, network)| network.width);
    let (Some((first, narrow)), Some((last, wide))) = (narrowest, widest) else {
        return refuse("networks", "none", "two or more, of different widths");
    };
    if narrow.width == wide.width {
        let found = format!("{} of width {}", networks.len(), wide.width);
        return refuse("networks", found, "two or more, of different widths");
    }
    let points: Vec<CoherencePoint> = networks
        .iter()
        .map(|network| CoherencePoint {
            along: None,
            label: network.name.clone(),
            n_parameters: network.n_scorers,
        })
        .collect();
    let measured = measure(&points, arms, plan, advance)?;
    let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
    let rivals: Vec<usize> = (0..names.len())
        .filter(|&arm| surrogates.contains(&names[arm]))
        .collect();
    let fall = |arm: usize, z: f64| {
        jackknife(plan.batches, z, |left_out| {
            measured[arm][first].coherence(left_out) - measured[arm][last].coherence(left_out)
        })
    };
    let z = reach(0.95, rivals.len());
    let falls: Vec<(usize, Estimate)> = rivals.iter().map(|&arm| (arm, fall(arm, z))).collect();
    let outcome = match () {
        () if falls.is_empty() => Outcome::Untestable,
        () if falls.iter().all(|(_, fall)| fall.lo > 0.0) => Outcome::Holds,
        () if falls.iter().any(|(_, fall)| fall.hi < 0.0) => Outcome::Fails,
        () => Outcome::Tie,
    };
    let least = falls.iter().min_by(|a, b| a.1.value.total_cmp(&b.1.value));
    let n_falling = falls.iter().filter(|(_, fall)| fall.lo > 0.0).count();
    let n_rising = falls.iter().filter(|(_, fall)| fall.hi < 0.0).count();
    let reason = format!(
        "Rule: coherence of each surrogate at width {} minus that at width {} above 0, simultaneous 95 % intervals. {n_falling} of \
         {} fall, {n_rising} rise; least difference: {}. Through {} it changes by {}.",
        narrow.width,
        wide.width,
        falls.len(),
        least.map_or("none".into(), |(arm, fall)| format!(
            "{} for {}",
            number(fall),
            names[*arm]
        )),
        names.first().copied().unwrap_or("nothing"),
        number(&negated(fall(0, reach(0.95, 1)))),
    );
    let single = reach(0.95, 1);
    let coherence = |arm: usize, point: usize| {
        jackknife(plan.batches, single, |left_out| {
            measured[arm][point].coherence(left_out)
        })
    };
    let line = |(arm, name): (usize, &&str)| Line {
        name: name.to_string(),
        label: name.to_string(),
        points: networks
            .iter()
            .enumerate()
            .map(|(point, network)| (network.width as f64, coherence(arm, point)))
            .collect(),
        dashed: false,
    };
    let chart = Lines {
        name: ID.into(),
        title: format!(
            "From width {} to {}, gradients through {n_falling} of {} surrogates agree less, through {n_rising} more",
            narrow.width,
            wide.width,
            falls.len()
        ),
        x: "width of the network".into(),
        y: "mean cosine of the scorer's unit gradients".into(),
        log_x: true,
        falling: false,
        x_marks: networks.iter().map(|network| network.width as f64).collect(),
        level: Some((0.0, "no agreement".into())),
        decimals: Some(2),
        note: "Intervals: 95 %, jackknife over batches; the same pictures at every width.".into(),
        lines: names.iter().enumerate().map(line).collect(),
    };
    let setting = format!(
        "{setting} {} disjoint batches of {}, τ = {}, seed {}, fresh scorers; intervals: 95 %, jackknife over batches.",
        plan.batches, plan.batch, plan.tau, plan.seed
    );
    Ok(Study {
        id: ID.into(),
        title: "Does the surrogate's trouble grow with the network?".into(),
        question: "Do gradients through a Gumbel straight-through mask agree less over batches the wider the network is, on networks \
                   of one architecture (Sec. 3.2)?"
            .into(),
        findings: vec![Finding {
            claim: "f1.size".into(),
            outcome,
            estimate: least.map(|(_, fall)| *fall),
            reason,
            published: None,
        }],
        tables: vec![table(networks, &names, &measured, &coherence)],
        figures: vec![StudyFigure {
            file: format!("{ID}.svg"),
            caption: setting.clone(),
            bytes: chart.svg(&Palette::of(names.iter().copied()))?.into_bytes(),
        }],
        setting,
        limits: "The scorer grows with the network, as it does in the papers: what width does to the surrogate and what it does to the \
                 scorer are not told apart. Networks were trained one by one from one seed each. Small networks on drawn scenes; the \
                 papers speak of DeiT on photographs."
            .into(),
    })
}

fn table(
    networks: &[NetworkWidth],
    names: &[&str],
    measured: &[Vec<Measured>],
    coherence: &dyn Fn(usize, usize) -> Estimate,
) -> StudyTable {
    let mut rows = Vec::new();
    for (point, network) in networks.iter().enumerate() {
        for (arm, name) in names.iter().enumerate() {
            let found = &measured[arm][point].batches;
            let scorers: Vec<f64> = found.iter().map(|units| units.mean(None)).collect();
            rows.push(vec![
                network.name.clone(),
                network.width.to_string(),
                name.to_string(),
                number(&coherence(arm, point)),
                range(&scorers),
                size(mean(found.iter().map(|units| units.norm))),
                found
                    .iter()
                    .map(|units| units.unusable)
                    .sum::<usize>()
                    .to_string(),
            ]);
        }
    }
    let columns = [
        "network",
        "width",
        "arm",
        "coherence over batches",
        "range over scorers",
        "mean norm",
        "unusable gradients",
    ];
    StudyTable {
        title: "Coherence by width and arm".into(),
        columns: columns.map(String::from).to_vec(),
        rows,
    }
}

fn negated(estimate: Estimate) -> Estimate {
    Estimate {
        value: -estimate.value,
        lo: -estimate.hi,
        hi: -estimate.lo,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GradientAt;

    /// Gradients that share a direction, with a part that differs from batch to batch and has a size for each network.
    fn arm(name: &str, spread: [f32; 2]) -> CoherenceArm<'static> {
        CoherenceArm {
            name: name.into(),
            gradient: Box::new(move |at: GradientAt| {
                let wave = |i: u64| ((at.batch as u64 * 37 + i * 13) as f32 * 12.9898).sin();
                // Networks differ in the length of a gradient; alike ones are alike to the bit.
                let length = if spread[0] == spread[1] {
                    16
                } else {
                    16 * (at.point as u64 + 1)
                };
                Ok((0..length).map(|i| 1.0 + spread[at.point] * wave(i)).collect())
            }),
        }
    }

    fn networks(widths: [usize; 2]) -> Vec<NetworkWidth> {
        let of = |width| NetworkWidth {
            name: format!("network-{width}"),
            width,
            n_scorers: 1,
        };
        widths.map(of).to_vec()
    }

    fn outcome(spread: [f32; 2], surrogates: &[&str]) -> Outcome {
        let plan = CoherencePlan {
            batches: 8,
            noises: 0,
            ..CoherencePlan::default()
        };
        let mut arms = [arm("ours", [0.1, 0.1]), arm("mask", spread)];
        let study = coherence_over_widths(
            "Networks of a test;",
            &networks([32, 64]),
            &mut arms,
            surrogates,
            &plan,
            &mut |_| true,
        );
        study.unwrap().findings[0].outcome
    }

    #[test]
    fn every_outcome_can_come_about() {
        assert_eq!(outcome([0.1, 3.0], &["mask"]), Outcome::Holds);
        assert_eq!(outcome([3.0, 0.1], &["mask"]), Outcome::Fails);
        assert_eq!(outcome([0.0, 0.0], &["mask"]), Outcome::Tie);
        assert_eq!(outcome([0.1, 3.0], &[]), Outcome::Untestable);
    }

    #[test]
    fn one_width_makes_no_study() {
        let plan = CoherencePlan::default();
        for networks in [networks([32, 32]), Vec::new()] {
            let mut arms = [arm("ours", [0.1, 0.1])];
            let study = coherence_over_widths("", &networks, &mut arms, &[], &plan, &mut |_| true);
            let error = study.map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("different widths"), "{error}");
        }
    }
}
