//! PruneSID (Fang et al., ICLR 2026, arXiv 2603.09480).

use burn::tensor::Device;
use diffprune_pruner::{PositionRule, PruneError, Pruner, PruningContext, Selection, Signals, Space};
use rayon::prelude::*;

use crate::registry::{Baseline, Check, Paper};
use crate::tools::crops::{Crop, crops};
use crate::tools::eigen::leading;
pub use crate::tools::encoder::Encoder;
use crate::tools::host::{Matrix, argmax, dot, inner_products, projected_tokens, token_matrices};
use crate::tools::merged::{CropTokens, Placed, Tokens, class_rows, packed, selection};
use crate::tools::saliency::{saliency, saliency_signals};

/// Groups tokens by the principal direction on which they load most, thins each group by likeness, and shares the
/// budget out among the groups by how many differ.
///
/// [`Encoder::WithClass`] works crop by crop on the encoder's tokens; `[CLS]` counts among the K tokens of a crop and stands
/// at the place of its first token. Order: `[CLS]`, then group by group; several crops as in [`crate::pack_crops`].
/// [`Encoder::WithoutClass`] works on the projected tokens of the whole image, without `[CLS]`. Order: group by group, ascending
/// when more than 150 are kept.
///
/// The principal directions come from an exact decomposition (of the smaller Gram matrix). The published code draws
/// them from a random sketch without a seed, so that its own runs agree only in part. Apart from this code and paper
/// differ in the paper's budget that depends on the image, which the code does not have and which is not here either.
/// The published code for Qwen keeps at least 16 tokens; here the budget is the law. A budget of all tokens leaves them
/// as they are.
#[derive(Debug, Clone, Copy)]
pub struct PruneSid {
    /// Which of the two published codes: that for LLaVA ranks by `[CLS]` attention, that for Qwen2-VL by the loading.
    pub encoder: Encoder,
    /// Position ids of the kept tokens: counted anew in the code for LLaVA, kept in that for Qwen.
    pub positions: PositionRule,
}

impl PruneSid {
    /// The method with the position rule of its published code.
    pub fn new(encoder: Encoder) -> Self {
        Self {
            encoder,
            positions: encoder.positions(),
        }
    }
}

const PAPER: Paper = Paper {
    arxiv: "2603.09480",
    venue: "ICLR 2026",
    licence: "Apache-2.0",
    check: Check::Oracle,
};

pub(crate) const ENTRY: Baseline = Baseline::arm("prunesid", "spread over principal directions", || {
    Box::new(PruneSid::new(Encoder::WithClass))
})
.cost("N² d + N² K")
.paper(PAPER)
.differs(GIVEN, BY_IMAGE);
const GIVEN: &str = "the budget is given";
const BY_IMAGE: &str = "it depends on the image (not here)";

pub(crate) const WITHOUT_CLASS: Baseline = Baseline::arm(
    "prunesid-qwen",
    "spread over principal directions, no [CLS]",
    || Box::new(PruneSid::new(Encoder::WithoutClass)),
)
.cost("N² D + N² K")
.paper(PAPER)
.differs(GIVEN, BY_IMAGE);

/// The choice of the tokens of a crop.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The group of each token.
    pub groups: Vec<usize>,
    /// The likeness above which a token is suppressed.
    pub threshold: f32,
    /// Tokens of each group that are not suppressed.
    pub survivors: Vec<usize>,
    /// Tokens taken from each group.
    pub quotas: Vec<usize>,
    /// The kept tokens in order.
    pub kept: Vec<usize>,
}

/// Number of principal directions for `k` tokens.
pub fn n_directions(encoder: Encoder, k: usize) -> usize {
    match encoder {
        Encoder::WithClass => (k / 4).max(1),
        Encoder::WithoutClass => (k / 4).max(4),
    }
}

/// The count of the published code for Qwen: as large a share of `n_tokens` as `wanted` is of 576, at least 16.
pub fn whole_count(n_tokens: usize, wanted: usize) -> usize {
    ((n_tokens as f64 * wanted as f64 / 576.0).round_ties_even() as usize).max(16)
}

