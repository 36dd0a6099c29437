//! Similarity among the tokens with the highest and with the lowest scores.

use burn::tensor::Tensor;
use diffprune_eval::chart::{Shading, Surfaces};
use diffprune_eval::{Bootstrap, top_k};
use diffprune_pruner::{Budget, Signals, descriptors};
use diffprune_vlm::{Encoded, Vlm, encode};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::error::refuse;
use crate::study::number;
use crate::{Advance, Finding, Outcome, PilotError, Study, StudyFigure, StudyTable, Trials};

/// Scores of encoded pictures, `[b, n]`, higher first.
pub type ScoreFn<'a> = dyn Fn(&Encoded) -> Result<Tensor<2>, PilotError> + 'a;

/// A method that scores tokens.
pub struct DiversityArm<'a> {
    /// Its name in tables.
    pub name: String,
    /// Its scores.
    pub scores: Box<ScoreFn<'a>>,
}

/// The size of the study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiversityPlan {
    /// Tokens of a block.
    pub budget: Budget,
    /// Pictures of a batch.
    pub batch: usize,
    /// Seed of the intervals.
    pub seed: u64,
    /// Resamples behind each interval.
    pub resamples: usize,
}

impl Default for DiversityPlan {
    fn default() -> Self {
        Self {
            budget: Budget::rate(1, 9),
            batch: 16,
            seed: 0,
            resamples: 2000,
        }
    }
}

/// Mean cosines of a picture's blocks: raw high and low, then with the picture's mean token taken off.
const MEASURES: [&str; 4] = [
    "highest, raw",
    "lowest, raw",
    "highest, centred",
    "lowest, centred",
];

