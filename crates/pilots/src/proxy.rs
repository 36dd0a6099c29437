//! Noise in the place of dropped patches: accuracy of a classifier under both.

use burn::tensor::{Device, Tensor, TensorData};
use diffprune_eval::chart::{Line, Lines, Palette};
use diffprune_eval::{Bootstrap, Estimate, top_k};
use diffprune_softtopk::{SoftTopKConfig, SoftTopKInput};
use diffprune_throttler::{GateFamily, NoiseScale, ThrottlerConfig, ThrottlerInput, noise};
use diffprune_vlm_adapters::Vit;
use image::{Rgb, RgbImage};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::refuse;
use crate::study::number;
use crate::{Advance, Finding, LabelledImages, Outcome, PilotError, Study, StudyFigure, StudyTable, Trials};

/// Patches along a side of the demonstration.
const DEMO_SIDE: usize = 7;
/// Shares of them that are kept.
const DEMO_KEPT: [f64; 3] = [0.25, 0.5, 0.75];

/// The size of the study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyPlan {
    /// Shares of the patches that are kept, ascending.
    pub kept: Vec<f64>,
    /// Temperatures of the soft top-k; the first decides the claim.
    pub taus: Vec<f64>,
    /// Accuracy points within which both count as equal, fixed beforehand.
    pub bound: f64,
    /// Pictures of a batch.
    pub batch: usize,
    /// Seed of scores and noise.
    pub seed: u64,
    /// Resamples behind each interval.
    pub resamples: usize,
}

impl Default for ProxyPlan {
    fn default() -> Self {
        Self {
            kept: vec![0.05, 0.1, 0.25, 0.5, 0.75, 0.95],
            taus: vec![0.1, 0.01],
            bound: 2.0,
            batch: 32,
            seed: 0,
            resamples: 2000,
        }
    }
}

/// Strengths of the noise: as in training, and as Eq. (5) has it.
const STRENGTHS: [(NoiseScale, &str); 2] = [
    (NoiseScale::TokenStd, "σ of the tokens"),
    (NoiseScale::Unit, "σ = 1"),
];

/// One way of taking patches away.
struct Condition {
    kept: usize,
    /// Temperature and strength; `None` drops the patches.
    noise: Option<(f64, NoiseScale)>,
}

/// Claim `f4.proxy`: with random scores, noise after the patch embedding (Eq. (7), every patch at its weight) costs `vit` as
/// much accuracy as hard top-k under the same scores does, at every number of kept patches.
///
/// Both act on hidden state 0, positions added; the tokens before the patches stay. The claim holds when at each number of
/// patches the two top-1 accuracies are equivalent within [`ProxyPlan::bound`] (two one-sided tests at 5 %), and fails when
/// at one of them the 95 % interval of the gap lies outside the bound.
///
/// # Errors
/// When the plan makes no study, or `advance` stops it.
pub fn proxy(
    vit: &Vit,
    name: &str,
    data: &LabelledImages,
    plan: &ProxyPlan,
    advance: &mut Advance<'_>,
) -> Result<Study, PilotError> {
    check(plan, data)?;
    let n_patches = vit.config.blocks.n_patches();
    let conditions = conditions(plan, n_patches);
    let (mut best, mut five) = (Trials::new(conditions.len()), Trials::new(conditions.len()));
    for first in (0..data.len()).step_by(plan.batch) {
        let rows = first..(first + plan.batch).min(data.len());
        let pixels = vit.preprocess(&data.images[rows.clone()]);
        let tokens = vit.model.embed(pixels);
        let scores = random_scores(plan.seed, rows.clone(), n_patches);
        let mut hits = vec![(Vec::new(), Vec::new()); rows.len()];
        for condition in &conditions {
            let hidden = match condition.noise {
                None => {
                    let keep: Vec<Vec<usize>> =
                        scores.iter().map(|row| best_of(row, condition.kept)).collect();
                    vit.model.keep(tokens.clone(), &keep)
                }
                Some(noise) => throttled(vit, &tokens, &scores, condition.kept, noise, plan.seed, first),
            };
            let logits = vit.model.logits(vit.model.run(hidden)).into_data();
            let logits: Vec<f32> = logits.iter::<f32>().collect();
            let width = logits.len() / rows.len();
            for (row, (of_best, of_five)) in hits.iter_mut().enumerate() {
                let order = top_k(&logits[row * width..(row + 1) * width], 5);
                let class = data.classes[rows.start + row];
                of_best.push(f64::from(u8::from(order.first() == Some(&class))));
                of_five.push(f64::from(u8::from(order.contains(&class))));
            }
        }
        for (of_best, of_five) in hits {
            best.push(&of_best);
            five.push(&of_five);
        }
        if !advance(rows.end as f64 / data.len() as f64) {
            return Err(PilotError::Stopped);
        }
    }
    result(name, data, plan, n_patches, &conditions, &best, &five)
}