/// Absolute loadings of the tokens on the `q` principal directions of their sigmoid, `[n, q]`.
///
/// Tokens are the variables and channels the samples: each token is centred over its channels. Directions without
/// variance load nothing.
pub fn loadings(features: &Matrix, q: usize, device: &Device) -> Matrix {
    let (n_tokens, width) = (features.n_rows(), features.width());
    let mut values = features.values().to_vec();
    values.par_chunks_mut(width).for_each(|row| {
        row.iter_mut()
            .for_each(|value| *value = 1.0 / (1.0 + (-*value).exp()));
        let mean = row.iter().sum::<f32>() / width as f32;
        row.iter_mut().for_each(|value| *value -= mean);
    });
    let centred = Matrix::new(values, width);
    let tensor = centred.clone().into_tensor(device);
    let q = q.min(n_tokens).min(width);
    let by_token = n_tokens <= width;
    let gram = if by_token {
        inner_products(tensor.clone(), tensor)
    } else {
        let channels = tensor.transpose();
        inner_products(channels.clone(), channels)
    };
    let directions = leading(&gram, q);
    let least = directions.first().map_or(0.0, |(value, _)| value * 1e-9);
    let mut loadings = vec![0.0; n_tokens * q];
    for (column, (value, vector)) in directions.into_iter().enumerate() {
        if value <= least {
            continue;
        }
        let vector: Vec<f32> = vector.into_iter().map(|x| x as f32).collect();
        let column = loadings.iter_mut().skip(column).step_by(q);
        if by_token {
            column.zip(vector).for_each(|(out, x)| *out = x.abs());
        } else {
            let scale = value.sqrt() as f32;
            column
                .zip(centred.rows())
                .for_each(|(out, row)| *out = (dot(row, &vector) / scale).abs());
        }
    }
    Matrix::new(loadings, q)
}

/// Chooses tokens of one crop by their loadings; `k` counts `[CLS]` in [`Encoder::WithClass`].
///
/// - `attention`: what tokens are ranked by in [`Encoder::WithClass`]; the loadings take its place in [`Encoder::WithoutClass`]
pub fn choose(encoder: Encoder, loadings: &Matrix, features: &Matrix, attention: &[f32], k: usize) -> Choice {
    let n_tokens = features.n_rows();
    let groups: Vec<usize> = loadings
        .rows()
        .map(|row| argmax(row.iter().copied()).unwrap_or(0))
        .collect();
    let scores: Vec<f32> = match encoder {
        Encoder::WithClass => attention.to_vec(),
        Encoder::WithoutClass => loadings
            .rows()
            .zip(&groups)
            .map(|(row, &group)| row[group])
            .collect(),
    };
    let unit = features.normalised(0.0);
    let threshold = threshold(encoder, &unit, k);
    let mut members = vec![Vec::new(); loadings.width()];
    groups
        .iter()
        .enumerate()
        .for_each(|(token, &group)| members[group].push(token));
    let (rankings, survivors): (Vec<Vec<usize>>, Vec<usize>) = members
        .into_par_iter()
        .map(|members| suppress(members, &scores, &unit, threshold))
        .unzip();
    let sizes: Vec<usize> = rankings.iter().map(Vec::len).collect();
    let n_classes = usize::from(encoder == Encoder::WithClass);
    let quotas = quotas(&sizes, &survivors, k, n_classes);
    let taken = rankings.iter().zip(&quotas);
    let mut kept: Vec<usize> = taken
        .flat_map(|(ranking, &quota)| &ranking[..quota])
        .copied()
        .collect();
    kept.truncate(k.saturating_sub(n_classes).min(n_tokens));
    if encoder == Encoder::WithoutClass && kept.len() > 150 {
        kept.sort_unstable();
    }
    Choice {
        groups,
        threshold,
        survivors,
        quotas,
        kept,
    }
}

/// The likeness above which tokens are suppressed: a multiple of the mean likeness of all pairs.
///
/// In the code for Qwen the mean is over the upper triangle with the diagonal, divided by the whole square.
fn threshold(encoder: Encoder, unit: &Matrix, k: usize) -> f32 {
    let mut sum = vec![0f64; unit.width()];
    let mut own = 0f64;
    for row in unit.rows() {
        sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        own += f64::from(dot(row, row));
    }
    let all: f64 = sum.iter().map(|x| x * x).sum();
    let (n, k) = (unit.n_rows() as f64, k as f64);
    let threshold = match encoder {
        Encoder::WithClass => k / 32.0 * (all - own) / (n * (n - 1.0)).max(1.0),
        Encoder::WithoutClass => (18.0 * k / n).max(1.0) * (all + own) / (2.0 * n * n),
    };
    threshold as f32
}

/// The members of a group in the order in which they are taken, and how many of them suppress others: the best live one
/// is taken and all that are too much like it die, until none lives; then come the dead by their scores.
fn suppress(mut members: Vec<usize>, scores: &[f32], unit: &Matrix, threshold: f32) -> (Vec<usize>, usize) {
    members.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut alive = vec![true; members.len()];
    let mut ranking = Vec::with_capacity(members.len());
    let mut dead = Vec::new();
    for i in 0..members.len() {
        if !alive[i] {
            dead.push(members[i]);
            continue;
        }
        ranking.push(members[i]);
        for j in i + 1..members.len() {
            // No cosine exceeds 1 by more than rounding.
            if alive[j] && threshold < 1.001 && dot(unit.row(members[i]), unit.row(members[j])) > threshold {
                alive[j] = false;
            }
        }
    }
    let survivors = ranking.len();
    ranking.extend(dead);
    (ranking, survivors)
}

