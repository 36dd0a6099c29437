//! Networks of published shapes with random weights.

use std::time::Instant;

use burn::tensor::{DType, Device, Distribution, Tensor};
use diffprune::vlm::{
    GenerateOptions, Hooks, LlavaConfig, LlavaModel, LlavaNextConfig, Qwen25VlConfig, Qwen25VlModel,
    VisualInput, VisualSequence,
};
use diffprune::{Grid, PositionRule, Selection};

use crate::LabError;

/// A network with random weights.
pub(super) enum Network {
    Llava {
        model: Box<LlavaModel>,
        views: usize,
        side: usize,
    },
    Qwen(Box<Qwen25VlModel>),
}

/// Patch rows and columns of the picture that Qwen2.5-VL is timed on: 1008 by 1008 pixels.
const PATCHES: Grid = Grid { rows: 72, cols: 72 };

impl Network {
    /// The network of that shape, with the first `layers` of tower and language model only when that is wanted.
    pub(super) fn new(
        shape: &str,
        layers: Option<usize>,
        dtype: DType,
        seed: u64,
        device: &Device,
    ) -> Result<Self, LabError> {
        let cut = |n: &mut usize| {
            if let Some(layers) = layers {
                *n = layers.clamp(1, *n);
            }
        };
        let llava = |mut config: LlavaConfig| {
            // The tower is read at its second-last layer.
            let mut depth = config.vision.num_hidden_layers - 1;
            cut(&mut depth);
            config.vision.num_hidden_layers = depth + 1;
            cut(&mut config.text.num_hidden_layers);
            config
        };
        let qwen = |mut config: Qwen25VlConfig| {
            cut(&mut config.vision.depth);
            let depth = config.vision.depth;
            config.vision.fullatt_block_indexes.retain(|&block| block < depth);
            cut(&mut config.text.num_hidden_layers);
            config
        };
        let config = match shape {
            "llava-1.5-7b" => {
                let config = llava(LlavaConfig::llava_1_5_7b());
                return Ok(Self::Llava {
                    side: config.vision.image_size,
                    model: Box::new(config.init_random(dtype, seed, device)?),
                    views: 1,
                });
            }
            "llava-next-7b" => {
                let config = llava(LlavaNextConfig::vicuna_7b().llava);
                return Ok(Self::Llava {
                    side: config.vision.image_size,
                    model: Box::new(config.init_random(dtype, seed, device)?),
                    views: 5,
                });
            }
            "qwen2.5-vl-3b" => Qwen25VlConfig::qwen2_5_vl_3b(),
            "qwen2.5-vl-7b" => Qwen25VlConfig::qwen2_5_vl_7b(),
            "qwen2.5-vl-32b" => Qwen25VlConfig::qwen2_5_vl_32b(),
            other => return Err(super::unknown_shape(other)),
        };
        let model = qwen(config).init_random(dtype, seed, device)?;
        Ok(Self::Qwen(Box::new(model)))
    }

    /// Visual tokens of the picture.
    pub(super) fn n_tokens(&self) -> usize {
        match self {
            Self::Llava { model, views, .. } => views * model.vision.grid_side().pow(2),
            Self::Qwen(model) => PATCHES.n_tokens() / model.vision.merge().pow(2),
        }
    }

    /// Width of a token, and vectors in it.
    pub(super) fn widths(&self) -> (usize, usize) {
        match self {
            Self::Llava { model, .. } => (model.vision.d_vision(), 1),
            Self::Qwen(model) => {
                let group = model.vision.merge().pow(2);
                let width = model.merger.ln_q.gamma.lazy_shape().dims::<1>()[0];
                (group * width, group)
            }
        }
    }

    pub(super) fn kv_bytes_per_token(&self) -> u64 {
        match self {
            Self::Llava { model, .. } => model.language.kv_bytes_per_token(),
            Self::Qwen(model) => model.language.kv_bytes_per_token(),
        }
    }

    /// Pixels of `batch` pictures.
    pub(super) fn pixels(&self, batch: usize, device: &Device) -> Tensor<4> {
        let shape = match self {
            Self::Llava { views, side, .. } => [batch * views, 3, *side, *side],
            Self::Qwen(_) => [batch * PATCHES.n_tokens(), 6, 14, 14],
        };
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
    }

    /// Ids with one placeholder in front of the text.
    pub(super) fn prompt(&self, text: usize) -> Vec<u32> {
        let image = match self {
            Self::Llava { model, .. } => model.image_token_id(),
            Self::Qwen(model) => model.image_token_id(),
        };
        let mut ids: Vec<u32> = (0..text as u32).map(|i| 100 + i).collect();
        ids.insert(1, image);
        ids
    }

    /// Tokens `[b, n, d]` of `batch` pictures, f32.
    pub(super) fn encode(&self, pixels: Tensor<4>, batch: usize) -> Tensor<3> {
        let tokens = match self {
            Self::Llava { model, views, .. } => {
                let tokens = model.tokens(pixels);
                let [_, n, width] = tokens.dims();
                tokens.reshape([batch, views * n, width])
            }
            Self::Qwen(model) => model.tokens(pixels, &vec![PATCHES; batch]).0,
        };
        tokens.cast(DType::F32)
    }

    pub(super) fn project(&self, tokens: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Llava { model, .. } => model.projector.forward(tokens),
            Self::Qwen(model) => model.merger.forward(tokens),
        }
    }

    /// The part of each prompt that the kept tokens become.
    pub(super) fn visual(&self, features: Tensor<3>, selection: &Selection) -> VisualInput {
        let sequence = |keep: &[usize]| match self {
            Self::Llava { .. } => VisualSequence::raster(keep, self.n_tokens(), PositionRule::Keep),
            Self::Qwen(model) => {
                let merge = model.vision.merge();
                let grid = Grid {
                    rows: PATCHES.rows / merge,
                    cols: PATCHES.cols / merge,
                };
                VisualSequence::cells(grid, keep, PositionRule::Keep)
            }
        };
        let rows = 0..features.dims()[0];
        VisualInput {
            sequences: rows.map(|row| sequence(selection.keep_indices(row))).collect(),
            features,
            separator: None,
        }
    }

    /// Seconds of the prefill and of the steps of decoding after it, for as many prompts as there are pictures and
    /// `n_new` new tokens of each.
    pub(super) fn answer(
        &self,
        prompt: &[u32],
        visual: &VisualInput,
        n_new: usize,
    ) -> Result<[f64; 2], LabError> {
        let positions = match self {
            Self::Llava { model, .. } => model.language.max_positions(),
            Self::Qwen(model) => model.language.max_positions(),
        };
        let room = positions.saturating_sub(self.n_tokens() + prompt.len());
        if n_new > room {
            return Err(LabError::Setup {
                subject: "answer".into(),
                found: format!("{n_new} new tokens"),
                wanted: format!("at most {room}; ask for a shorter answer or text"),
            });
        }
        let options = GenerateOptions {
            max_new_tokens: n_new,
            ..GenerateOptions::default()
        };
        let start = Instant::now();
        let mut read = 0.0;
        let mut on_prefill = || read = start.elapsed().as_secs_f64();
        let mut hooks = Hooks {
            on_prefill: Some(&mut on_prefill),
            ..Hooks::default()
        };
        let prompts = vec![prompt.to_vec(); visual.sequences.len()];
        match self {
            Self::Llava { model, .. } => model.generate_with(&prompts, Some(visual), &options, &mut hooks)?,
            Self::Qwen(model) => model.generate_with(&prompts, Some(visual), &options, &mut hooks)?,
        };
        Ok([read, start.elapsed().as_secs_f64() - read])
    }
}
