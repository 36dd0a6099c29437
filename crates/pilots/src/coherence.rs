//! Agreement of the scorer's gradients over batches.

use diffprune_eval::Estimate;
use diffprune_eval::chart::{DotRow, Dots, Line, Lines, Palette};
use serde::{Deserialize, Serialize};

use crate::error::{check_arms, refuse};
use crate::study::number;
use crate::units::{Units, jackknife, reach};
use crate::{Advance, Finding, Outcome, PilotError, Study, StudyFigure, StudyTable};

/// Number that the papers print.
const PUBLISHED: &str = "28.4 × on DeiT-Base";

/// Which gradient a study asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GradientAt {
    /// Index of the point, in the order given to [`coherence`].
    pub point: usize,
    /// Which of the point's parameter vectors.
    pub parameters: usize,
    /// Number of the batch, from 0.
    pub batch: usize,
    /// Number of the noise. Equal numbers ask for equal noise.
    pub noise: u64,
}

/// Gradient of the mean loss in the scorer's parameters alone, before clipping, flattened; always of the same length.
pub type GradientFn<'a> = dyn FnMut(GradientAt) -> Result<Vec<f32>, PilotError> + 'a;

/// A way to train a scorer.
pub struct CoherenceArm<'a> {
    /// Its name in tables.
    pub name: String,
    /// Its gradients.
    pub gradient: Box<GradientFn<'a>>,
}

impl<'a> CoherenceArm<'a> {
    /// The way of that name, whose gradients this function gives.
    pub fn new(
        name: impl Into<String>,
        gradient: impl FnMut(GradientAt) -> Result<Vec<f32>, PilotError> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            gradient: Box::new(gradient),
        }
    }
}

/// Parameters at which gradients are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoherencePoint {
    /// A few words: the start, or after what training.
    pub label: String,
    /// Number of parameter vectors (seeds); coherence is averaged over them.
    pub n_parameters: usize,
    /// For a point along the training of one arm, which is the only one that is looked at there.
    pub along: Option<Along>,
}

/// A place on the way of a training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Along {
    /// The arm that was trained.
    pub arm: String,
    /// Updates before that place.
    pub updates: usize,
}

impl CoherencePoint {
    /// A point at which every arm is looked at.
    pub fn new(label: impl Into<String>, n_parameters: usize) -> Self {
        Self {
            label: label.into(),
            n_parameters,
            along: None,
        }
    }

    fn has(&self, arm: &str) -> bool {
        self.along.as_ref().is_none_or(|along| along.arm == arm)
    }
}

/// The size of the study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoherencePlan {
    /// Disjoint batches, with new noise for each.
    pub batches: usize,
    /// Noises on the first batch, for the part of the disagreement that is noise alone.
    pub noises: usize,
    /// Pictures of a batch.
    pub batch: usize,
    /// Temperature, the same for all arms. Default: the geometric mean of a training's first and last.
    pub tau: f64,
    /// Seed of pictures, noise and fresh scorers.
    pub seed: u64,
}

impl Default for CoherencePlan {
    fn default() -> Self {
        Self {
            batches: 32,
            noises: 16,
            batch: 32,
            tau: 0.316,
            seed: 0,
        }
    }
}

/// The measurements of an arm at a point.
pub(crate) struct Measured {
    pub(crate) batches: Vec<Units>,
    noises: Vec<Units>,
}

impl Measured {
    /// Coherence over batches, averaged over parameter vectors.
    pub(crate) fn coherence(&self, left_out: Option<usize>) -> f64 {
        average(&self.batches, left_out)
    }
}

fn average(units: &[Units], left_out: Option<usize>) -> f64 {
    units.iter().map(|units| units.mean(left_out)).sum::<f64>() / units.len().max(1) as f64
}