/// The number of tokens from each group: one to start with, the rest in proportion to its survivors, up to a bound; what the
/// bound leaves over goes to the groups with most survivors.
fn quotas(sizes: &[usize], survivors: &[usize], k: usize, n_classes: usize) -> Vec<usize> {
    let n_tokens: usize = sizes.iter().sum();
    let lower: Vec<usize> = sizes.iter().map(|&size| size.min(1)).collect();
    let bound = 5 * k.div_ceil(64);
    let mut upper: Vec<usize> = sizes
        .iter()
        .zip(survivors)
        .map(|(&size, &survivors)| bound.min(size).min(survivors))
        .collect();
    while upper.iter().sum::<usize>() < k.min(n_tokens) {
        for (upper, &size) in upper.iter_mut().zip(sizes) {
            *upper = (*upper + 1).min(size);
        }
    }
    let n_lower: usize = lower.iter().sum();
    let rest = k.saturating_sub(n_lower + n_classes);
    let all_survivors = survivors.iter().sum::<usize>().max(1) as f64;
    let (mut seen, mut given) = (0, 0);
    let mut quotas = Vec::with_capacity(sizes.len());
    for group in 0..sizes.len() {
        seen += survivors[group];
        let up_to_here = (rest as f64 * seen as f64 / all_survivors).round_ties_even() as usize;
        quotas.push((up_to_here - given + lower[group]).min(upper[group]));
        given = up_to_here;
    }
    let mut left = (rest + n_lower).saturating_sub(quotas.iter().sum());
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&group| std::cmp::Reverse(survivors[group]));
    for group in order {
        let more = left.min(upper[group] - quotas[group]);
        quotas[group] += more;
        left -= more;
    }
    quotas
}

/// Loadings and choice of one crop.
fn chosen(encoder: Encoder, features: &Matrix, attention: &[f32], k: usize, device: &Device) -> Vec<usize> {
    let loadings = loadings(features, n_directions(encoder, k), device);
    choose(encoder, &loadings, features, attention, k).kept
}

impl PruneSid {
    fn select_by_crop(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let attention = context.require_cls_attention(self.name())?;
        let classes = class_rows(context, self.name())?
            .ok_or_else(|| PruneError::missing(self.name(), "[CLS] tokens"))?;
        let device = attention.device();
        let saliency = saliency(context, self.name())?;
        let tokens = token_matrices(context, &context.tokens, self.name(), "tokens")?;
        let crop = |row: usize, view: usize, crop: &Crop| -> CropTokens<Placed> {
            let features = tokens[row].selected(&crop.tokens);
            let kept = match crop.k {
                0 => Vec::new(),
                k => chosen(self.encoder, &features, &crop.of(&saliency[row]), k, &device),
            };
            let patch = |place: usize| {
                let index = crop.tokens[place];
                (index, (index, features.row(place).to_vec()))
            };
            CropTokens {
                class: (crop.k > 0).then(|| (crop.tokens[0], classes[row].row(view).to_vec())),
                patches: kept.into_iter().map(patch).collect(),
                contextual: Vec::new(),
            }
        };
        let image = |row: usize| {
            if context.budget(row) == context.n_tokens(row) {
                return Tokens::all(&tokens[row]);
            }
            let crops = crops(&context.layouts[row], context.budget(row));
            packed(
                crops
                    .iter()
                    .enumerate()
                    .map(|(view, of_view)| crop(row, view, of_view)),
            )
        };
        let images = (0..context.batch()).map(image).collect();
        Ok(selection(images, Space::Vision, &context.tokens))
    }

    fn select_whole(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let (features, projected) = projected_tokens(context, self.name())?;
        let device = projected.device();
        let image = |(row, features): (usize, &Matrix)| {
            let k = context.budget(row);
            if k == features.n_rows() {
                return Tokens::all(features);
            }
            let mut tokens = Tokens::default();
            for index in chosen(self.encoder, features, &[], k, &device) {
                tokens.push(index, features.row(index));
            }
            tokens
        };
        let images = features.iter().enumerate().map(image).collect();
        Ok(selection(images, Space::Language, projected))
    }
}

impl Pruner for PruneSid {
    fn name(&self) -> &str {
        match self.encoder {
            Encoder::WithClass => ENTRY.name,
            Encoder::WithoutClass => WITHOUT_CLASS.name,
        }
    }

    fn signals(&self) -> Signals {
        match self.encoder {
            Encoder::WithClass => Signals {
                class_tokens: true,
                received_attention: false,
                ..saliency_signals()
            },
            Encoder::WithoutClass => Signals {
                projected: true,
                ..Signals::default()
            },
        }
    }

    fn positions(&self) -> PositionRule {
        self.positions
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        match self.encoder {
            Encoder::WithClass => self.select_by_crop(context),
            Encoder::WithoutClass => self.select_whole(context),
        }
    }
}
