//! Scores of one method over rates of pruning, on models of one family in several sizes.

use std::collections::BTreeMap;

use diffprune_eval::chart::{Line, Lines, Palette};
use diffprune_eval::{Bootstrap, Estimate, Statistic, Stratum};

use crate::error::refuse;
use crate::study::number;
use crate::{Finding, Outcome, PilotError, Study, StudyFigure, StudyTable};

/// Id of the study, and name of its files.
const ID: &str = "scales";
/// Sizes that the claim speaks of: fewer give no verdict.
pub const SIZES: usize = 3;
/// Columns of a benchmark at a rate: the sum of its scores, and their number.
const COLUMNS: usize = 2;

/// A model of the comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaledModel {
    /// Name of the model.
    pub name: String,
    /// Number of its weights.
    pub n_weights: usize,
    /// Its scored answers, the same questions at every rate.
    pub answers: Vec<ScaledAnswer>,
}

/// A scored answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaledAnswer {
    /// The place of its rate in [`ScalesPlan::rates`].
    pub rate: usize,
    /// The benchmark.
    pub benchmark: String,
    /// The picture; answers about one picture are drawn together.
    pub image: String,
    /// From 0 to 1.
    pub score: f64,
}

/// Settings of the study.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalesPlan {
    /// Names of the rates and the shares of the tokens that they keep, from the largest to the smallest.
    pub rates: Vec<(String, f64)>,
    /// Points of the average that one step between neighbouring rates may cost: more is a collapse.
    pub bound: f64,
    /// Resamples behind each interval.
    pub resamples: usize,
    /// Seed of the intervals.
    pub seed: u64,
}

impl Default for ScalesPlan {
    /// All tokens, 1/2, 1/3, 2/9, 1/9 and 1/18 of them; a step of 15 points is a collapse.
    fn default() -> Self {
        let rates = [
            ("all", 1.0),
            ("1/2", 1.0 / 2.0),
            ("1/3", 1.0 / 3.0),
            ("2/9", 2.0 / 9.0),
            ("1/9", 1.0 / 9.0),
            ("1/18", 1.0 / 18.0),
        ];
        Self {
            rates: rates.map(|(name, share)| (name.into(), share)).to_vec(),
            bound: 15.0,
            resamples: 2000,
            seed: 0,
        }
    }
}

