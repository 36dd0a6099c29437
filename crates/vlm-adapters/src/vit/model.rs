//! The network of ViT and DeiT.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::module::{Module, Param};
use burn::nn::{Initializer, LayerNorm, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use diffprune_kernels::{apply_layer_norm, linear3};

use crate::vision::cut_patches;
use crate::{ClipLayer, VitConfig, VitPool};

/// A vision transformer with one head, or two when it was distilled.
///
/// The sequence begins with `[CLS]`, then the distillation token where there is one, then the patches. Hidden state 0
/// is the encoder's input (positions added), hidden state `i` the output of block `i - 1`. The blocks are those of
/// CLIP, with the erf form of gelu in the published checkpoints.
#[derive(Module, Debug)]
pub struct VitModel {
    /// Flattened patches `(channel, y, x)` to the width of the encoder, `[3 * patch * patch, d_vision]`.
    pub patch_embedding: Linear,
    /// The `[CLS]` vector, `[d_vision]`.
    pub class_token: Param<Tensor<1>>,
    /// The distillation vector, `[d_vision]`.
    pub distillation_token: Option<Param<Tensor<1>>>,
    /// Learned positions of the whole sequence, `[1 + n, d_vision]` or `[2 + n, d_vision]`.
    pub position_embedding: Param<Tensor<2>>,
    /// The blocks.
    pub layers: Vec<ClipLayer>,
    /// Norm of what the heads read.
    pub norm: LayerNorm,
    /// Scores of the classes from `[CLS]`, or from the mean of the patches.
    pub head: Linear,
    /// Scores of the classes from the distillation token.
    pub distillation_head: Option<Linear>,
    patch_size: usize,
    epsilon: f64,
    #[module(skip)]
    pool: VitPool,
}

/// The output of [`VitModel::encode`].
#[derive(Debug, Clone)]
pub struct VitEncoding {
    /// The chosen hidden state, `[b, n_prefix + n, d_vision]`.
    pub hidden: Tensor<3>,
    /// Attention of `[CLS]` over the patches in the block that produced `hidden`, `[b, n_heads, n]`.
    pub cls_attention: Option<Tensor<3>>,
}

impl VitConfig {
    /// A model with random weights.
    ///
    /// # Panics
    /// When [`VitConfig::validate`] would refuse the sizes.
    pub fn init(&self, device: &Device) -> VitModel {
        if let Err(error) = self.validate() {
            panic!("{error}");
        }
        let blocks = &self.blocks;
        let width = blocks.hidden_size;
        let normal = Initializer::Normal { mean: 0.0, std: 0.02 };
        let linear = |d_input: usize, d_output: usize| LinearConfig::new(d_input, d_output).init(device);
        let mut layers: Vec<_> = (0..blocks.num_hidden_layers)
            .map(|_| blocks.init_layer(device))
            .collect();
        if !self.qkv_bias {
            for layer in &mut layers {
                for part in [&mut layer.q_proj, &mut layer.k_proj, &mut layer.v_proj] {
                    part.bias = None;
                }
            }
        }
        VitModel {
            patch_embedding: linear(3 * blocks.patch_size * blocks.patch_size, width),
            class_token: normal.init([width], device),
            distillation_token: self.distillation_token.then(|| normal.init([width], device)),
            position_embedding: normal.init([self.n_prefix() + blocks.n_patches(), width], device),
            layers,
            norm: blocks.norm(device),
            head: linear(width, self.n_classes),
            distillation_head: self.distillation_head.then(|| linear(width, self.n_classes)),
            patch_size: blocks.patch_size,
            epsilon: blocks.layer_norm_eps,
            pool: self.pool,
        }
    }
}

impl VitModel {
    /// Scores of the classes; of a distilled model the mean of both heads.
    ///
    /// # Shapes
    /// - pixels: `[b, 3, image_size, image_size]`
    /// - output: `[b, n_classes]`
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<2> {
        self.logits(self.run(self.embed(pixels)))
    }

    /// Scores of the classes when only the patches `keep_indices` enter the encoder (one list per image, of any
    /// lengths). Each keeps the position it has in the full image, and the tokens before the patches always stay:
    /// what masking the other patches as keys in every block would give, at the cost of the kept ones.
    ///
    /// Of no patch at all a model that averages patches ([`VitPool::Patches`]) has no scores: they are NaN.
    ///
    /// # Shapes
    /// - pixels: `[b, 3, image_size, image_size]`
    /// - output: `[b, n_classes]`
    ///
    /// # Panics
    /// When there is not one list per image, or an index is not below the number of patches.
    pub fn forward_keep(&self, pixels: Tensor<4>, keep_indices: &[Vec<usize>]) -> Tensor<2> {
        let tokens = self.embed(pixels);
        assert_eq!(tokens.dims()[0], keep_indices.len(), "one list per image");
        let mut by_count = BTreeMap::<usize, Vec<usize>>::new();
        for (image, row) in keep_indices.iter().enumerate() {
            by_count.entry(row.len()).or_default().push(image);
        }
        if by_count.len() == 1 {
            return self.logits(self.run(self.keep(tokens, keep_indices)));
        }
        // Images of equal counts run together; then every row goes back to its place.
        let (mut logits, mut places) = (Vec::new(), vec![0; keep_indices.len()]);
        let mut n_done = 0;
        for images in by_count.values() {
            let rows: Vec<_> = images.iter().map(|&image| keep_indices[image].clone()).collect();
            let tokens = tokens.clone().select(0, indices(images, &tokens.device()));
            logits.push(self.logits(self.run(self.keep(tokens, &rows))));
            for &image in images {
                places[image] = n_done;
                n_done += 1;
            }
        }
        let logits = Tensor::cat(logits, 0);
        let places = indices(&places, &logits.device());
        logits.select(0, places)
    }

    /// Hidden state 0 of all patches, positions added.
    ///
    /// # Shapes
    /// - pixels: `[b, 3, image_size, image_size]`
    /// - output: `[b, n_prefix + n, d_vision]`
    pub fn embed(&self, pixels: Tensor<4>) -> Tensor<3> {
        let [batch, ..] = pixels.dims();
        let pixels = pixels.cast(self.patch_embedding.weight.dtype());
        let patches = linear3(&self.patch_embedding, cut_patches(pixels, self.patch_size));
        let [_, n_patches, width] = patches.dims();
        let first = |token: &Param<Tensor<1>>| token.val().reshape([1, 1, width]).expand([batch, 1, width]);
        let mut tokens = vec![first(&self.class_token)];
        tokens.extend(self.distillation_token.as_ref().map(first));
        tokens.push(patches);
        let positions = self.position_embedding.val();
        Tensor::cat(tokens, 1) + positions.reshape([1, self.n_prefix() + n_patches, width])
    }

    /// Hidden state 0 without the patches that `keep_indices` leaves out; all lists have the same length.
    ///
    /// # Shapes
    /// - tokens: `[b, n_prefix + n, d_vision]`
    /// - output: `[b, n_prefix + k, d_vision]`
    ///
    /// # Panics
    /// When the lists differ in length, or an index is not below the number of patches.
    pub fn keep(&self, tokens: Tensor<3>, keep_indices: &[Vec<usize>]) -> Tensor<3> {
        let [batch, n_tokens, width] = tokens.dims();
        assert_eq!(batch, keep_indices.len(), "one list per image");
        let n_prefix = self.n_prefix();
        let n_kept = n_prefix + keep_indices.first().map_or(0, Vec::len);
        let mut flat = Vec::with_capacity(batch * n_kept);
        for (image, row) in keep_indices.iter().enumerate() {
            assert_eq!(n_prefix + row.len(), n_kept, "lists of different lengths");
            let start = image * n_tokens;
            flat.extend(start..start + n_prefix);
            for &patch in row {
                assert!(
                    patch < n_tokens - n_prefix,
                    "patch {patch} of {}",
                    n_tokens - n_prefix
                );
                flat.push(start + n_prefix + patch);
            }
        }
        let flat = indices(&flat, &tokens.device());
        tokens
            .reshape([batch * n_tokens, width])
            .select(0, flat)
            .reshape([batch, n_kept, width])
    }

    /// The last hidden state of a sequence.
    ///
    /// # Shapes
    /// - tokens: hidden state 0, `[b, m, d_vision]`
    /// - output: `[b, m, d_vision]`
    pub fn run(&self, tokens: Tensor<3>) -> Tensor<3> {
        self.layers
            .iter()
            .fold(tokens, |hidden, layer| layer.forward(hidden))
    }

    /// Every hidden state of a sequence, from the input of block 0 to the output of the last block.
    ///
    /// # Shapes
    /// - tokens: hidden state 0, `[b, m, d_vision]`
    pub fn hidden_states(&self, tokens: Tensor<3>) -> Vec<Tensor<3>> {
        let mut states = vec![tokens];
        for layer in &self.layers {
            let next = layer.forward(states[states.len() - 1].clone());
            states.push(next);
        }
        states
    }

    /// Attention weights of a few queries of a block.
    ///
    /// # Shapes
    /// - hidden: the block's input (hidden state `block`), `[b, m, d_vision]`
    /// - output: `[b, n_heads, rows, m]`
    ///
    /// # Panics
    /// When there is no such block or no such row.
    pub fn attention_rows(&self, block: usize, hidden: Tensor<3>, rows: Range<usize>) -> Tensor<4> {
        self.layers[block].attention_rows(hidden, rows)
    }

    /// Hidden state `index` of whole images (negative counts from the end), and the `[CLS]` attention of the block
    /// that produced it. Only the blocks needed for it are computed.
    ///
    /// # Shapes
    /// - pixels: `[b, 3, image_size, image_size]`
    ///
    /// # Panics
    /// When the index names no hidden state.
    pub fn encode(&self, pixels: Tensor<4>, index: i64, cls_attention: bool) -> VitEncoding {
        let n_states = self.layers.len() as i64 + 1;
        let depth = if index < 0 { n_states + index } else { index };
        assert!(
            (0..n_states).contains(&depth),
            "hidden state {index} of {n_states}"
        );
        let depth = depth as usize;
        let mut hidden = self.embed(pixels);
        let mut row = None;
        for (i, layer) in self.layers[..depth].iter().enumerate() {
            if cls_attention && i + 1 == depth {
                let weights = layer.attention_rows(hidden.clone(), 0..1);
                let [batch, n_heads, _, n_keys] = weights.dims();
                let n_prefix = self.n_prefix();
                let weights = weights.reshape([batch, n_heads, n_keys]);
                row = Some(weights.narrow(2, n_prefix, n_keys - n_prefix));
            }
            hidden = layer.forward(hidden);
        }
        VitEncoding {
            hidden,
            cls_attention: row,
        }
    }

    /// The patches among a hidden state, `[b, m, d_vision]` to `[b, m - n_prefix, d_vision]`.
    pub fn patches(&self, hidden: Tensor<3>) -> Tensor<3> {
        let n_prefix = self.n_prefix();
        let n_patches = hidden.dims()[1] - n_prefix;
        hidden.narrow(1, n_prefix, n_patches)
    }

    /// Scores of the classes from the last hidden state; of a distilled model the mean of both heads.
    ///
    /// # Shapes
    /// - hidden: `[b, m, d_vision]`
    /// - output: `[b, n_classes]`
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<2> {
        match self.head_logits(hidden) {
            (logits, None) => logits,
            (logits, Some(distilled)) => (logits + distilled) / 2.0,
        }
    }

    /// Scores of the classes from each head: the first, and that of the distillation token.
    ///
    /// # Shapes
    /// - hidden: the last hidden state, `[b, m, d_vision]`
    /// - outputs: `[b, n_classes]`
    pub fn head_logits(&self, hidden: Tensor<3>) -> (Tensor<2>, Option<Tensor<2>>) {
        let [batch, n_tokens, width] = hidden.dims();
        let token = |i: usize| hidden.clone().narrow(1, i, 1).reshape([batch, width]);
        let read = |x: Tensor<2>, head: &Linear| head.forward(apply_layer_norm(&self.norm, x, self.epsilon));
        let pooled = match self.pool {
            VitPool::ClassToken => token(0),
            VitPool::Patches if n_tokens == self.n_prefix() => token(0) * f32::NAN,
            VitPool::Patches => self.patches(hidden.clone()).mean_dim(1).reshape([batch, width]),
        };
        let distilled = self.distillation_head.as_ref().map(|head| read(token(1), head));
        (read(pooled, &self.head), distilled)
    }

    /// Tokens before the patches: `[CLS]`, and the distillation token.
    pub fn n_prefix(&self) -> usize {
        1 + usize::from(self.distillation_token.is_some())
    }

    /// Number of classes.
    pub fn n_classes(&self) -> usize {
        self.head.weight.lazy_shape().dims::<2>()[1]
    }

    /// The device that holds the weights.
    pub fn device(&self) -> Device {
        self.class_token.val().device()
    }
}

fn indices(values: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, ClipVisionConfig, VitLayout};
    use burn::tensor::{Bool, Tolerance};
    use diffprune_kernels::{AttentionOptions, attention, gelu};
    use diffprune_test_support::normal;

    fn config() -> VitConfig {
        VitConfig {
            blocks: ClipVisionConfig {
                hidden_act: Activation::Gelu,
                layer_norm_eps: 1e-6,
                ..ClipVisionConfig::tiny()
            },
            qkv_bias: true,
            distillation_token: true,
            distillation_head: true,
            pool: VitPool::ClassToken,
            n_classes: 5,
            layout: VitLayout::Timm,
        }
    }

    /// A model whose every parameter matters.
    fn model(config: &VitConfig) -> VitModel {
        struct Stir(u64);
        impl burn::module::ModuleMapper for Stir {
            fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
                self.0 += 1;
                let seed = self.0;
                parameter.map(|x| normal::<D>(seed, x.dims()) * 0.3 + x)
            }
        }
        config.init(&Device::flex()).map(&mut Stir(1))
    }

    fn pixels(batch: usize) -> Tensor<4> {
        normal(1, [batch, 3, 56, 56])
    }

    fn close<const D: usize>(a: Tensor<D>, b: Tensor<D>) {
        a.into_data()
            .assert_approx_eq::<f32>(&b.into_data(), Tolerance::absolute(1e-4));
    }

    /// The same model, composed, with the keys masked in every block that are not kept.
    fn masked(model: &VitModel, pixels: Tensor<4>, keep: &[Vec<usize>]) -> Tensor<2> {
        let mut x = model.embed(pixels);
        let [batch, n, width] = x.dims();
        let visible =
            |image: usize, i: usize| i < model.n_prefix() || keep[image].contains(&(i - model.n_prefix()));
        let mask: Vec<bool> = (0..batch * n).map(|i| visible(i / n, i % n)).collect();
        let options = AttentionOptions::default().with_key_mask(Tensor::<2, Bool>::from_data(
            TensorData::new(mask, [batch, n]),
            &x.device(),
        ));
        for layer in &model.layers {
            let normed = apply_layer_norm(&layer.layer_norm1, x.clone(), 1e-6);
            let heads = |part: &Linear| linear3(part, normed.clone()).reshape([batch, n, 2, width / 2]);
            let attended = attention(
                heads(&layer.q_proj),
                heads(&layer.k_proj),
                heads(&layer.v_proj),
                &options,
            );
            x = x + linear3(&layer.out_proj, attended.reshape([batch, n, width]));
            let normed = apply_layer_norm(&layer.layer_norm2, x.clone(), 1e-6);
            x = x + linear3(&layer.fc2, gelu(linear3(&layer.fc1, normed)));
        }
        model.logits(x)
    }

    #[test]
    fn dropped_patches_are_masked_keys() {
        let model = model(&config());
        let pixels = pixels(4);
        // Of any lengths, in any order of lengths, down to none.
        let keep = vec![vec![0, 3, 7, 15], vec![], vec![2, 5, 11, 12], vec![9]];
        let found = model.forward_keep(pixels.clone(), &keep);
        close(found.clone(), masked(&model, pixels.clone(), &keep));
        let all = vec![(0..16).collect::<Vec<_>>(); 4];
        close(
            model.forward_keep(pixels.clone(), &all),
            model.forward(pixels.clone()),
        );
        let contrast = (found - model.forward(pixels)).abs().min().into_scalar::<f32>();
        assert!(contrast > 1e-4, "dropping changes something: {contrast}");
    }

    #[test]
    fn averaged_patches_are_those_that_stayed() {
        let config = VitConfig {
            distillation_token: false,
            distillation_head: false,
            pool: VitPool::Patches,
            ..config()
        };
        let model = model(&config);
        let pixels = pixels(1);
        let keep = [vec![1, 4, 6]];
        let hidden = model.run(model.keep(model.embed(pixels.clone()), &keep));
        let mean = hidden.narrow(1, 1, 3).mean_dim(1).reshape([1, 16]);
        let wanted = model.head.forward(apply_layer_norm(&model.norm, mean, 1e-6));
        close(model.forward_keep(pixels.clone(), &keep), wanted);
        let none = model.forward_keep(pixels, &[vec![]]);
        assert!(
            none.into_data()
                .try_to_vec::<f32>()
                .is_ok_and(|x| x.iter().all(|x| x.is_nan()))
        );
    }

    #[test]
    fn early_states_cost_only_their_blocks() {
        let model = model(&config());
        let pixels = pixels(2);
        let states = model.hidden_states(model.embed(pixels.clone()));
        for (index, wanted) in [(0, 0), (1, 1), (-1, 3), (-2, 2)] {
            let encoding = model.encode(pixels.clone(), index, true);
            close(encoding.hidden, states[wanted].clone());
            assert_eq!(
                encoding.cls_attention.map(|row| row.dims()),
                (wanted > 0).then_some([2, 2, 16])
            );
        }
    }
}
