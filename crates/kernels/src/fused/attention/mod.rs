//! Attention head by head: forward keeps the output and one number per row, backward recomputes the weights.

mod backward;
mod block;
mod forward;
mod heads;

pub(super) use backward::backward;
pub(super) use forward::forward;

use std::ops::Range;

/// Scores that a block of queries may fill: two such blocks and their operands stay in a 512 KiB cache.
const BLOCK_SCORES: usize = 24 * 1024;

/// Most queries of a block, and a multiple of the rows of a tile of the product.
const BLOCK_QUERIES: usize = 96;

/// Scale and masks of one call, without its tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionForm {
    /// Factor of the scores.
    pub(crate) scale: f32,
    /// `true` if query `i` of `n` sees only keys `j <= i + m - n`.
    pub(crate) causal: bool,
}

/// Sizes and form of one call.
#[derive(Clone, Copy)]
struct Geometry {
    batch: usize,
    n: usize,
    m: usize,
    heads: usize,
    heads_kv: usize,
    d: usize,
    form: AttentionForm,
}

impl Geometry {
    /// From the shapes `[b, n, h, d]` of the queries and `[b, m, h_kv, d]` of the keys.
    fn new(q: [usize; 4], k: [usize; 4], form: AttentionForm) -> Self {
        let ([batch, n, heads, d], [_, m, heads_kv, _]) = (q, k);
        Geometry {
            batch,
            n,
            m,
            heads,
            heads_kv,
            d,
            form,
        }
    }

    /// The number of keys, counted from the first, that query `i` may see.
    fn visible(&self, i: usize) -> usize {
        if self.form.causal {
            (i + 1 + self.m).saturating_sub(self.n).min(self.m)
        } else {
            self.m
        }
    }

    /// The query heads that key/value head `g` serves.
    fn served_by(&self, g: usize) -> Range<usize> {
        let repeats = self.heads / self.heads_kv;
        g * repeats..(g + 1) * repeats
    }

    /// Blocks of queries, each small enough that its scores stay in the cache.
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = (BLOCK_SCORES / self.m.max(1)).clamp(6, BLOCK_QUERIES) / 6 * 6;
        let n = self.n;
        (0..n)
            .step_by(rows)
            .map(move |start| start..(start + rows).min(n))
    }

    /// Multiplications of the forward pass per pair of a sequence and a key/value head.
    fn work_per_group(&self) -> usize {
        self.n * self.m * self.d * (self.heads / self.heads_kv)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_query_sees_every_key() {
        let form = AttentionForm {
            scale: 1.0,
            causal: true,
        };
        for (n, m) in [(1, 1), (3, 5), (5, 3), (1, 9)] {
            let geometry = Geometry::new([1, n, 2, 8], [1, m, 2, 8], form);
            let seen: Vec<usize> = (0..n).map(|i| geometry.visible(i)).collect();
            let wanted: Vec<usize> = (0..n)
                .map(|i| {
                    (0..m)
                        .filter(|&j| j as i64 <= i as i64 + m as i64 - n as i64)
                        .count()
                })
                .collect();
            assert_eq!(seen, wanted);
            let covered: Vec<usize> = geometry.blocks().flatten().collect();
            assert_eq!(covered, (0..n).collect::<Vec<_>>());
        }
    }
}