/// Claim `a1.no-collapse`: the scores fall smoothly over the rates on every size.
///
/// The number of a model at a rate is the mean over benchmarks of the percentage right. The claim holds when on each of three or
/// more sizes no step from a rate to the next costs more than the bound (simultaneous 95 % intervals by a bootstrap over pictures,
/// Bonferroni over sizes and steps), fails when one surely costs more, and is a tie otherwise.
///
/// # Errors
/// When the plan has fewer than two rates, there is no model, or a model has no answer of some benchmark at some rate.
pub fn scales(setting: &str, models: &[ScaledModel], plan: &ScalesPlan) -> Result<Study, PilotError> {
    if plan.rates.len() < 2 {
        return refuse("rates", plan.rates.len(), "two or more");
    }
    if models.is_empty() {
        return refuse("models", "none", "one or more, of different sizes");
    }
    let mut models: Vec<&ScaledModel> = models.iter().collect();
    models.sort_by_key(|model| model.n_weights);
    let steps = plan.rates.len() - 1;
    let measured: Vec<Curve> = models
        .iter()
        .map(|model| Curve::of(model, plan, models.len() * steps))
        .collect::<Result<_, _>>()?;
    let all: Vec<&Estimate> = measured.iter().flat_map(|curve| &curve.steps).collect();
    let largest =
        |of: fn(&Estimate) -> f64| all.iter().map(|step| of(step)).fold(f64::NEG_INFINITY, f64::max);
    let worst = Estimate {
        value: largest(|step| step.value),
        lo: largest(|step| step.lo),
        hi: largest(|step| step.hi),
    };
    // As in the other claims, what lies above zero speaks for it.
    let left = Estimate {
        value: plan.bound - worst.value,
        lo: plan.bound - worst.hi,
        hi: plan.bound - worst.lo,
    };
    let mut sizes: Vec<usize> = models.iter().map(|model| model.n_weights).collect();
    sizes.dedup();
    let outcome = match () {
        () if sizes.len() < SIZES => Outcome::Untestable,
        () if worst.hi <= plan.bound => Outcome::Holds,
        () if worst.lo > plan.bound => Outcome::Fails,
        () => Outcome::Tie,
    };
    let place = measured.iter().zip(&models).find_map(|(curve, model)| {
        let step = curve.steps.iter().position(|step| step.value == worst.value)?;
        Some(format!(
            "{} from {} to {}",
            model.name,
            plan.rates[step].0,
            plan.rates[step + 1].0
        ))
    });
    let mut reason = format!(
        "Rule: no step between neighbouring rates costs more than {} points of the average on any of three sizes, simultaneous \
         95 % intervals. Largest step: {} points, {}; the number is how far it stays below {}.",
        plan.bound,
        number(&worst),
        place.unwrap_or_default(),
        plan.bound
    );
    if sizes.len() < SIZES {
        reason += &format!(" Only {} of {SIZES} sizes were there.", sizes.len());
    }
    let line = |(curve, model): (&Curve, &&ScaledModel)| Line {
        name: model.name.clone(),
        label: model.name.clone(),
        points: plan
            .rates
            .iter()
            .map(|rate| rate.1)
            .zip(curve.averages.iter().copied())
            .collect(),
        dashed: false,
    };
    let chart = Lines {
        name: ID.into(),
        title: format!(
            "From all tokens to {} of them, no step costs more than {:.1} points on {}",
            plan.rates[steps].0,
            worst.value.max(0.0),
            match models.len() {
                1 => "one size".into(),
                several => format!("any of {several} sizes"),
            }
        ),
        x: "share of the tokens that is kept".into(),
        y: "percent right, mean over the benchmarks".into(),
        log_x: true,
        falling: true,
        x_marks: plan.rates.iter().map(|rate| rate.1).collect(),
        level: None,
        decimals: Some(1),
        note: "Intervals: 95 %, bootstrap over pictures; scorer trained once.".into(),
        lines: measured.iter().zip(&models).map(line).collect(),
    };
    let names = models.iter().map(|model| model.name.as_str());
    let setting = format!(
        "{setting} {} resamples over pictures, seed {}.",
        plan.resamples, plan.seed
    );
    Ok(Study {
        id: ID.into(),
        title: "Does a small budget break a small or a large model?".into(),
        question: "On three sizes of one model, do the scores fall smoothly over five rates of pruning, without a collapse at any of \
                   them (Fig. A1)?"
            .into(),
        findings: vec![Finding {
            claim: "a1.no-collapse".into(),
            outcome,
            estimate: Some(left),
            reason,
            published: None,
        }],
        tables: vec![averages(&models, &measured, plan), steps_table(&models, &measured, plan), slopes(&models, &measured)],
        figures: vec![StudyFigure {
            file: format!("{ID}.svg"),
            caption: setting.clone(),
            bytes: chart.svg(&Palette::of(names))?.into_bytes(),
        }],
        setting,
        limits: "Each size was trained once, with one scorer: sizes and trainings are not told apart. The sizes of the small models differ \
                 by a factor of a few, those of the papers (3B to 32B) by ten. The decoders of the small models were taught on random subsets of the \
                 tokens, too, which makes a collapse less likely than in a model that never saw one."
            .into(),
    })
}

/// The numbers of one model.
struct Curve {
    benchmarks: Vec<String>,
    /// Percent right, by rate and benchmark.
    scores: Vec<Vec<f64>>,
    /// Mean over the benchmarks at each rate, each interval alone.
    averages: Vec<Estimate>,
    /// What each step costs, intervals together with those of all models.
    steps: Vec<Estimate>,
    /// Points by which each benchmark falls with each halving of the tokens.
    slopes: Vec<Estimate>,
}

