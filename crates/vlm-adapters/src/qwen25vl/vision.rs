//! The vision transformer of Qwen2.5-VL: windows, rotary coordinates, RMSNorm, SwiGLU.

use burn::module::Module;
use burn::nn::{Linear, RmsNormConfig};
use burn::tensor::{Device, Tensor};
use diffprune_kernels::{AttentionOptions, attention_rows};
use diffprune_pruner::Grid;

use super::sets::{Tour, Turns};
use super::{QwenVisionBlock, WindowPlan};
use crate::QwenVisionConfig;
use crate::image::block_order;
use crate::vision::linear;

/// Epsilon of every norm of the tower and of the merger; the published code does not read it from a file.
pub(super) const EPSILON: f64 = 1e-6;
/// Standard deviation of freshly drawn weights, as in ViT and GPT-2.
pub(super) const INIT_STD: f64 = 0.02;

/// The vision tower of Qwen2.5-VL.
///
/// It takes the patches of images of any size one after the other and never masks: windows (and images) of one size
/// are a batch.
#[derive(Module, Debug)]
pub struct QwenVision {
    /// Flattened patches `(channel, frame, y, x)` to the width of the tower, no bias.
    pub patch_embed: Linear,
    /// The blocks.
    pub blocks: Vec<QwenVisionBlock>,
    head_dim: usize,
    patch_size: usize,
    frames: usize,
    merge: usize,
    window_cells: usize,
}

/// The output of [`QwenVision::encode`].
#[derive(Debug, Clone)]
pub struct QwenEncoding {
    /// The last block's output, in the order of the patches given, `[patches, d]`.
    pub hidden: Tensor<2>,
    /// Attention that each patch receives in the last block that attends over whole images, mean over its heads and
    /// the queries of its image, f32, `[patches]`.
    pub received: Option<Tensor<1>>,
}

impl QwenVisionConfig {
    /// A tower with random weights.
    ///
    /// # Panics
    /// When the width of a head is not a multiple of 4.
    pub fn init(&self, device: &Device) -> QwenVision {
        assert_eq!(
            self.hidden_size % (4 * self.num_heads),
            0,
            "two coordinates turn two halves of a head"
        );
        let (width, inner) = (self.hidden_size, self.intermediate_size);
        // Residual branches start small, so that depth does not blow up the sum (GPT-2).
        let residual_std = INIT_STD / (2.0 * self.depth as f64).sqrt();
        let norm = || RmsNormConfig::new(width).with_epsilon(EPSILON).init(device);
        let block = |i: usize| QwenVisionBlock {
            norm1: norm(),
            qkv: linear(width, 3 * width, INIT_STD, device, true),
            proj: linear(width, width, residual_std, device, true),
            norm2: norm(),
            gate_proj: linear(width, inner, INIT_STD, device, true),
            up_proj: linear(width, inner, INIT_STD, device, true),
            down_proj: linear(inner, width, residual_std, device, true),
            full_attention: self.fullatt_block_indexes.contains(&i),
            n_heads: self.num_heads,
        };
        QwenVision {
            patch_embed: linear(self.patch_values(), width, INIT_STD, device, false),
            blocks: (0..self.depth).map(block).collect(),
            head_dim: width / self.num_heads,
            patch_size: self.patch_size,
            frames: self.temporal_patch_size,
            merge: self.spatial_merge_size,
            window_cells: self.window_cells(),
        }
    }
}

impl QwenVision {
    /// The last hidden state of images with `grids` of patches, and the attention received when asked for.
    ///
    /// # Shapes
    /// - patches: `[patches, 3 * frames, size, size]`, cell by cell, image after image
    ///
    /// # Panics
    /// When the grids do not cover the patches.
    pub fn encode(&self, patches: Tensor<4>, grids: &[Grid], received: bool) -> QwenEncoding {
        let tour = self.tour(grids, &patches.device());
        let last_full = self.blocks.iter().rposition(|block| block.full_attention);
        let observed = last_full.filter(|_| received);
        let mut means = None;
        let mut hidden = tour.enter(self.embed(patches));
        for (i, block) in self.blocks.iter().enumerate() {
            let sets = block.sets(&tour);
            if observed == Some(i) {
                means = Some(tour.leave(block.received(hidden.clone(), sets)));
            }
            hidden = block.forward(hidden, sets);
        }
        QwenEncoding {
            hidden: tour.leave(hidden),
            received: means.map(|means| means.squeeze_dim(1)),
        }
    }

    /// Every hidden state, from the input of the first block to the output of the last one, in the order of the
    /// patches given, each `[patches, d]`.
    ///
    /// # Shapes
    /// - patches: `[patches, 3 * frames, size, size]`
    pub fn hidden_states(&self, patches: Tensor<4>, grids: &[Grid]) -> Vec<Tensor<2>> {
        let tour = self.tour(grids, &patches.device());
        let mut hidden = tour.enter(self.embed(patches));
        let mut states = vec![tour.leave(hidden.clone())];
        for block in &self.blocks {
            hidden = block.forward(hidden, block.sets(&tour));
            states.push(tour.leave(hidden.clone()));
        }
        states
    }