fn check(plan: &ProxyPlan, data: &LabelledImages) -> Result<(), PilotError> {
    if data.is_empty() {
        return refuse("images", "none", "at least one labelled picture");
    }
    if plan.kept.is_empty() || plan.kept.iter().any(|share| !(0.0..=1.0).contains(share)) {
        return refuse("kept", format!("{:?}", plan.kept), "shares from 0 to 1");
    }
    if plan.taus.is_empty() || plan.taus.iter().any(|tau| !(tau.is_finite() && *tau > 0.0)) {
        return refuse("taus", format!("{:?}", plan.taus), "positive temperatures");
    }
    if plan.batch == 0 || plan.resamples == 0 {
        return refuse("batch", plan.batch, "at least 1, as for resamples");
    }
    Ok(())
}

/// For each share: dropping first, then every temperature and strength.
fn conditions(plan: &ProxyPlan, n_patches: usize) -> Vec<Condition> {
    let mut conditions = Vec::new();
    for share in &plan.kept {
        let kept = ((share * n_patches as f64).round() as usize).clamp(1, n_patches);
        conditions.push(Condition { kept, noise: None });
        for &tau in &plan.taus {
            conditions.extend(STRENGTHS.map(|(strength, _)| Condition {
                kept,
                noise: Some((tau, strength)),
            }));
        }
    }
    conditions
}

/// Standard normal scores of each picture, by its number alone.
fn random_scores(seed: u64, rows: std::ops::Range<usize>, n_patches: usize) -> Vec<Vec<f32>> {
    rows.map(|picture| {
        let values = noise(
            [1, n_patches, 1],
            seed ^ 0x5C0_4E5,
            picture as u64,
            &Device::flex(),
        );
        values.into_data().iter::<f32>().collect()
    })
    .collect()
}

fn best_of(scores: &[f32], count: usize) -> Vec<usize> {
    let mut best = top_k(scores, count);
    best.sort_unstable();
    best
}

/// Hidden state 0 with every patch at its weight, the rest noise.
fn throttled(
    vit: &Vit,
    tokens: &Tensor<3>,
    scores: &[Vec<f32>],
    kept: usize,
    (tau, strength): (f64, NoiseScale),
    seed: u64,
    first: usize,
) -> Tensor<3> {
    let device = tokens.device();
    let [batch, n, width] = tokens.dims();
    let n_prefix = vit.model.n_prefix();
    let n_patches = n - n_prefix;
    let values: Vec<f32> = scores.concat();
    let output = SoftTopKConfig::new().init().forward(SoftTopKInput {
        scores: Tensor::from_data(TensorData::new(values, [batch, n_patches]), &device),
        k: kept.into(),
        tau: tau.into(),
        mask: None,
    });
    let drawn = (0..batch).map(|row| noise([1, n_patches, width], seed, (first + row) as u64, &device));
    let patches = ThrottlerConfig::new()
        .with_noise_scale(strength)
        .init()
        .forward(ThrottlerInput {
            tokens: tokens.clone().narrow(1, n_prefix, n_patches),
            weights: output.weights,
            complement: output.complement,
            argument: output.argument,
            family: GateFamily::Laplace,
            noise: Tensor::cat(drawn.collect(), 0),
            mask: None,
        });
    Tensor::cat(vec![tokens.clone().narrow(1, 0, n_prefix), patches], 1)
}