/// Claim `f5.diverse`: the K tokens with the highest scores are less alike (mean off-diagonal cosine) than the K lowest.
///
/// Tokens are those before the projector; a picture's mean token is taken off for the deciding number, because offsets that
/// all tokens share make raw cosines say little. The first arm is judged, the others stand beside it.
///
/// # Errors
/// When no picture or arm is given, a method cannot score, or `advance` stops the study.
pub fn diversity(
    vlm: &dyn Vlm,
    name: &str,
    images: &[RgbImage],
    arms: &[DiversityArm<'_>],
    plan: &DiversityPlan,
    advance: &mut Advance<'_>,
) -> Result<Study, PilotError> {
    if images.is_empty() || arms.is_empty() || plan.batch == 0 {
        let found = format!(
            "{} pictures, {} arms, batches of {}",
            images.len(),
            arms.len(),
            plan.batch
        );
        return refuse("images", found, "at least one of each");
    }
    let mut trials: Vec<Trials> = arms.iter().map(|_| Trials::new(MEASURES.len())).collect();
    let mut shown = None;
    for (number, chunk) in images.chunks(plan.batch).enumerate() {
        let signals = Signals {
            cls_attention: true,
            ..Signals::default()
        };
        let encoded = encode(vlm, chunk, signals)?;
        let looked_at = descriptors(encoded.tokens.clone(), vlm.group());
        let [_, n, width] = looked_at.dims();
        let values: Vec<f32> = looked_at.into_data().iter::<f32>().collect();
        for (arm, trials) in arms.iter().zip(&mut trials) {
            let scores: Vec<f32> = (arm.scores)(&encoded)?.into_data().iter::<f32>().collect();
            let n_scores = scores.len() / chunk.len();
            for (row, layout) in encoded.layouts.iter().enumerate() {
                let count = layout.n_tokens();
                let tokens: Vec<&[f32]> = (0..count)
                    .map(|token| &values[(row * n + token) * width..(row * n + token + 1) * width])
                    .collect();
                let order = top_k(&scores[row * n_scores..row * n_scores + count], count);
                let k = plan.budget.resolve(count)?.min(count / 2).max(2);
                let blocks = Blocks::new(&tokens, &order, k);
                trials.push(&blocks.means());
                if shown.is_none() {
                    shown = Some(blocks.matrix());
                }
            }
        }
        let done = ((number + 1) * plan.batch).min(images.len());
        if !advance(done as f64 / images.len() as f64) {
            return Err(PilotError::Stopped);
        }
    }
    let bootstrap = Bootstrap::new(plan.resamples, plan.seed);
    let mut rows = Vec::new();
    let mut judged = None;
    for (arm, trials) in arms.iter().zip(&trials) {
        let means = trials.means(1.0, &bootstrap);
        let gaps = trials.contrasts(
            &[vec![(1, 1.0), (0, -1.0)], vec![(3, 1.0), (2, -1.0)]],
            &bootstrap,
        );
        rows.push(
            std::iter::once(arm.name.clone())
                .chain(means.iter().chain(&gaps).map(number))
                .collect(),
        );
        judged.get_or_insert(gaps[1]);
    }
    let gap = judged.unwrap_or(diffprune_eval::Estimate {
        value: 0.0,
        lo: 0.0,
        hi: 0.0,
    });
    let outcome = match () {
        () if gap.lo > 0.0 => Outcome::Holds,
        () if gap.hi < 0.0 => Outcome::Fails,
        () => Outcome::Tie,
    };
    let setting = format!(
        "Model {name}; {} pictures; blocks of {} of the tokens before the projector; intervals over pictures.",
        images.len(),
        plan.budget
    );
    let mut columns = vec!["arm".to_string()];
    columns.extend(MEASURES.map(String::from));
    columns.extend(["lowest minus highest, raw", "lowest minus highest, centred"].map(String::from));
    let word = if gap.value > 0.0 { "less" } else { "more" };
    let title = format!(
        "High-scored tokens of {} are {word} alike than low-scored ones: {:.2} in mean cosine",
        arms[0].name,
        gap.value.abs()
    );
    let figures = match shown {
        Some(matrix) => vec![StudyFigure {
            file: "diversity.svg".into(),
            caption: format!(
                "Cosines of the highest-scored and the lowest-scored tokens of one picture, mean token taken off; {}. {setting}",
                arms[0].name
            ),
            bytes: Surfaces {
                name: "diversity".into(),
                title,
                unit: "cosine".into(),
                maps: vec![("K highest, then K lowest".into(), matrix)],
                shading: Some(Shading::Diverging(1.0)),
                side: 420,
                note: "One picture, mean token taken off.".into(),
            }
            .svg()?
            .into_bytes(),
        }],
        None => Vec::new(),
    };
    Ok(Study {
        id: "diversity".into(),
        title: "Do high scores pick unlike tokens?".into(),
        question: "Are the K highest-scored tokens of a picture less alike than the K lowest (Fig. 5; AutoSelect Fig. 4)?".into(),
        findings: vec![Finding {
            claim: "f5.diverse".into(),
            outcome,
            estimate: Some(gap),
            reason: format!(
                "Rule: mean off-diagonal cosine of the K lowest minus that of the K highest (mean token taken off), averaged over \
                 pictures, above 0 for {}.",
                arms[0].name
            ),
            published: None,
        }],
        tables: vec![StudyTable {
            title: "Mean cosines".into(),
            columns,
            rows,
        }],
        figures,
        setting,
        limits: "Unlike tokens are not useful tokens: random choice and rivals that maximise diversity stand in the same table. In the \
                 small world the background is plain, so low scores gather like tokens for a reason that photographs share only in part."
            .into(),
    })
}

/// Unit vectors of both blocks.
struct Blocks {
    high: [Vec<Vec<f64>>; 2],
    low: [Vec<Vec<f64>>; 2],
}

impl Blocks {
    /// Raw vectors at place 0, centred ones at place 1.
    fn new(tokens: &[&[f32]], order: &[usize], k: usize) -> Self {
        let width = tokens.first().map_or(0, |token| token.len());
        let mut mean = vec![0.0; width];
        for token in tokens {
            mean.iter_mut()
                .zip(*token)
                .for_each(|(sum, &value)| *sum += f64::from(value));
        }
        mean.iter_mut().for_each(|sum| *sum /= tokens.len().max(1) as f64);
        let zero = vec![0.0; width];
        let block = |places: &[usize], off: &[f64]| -> Vec<Vec<f64>> {
            places.iter().map(|&place| unit(tokens[place], off)).collect()
        };
        let (high, low) = (&order[..k], &order[order.len() - k..]);
        Self {
            high: [block(high, &zero), block(high, &mean)],
            low: [block(low, &zero), block(low, &mean)],
        }
    }

    /// In the order of [`MEASURES`].
    fn means(&self) -> [f64; 4] {
        [
            mean_cosine(&self.high[0]),
            mean_cosine(&self.low[0]),
            mean_cosine(&self.high[1]),
            mean_cosine(&self.low[1]),
        ]
    }

    /// Cosines of the highest, then the lowest tokens, centred.
    fn matrix(&self) -> Vec<Vec<f64>> {
        let all: Vec<&Vec<f64>> = self.high[1].iter().chain(&self.low[1]).collect();
        let row = |a: &&Vec<f64>| all.iter().map(|b| dot(a, b)).collect();
        all.iter().map(row).collect()
    }
}

fn unit(token: &[f32], off: &[f64]) -> Vec<f64> {
    let vector: Vec<f64> = token
        .iter()
        .zip(off)
        .map(|(&value, off)| f64::from(value) - off)
        .collect();
    let norm = dot(&vector, &vector).sqrt().max(1e-12);
    vector.into_iter().map(|value| value / norm).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Mean over the pairs of unit vectors: `(|Σu|² − K) / (K (K − 1))`.
fn mean_cosine(units: &[Vec<f64>]) -> f64 {
    let k = units.len() as f64;
    let mut sum = vec![0.0; units.first().map_or(0, Vec::len)];
    for unit in units {
        sum.iter_mut().zip(unit).for_each(|(sum, value)| *sum += value);
    }
    (dot(&sum, &sum) - k) / (k * (k - 1.0)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_cosine_is_the_mean_over_pairs() {
        let units = vec![vec![1.0, 0.0], vec![0.0, 1.0], vec![0.6, 0.8]];
        let pairs = (0.0 + 0.6 + 0.8) / 3.0;
        assert!((mean_cosine(&units) - pairs).abs() < 1e-12);
    }

    #[test]
    fn centring_takes_a_shared_offset_off() {
        let tokens: Vec<Vec<f32>> = (0..6)
            .map(|i| {
                vec![
                    100.0 + (i as f32).sin(),
                    100.0 + (2.0 * i as f32).cos(),
                    100.0 - i as f32,
                ]
            })
            .collect();
        let tokens: Vec<&[f32]> = tokens.iter().map(Vec::as_slice).collect();
        let [high_raw, _, high, low] = Blocks::new(&tokens, &[5, 4, 3, 2, 1, 0], 3).means();
        assert!(high_raw > 0.99, "{high_raw}");
        assert!(high < 0.99 && low < 0.99, "{high} {low}");
    }
}
