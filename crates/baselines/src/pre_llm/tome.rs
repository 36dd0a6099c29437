//! ToMe (Bolya et al., ICLR 2023, arXiv 2210.09461).

use burn::tensor::Device;
use diffprune_pruner::{PositionRule, PruneError, Pruner, PruningContext, Selection, Space};

use crate::registry::{Baseline, Check, Paper};
use crate::tools::crops::crops;
use crate::tools::host::{Matrix, add_scaled, argmax, inner_products, token_matrices};
use crate::tools::merged::{Tokens, selection};
use crate::tools::top::top_k;

/// Merges tokens by bipartite matching until K are left: after the encoder, without `[CLS]`, matched by the tokens
/// themselves.
///
/// The matching and the averaging are the authors' ([`step`]); that they are applied after the encoder is our choice, as
/// the authors have no vision-language model and the origin of the tables' numbers is not public. The crops of
/// LLaVA-NeXT get equal shares and follow one another. Order: that of [`step`], which is not raster order. A merged
/// token stands at the place of the token that others joined. A budget of all tokens leaves them as they are.
#[derive(Debug, Clone, Copy)]
pub struct ToMe {
    /// Position ids of the kept tokens; counted anew.
    pub positions: PositionRule,
}

impl Default for ToMe {
    fn default() -> Self {
        Self {
            positions: PositionRule::Reindex,
        }
    }
}

pub(crate) const ENTRY: Baseline = Baseline::arm("tome", "alike ones merged pair by pair", || {
    Box::new(ToMe::default())
})
.cost("N² d / 4")
.merging()
.paper(Paper {
    arxiv: "2210.09461",
    venue: "ICLR 2023",
    licence: "CC BY-NC 4.0",
    check: Check::Oracle,
});

/// Tokens in the course of merging.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The tokens.
    pub tokens: Matrix,
    /// The number of patches that each stands for.
    pub sizes: Vec<f32>,
    /// The place of each: the index that it had at the start, of the token that others joined.
    pub places: Vec<usize>,
}

impl State {
    /// Tokens that stand for one patch each.
    pub fn new(tokens: Matrix) -> Self {
        let n_tokens = tokens.n_rows();
        Self {
            tokens,
            sizes: vec![1.0; n_tokens],
            places: (0..n_tokens).collect(),
        }
    }
}

/// Which token goes where in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matching {
    /// Tokens that stay, in order of the output.
    pub stay: Vec<usize>,
    /// Pairs of a token and the one that it joins.
    pub join: Vec<(usize, usize)>,
}

impl Matching {
    /// For each token of `0..n` the row of the output that it goes into.
    pub fn assignment(&self, n: usize) -> Vec<usize> {
        let mut rows = vec![0; n];
        self.stay
            .iter()
            .enumerate()
            .for_each(|(row, &token)| rows[token] = row);
        self.join.iter().for_each(|&(from, to)| rows[from] = rows[to]);
        rows
    }
}

/// Matches tokens at even places with tokens at odd places by the cosine of `metric`, and lets the `r` best matched even
/// ones join their partner; never more than half of the tokens that are not protected.
///
/// The output holds the even tokens that stay (by position with a `[CLS]` token, which is the first and is protected;
/// otherwise by falling similarity), then the odd ones.
pub fn matching(metric: &Matrix, r: usize, class_token: bool, device: &Device) -> Matching {
    let n_tokens = metric.n_rows();
    let r = r.min(n_tokens.saturating_sub(usize::from(class_token)) / 2);
    if r == 0 {
        return Matching {
            stay: (0..n_tokens).collect(),
            join: Vec::new(),
        };
    }
    let even: Vec<usize> = (0..n_tokens).step_by(2).collect();
    let odd: Vec<usize> = (1..n_tokens).step_by(2).collect();
    let unit = |tokens: &[usize]| metric.select(tokens).normalised(0.0).into_tensor(device);
    let products = inner_products(unit(&even), unit(&odd));
    let partners: Vec<usize> = products
        .rows()
        .map(|row| argmax(row.iter().copied()).unwrap_or(0))
        .collect();
    let mut strength: Vec<f32> = products
        .rows()
        .zip(&partners)
        .map(|(row, &partner)| row[partner])
        .collect();
    if class_token {
        strength[0] = f32::NEG_INFINITY;
    }
    let mut order = top_k(&strength, strength.len());
    let mut stay = order.split_off(r);
    if class_token {
        stay.sort_unstable();
    }
    Matching {
        stay: stay
            .into_iter()
            .map(|place| even[place])
            .chain(odd.iter().copied())
            .collect(),
        join: order
            .into_iter()
            .map(|place| (even[place], odd[partners[place]]))
            .collect(),
    }
}