fn result(
    name: &str,
    data: &LabelledImages,
    plan: &ProxyPlan,
    n_patches: usize,
    conditions: &[Condition],
    best: &Trials,
    five: &Trials,
) -> Result<Study, PilotError> {
    let wide = Bootstrap::new(plan.resamples, plan.seed);
    // Two one-sided tests at 5 % are a 90 % interval inside the bound.
    let narrow = wide.with_level(0.9);
    let ways = 1 + plan.taus.len() * STRENGTHS.len();
    let (top1, top5) = (best.means(100.0, &wide), five.means(100.0, &wide));
    let gaps: Vec<Vec<(usize, f64)>> = (0..conditions.len())
        .map(|i| vec![(i, 100.0), (i - i % ways, -100.0)])
        .collect();
    let (gap95, gap90) = (best.contrasts(&gaps, &wide), best.contrasts(&gaps, &narrow));
    let primary: Vec<usize> = (0..plan.kept.len()).map(|share| share * ways + 1).collect();
    let within = |gap: &Estimate| gap.lo > -plan.bound && gap.hi < plan.bound;
    let outside = |gap: &Estimate| gap.lo > plan.bound || gap.hi < -plan.bound;
    let outcome = match () {
        () if primary.iter().all(|&i| within(&gap90[i])) => Outcome::Holds,
        () if primary.iter().any(|&i| outside(&gap95[i])) => Outcome::Fails,
        () => Outcome::Tie,
    };
    let widest = primary
        .iter()
        .copied()
        .max_by(|&a, &b| gap95[a].value.abs().total_cmp(&gap95[b].value.abs()))
        .unwrap_or(0);
    let strength = STRENGTHS[0].1;
    let reason = format!(
        "Rule: top-1 with noise (τ = {}, {strength}) equivalent to hard top-k within ±{} points at every share (two one-sided tests \
         at 5 %). Widest gap: {} points at {} of {n_patches} patches; equivalent at {} of {} shares.",
        plan.taus[0],
        plan.bound,
        number(&gap95[widest]),
        conditions[widest].kept,
        primary.iter().filter(|&&i| within(&gap90[i])).count(),
        primary.len(),
    );
    let label = |way: usize| match conditions[way].noise {
        None => "hard top-k".to_string(),
        Some((tau, strength)) => {
            let text = STRENGTHS
                .iter()
                .find(|(kind, _)| *kind == strength)
                .map_or("", |(_, text)| text);
            format!("noise, τ = {tau}, {text}")
        }
    };
    let mut rows = Vec::new();
    for (i, condition) in conditions.iter().enumerate() {
        let gap = match condition.noise {
            None => "–".into(),
            Some(_) => number(&gap95[i]),
        };
        rows.push(vec![
            format!("{} of {n_patches}", condition.kept),
            label(i % ways),
            number(&top1[i]),
            number(&top5[i]),
            gap,
        ]);
    }
    let curve = |way: usize| Line {
        name: label(way),
        label: label(way),
        points: (0..plan.kept.len())
            .map(|share| {
                let i = share * ways + way;
                (conditions[i].kept as f64, top1[i])
            })
            .collect(),
        dashed: way == 0,
    };
    let chart = Lines {
        name: "proxy".into(),
        title: format!(
            "Noise in place of dropping changes the classifier's accuracy by up to {:+.0} points, at {} of {n_patches} patches",
            gap95[widest].value, conditions[widest].kept
        ),
        x: format!("patches kept of {n_patches}, chosen at random"),
        y: "top-1 accuracy, %".into(),
        log_x: false,
        falling: false,
        x_marks: (0..plan.kept.len())
            .map(|share| conditions[share * ways].kept as f64)
            .collect(),
        level: None,
        decimals: None,
        note: "Intervals: 95 %, over pictures.".into(),
        lines: (0..ways).map(curve).collect(),
    };
    let labels: Vec<String> = (0..ways).map(label).collect();
    let palette = Palette::of(labels.iter().map(String::as_str));
    let setting = format!(
        "Classifier {name}; {}; seed {}; intervals: 95 %, over pictures.",
        data.source, plan.seed
    );
    Ok(Study {
        id: "proxy".into(),
        title: "Noise as a stand-in for dropping".into(),
        question: "With random scores, does variance-preserving noise after the patch embedding cost a classifier as much accuracy \
                   as hard top-k under the same scores (Fig. 4; AutoSelect Fig. 5)?"
            .into(),
        findings: vec![Finding {
            claim: "f4.proxy".into(),
            outcome,
            estimate: Some(gap95[widest]),
            reason,
            published: None,
        }],
        tables: vec![StudyTable {
            title: "Accuracy by share kept".into(),
            columns: ["kept", "way", "top-1, %", "top-5, %", "top-1 minus hard top-k, points"]
                .map(String::from)
                .to_vec(),
            rows,
        }],
        figures: vec![
            StudyFigure {
                file: "proxy.svg".into(),
                caption: setting.clone(),
                bytes: chart.svg(&palette)?.into_bytes(),
            },
            demonstration(&data.images[0], plan)?,
        ],
        setting,
        limits: "Scores are random, so it says nothing about what a trained scorer keeps. Throttled patches stay in attention as \
                 noise, dropped ones do not: at few patches the two can differ for that reason alone. The classifier was trained with \
                 random dropping, not with noise."
            .into(),
    })
}