    /// Attention weights of block `index` over one whole image, for looking at small ones.
    ///
    /// # Shapes
    /// - hidden: the block's input in the order of the patches given, `[patches, d]`
    /// - output: `[1, n_heads, patches, patches]`
    ///
    /// # Panics
    /// When the block does not exist or attends inside windows.
    pub fn attention_map(&self, hidden: Tensor<2>, grid: Grid, index: usize) -> Tensor<4> {
        let block = &self.blocks[index];
        assert!(block.full_attention, "block {index} attends inside windows");
        let tour = self.tour(&[grid], &hidden.device());
        let (q, k, _) = block.heads(tour.enter(hidden), &tour.images);
        attention_rows(q, k, &AttentionOptions::default())
    }

    /// The blocks that attend over whole images.
    pub fn full_blocks(&self) -> Vec<usize> {
        let is_full = |&i: &usize| self.blocks[i].full_attention;
        (0..self.blocks.len()).filter(is_full).collect()
    }

    /// Row and column of every patch on its image, in the order of the patches given: the coordinates that turn
    /// queries and keys.
    pub fn places(&self, grids: &[Grid]) -> Vec<(usize, usize)> {
        let places = |grid: &Grid| block_order(*grid, self.merge);
        grids.iter().flat_map(places).collect()
    }

    /// Patches along one side of a cell.
    pub fn merge(&self) -> usize {
        self.merge
    }

    /// Axes of a patch: colours, frames, rows, columns.
    pub(super) fn kernel(&self) -> [usize; 4] {
        [3, self.frames, self.patch_size, self.patch_size]
    }

    /// The cells of the images and their windows.
    pub fn plan(&self, grids: &[Grid]) -> WindowPlan {
        WindowPlan::new(&cells(grids, self.merge), self.window_cells)
    }

    fn tour(&self, grids: &[Grid], device: &Device) -> Tour {
        Tour::new(&self.plan(grids), &self.turns(grids), device)
    }

    fn turns(&self, grids: &[Grid]) -> Turns {
        Turns {
            places: self.places(grids),
            patches_per_cell: self.merge * self.merge,
            head_dim: self.head_dim,
        }
    }

    fn embed(&self, patches: Tensor<4>) -> Tensor<2> {
        let [n_patches, channels, height, width] = patches.dims();
        let flat = patches.reshape([n_patches, channels * height * width]);
        self.patch_embed
            .forward(flat.cast(self.patch_embed.weight.dtype()))
    }
}