/// Merges tokens as matched: means weighted by size.
pub fn merge(state: &State, matching: &Matching) -> State {
    let State {
        tokens,
        sizes,
        places,
    } = state;
    let rows = matching.assignment(tokens.n_rows());
    let width = tokens.width();
    let mut merged = vec![0.0; matching.stay.len() * width];
    let mut merged_sizes = vec![0.0; matching.stay.len()];
    let from = matching.join.iter().map(|&(from, _)| from);
    for token in matching.stay.iter().copied().chain(from) {
        let row = rows[token];
        add_scaled(
            &mut merged[row * width..(row + 1) * width],
            sizes[token],
            tokens.row(token),
        );
        merged_sizes[row] += sizes[token];
    }
    for (values, size) in merged.chunks_exact_mut(width).zip(&merged_sizes) {
        values.iter_mut().for_each(|value| *value /= size);
    }
    State {
        tokens: Matrix::new(merged, width),
        sizes: merged_sizes,
        places: matching.stay.iter().map(|&token| places[token]).collect(),
    }
}

/// One step: `r` tokens join others by the likeness of `metric` (in an encoder layer: its keys, mean over the heads).
pub fn step(state: &State, metric: &Matrix, r: usize, class_token: bool, device: &Device) -> State {
    merge(state, &matching(metric, r, class_token, device))
}

/// The number of tokens that leave in each layer: from `r * (1 - inflection)` in the first to `r * (1 + inflection)` in the last in
/// equal steps, cut to whole numbers. An inflection of 0 is constant, one of -1 falls from `2 r` to 0.
pub fn schedule(n_layers: usize, r: usize, inflection: f64) -> Vec<usize> {
    let low = (r as f64 * (1.0 - inflection)).trunc();
    let high = 2.0 * r as f64 - low;
    let rise = (high - low) / n_layers.saturating_sub(1).max(1) as f64;
    (0..n_layers)
        .map(|layer| (low + rise * layer as f64) as usize)
        .collect()
}

/// A given schedule with zeros for the layers that it does not name.
pub fn padded(schedule: &[usize], n_layers: usize) -> Vec<usize> {
    let given = schedule.iter().copied().chain(std::iter::repeat(0));
    given.take(n_layers).collect()
}

/// `n_leaving` tokens spread over the layers as evenly as can be, the larger numbers first.
pub fn spread(n_layers: usize, n_leaving: usize) -> Vec<usize> {
    (0..n_layers)
        .map(|layer| n_leaving / n_layers + usize::from(layer < n_leaving % n_layers))
        .collect()
}

/// Steps matched by the tokens themselves until `k` are left.
pub fn reduce(tokens: Matrix, k: usize, device: &Device) -> State {
    let mut state = State::new(tokens);
    while state.tokens.n_rows() > k.max(1) {
        let leaving = state.tokens.n_rows() - k.max(1);
        state = step(&state, &state.tokens, leaving, false, device);
    }
    state
}

impl Pruner for ToMe {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn positions(&self) -> PositionRule {
        self.positions
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let tokens = token_matrices(context, &context.tokens, self.name(), "tokens")?;
        let device = context.tokens.device();
        let image = |row: usize| {
            let k = context.budget(row);
            if k == context.n_tokens(row) {
                return Tokens::all(&tokens[row]);
            }
            let mut out = Tokens::default();
            for crop in crops(&context.layouts[row], k).iter().filter(|crop| crop.k > 0) {
                let state = reduce(tokens[row].select(&crop.tokens), crop.k, &device);
                crop.indices(state.places)
                    .zip(state.tokens.rows())
                    .for_each(|(place, values)| out.push(place, values));
            }
            out
        };
        let images = (0..context.batch()).map(image).collect();
        Ok(selection(images, Space::Vision, &context.tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_tokens_are_spread_over_the_layers() {
        let of = |k: usize| {
            let spread = spread(23, 576 - k);
            assert_eq!(spread.iter().sum::<usize>(), 576 - k);
            let larger = spread.iter().filter(|&&r| r == spread[0]).count();
            (spread[0], larger, spread[22])
        };
        assert_eq!(
            (of(192), of(128), of(64)),
            ((17, 16, 16), (20, 11, 19), (23, 6, 22))
        );
    }

    #[test]
    fn sizes_add_up_to_the_patches() {
        let values: Vec<f32> = (0..5 * 31).map(|i| ((i * 37) % 23) as f32 - 11.0).collect();
        for k in 1..=31 {
            let state = reduce(Matrix::new(values.clone(), 5), k, &Device::flex());
            assert_eq!(state.tokens.n_rows(), k);
            assert_eq!(state.sizes.iter().sum::<f32>(), 31.0);
        }
    }
}
