//! The loss over the scorer's parameters, along lines and on a plane.

use burn::tensor::Device;
use diffprune_eval::Estimate;
use diffprune_eval::chart::{Line, Lines, Palette, Surfaces};
use diffprune_throttler::noise;
use serde::{Deserialize, Serialize};

use crate::error::{check_arms, refuse};
use crate::study::number;
use crate::{Advance, Finding, Outcome, PilotError, Study, StudyFigure, StudyTable};

/// Keeps directions apart from other uses of the seed.
const STREAM: u64 = 0x1A_4D5C;

/// Loss at parameters, on fixed pictures with fixed noise. The first argument is the index of the point.
pub type LossFn<'a> = dyn FnMut(usize, &[f32]) -> Result<f64, PilotError> + 'a;

/// A way to train a scorer.
pub struct LandscapeArm<'a> {
    /// Its name in tables.
    pub name: String,
    /// Its loss.
    pub loss: Box<LossFn<'a>>,
}

/// A matrix in a flat vector of parameters, `[inputs, outputs]`, row after row; each output is one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatrixPlace {
    /// Index of its first element.
    pub offset: usize,
    /// Rows.
    pub inputs: usize,
    /// Columns.
    pub outputs: usize,
}

/// Parameters around which the loss is looked at; the same for all arms.
#[derive(Debug, Clone, PartialEq)]
pub struct LandscapePoint {
    /// A few words: the start, or after what training.
    pub label: String,
    /// All parameters of the scorer.
    pub parameters: Vec<f32>,
    /// The places of its matrices. Directions are 0 elsewhere (biases, norms).
    pub matrices: Vec<MatrixPlace>,
}

/// The size of the study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LandscapePlan {
    /// Pairs of directions; the first of each is the line.
    pub directions: usize,
    /// Steps of the finest grid on a line from −1 to 1.
    pub steps: usize,
    /// The number of times that the step is doubled; `steps` must allow it.
    pub doublings: usize,
    /// Points along a side of the surface over the first pair; 0 draws none.
    pub surface: usize,
    /// Pictures, the same everywhere.
    pub pictures: usize,
    /// Temperature, the same for all arms.
    pub tau: f64,
    /// Seed of directions, pictures, noise and fresh scorers.
    pub seed: u64,
}

impl Default for LandscapePlan {
    fn default() -> Self {
        Self {
            directions: 5,
            steps: 96,
            doublings: 3,
            surface: 13,
            pictures: 8,
            tau: 0.316,
            seed: 0,
        }
    }
}

/// Losses of one arm at one point.
struct Slices {
    centre: f64,
    /// For each direction, from −1 to 1 in the finest steps.
    lines: Vec<Vec<f64>>,
}