/// Rows and columns of cells.
pub(crate) fn cells(grids: &[Grid], merge: usize) -> Vec<Grid> {
    let cells = |grid: &Grid| Grid {
        rows: grid.rows / merge,
        cols: grid.cols / merge,
    };
    grids.iter().map(cells).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sets::Sets;
    use super::*;
    use burn::tensor::{Bool, TensorData, Tolerance, activation};
    use diffprune_test_support::normal;
    use proptest::prelude::*;

    fn grid(rows: usize, cols: usize) -> Grid {
        Grid {
            rows: 2 * rows,
            cols: 2 * cols,
        }
    }

    /// A tower whose weights are large enough to tell patches apart.
    fn tower() -> QwenVision {
        struct Scale;
        impl burn::module::ModuleMapper for Scale {
            fn map_float<const D: usize>(
                &mut self,
                parameter: burn::module::Param<Tensor<D>>,
            ) -> burn::module::Param<Tensor<D>> {
                parameter.map(|weight| if D == 2 { weight * 10.0 } else { weight })
            }
        }
        QwenVisionConfig::tiny().init(&Device::flex()).map(&mut Scale)
    }

    fn close<const D: usize>(a: Tensor<D>, b: Tensor<D>) {
        a.into_data()
            .assert_approx_eq::<f32>(&b.into_data(), Tolerance::absolute(1e-4));
    }

    /// Attention with one mask over all patches: what the sets must give without any.
    fn masked(
        block: &QwenVisionBlock,
        tower: &QwenVision,
        x: Tensor<2>,
        grids: &[Grid],
    ) -> (Tensor<2>, Tensor<1>) {
        let [n_patches, width] = x.dims();
        let plan = tower.plan(grids);
        let group = tower.merge * tower.merge;
        let sets: Vec<Vec<usize>> = match block.full_attention {
            true => plan.images.iter().map(|image| image.clone().collect()).collect(),
            false => plan.windows.clone(),
        };
        let set_of = |patch: usize| sets.iter().position(|set| set.contains(&(patch / group)));
        let hidden: Vec<bool> = (0..n_patches * n_patches)
            .map(|i| set_of(i / n_patches) != set_of(i % n_patches))
            .collect();
        let hidden = Tensor::<2, Bool>::from_data(TensorData::new(hidden, [n_patches; 2]), &x.device());
        // One window that holds everything: rotary tables in the order of the patches, no rearrangement.
        let sets = Sets::in_given_order(&tower.turns(grids), &x.device());
        let (q, k, v) = block.heads(x, &sets);
        let [q, k, v] = [q, k, v].map(|x| x.swap_dims(1, 2));
        let scores = q.matmul(k.swap_dims(2, 3)) / (tower.head_dim as f64).sqrt();
        let hidden: Tensor<4, Bool> = hidden.unsqueeze();
        let weights = activation::softmax(scores.clone().mask_fill(hidden.expand(scores.dims()), -1e30), 3);
        let columns = weights.clone().mean_dim(1).sum_dim(2).reshape([n_patches]);
        let attended = weights.matmul(v).swap_dims(1, 2).reshape([n_patches, width]);
        (block.proj.forward(attended), columns)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn sets_attend_as_under_a_mask(
            sizes in prop::collection::vec((1usize..6, 1usize..6), 1..4), limit in 1usize..2000
        ) {
            let tower = tower();
            let grids: Vec<Grid> = sizes.iter().map(|&(rows, cols)| grid(rows, cols)).collect();
            let n_patches = grids.iter().map(Grid::n_tokens).sum();
            let x = normal(1, [n_patches, 16]);
            let mut tour = tower.tour(&grids, &x.device());
            tour.windows.max_weights = limit;
            tour.images.max_weights = limit;
            for block in &tower.blocks {
                let sets = block.sets(&tour);
                let found = tour.leave(block.attend(tour.enter(x.clone()), sets));
                let (wanted, columns) = masked(block, &tower, x.clone(), &grids);
                close(found, wanted);
                let received = tour.leave(block.received(tour.enter(x.clone()), sets));
                let mut sizes = Vec::new();
                for grid in &grids {
                    sizes.extend(vec![grid.n_tokens() as f32; grid.n_tokens()]);
                }
                if block.full_attention {
                    let sizes = Tensor::<1>::from_data(TensorData::new(sizes, [n_patches]), &x.device());
                    close(received.squeeze_dim::<1>(1) * sizes, columns);
                }
            }
        }
    }

    #[test]
    fn heads_of_the_published_width_attend_as_under_a_mask() {
        let config = QwenVisionConfig {
            hidden_size: 160,
            ..QwenVisionConfig::tiny()
        };
        let tower = config.init(&Device::flex());
        let grids = [grid(3, 4), grid(5, 2)];
        let x = normal(2, [88, 160]);
        let tour = tower.tour(&grids, &x.device());
        for block in &tower.blocks {
            let found = tour.leave(block.attend(tour.enter(x.clone()), block.sets(&tour)));
            close(found, masked(block, &tower, x.clone(), &grids).0);
        }
    }

    #[test]
    fn images_of_a_batch_do_not_see_one_another() {
        let tower = tower();
        let grids = [grid(3, 5), grid(2, 2), grid(3, 5)];
        let n_patches: usize = grids.iter().map(Grid::n_tokens).sum();
        let patches = normal(3, [n_patches, 6, 4, 4]);
        let together = tower.encode(patches.clone(), &grids, true);
        let mut first = 0;
        for grid in grids {
            let n = grid.n_tokens();
            let alone = tower.encode(patches.clone().narrow(0, first, n), &[grid], true);
            close(together.hidden.clone().narrow(0, first, n), alone.hidden);
            let received = alone.received.expect("a block with full attention");
            close(received.clone().sum(), Tensor::ones([1], &Device::flex()));
            close(
                together.received.clone().expect("as alone").narrow(0, first, n),
                received,
            );
            first += n;
        }
    }

    #[test]
    fn windows_bound_what_a_patch_sees() {
        let config = QwenVisionConfig {
            fullatt_block_indexes: vec![],
            ..QwenVisionConfig::tiny()
        };
        let tower = config.init(&Device::flex());
        let grids = [grid(4, 4)];
        let patches = normal(4, [64, 6, 4, 4]);
        let run = |patches: Tensor<4>| tower.encode(patches, &grids, true);
        let before = run(patches.clone());
        assert!(before.received.is_none(), "no block sees the whole image");
        // The last cell is in the last window of 2 by 2 cells, which is cells 10, 11, 14 and 15.
        let changed = patches.slice_assign([60..64, 0..6, 0..4, 0..4], normal(5, [4, 6, 4, 4]));
        let moved = (run(changed).hidden - before.hidden).abs().sum_dim(1);
        let moved: Vec<f32> = moved.into_data().try_to_vec().unwrap();
        let by_cell: Vec<bool> = moved
            .chunks(4)
            .map(|cell| cell.iter().any(|&x| x > 0.0))
            .collect();
        let wanted: Vec<bool> = (0..16).map(|cell| [10, 11, 14, 15].contains(&cell)).collect();
        assert_eq!(by_cell, wanted);
    }
}