impl Curve {
    fn of(model: &ScaledModel, plan: &ScalesPlan, n_steps: usize) -> Result<Self, PilotError> {
        let n_rates = plan.rates.len();
        // Sums of each picture, by benchmark.
        let mut clusters: BTreeMap<&str, BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
        for answer in &model.answers {
            if answer.rate >= n_rates {
                return refuse("rate", answer.rate, format!("one of {n_rates}, counted from 0"));
            }
            let images = clusters.entry(&answer.benchmark).or_default();
            let sums = images
                .entry(&answer.image)
                .or_insert_with(|| vec![0.0; COLUMNS * n_rates]);
            sums[COLUMNS * answer.rate] += answer.score;
            sums[COLUMNS * answer.rate + 1] += 1.0;
        }
        let width = COLUMNS * n_rates;
        let strata: Vec<Stratum> = clusters
            .values()
            .enumerate()
            .map(|(number, images)| Stratum {
                columns: width * number..width * (number + 1),
                sums: images.values().flatten().copied().collect(),
            })
            .collect();
        let count = strata.len();
        let percent = move |totals: &[f64], benchmark: usize, rate: usize| {
            let at = width * benchmark + COLUMNS * rate;
            100.0 * totals[at] / totals[at + 1]
        };
        let average = move |totals: &[f64], rate: usize| {
            (0..count)
                .map(|benchmark| percent(totals, benchmark, rate))
                .sum::<f64>()
                / count as f64
        };
        let halvings: Vec<f64> = plan.rates.iter().map(|rate| -rate.1.log2()).collect();
        let alone: Vec<Statistic<'_>> = (0..n_rates)
            .map(|rate| Box::new(move |totals: &[f64]| average(totals, rate)) as Statistic<'_>)
            .chain((0..count).map(|benchmark| {
                let halvings = &halvings;
                Box::new(move |totals: &[f64]| {
                    let scores: Vec<f64> = (0..n_rates)
                        .map(|rate| percent(totals, benchmark, rate))
                        .collect();
                    -slope(halvings, &scores)
                }) as Statistic<'_>
            }))
            .collect();
        let together: Vec<Statistic<'_>> = (1..n_rates)
            .map(|rate| {
                Box::new(move |totals: &[f64]| average(totals, rate - 1) - average(totals, rate))
                    as Statistic<'_>
            })
            .collect();
        let bootstrap = Bootstrap::new(plan.resamples, plan.seed);
        let mut averages = bootstrap.intervals(&strata, &alone);
        if averages.is_empty() || averages.iter().any(|average| !average.value.is_finite()) {
            let found = format!("{}: a benchmark without an answer at some rate", model.name);
            return refuse("answers", found, "the same questions at every rate");
        }
        let slopes = averages.split_off(n_rates);
        let level = 1.0 - 0.05 / n_steps as f64;
        let steps = bootstrap.with_level(level).intervals(&strata, &together);
        let mut totals = vec![0.0; width * count];
        for (benchmark, images) in clusters.values().enumerate() {
            for sums in images.values() {
                let totals = &mut totals[width * benchmark..width * (benchmark + 1)];
                totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            }
        }
        let at = |rate| {
            (0..count)
                .map(|benchmark| percent(&totals, benchmark, rate))
                .collect()
        };
        Ok(Self {
            benchmarks: clusters.keys().map(ToString::to_string).collect(),
            scores: (0..n_rates).map(at).collect(),
            averages,
            steps,
            slopes,
        })
    }
}

/// The slope of the line with the least squares.
fn slope(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len() as f64;
    let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let products = x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y));
    products.sum::<f64>() / x.iter().map(|x| (x - mean_x).powi(2)).sum::<f64>()
}

fn averages(models: &[&ScaledModel], measured: &[Curve], plan: &ScalesPlan) -> StudyTable {
    let benchmarks = measured.first().map_or(&[][..], |curve| &curve.benchmarks);
    let mut columns: Vec<String> = ["model", "weights", "kept"].map(String::from).to_vec();
    columns.extend(benchmarks.iter().cloned());
    columns.push("average".into());
    let mut rows = Vec::new();
    for (model, curve) in models.iter().zip(measured) {
        for (rate, (name, _)) in plan.rates.iter().enumerate() {
            let mut row = vec![model.name.clone(), model.n_weights.to_string(), name.clone()];
            row.extend(curve.scores[rate].iter().map(|score| format!("{score:.1}")));
            row.push(number(&curve.averages[rate]));
            rows.push(row);
        }
    }
    StudyTable {
        title: "Percent right".into(),
        columns,
        rows,
    }
}

fn steps_table(models: &[&ScaledModel], measured: &[Curve], plan: &ScalesPlan) -> StudyTable {
    let mut rows = Vec::new();
    for (model, curve) in models.iter().zip(measured) {
        for (pair, step) in plan.rates.windows(2).zip(&curve.steps) {
            rows.push(vec![
                model.name.clone(),
                format!("{} to {}", pair[0].0, pair[1].0),
                number(step),
            ]);
        }
    }
    StudyTable {
        title: "What each step costs (simultaneous intervals)".into(),
        columns: ["model", "step", "points"].map(String::from).to_vec(),
        rows,
    }
}