/// A picture of 7 x 7 patches: dropped above, throttled below.
fn demonstration(image: &RgbImage, plan: &ProxyPlan) -> Result<StudyFigure, PilotError> {
    let side = image.width().min(image.height()) as usize / DEMO_SIDE;
    let width = side * DEMO_SIDE;
    let gap = 8;
    let columns = DEMO_KEPT.len();
    let size = |n: usize| (n * width + (n + 1) * gap) as u32;
    let mut sheet = RgbImage::from_pixel(size(columns), size(2), Rgb([255; 3]));
    let scores = random_scores(plan.seed, 0..1, DEMO_SIDE * DEMO_SIDE).concat();
    let device = Device::flex();
    let pixels: Vec<f64> = image.pixels().flat_map(|pixel| pixel.0.map(f64::from)).collect();
    let mean = pixels.iter().sum::<f64>() / pixels.len().max(1) as f64;
    let deviation =
        (pixels.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / pixels.len().max(1) as f64).sqrt();
    for (column, share) in DEMO_KEPT.iter().enumerate() {
        let kept = (share * (DEMO_SIDE * DEMO_SIDE) as f64).round() as usize;
        let weights = SoftTopKConfig::new().init().forward(SoftTopKInput {
            scores: Tensor::from_data(
                TensorData::new(scores.clone(), [1, DEMO_SIDE * DEMO_SIDE]),
                &device,
            ),
            k: kept.into(),
            tau: plan.taus[0].into(),
            mask: None,
        });
        let weights: Vec<f64> = weights.weights.into_data().iter::<f64>().collect();
        let best = best_of(&scores, kept);
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
        for y in 0..width {
            for x in 0..width {
                let patch = y / side * DEMO_SIDE + x / side;
                let pixel = image.get_pixel(x as u32, y as u32).0;
                let at = |row: usize| {
                    (
                        (gap + column * (width + gap) + x) as u32,
                        (gap + row * (width + gap) + y) as u32,
                    )
                };
                let (left, top) = at(0);
                let dropped = if best.contains(&patch) { pixel } else { [128; 3] };
                sheet.put_pixel(left, top, Rgb(dropped));
                let (open, closed) = (weights[patch].sqrt(), (1.0 - weights[patch]).max(0.0).sqrt());
                let noisy = pixel.map(|value| {
                    let mixed = open * (f64::from(value) - mean) + closed * deviation * normal(&mut rng);
                    (mean + mixed).clamp(0.0, 255.0) as u8
                });
                let (left, top) = at(1);
                sheet.put_pixel(left, top, Rgb(noisy));
            }
        }
    }
    let mut bytes = std::io::Cursor::new(Vec::new());
    sheet
        .write_to(&mut bytes, image::ImageFormat::Png)
        .map_err(|error| PilotError::Figure {
            name: "proxy-patches".into(),
            problem: error.to_string(),
        })?;
    Ok(StudyFigure {
        file: "proxy-patches.png".into(),
        caption: format!(
            "25, 50 and 75 % of 49 patches of one picture under one random map: dropped (above) and throttled with noise at τ = {} \
             (below), both in pixels and for illustration only.",
            plan.taus[0]
        ),
        bytes: bytes.into_inner(),
    })
}

/// A standard normal number (Box and Muller's polar form is not needed for a drawing).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    use rand::RngExt;
    let (u, v): (f64, f64) = (
        rng.random_range(f64::MIN_POSITIVE..1.0),
        rng.random_range(0.0..1.0),
    );
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
