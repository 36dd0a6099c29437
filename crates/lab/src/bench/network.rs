//! Networks of published shapes with random weights.

use std::cell::RefCell;

use burn::tensor::{DType, Device, Distribution, Tensor};
use diffprune::pruning::Observed;
use diffprune::vlm::{
    Encoded, GenerateOptions, Hooks, ImageShape, LlavaConfig, LlavaModel, LlavaNextConfig, Pixels, Prompts,
    Qwen25VlConfig, Qwen25VlModel, Reader, TextBatch, Turn, VisualInput, VisualSequence,
};
use diffprune::{Family, Grid, Layout, PositionRule, Signals, Vlm, VlmError};
use image::RgbImage;

use crate::error::LabError;

/// A network of a published shape with random weights: a [`Vlm`] without texts, whose pictures are noise.
#[derive(Clone)]
pub(super) struct Network {
    parts: Parts,
    /// The pixels of the last batch, drawn once for all passes over as many pictures.
    drawn: RefCell<Option<Pixels>>,
}

#[derive(Clone)]
enum Parts {
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
                return Ok(Self::from(Parts::Llava {
                    side: config.vision.image_size,
                    model: Box::new(config.init_random(dtype, seed, device)?),
                    views: 1,
                }));
            }
            "llava-next-7b" => {
                let config = llava(LlavaNextConfig::vicuna_7b().llava);
                return Ok(Self::from(Parts::Llava {
                    side: config.vision.image_size,
                    model: Box::new(config.init_random(dtype, seed, device)?),
                    views: 5,
                }));
            }
            "qwen2.5-vl-3b" => Qwen25VlConfig::qwen2_5_vl_3b(),
            "qwen2.5-vl-7b" => Qwen25VlConfig::qwen2_5_vl_7b(),
            "qwen2.5-vl-32b" => Qwen25VlConfig::qwen2_5_vl_32b(),
            other => return Err(super::unknown_shape(other)),
        };
        let model = qwen(config).init_random(dtype, seed, device)?;
        Ok(Self::from(Parts::Qwen(Box::new(model))))
    }

    /// Visual tokens of the picture.
    pub(super) fn n_tokens(&self) -> usize {
        self.grid().n_tokens()
    }

    /// The raster of the picture's tokens; several views, behind one another, are one row.
    fn grid(&self) -> Grid {
        match &self.parts {
            Parts::Llava { model, views: 1, .. } => Grid {
                rows: model.vision.grid_side(),
                cols: model.vision.grid_side(),
            },
            Parts::Llava { model, views, .. } => Grid {
                rows: 1,
                cols: views * model.vision.grid_side().pow(2),
            },
            Parts::Qwen(model) => Grid {
                rows: PATCHES.rows / model.vision.merge(),
                cols: PATCHES.cols / model.vision.merge(),
            },
        }
    }

    fn reader(&self) -> Reader<'_> {
        match &self.parts {
            Parts::Llava { model, .. } => model.reader(),
            Parts::Qwen(model) => model.reader(),
        }
    }

    /// Ids with one placeholder in front of the text.
    pub(super) fn prompt(&self, text: usize) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..text as u32).map(|i| 100 + i).collect();
        ids.insert(1, self.reader().image_token_id);
        ids
    }

    /// Positions that the language model has.
    pub(super) fn max_positions(&self) -> usize {
        self.reader().llama.max_positions()
    }

    /// Noise instead of `batch` pictures.
    fn noise(&self, batch: usize) -> Pixels {
        let (rows, shape) = match &self.parts {
            Parts::Llava { views, side, .. } => (*views, [batch * views, 3, *side, *side]),
            Parts::Qwen(_) => {
                let rows = PATCHES.n_tokens();
                (rows, [batch * rows, 6, 14, 14])
            }
        };
        let image = ImageShape {
            width: 1,
            height: 1,
            rows,
            grid: PATCHES,
        };
        Pixels {
            values: Tensor::random(shape, Distribution::Normal(0.0, 1.0), &self.device()),
            images: vec![image; batch],
        }
    }
}

impl From<Parts> for Network {
    fn from(parts: Parts) -> Self {
        Self {
            parts,
            drawn: RefCell::default(),
        }
    }
}

/// A network alone has no words.
fn no_texts() -> VlmError {
    VlmError::Text("found a network without a tokenizer, expected a checkpoint; name one with --model".into())
}

