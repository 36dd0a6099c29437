//! Arithmetic of the language model, under every convention that papers use.

use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use super::shape::ModelShape;

/// Positions whose logits are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Logits {
    /// None.
    None,
    /// The last one: what generation needs.
    Last,
    /// Every one: what a plain forward pass computes.
    All,
}

/// The operations that count, and their weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counting {
    /// Operations per multiply-add: 2, or 1 where multiply-adds are called FLOPs.
    pub per_multiply_add: u32,
    /// True when the products between tokens count (`2 n^2 d` per layer; causality is not exploited).
    pub products: bool,
    /// Positions whose logits count.
    pub logits: Logits,
}

impl Counting {
    /// Everything, 2 per multiply-add, logits of the last position.
    pub const FULL: Self = Self {
        per_multiply_add: 2,
        products: true,
        logits: Logits::Last,
    };
    /// The operations that PyTorch's profiler counts with a fused attention kernel: 2 per multiply-add, no products between tokens,
    /// logits of the whole prompt.
    pub const PROFILER: Self = Self {
        per_multiply_add: 2,
        products: false,
        logits: Logits::All,
    };
    /// PyramidDrop's and SparseVLM's: multiply-adds called FLOPs, no logits. PyramidDrop counts visual tokens alone.
    pub const MULTIPLY_ADDS: Self = Self {
        per_multiply_add: 1,
        products: true,
        logits: Logits::None,
    };
}

/// FLOPs of a prefill.
///
/// Per layer with `n` tokens: `2 n d d_q + 2 n d d_kv + 3 n d m` multiply-adds in linear layers (`4 n d^2 + 3 n d m` without
/// grouped keys) and `2 n^2 d_q` in attention; `d V` for each position with logits; `d d_q` or `d d_kv` for each
/// projection that ranks a token.
pub fn prefill_flops(shape: &ModelShape, schedule: &Schedule, counting: Counting) -> f64 {
    let blocks = &shape.language;
    let mut sum = schedule.token_layers() * blocks.linear();
    if counting.products {
        sum += schedule.sum(|tokens| blocks.products(tokens, tokens));
    }
    let head = (blocks.d_model * shape.vocab) as f64;
    sum += head
        * match counting.logits {
            Logits::None => 0.0,
            Logits::Last => 1.0,
            Logits::All => schedule.last() as f64,
        };
    let widths = [blocks.d_query(), blocks.d_kv(), blocks.d_kv()];
    let ranking: usize = widths.iter().take(schedule.ranking_projections).sum();
    sum += schedule.ranked() * (blocks.d_model * ranking) as f64;
    sum * f64::from(counting.per_multiply_add)
}

/// Bytes of keys and values after a prefill: `2 n d_kv bytes` per layer.
pub fn kv_bytes(shape: &ModelShape, schedule: &Schedule, bytes_per_value: usize) -> f64 {
    2.0 * schedule.token_layers() * (shape.language.d_kv() * bytes_per_value) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LLaVA-1.5-7B with the 32,000 words of its paper; the stored matrix has 64 rows more.
    fn llava() -> ModelShape {
        ModelShape {
            vocab: 32_000,
            ..ModelShape::preset("llava-1.5-7b").unwrap()
        }
    }

    fn tera(tokens: usize, counting: Counting) -> f64 {
        prefill_flops(&llava(), &Schedule::uniform(32, tokens), counting) / 1e12
    }

    fn rounds_to(value: f64, printed: &str) -> bool {
        let decimals = printed.split('.').nth(1).map_or(0, str::len);
        format!("{value:.decimals$}") == printed
    }

    #[test]
    fn the_profiler_gives_the_printed_rows_and_only_with_97_other_tokens() {
        assert!(rounds_to(tera(576 + 97, Counting::PROFILER), "8.893"));
        assert!(rounds_to(tera(64 + 97, Counting::PROFILER), "2.127"));
        let fits = |text: &usize| {
            rounds_to(tera(576 + text, Counting::PROFILER), "8.89")
                && rounds_to(tera(64 + text, Counting::PROFILER), "2.13")
        };
        assert_eq!((0..400).filter(fits).collect::<Vec<_>>(), [97]);
    }

    #[test]
    fn no_other_counting_fits_both_rows() {
        for products in [false, true] {
            for logits in [Logits::None, Logits::Last, Logits::All] {
                let counting = Counting {
                    products,
                    logits,
                    ..Counting::PROFILER
                };
                let fits = (0..400).any(|text| {
                    rounds_to(tera(576 + text, counting), "8.89")
                        && rounds_to(tera(64 + text, counting), "2.13")
                });
                assert_eq!(fits, counting == Counting::PROFILER, "{counting:?}");
            }
        }
    }

    #[test]
    fn everything_counted() {
        for (visual, printed) in [(576, "8.95"), (192, "3.79"), (128, "2.94"), (64, "2.10")] {
            let found = tera(visual + 97, Counting::FULL);
            assert!(rounds_to(found, printed), "{visual}: {found}");
        }
        // The published shape and the stored one round alike.
        let stored = ModelShape::preset("llava-1.5-7b").unwrap();
        let stored = prefill_flops(&stored, &Schedule::uniform(32, 673), Counting::PROFILER);
        assert!(rounds_to(stored / 1e12, "8.89"));
    }

    #[test]
    fn pyramid_drop_prints_multiply_adds_of_visual_tokens() {
        assert!(rounds_to(tera(576, Counting::MULTIPLY_ADDS), "3.817"));
        let pyramid = Schedule::stages([(8, 576), (8, 288), (8, 144), (8, 72)]);
        assert_eq!(pyramid.average(), 270.0);
        let printed = prefill_flops(&llava(), &pyramid, Counting::MULTIPLY_ADDS);
        assert!(rounds_to(printed / 1e12, "1.777"));
        for (ranking, printed) in [(0, "4.798"), (2, "4.885"), (3, "4.928")] {
            let schedule = pyramid.clone().plus(97).with_ranking(ranking);
            let found = prefill_flops(&llava(), &schedule, Counting::PROFILER) / 1e12;
            assert!(rounds_to(found, printed), "{ranking}: {found}");
        }
    }

    #[test]
    fn a_layer_is_the_textbook_formula() {
        let shape = llava();
        let (d, m, n) = (4096.0, 11_008.0, 100.0);
        let layer = prefill_flops(&shape, &Schedule::uniform(1, 100), Counting::MULTIPLY_ADDS);
        assert_eq!(layer, 4.0 * n * d * d + 3.0 * n * d * m + 2.0 * n * n * d);
        // Grouped keys: only the key and value projections shrink.
        let mut grouped = shape.clone();
        grouped.language.n_kv_heads = 8;
        let saved = layer - prefill_flops(&grouped, &Schedule::uniform(1, 100), Counting::MULTIPLY_ADDS);
        assert_eq!(saved, 2.0 * n * d * (d - d / 4.0));
    }

    #[test]
    fn caches_follow_the_schedule() {
        let shape = llava();
        // 0.5 MiB per token in 16 bits.
        assert_eq!(
            kv_bytes(&shape, &Schedule::uniform(32, 576), 2),
            576.0 * 512.0 * 1024.0
        );
        let early = Schedule::stages([(2, 576), (30, 64)]);
        assert_eq!(
            kv_bytes(&shape, &early, 2),
            (2.0 * 576.0 + 30.0 * 64.0) * 16.0 * 1024.0
        );
    }
}