fn slopes(models: &[&ScaledModel], measured: &[Curve]) -> StudyTable {
    let mut rows = Vec::new();
    for (model, curve) in models.iter().zip(measured) {
        for (benchmark, slope) in curve.benchmarks.iter().zip(&curve.slopes) {
            rows.push(vec![model.name.clone(), benchmark.clone(), number(slope)]);
        }
    }
    StudyTable {
        title: "Points lost with each halving of the tokens (least squares)".into(),
        columns: ["model", "benchmark", "points"].map(String::from).to_vec(),
        rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 60 pictures with a question of two benchmarks each; at each rate that many of a hundred are right.
    fn model(name: &str, n_weights: usize, right: &[usize]) -> ScaledModel {
        let mut answers = Vec::new();
        for (rate, &right) in right.iter().enumerate() {
            for question in 0..120 {
                answers.push(ScaledAnswer {
                    rate,
                    benchmark: ["mme", "scienceqa"][question % 2].into(),
                    image: format!("{}", question / 2),
                    score: f64::from(u8::from((question / 2) * 100 < right * 60)),
                });
            }
        }
        ScaledModel {
            name: name.into(),
            n_weights,
            answers,
        }
    }

    fn plan() -> ScalesPlan {
        ScalesPlan {
            rates: [("all", 1.0), ("1/2", 0.5), ("1/4", 0.25)]
                .map(|(name, share)| (name.into(), share))
                .to_vec(),
            resamples: 400,
            ..ScalesPlan::default()
        }
    }

    fn outcome(right: [&[usize]; 3]) -> Study {
        let models: Vec<ScaledModel> = right
            .iter()
            .enumerate()
            .map(|(n, right)| model(&format!("m{n}"), 3 - n, right))
            .collect();
        scales("Setting.", &models, &plan()).unwrap()
    }

    #[test]
    fn a_step_beyond_the_bound_is_a_collapse_on_any_size() {
        let smooth = outcome([&[90, 90, 88], &[80, 80, 78], &[70, 70, 70]]);
        assert_eq!(
            smooth.findings[0].outcome,
            Outcome::Holds,
            "{:?}",
            smooth.findings
        );
        let broken = outcome([&[90, 90, 20], &[80, 80, 78], &[70, 70, 70]]);
        assert_eq!(broken.findings[0].outcome, Outcome::Fails);
        let left = broken.findings[0].estimate.unwrap();
        assert!((left.value + 55.0).abs() < 1e-9 && left.hi < 0.0, "{left:?}");
        let reason = &broken.findings[0].reason;
        assert!(
            reason.contains("Largest step: 70.0") && reason.contains("m0 from 1/2 to 1/4"),
            "{reason}"
        );
        let close = outcome([&[90, 75, 60], &[80, 80, 78], &[70, 70, 70]]);
        assert_eq!(close.findings[0].outcome, Outcome::Tie);
    }

    #[test]
    fn sizes_are_ordered_and_fewer_than_three_are_no_verdict() {
        let study = outcome([&[90, 90, 88], &[80, 80, 78], &[70, 70, 70]]);
        let names: Vec<&str> = study.tables[0].rows.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(names, ["m2", "m2", "m2", "m1", "m1", "m1", "m0", "m0", "m0"]);
        let two = [model("a", 1, &[90, 90, 90]), model("b", 2, &[90, 90, 90])];
        let study = scales("", &two, &plan()).unwrap();
        assert_eq!(study.findings[0].outcome, Outcome::Untestable);
        assert!(scales("", &[], &plan()).is_err());
    }

    #[test]
    fn slopes_are_points_for_each_halving() {
        let study = outcome([&[90, 80, 70], &[80, 80, 80], &[70, 70, 70]]);
        let m0: Vec<&str> = study.tables[2]
            .rows
            .iter()
            .filter(|row| row[0] == "m0")
            .map(|row| row[2].as_str())
            .collect();
        assert!(m0.iter().all(|slope| slope.starts_with("10.0 ")), "{m0:?}");
    }

    #[test]
    fn a_rate_without_answers_is_refused() {
        let mut one = model("a", 1, &[90, 90, 90]);
        one.answers
            .retain(|answer| answer.rate != 1 || answer.benchmark != "mme");
        let error = scales("", &[one], &plan()).unwrap_err().to_string();
        assert!(error.contains("the same questions at every rate"), "{error}");
    }
}