/// Claim `f2.smooth`: along random directions of the scorer's weights the loss changes less from step to step with the first
/// arm than with each of `surrogates`.
///
/// Directions are normal, each filter rescaled to the norm of the scorer's own, and 0 in biases and norms. `V(h)` is the mean
/// absolute difference of neighbours at distance `h` on [−1, 1], the papers' measure; `Q(h)` is the sum of the squared
/// differences, which shrinks with `h` where the loss is smooth and stays where it jumps. Judged at the last point and the
/// finest step: the claim holds when `V` is smaller with the first arm in every direction and for every surrogate, fails
/// when for one surrogate it is larger in every direction, and is a tie otherwise.
///
/// # Errors
/// When the plan makes no study, a loss cannot be computed, or `advance` stops the study.
pub fn landscape(
    setting: &str,
    points: &[LandscapePoint],
    arms: &mut [LandscapeArm<'_>],
    surrogates: &[&str],
    plan: &LandscapePlan,
    advance: &mut Advance<'_>,
) -> Result<Study, PilotError> {
    check(points, arms, plan)?;
    let last = points.len() - 1;
    let mut total = arms.len() * points.len() * plan.directions * (plan.steps + 1);
    total += arms.len() * plan.surface * plan.surface;
    let mut done = 0;
    let mut tick = || {
        done += 1;
        match advance(done as f64 / total as f64) {
            true => Ok(()),
            false => Err(PilotError::Stopped),
        }
    };
    let mut slices: Vec<Vec<Slices>> = Vec::new();
    let mut planes = Vec::new();
    for arm in arms.iter_mut() {
        let mut of_arm = Vec::new();
        for (number, point) in points.iter().enumerate() {
            let centre = (arm.loss)(number, &point.parameters)?;
            let mut lines = Vec::new();
            for pair in 0..plan.directions {
                let along = direction(point, plan.seed, 2 * pair as u64);
                let mut line = Vec::new();
                for step in 0..=plan.steps {
                    let x = 2.0 * step as f64 / plan.steps as f64 - 1.0;
                    line.push((arm.loss)(number, &moved(&point.parameters, &[(x, &along)]))?);
                    tick()?;
                }
                lines.push(line);
            }
            of_arm.push(Slices { centre, lines });
        }
        slices.push(of_arm);
        let point = &points[last];
        let (across, up) = (direction(point, plan.seed, 0), direction(point, plan.seed, 1));
        let mut plane = Vec::new();
        for row in 0..plan.surface {
            let at = |i: usize| 2.0 * i as f64 / (plan.surface - 1).max(1) as f64 - 1.0;
            let mut values = Vec::new();
            for column in 0..plan.surface {
                let place = moved(&point.parameters, &[(at(column), &across), (-at(row), &up)]);
                values.push((arm.loss)(last, &place)?);
                tick()?;
            }
            plane.push(values);
        }
        planes.push(plane);
    }
    let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
    result(setting, points, &names, surrogates, plan, &slices, &planes)
}

fn check(
    points: &[LandscapePoint],
    arms: &[LandscapeArm<'_>],
    plan: &LandscapePlan,
) -> Result<(), PilotError> {
    if points.is_empty() {
        return refuse("points", "none", "at least one");
    }
    check_arms(arms.len(), plan.tau)?;
    let coarsest = 1_usize.checked_shl(plan.doublings as u32).unwrap_or(0);
    if coarsest == 0 || plan.steps == 0 || !plan.steps.is_multiple_of(coarsest) || plan.doublings == 0 {
        let found = format!("{} steps, {} doublings", plan.steps, plan.doublings);
        return refuse(
            "steps",
            found,
            "a multiple of 2 to the power of doublings, at least one doubling",
        );
    }
    if plan.directions == 0 || plan.pictures == 0 || plan.surface == 1 {
        let found = format!(
            "{} directions, {} pictures, a surface of {}",
            plan.directions, plan.pictures, plan.surface
        );
        return refuse(
            "directions",
            found,
            "at least one direction and picture, a surface of 0 or from 2",
        );
    }
    Ok(())
}

/// Normal in the matrices, with each filter as long as the scorer's own; 0 elsewhere.
fn direction(point: &LandscapePoint, seed: u64, number: u64) -> Vec<f32> {
    let n = point.parameters.len();
    let drawn = noise([1, n.max(1), 1], seed ^ STREAM, number, &Device::flex());
    let drawn: Vec<f32> = drawn.into_data().iter::<f32>().collect();
    let mut direction = vec![0.0; n];
    for matrix in &point.matrices {
        for output in 0..matrix.outputs {
            let places = || (0..matrix.inputs).map(|input| matrix.offset + input * matrix.outputs + output);
            let norm = |values: &[f32]| places().map(|i| f64::from(values[i]).powi(2)).sum::<f64>().sqrt();
            let scale = norm(&point.parameters) / norm(&drawn).max(f64::MIN_POSITIVE);
            for i in places() {
                direction[i] = (f64::from(drawn[i]) * scale) as f32;
            }
        }
    }
    direction
}

fn moved(parameters: &[f32], along: &[(f64, &Vec<f32>)]) -> Vec<f32> {
    let mut moved = parameters.to_vec();
    for (length, direction) in along {
        let steps = moved.iter_mut().zip(*direction);
        steps.for_each(|(value, step)| *value += *length as f32 * step);
    }
    moved
}

/// Mean absolute difference and sum of squared differences of neighbours `stride` places apart.
fn variation(line: &[f64], stride: usize) -> (f64, f64) {
    let coarse: Vec<f64> = line.iter().step_by(stride).copied().collect();
    let steps: Vec<f64> = coarse.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let n = steps.len().max(1) as f64;
    (
        steps.iter().map(|step| step.abs()).sum::<f64>() / n,
        steps.iter().map(|step| step * step).sum(),
    )
}

/// Slope of `ln Q` over `ln h` by least squares: about 1 where the loss is smooth, about 0 where it jumps.
fn exponent(line: &[f64], doublings: usize) -> f64 {
    let places: Vec<(f64, f64)> = (0..=doublings)
        .map(|doubling| {
            let (_, squares) = variation(line, 1 << doubling);
            (doubling as f64 * 2_f64.ln(), squares.max(f64::MIN_POSITIVE).ln())
        })
        .collect();
    let n = places.len() as f64;
    let (x, y) = places.iter().fold((0.0, 0.0), |sum, place| {
        (sum.0 + place.0 / n, sum.1 + place.1 / n)
    });
    let (above, below) = places.iter().fold((0.0, 0.0), |sum, place| {
        (
            sum.0 + (place.0 - x) * (place.1 - y),
            sum.1 + (place.0 - x).powi(2),
        )
    });
    above / below
}

/// A value that has no interval.
fn exactly(value: f64) -> Estimate {
    Estimate {
        value,
        lo: value,
        hi: value,
    }
}

/// Mean, least and greatest: directions are few, so the range says more than an interval.
fn spread(values: impl Iterator<Item = f64>) -> Estimate {
    let values: Vec<f64> = values.collect();
    Estimate {
        value: values.iter().sum::<f64>() / values.len().max(1) as f64,
        lo: values.iter().copied().fold(f64::MAX, f64::min),
        hi: values.iter().copied().fold(f64::MIN, f64::max),
    }
}

fn result(
    setting: &str,
    points: &[LandscapePoint],
    names: &[&str],
    surrogates: &[&str],
    plan: &LandscapePlan,
    slices: &[Vec<Slices>],
    planes: &[Vec<Vec<f64>>],
) -> Result<Study, PilotError> {
    let last = points.len() - 1;
    let ratios = |arm: usize, point: usize| {
        let pairs = slices[0][point].lines.iter().zip(&slices[arm][point].lines);
        spread(
            pairs.map(|(ours, theirs)| variation(theirs, 1).0 / variation(ours, 1).0.max(f64::MIN_POSITIVE)),
        )
    };
    let exponents = |arm: usize, point: usize| {
        spread(
            slices[arm][point]
                .lines
                .iter()
                .map(|line| exponent(line, plan.doublings)),
        )
    };
    let rivals: Vec<(usize, Estimate)> = (1..names.len())
        .filter(|&arm| surrogates.contains(&names[arm]))
        .map(|arm| (arm, ratios(arm, last)))
        .collect();
    let outcome = match () {
        () if rivals.is_empty() => Outcome::Untestable,
        () if rivals.iter().all(|(_, ratio)| ratio.lo > 1.0) => Outcome::Holds,
        () if rivals.iter().any(|(_, ratio)| ratio.hi < 1.0) => Outcome::Fails,
        () => Outcome::Tie,
    };
    let least = rivals.iter().min_by(|a, b| a.1.value.total_cmp(&b.1.value));
    let each = |of: &dyn Fn(usize) -> Estimate| {
        let texts: Vec<String> = rivals
            .iter()
            .map(|&(arm, _)| format!("{} {}", names[arm], number(&of(arm))))
            .collect();
        texts.join(", ")
    };
    let reason = format!(
        "Rule: mean step of the loss (h = 2/{}) smaller with {} than with each surrogate in each of {} directions, at the last point \
         ({}). Steps of the surrogate over steps of {}: {}. Exponents of Q (1 smooth, 0 jumps): {} {}, {}. Brackets: range over \
         directions.",
        plan.steps,
        names[0],
        plan.directions,
        points[last].label,
        names[0],
        each(&|arm| ratios(arm, last)),
        names[0],
        number(&exponents(0, last)),
        each(&|arm| exponents(arm, last)),
    );
    let mut rows = Vec::new();
    for (point, of_point) in points.iter().enumerate() {
        for (arm, name) in names.iter().enumerate() {
            let found = &slices[arm][point];
            let mut row = vec![
                of_point.label.clone(),
                name.to_string(),
                format!("{:.3}", found.centre),
            ];
            for doubling in (0..=plan.doublings).rev() {
                let steps = spread(found.lines.iter().map(|line| variation(line, 1 << doubling).0));
                row.push(format!("{:.2e}", steps.value));
            }
            row.push(number(&exponents(arm, point)));
            row.push(if arm == 0 {
                "–".into()
            } else {
                number(&ratios(arm, point))
            });
            rows.push(row);
        }
    }
    let mut columns = vec!["point".to_string(), "arm".into(), "loss at the centre".into()];
    let widths = (0..=plan.doublings).rev().map(|doubling| plan.steps >> doubling);
    columns.extend(widths.map(|steps| format!("V(2/{steps})")));
    columns.extend(["exponent of Q", "V over that of the first arm, finest"].map(String::from));
    // What the arms share is the direction, not the level: each is drawn above its own value at the centre.
    let curve = |(arm, name): (usize, &&str)| {
        let Slices { centre, lines } = &slices[arm][last];
        let point = |(step, &loss): (usize, &f64)| {
            let x = 2.0 * step as f64 / plan.steps as f64 - 1.0;
            (x, exactly(loss - centre))
        };
        Line {
            name: name.to_string(),
            label: name.to_string(),
            points: lines[0].iter().enumerate().map(point).collect(),
            dashed: false,
        }
    };
    let of_rivals: Vec<f64> = rivals
        .iter()
        .map(|&(arm, _)| exponents(arm, last).value)
        .collect();
    let between = match spread(of_rivals.iter().copied()) {
        _ if of_rivals.is_empty() => String::new(),
        found => format!(", that of the surrogates by {:.2} to {:.2}", found.lo, found.hi),
    };
    let chart = Lines {
        name: "landscape".into(),
        title: format!(
            "The steps of the loss through {} shrink with an exponent of {:.2}{between} (1 is smooth, 0 jumps)",
            names[0],
            exponents(0, last).value
        ),
        x: "distance from the scorer, in lengths of its own filters".into(),
        y: "loss above the centre's, nats per token".into(),
        log_x: false,
        falling: false,
        x_marks: Vec::new(),
        level: None,
        decimals: None,
        note: format!("One random direction of the weights, {}.", points[last].label),
        lines: names.iter().enumerate().map(curve).collect(),
    };
    let setting = format!(
        "{setting} {} pictures with fixed noise, {} directions, τ = {}, seed {}.",
        plan.pictures, plan.directions, plan.tau, plan.seed
    );
    let mut figures = vec![StudyFigure {
        file: "landscape.svg".into(),
        caption: format!(
            "One slice, each arm above its own loss at the centre, {}. {setting}",
            points[last].label
        ),
        bytes: chart.svg(&Palette::of(names.iter().copied()))?.into_bytes(),
    }];
    if plan.surface > 1 {
        let map = |(arm, name): (usize, &&str)| {
            let centre = slices[arm][last].centre;
            let above = |row: &Vec<f64>| row.iter().map(|loss| loss - centre).collect();
            (name.to_string(), planes[arm].iter().map(above).collect())
        };
        let maps = Surfaces {
            name: "landscape-surface".into(),
            title: "The loss above the centre's, over two random directions of the scorer's weights".into(),
            unit: "nats per token".into(),
            maps: names.iter().enumerate().map(map).collect(),
            shading: None,
            side: 200,
            note: format!("One scale for all; {}.", points[last].label),
        };
        figures.push(StudyFigure {
            file: "landscape-surface.svg".into(),
            caption: format!(
                "The loss over two random directions, less that at the centre, {}. {setting}",
                points[last].label
            ),
            bytes: maps.svg()?.into_bytes(),
        });
    }
    Ok(Study {
        id: "landscape".into(),
        title: "Is the loss a smooth function of the scorer?".into(),
        question: "Along random directions of the scorer's weights, does the loss change less from step to step through the throttler \
                   than through a hard Gumbel mask, and does it jump (Fig. 2)?"
            .into(),
        findings: vec![Finding {
            claim: "f2.smooth".into(),
            outcome,
            estimate: least.map(|(_, ratio)| *ratio),
            reason,
            published: None,
        }],
        tables: vec![StudyTable {
            title: "Mean step V(h) and exponent by point and arm".into(),
            columns,
            rows,
        }],
        figures,
        setting,
        limits: "A hard mask must jump where two tokens change places, so that is arithmetic and no discovery; what the study adds is by \
                 how much the loss jumps. A smooth surface need not lead anywhere good, and a flat one is smooth: the loss at the \
                 centre stands beside. Both backward rules of a Gumbel mask have one and the same loss."
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point() -> LandscapePoint {
        LandscapePoint {
            label: "start".into(),
            parameters: (0..14).map(|i| (i as f32 * 0.7).sin() + 0.1).collect(),
            matrices: vec![MatrixPlace {
                offset: 0,
                inputs: 4,
                outputs: 3,
            }],
        }
    }

    fn smooth(parameters: &[f32]) -> f64 {
        parameters.iter().map(|&value| f64::from(value).powi(2)).sum()
    }

    fn arm(name: &str, loss: fn(&[f32]) -> f64) -> LandscapeArm<'static> {
        LandscapeArm {
            name: name.into(),
            loss: Box::new(move |_, parameters| Ok(loss(parameters))),
        }
    }

    fn plan() -> LandscapePlan {
        LandscapePlan {
            directions: 3,
            steps: 64,
            surface: 4,
            ..LandscapePlan::default()
        }
    }

    fn study(ours: fn(&[f32]) -> f64, mask: fn(&[f32]) -> f64) -> Study {
        let mut arms = [arm("ours", ours), arm("mask", mask)];
        landscape(
            "Model none.",
            &[point()],
            &mut arms,
            &["mask"],
            &plan(),
            &mut |_| true,
        )
        .unwrap()
    }

    #[test]
    fn every_outcome_can_come_about() {
        let steep = |parameters: &[f32]| 9.0 * smooth(parameters);
        assert_eq!(study(smooth, steep).findings[0].outcome, Outcome::Holds);
        assert_eq!(study(steep, smooth).findings[0].outcome, Outcome::Fails);
        assert_eq!(study(smooth, smooth).findings[0].outcome, Outcome::Tie);
        let mut arms = [arm("ours", smooth), arm("other", steep)];
        let alone = landscape("", &[point()], &mut arms, &["mask"], &plan(), &mut |_| true).unwrap();
        assert_eq!(alone.findings[0].outcome, Outcome::Untestable);
        assert_eq!(alone.figures.len(), 2);
    }

    #[test]
    fn the_exponent_tells_a_jump_from_a_slope() {
        let line = |f: fn(f64) -> f64| {
            (0..=64)
                .map(|i| f(f64::from(i) / 32.0 - 1.0))
                .collect::<Vec<f64>>()
        };
        assert!((exponent(&line(|x| 3.0 * x), 3) - 1.0).abs() < 1e-9);
        assert!(exponent(&line(|x| if x < 0.3 { 0.0 } else { 2.0 }), 3).abs() < 1e-9);
        assert!((variation(&line(|x| 3.0 * x), 2).0 - 3.0 / 16.0).abs() < 1e-12);
    }

    #[test]
    fn directions_have_the_filters_lengths_and_leave_the_rest_alone() {
        let point = point();
        let along = direction(&point, 5, 0);
        for output in 0..3 {
            let norm = |values: &[f32]| {
                let column = (0..4).map(|input| f64::from(values[input * 3 + output]).powi(2));
                column.sum::<f64>().sqrt()
            };
            assert!((norm(&along) - norm(&point.parameters)).abs() < 1e-5);
        }
        assert_eq!(along[12..], [0.0, 0.0]);
        assert_ne!(along, direction(&point, 5, 1));
    }

    #[test]
    fn it_stops_when_told_and_refuses_plans_of_nothing() {
        let mut arms = [arm("ours", smooth)];
        let stopped = landscape("", &[point()], &mut arms, &[], &plan(), &mut |share| share < 0.2);
        assert!(matches!(stopped, Err(PilotError::Stopped)));
        let mut field = |points: &[LandscapePoint], plan: LandscapePlan| match landscape(
            "",
            points,
            &mut arms,
            &[],
            &plan,
            &mut |_| true,
        ) {
            Err(PilotError::Plan { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(&[], plan()), "points");
        assert_eq!(field(&[point()], LandscapePlan { steps: 30, ..plan() }), "steps");
        assert_eq!(
            field(
                &[point()],
                LandscapePlan {
                    directions: 0,
                    ..plan()
                }
            ),
            "directions"
        );
        assert_eq!(field(&[point()], LandscapePlan { tau: -1.0, ..plan() }), "tau");
    }
}