/// Claim `f1.coherence`: gradients of disjoint batches point the same way more with the first arm than with each of
/// `surrogates`, at the first point. Claim
/// `f1.size` is that of [`coherence_over_widths`](crate::coherence_over_widths).
///
/// Coherence is the mean cosine over pairs of batches, `(|Σu|² − B) / (B (B − 1))` of the unit gradients `u`; intervals are
/// those of the jackknife over batches, paired between arms. The claim holds when every difference to a surrogate is above
/// 0 (simultaneous 95 % intervals, Bonferroni), fails when one is below 0, and is a tie otherwise. A ratio is given only where
/// the 95 % interval of its denominator lies above 0.
///
/// # Errors
/// When the plan makes no study, a gradient cannot be computed, or `advance` stops the study.
pub fn coherence(
    setting: &str,
    points: &[CoherencePoint],
    arms: &mut [CoherenceArm<'_>],
    surrogates: &[&str],
    plan: &CoherencePlan,
    advance: &mut Advance<'_>,
) -> Result<Study, PilotError> {
    let measured = measure(points, arms, plan, advance)?;
    let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
    result(setting, points, &names, surrogates, plan, &measured)
}

/// The gradients of every arm at every point.
pub(crate) fn measure(
    points: &[CoherencePoint],
    arms: &mut [CoherenceArm<'_>],
    plan: &CoherencePlan,
    advance: &mut Advance<'_>,
) -> Result<Vec<Vec<Measured>>, PilotError> {
    check(points, arms, plan)?;
    let vectors = |arm: &CoherenceArm<'_>| -> usize {
        let points = points.iter().filter(|point| point.has(&arm.name));
        points.map(|point| point.n_parameters).sum()
    };
    let (mut done, total) = (
        0,
        arms.iter().map(vectors).sum::<usize>() * (plan.batches + plan.noises),
    );
    let mut measured = Vec::new();
    for arm in arms.iter_mut() {
        let mut of_arm = Vec::new();
        for (point, of_point) in points.iter().enumerate() {
            let mut found = Measured {
                batches: Vec::new(),
                noises: Vec::new(),
            };
            let n_parameters = match of_point.has(&arm.name) {
                true => of_point.n_parameters,
                false => 0,
            };
            for parameters in 0..n_parameters {
                let mut gradients = |places: &mut dyn Iterator<Item = (usize, u64)>| {
                    let mut all = Vec::new();
                    for (batch, noise) in places {
                        all.push((arm.gradient)(GradientAt {
                            point,
                            parameters,
                            batch,
                            noise,
                        })?);
                        done += 1;
                        if !advance(done as f64 / total as f64) {
                            return Err(PilotError::Stopped);
                        }
                    }
                    Ok(Units::new(&all))
                };
                let n = plan.batches;
                found
                    .batches
                    .push(gradients(&mut (0..n).map(|batch| (batch, batch as u64)))?);
                if plan.noises > 1 {
                    let noises = (0..plan.noises).map(|i| (0, (n + i) as u64));
                    found.noises.push(gradients(&mut { noises })?);
                } else {
                    done += plan.noises;
                }
            }
            of_arm.push(found);
        }
        measured.push(of_arm);
    }
    Ok(measured)
}

fn check(
    points: &[CoherencePoint],
    arms: &[CoherenceArm<'_>],
    plan: &CoherencePlan,
) -> Result<(), PilotError> {
    if points.is_empty() || points.iter().any(|point| point.n_parameters == 0) {
        return refuse(
            "points",
            format!("{points:?}"),
            "at least one, each with parameters",
        );
    }
    check_arms(arms.len(), plan.tau)?;
    let unknown = |point: &&CoherencePoint| !arms.iter().any(|arm| point.has(&arm.name));
    if let Some(point) = points.iter().find(unknown) {
        return refuse(
            "points",
            format!("{point:?}"),
            "one along the training of an arm of the study",
        );
    }
    if points[0].along.is_some() {
        return refuse(
            "points",
            format!("{:?}", points[0]),
            "first one at which every arm is looked at",
        );
    }
    if plan.batches < 3 || plan.batch == 0 {
        let found = format!("{} batches of {}", plan.batches, plan.batch);
        return refuse("batches", found, "at least 3, of one picture or more");
    }
    Ok(())
}

fn result(
    setting: &str,
    points: &[CoherencePoint],
    names: &[&str],
    surrogates: &[&str],
    plan: &CoherencePlan,
    measured: &[Vec<Measured>],
) -> Result<Study, PilotError> {
    let n = plan.batches;
    let single = reach(0.95, 1);
    let coherence =
        |arm: usize, point: usize| jackknife(n, single, |left_out| measured[arm][point].coherence(left_out));
    let difference = |arm: usize, point: usize, z: f64| {
        jackknife(n, z, |left_out| {
            measured[0][point].coherence(left_out) - measured[arm][point].coherence(left_out)
        })
    };
    let ratio = |arm: usize, point: usize| {
        (arm > 0 && coherence(arm, point).lo > 0.0).then(|| {
            jackknife(n, single, |left_out| {
                measured[0][point].coherence(left_out) / measured[arm][point].coherence(left_out)
            })
        })
    };
    let rivals: Vec<usize> = (1..names.len())
        .filter(|&arm| surrogates.contains(&names[arm]))
        .collect();
    let gaps: Vec<(usize, Estimate)> = rivals
        .iter()
        .map(|&arm| (arm, difference(arm, 0, reach(0.95, rivals.len()))))
        .collect();
    let outcome = match () {
        () if gaps.is_empty() => Outcome::Untestable,
        () if gaps.iter().all(|(_, gap)| gap.lo > 0.0) => Outcome::Holds,
        () if gaps.iter().any(|(_, gap)| gap.hi < 0.0) => Outcome::Fails,
        () => Outcome::Tie,
    };
    let least = gaps.iter().min_by(|a, b| a.1.value.total_cmp(&b.1.value));
    let ratios: Vec<String> = rivals
        .iter()
        .map(|&arm| match ratio(arm, 0) {
            Some(ratio) => format!("{} {}", names[arm], number(&ratio)),
            None => format!("{} none (its own interval includes 0)", names[arm]),
        })
        .collect();
    let reason = format!(
        "Rule: coherence of {} minus that of each surrogate above 0 at the first point ({}), simultaneous 95 % intervals. \
         {} of {} are; least difference: {}. Ratios: {}.",
        names[0],
        points[0].label,
        gaps.iter().filter(|(_, gap)| gap.lo > 0.0).count(),
        gaps.len(),
        least.map_or("none".into(), |(arm, gap)| format!(
            "{} to {}",
            number(gap),
            names[*arm]
        )),
        ratios.join(", "),
    );
    let mut rows = Vec::new();
    for (point, of_point) in points
        .iter()
        .enumerate()
        .filter(|(_, point)| point.along.is_none())
    {
        for (arm, name) in names.iter().enumerate() {
            let found = &measured[arm][point];
            let seeds: Vec<f64> = found.batches.iter().map(|units| units.mean(None)).collect();
            let noise = (plan.noises > 1)
                .then(|| jackknife(plan.noises, single, |left_out| average(&found.noises, left_out)));
            let dash = || "–".to_string();
            rows.push(vec![
                of_point.label.clone(),
                name.to_string(),
                number(&coherence(arm, point)),
                range(&seeds),
                noise.map_or_else(dash, |noise| number(&noise)),
                if arm == 0 {
                    dash()
                } else {
                    number(&difference(arm, point, single))
                },
                ratio(arm, point).map_or_else(dash, |ratio| number(&ratio)),
                size(mean(found.batches.iter().map(|units| units.norm))),
                found
                    .batches
                    .iter()
                    .map(|units| units.unusable)
                    .sum::<usize>()
                    .to_string(),
            ]);
        }
    }
    let columns = [
        "point",
        "arm",
        "coherence over batches",
        "range over scorers",
        "one batch, many noises",
        "first arm minus this",
        "first arm over this",
        "mean norm",
        "unusable gradients",
    ];
    // Points at which every arm is looked at.
    let shared: Vec<usize> = (0..points.len())
        .filter(|&point| points[point].along.is_none())
        .collect();
    let row = |(arm, name): (usize, &&str)| DotRow {
        name: name.to_string(),
        label: name.to_string(),
        values: shared.iter().map(|&point| coherence(arm, point)).collect(),
    };
    let chart = Dots {
        name: "coherence".into(),
        title: format!(
            "{}, gradients of different batches agree by {:.2} through {}, and by less through {} of {} surrogates",
            points[0].label,
            coherence(0, 0).value,
            names[0],
            gaps.iter().filter(|(_, gap)| gap.lo > 0.0).count(),
            gaps.len()
        ),
        x: "mean cosine of the scorer's unit gradients".into(),
        series: shared.iter().map(|&point| points[point].label.clone()).collect(),
        level: Some((0.0, "no agreement".into())),
        decimals: 2,
        note: "Intervals: 95 %, jackknife over batches.".into(),
        rows: names.iter().enumerate().map(row).collect(),
    };
    let along = along_trainings(points, names, coherence)?;
    let setting = format!(
        "{setting} {n} disjoint batches of {}, τ = {}, seed {}; intervals: 95 %, jackknife over batches.",
        plan.batch, plan.tau, plan.seed
    );
    Ok(Study {
        id: "coherence".into(),
        title: "Do the scorer's gradients agree?".into(),
        question: "Do the gradients of disjoint batches, in the scorer's parameters alone, point the same way more often when the \
                   scorer is trained through the throttler than through a Gumbel straight-through mask (Fig. 1c)?"
            .into(),
        findings: vec![
            Finding {
                claim: "f1.coherence".into(),
                outcome,
                estimate: least.map(|(_, gap)| *gap),
                reason,
                published: Some(PUBLISHED.into()),
            },
        ],
        tables: std::iter::once(StudyTable {
            title: "Coherence by point and arm".into(),
            columns: columns.map(String::from).to_vec(),
            rows,
        })
        .chain(along.as_ref().map(|(table, _)| table.clone()))
        .collect(),
        figures: [("coherence.svg", chart.svg(&Palette::default())?)]
            .into_iter()
            .chain(along.map(|(_, drawing)| ("coherence-along.svg", drawing)))
            .map(|(file, drawing)| StudyFigure {
                file: file.into(),
                caption: setting.clone(),
                bytes: drawing.into_bytes(),
            })
            .collect(),
        setting,
        limits: "Gradients that agree are not gradients that are right: a biased estimate can agree perfectly. All arms are looked at \
                 with the same parameters, so after a training by one of them the others stand where they would not have gone. \
                 Intervals cover batches and noise, not scorers; the range over these stands beside."
            .into(),
    })
}

/// Each trained arm's own coherence on the way of its training, from the first point on: as a table and drawn. `None` without
/// such points.
fn along_trainings(
    points: &[CoherencePoint],
    names: &[&str],
    coherence: impl Fn(usize, usize) -> Estimate,
) -> Result<Option<(StudyTable, String)>, PilotError> {
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for (arm, name) in names.iter().enumerate() {
        let on_the_way = points.iter().enumerate().filter_map(|(place, point)| {
            let along = point.along.as_ref().filter(|along| along.arm == *name)?;
            Some((along.updates, place))
        });
        let mut places: Vec<(usize, usize)> = on_the_way.collect();
        if places.is_empty() {
            continue;
        }
        places.push((0, 0));
        places.sort_unstable();
        for &(updates, place) in &places {
            rows.push(vec![
                name.to_string(),
                updates.to_string(),
                number(&coherence(arm, place)),
                points[place].n_parameters.to_string(),
            ]);
        }
        let value = |&(updates, place): &(usize, usize)| (updates as f64, coherence(arm, place));
        lines.push(Line {
            name: name.to_string(),
            label: name.to_string(),
            points: places.iter().map(value).collect(),
            dashed: false,
        });
    }
    if lines.is_empty() {
        return Ok(None);
    }
    let change = |line: &Line| {
        let ends = line.points.first().zip(line.points.last());
        ends.map_or(String::new(), |(first, last)| {
            format!("{} from {:.2} to {:.2}", line.label, first.1.value, last.1.value)
        })
    };
    let changes: Vec<String> = lines.iter().map(change).collect();
    let palette = Palette::of(names.iter().copied());
    let chart = Lines {
        name: "coherence-along".into(),
        title: format!(
            "Along its own training the agreement of gradients goes, for {}",
            changes.join(", ")
        ),
        x: "updates of the arm's own training".into(),
        y: "mean cosine of the scorer's unit gradients".into(),
        log_x: false,
        falling: false,
        x_marks: Vec::new(),
        level: Some((0.0, "no agreement".into())),
        decimals: None,
        note: "Intervals: 95 %, jackknife over batches.".into(),
        lines,
    };
    let table = StudyTable {
        title: "Coherence along each arm's own training".into(),
        columns: ["arm", "updates", "coherence over batches", "scorers"]
            .map(String::from)
            .to_vec(),
        rows,
    };
    Ok(Some((table, chart.svg(&palette)?)))
}

pub(crate) fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len().max(1) as f64;
    values.sum::<f64>() / n
}

/// A norm with as many digits as a reader wants.
pub(crate) fn size(norm: f64) -> String {
    match norm {
        norm if norm >= 100.0 => format!("{norm:.0}"),
        norm if norm >= 1.0 => format!("{norm:.1}"),
        norm => format!("{norm:.3}"),
    }
}

pub(crate) fn range(values: &[f64]) -> String {
    let (lo, hi) = values.iter().fold((f64::MAX, f64::MIN), |(lo, hi), &value| {
        (lo.min(value), hi.max(value))
    });
    format!("{lo:.3} to {hi:.3} (n = {})", values.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gradient that is the same for all batches but for `spread` of something that depends on batch and noise.
    fn arm(name: &str, direction: f32, spread: f32) -> CoherenceArm<'static> {
        CoherenceArm {
            name: name.into(),
            gradient: Box::new(move |at: GradientAt| {
                let wave = |i: u64| {
                    let phase =
                        (at.batch as u64 * 37 + at.noise * 101 + i * 13 + at.parameters as u64) as f32;
                    (phase * 12.9898).sin()
                };
                Ok((0..16).map(|i| direction + spread * wave(i)).collect())
            }),
        }
    }

    fn study(arms: &mut [CoherenceArm<'_>]) -> Result<Study, PilotError> {
        let points = [CoherencePoint::new("start", 2)];
        let plan = CoherencePlan {
            batches: 8,
            noises: 4,
            ..CoherencePlan::default()
        };
        coherence("Model none.", &points, arms, &["mask"], &plan, &mut |_| true)
    }

    fn outcome(first: CoherenceArm<'static>, second: CoherenceArm<'static>) -> Outcome {
        study(&mut [first, second]).unwrap().findings[0].outcome
    }

    #[test]
    fn every_outcome_can_come_about() {
        let steady = || arm("ours", 1.0, 0.1);
        assert_eq!(outcome(steady(), arm("mask", 1.0, 3.0)), Outcome::Holds);
        assert_eq!(
            outcome(arm("ours", 1.0, 3.0), arm("mask", 1.0, 0.1)),
            Outcome::Fails
        );
        assert_eq!(outcome(steady(), arm("mask", 1.0, 0.1)), Outcome::Tie);
        assert_eq!(outcome(steady(), arm("other", 1.0, 3.0)), Outcome::Untestable);
    }

    #[test]
    fn a_ratio_needs_a_denominator_that_is_not_0() {
        let ratio = |spread| {
            let study = study(&mut [arm("ours", 1.0, 0.1), arm("mask", 1.0, spread)]).unwrap();
            study.tables[0].rows[1][6].clone()
        };
        assert_ne!(ratio(0.2), "–");
        let nothing = study(&mut [arm("ours", 1.0, 0.1), arm("mask", 0.0, 0.0)]).unwrap();
        assert_eq!(nothing.tables[0].rows[1][6], "–");
        assert_eq!(nothing.tables[0].rows[1][8], "16");
        assert!(nothing.findings[0].reason.contains("mask none"));
        assert!(
            String::from_utf8(nothing.figures[0].bytes.clone())
                .unwrap()
                .contains("</svg>")
        );
    }

    #[test]
    fn a_point_along_a_training_is_for_its_arm_alone() {
        let along = |arm: &str, updates| CoherencePoint {
            along: Some(Along {
                arm: arm.into(),
                updates,
            }),
            ..CoherencePoint::new(format!("{arm} {updates}"), 3)
        };
        let run = |points: &[CoherencePoint]| {
            let mut asked = Vec::new();
            let arms: Vec<_> = ["ours", "mask"].map(|name| arm(name, 1.0, 0.1)).into();
            let mut counted: Vec<CoherenceArm<'_>> = Vec::new();
            let calls = std::cell::RefCell::new(&mut asked);
            for (place, mut arm) in arms.into_iter().enumerate() {
                let calls = &calls;
                counted.push(CoherenceArm::new(arm.name.clone(), move |at: GradientAt| {
                    calls.borrow_mut().push((place, at.point));
                    (arm.gradient)(at)
                }));
            }
            let plan = CoherencePlan {
                batches: 4,
                noises: 0,
                ..CoherencePlan::default()
            };
            let mut shares = Vec::new();
            let study = coherence("", points, &mut counted, &["mask"], &plan, &mut |share| {
                shares.push(share);
                true
            });
            drop(counted);
            (study, asked, shares)
        };
        let points = [
            CoherencePoint::new("start", 1),
            along("mask", 60),
            along("mask", 30),
        ];
        let (study, asked, shares) = run(&points);
        let study = study.unwrap();
        assert!(!asked.iter().any(|&(arm, point)| arm == 0 && point > 0));
        assert_eq!(asked.len(), 2 * 4 + 2 * 3 * 4);
        assert_eq!(shares.last(), Some(&1.0));
        assert_eq!(study.tables[0].rows.len(), 2);
        let updates: Vec<&str> = study.tables[1].rows.iter().map(|row| row[1].as_str()).collect();
        assert_eq!(updates, ["0", "30", "60"]);
        assert_eq!(study.figures[1].file, "coherence-along.svg");
        let drawing = String::from_utf8(study.figures[1].bytes.clone()).unwrap();
        assert!(
            drawing.matches(">\nmask\n<").count() + drawing.matches(">mask<").count() > 0,
            "no name at its line"
        );
        for points in [
            vec![CoherencePoint::new("start", 1), along("nobody", 1)],
            vec![along("mask", 1)],
        ] {
            assert!(matches!(run(&points).0, Err(PilotError::Plan { .. })));
        }
    }

    #[test]
    fn it_stops_when_told_and_refuses_plans_of_nothing() {
        let points = [CoherencePoint::new("start", 1)];
        let mut arms = [arm("ours", 1.0, 0.1)];
        let plan = CoherencePlan::default();
        let mut calls = 0;
        let stopped = coherence("", &points, &mut arms, &[], &plan, &mut |_| {
            calls += 1;
            calls < 3
        });
        assert!(matches!(stopped, Err(PilotError::Stopped)) && calls == 3);
        let field =
            |points: &[CoherencePoint], arms: &mut [CoherenceArm<'_>], plan: CoherencePlan| match coherence(
                "",
                points,
                arms,
                &[],
                &plan,
                &mut |_| true,
            ) {
                Err(PilotError::Plan { field, .. }) => field,
                other => panic!("{other:?}"),
            };
        assert_eq!(field(&[], &mut arms, plan.clone()), "points");
        assert_eq!(field(&points, &mut [], plan.clone()), "arms");
        let few = CoherencePlan {
            batches: 2,
            ..plan.clone()
        };
        assert_eq!(field(&points, &mut arms, few), "batches");
        assert_eq!(
            field(&points, &mut arms, CoherencePlan { tau: 0.0, ..plan }),
            "tau"
        );
    }
}