impl Vlm for Network {
    fn family(&self) -> Family {
        match &self.parts {
            Parts::Llava { views: 1, .. } => Family::Llava15,
            Parts::Llava { .. } => Family::LlavaNext,
            Parts::Qwen(_) => Family::Qwen25Vl,
        }
    }

    fn device(&self) -> Device {
        self.reader().llama.device()
    }

    fn clone_box(&self) -> Box<dyn Vlm> {
        Box::new(self.clone())
    }

    fn d_vision(&self) -> usize {
        match &self.parts {
            Parts::Llava { model, .. } => model.vision.d_vision(),
            Parts::Qwen(model) => {
                let width = model.merger.ln_q.gamma.lazy_shape().dims::<1>()[0];
                self.group() * width
            }
        }
    }

    fn group(&self) -> usize {
        match &self.parts {
            Parts::Llava { .. } => 1,
            Parts::Qwen(model) => model.vision.merge().pow(2),
        }
    }

    fn d_model(&self) -> usize {
        self.reader().llama.d_model()
    }

    fn kv_bytes_per_token(&self) -> u64 {
        self.reader().llama.kv_bytes_per_token()
    }

    fn text_ids(&self, _: &str) -> Result<Vec<u32>, VlmError> {
        Err(no_texts())
    }

    fn text_of(&self, _: &[u32]) -> String {
        String::new()
    }

    fn end_id(&self) -> Option<u32> {
        None
    }

    fn prompt_ids(&self, _: &[Turn]) -> Result<Vec<u32>, VlmError> {
        Err(no_texts())
    }

    fn generate_options(&self) -> GenerateOptions {
        GenerateOptions::default()
    }

    fn preprocess(&self, images: &[RgbImage]) -> Result<Pixels, VlmError> {
        let mut drawn = self.drawn.borrow_mut();
        let fresh = || self.noise(images.len());
        let same = drawn.take().filter(|pixels| pixels.images.len() == images.len());
        Ok(drawn.insert(same.unwrap_or_else(fresh)).clone())
    }

    /// The signals are those of a picture of one view; others give none.
    fn encode(&self, pixels: Pixels, signals: Signals) -> Encoded {
        let batch = pixels.images.len();
        let mut observed = Observed::default();
        let tokens = match &self.parts {
            Parts::Llava { model, views: 1, .. } => {
                let (tokens, seen) = model.observe(pixels.values, signals);
                observed = seen;
                tokens
            }
            Parts::Llava { model, views, .. } => {
                let tokens = model.tokens(pixels.values);
                let [_, n, width] = tokens.dims();
                tokens.reshape([batch, views * n, width])
            }
            Parts::Qwen(model) => model.tokens(pixels.values, &vec![PATCHES; batch]).0,
        };
        Encoded {
            tokens: tokens.cast(DType::F32),
            mask: None,
            layouts: vec![Layout::from(self.grid()); batch],
            observed,
        }
    }

    fn project(&self, tokens: Tensor<3>) -> Tensor<3> {
        match &self.parts {
            Parts::Llava { model, .. } => model.projector.forward(tokens),
            Parts::Qwen(model) => model.merger.forward(tokens),
        }
    }

    fn sequence(&self, layout: &Layout, keep: &[usize], rule: PositionRule) -> VisualSequence {
        match &self.parts {
            Parts::Llava { .. } => VisualSequence::raster(keep, layout.n_tokens(), rule),
            Parts::Qwen(_) => VisualSequence::cells(self.grid(), keep, rule),
        }
    }

    fn embed_text(&self, ids: &[u32]) -> Tensor<2> {
        self.reader().llama.embed_ids(ids)
    }

    fn loss(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Tensor<1>, VlmError> {
        self.reader().loss(batch, visual)
    }

    fn loss_recomputed(
        &self,
        batch: &TextBatch,
        visual: Option<&VisualInput>,
    ) -> Result<Tensor<1>, VlmError> {
        self.reader().loss_recomputed(batch, visual)
    }

    fn losses(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Tensor<1>, VlmError> {
        self.reader().losses(batch, visual)
    }

    fn generate_with(&self, prompts: Prompts<'_>, hooks: &mut Hooks<'_>) -> Result<Vec<Vec<u32>>, VlmError> {
        self.reader().generate_with(prompts, hooks)
    }
}
