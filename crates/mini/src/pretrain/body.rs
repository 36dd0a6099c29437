//! Sizes of the small models, and what each family makes of an image.

use std::fmt::Debug;
use std::path::Path;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use diffprune_pruner::{Area, Grid, Layout, PositionRule};
use diffprune_vlm::Family;
use diffprune_vlm_adapters::{
    Activation, AnyRes, ClipVisionConfig, FeatureSelect, ImageProcessor, LlamaConfig, LlavaConfig,
    LlavaModel, LlavaNextConfig, LlavaNextModel, Newlines, NextTokens, Packing, Qwen25VlConfig,
    Qwen25VlModel, QwenImageProcessor, QwenVisionConfig, VisualSequence,
};
use image::RgbImage;

use super::config::PretrainConfig;
use super::init::rescale;
use super::labels::SceneLabels;
use super::parts::{Bridge, NewlineBridge, Reader, Tower};
use crate::{MiniError, ProcessorIds, Scene, WorldConfig};

/// Tiles along one side of the image in LLaVA-NeXT.
pub(crate) const TILES: usize = 2;
/// Patches along one side of a cell in Qwen2.5-VL.
const MERGE: usize = 2;
/// Cells along one side of an attention window in Qwen2.5-VL.
const WINDOW: usize = 4;

/// A family's sizes and its way from an image to tokens.
pub enum Body {
    /// LLaVA-1.5.
    Llava(LlavaConfig, ImageProcessor),
    /// LLaVA-NeXT; for each token the cell of the views that it is.
    Next(LlavaNextConfig, AnyRes, Vec<usize>),
    /// Qwen2.5-VL, and the patches of an image.
    Qwen(Qwen25VlConfig, QwenImageProcessor, Grid),
}

/// Hidden states of a tower.
pub struct Seen {
    /// Visual tokens in the order in which the language model reads them, `[b, n, d_vision]`.
    pub tokens: Tensor<3>,
    /// `[CLS]` of each view, `[b * views, d]`, where there is one.
    pub class: Option<Tensor<2>>,
}

/// A network that went through both stages, with its configuration as it stands in `config.json`; on the plain device.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of them")]
pub enum Pretrained {
    /// LLaVA-1.5.
    Llava(LlavaModel, LlavaConfig),
    /// LLaVA-NeXT.
    Next(LlavaNextModel, LlavaNextConfig),
    /// Qwen2.5-VL.
    Qwen(Qwen25VlModel, Qwen25VlConfig),
}

impl Pretrained {
    /// Writes `config.json` and `model.safetensors` in the hub's layout.
    ///
    /// # Errors
    /// When the folder cannot be written, or values do not fit `dtype`.
    pub fn save_pretrained(&self, dir: &Path, dtype: DType) -> Result<(), MiniError> {
        match self {
            Self::Llava(model, config) => model.save_pretrained(config, dir, dtype)?,
            Self::Next(model, config) => model.save_pretrained(config, dir, dtype)?,
            Self::Qwen(model, config) => model.save_pretrained(config, dir, dtype)?,
        }
        Ok(())
    }
}

/// A network before it is taken apart.
#[allow(clippy::large_enum_variant, reason = "there is one of them")]
enum Network {
    Llava(LlavaModel),
    Next(LlavaNextModel),
    Qwen(Qwen25VlModel),
}

impl Network {
    /// Tower, and what reads its tokens.
    fn parts(self) -> (Tower, Reader) {
        let (tower, bridge, language) = match self {
            Self::Llava(model) => (
                Tower::Clip(model.vision),
                Bridge::Projector(model.projector),
                model.language,
            ),
            Self::Next(model) => {
                let bridge = NewlineBridge {
                    projector: model.llava.projector,
                    newline: model.image_newline,
                };
                (
                    Tower::Clip(model.llava.vision),
                    Bridge::Newline(bridge),
                    model.llava.language,
                )
            }
            Self::Qwen(model) => (
                Tower::Qwen(model.vision),
                Bridge::Merger(model.merger),
                model.language,
            ),
        };
        (tower, Reader { bridge, language })
    }
}

impl Body {
    /// The sizes that a recipe means for pictures of a world.
    ///
    /// # Errors
    /// When they do not fit together.
    pub fn new(recipe: &PretrainConfig, world: &WorldConfig) -> Result<Self, MiniError> {
        let side = world.image_size as usize;
        match recipe.family {
            Family::Llava15 => {
                let config = llava(recipe, side, world.patch_size as usize);
                config.validate()?;
                Ok(Self::Llava(config, ImageProcessor::clip(world.image_size)))
            }
            Family::LlavaNext => {
                let view = side / TILES;
                let config = LlavaNextConfig {
                    llava: llava(recipe, view, world.patch_size as usize),
                    image_grid_pinpoints: vec![[view, side], [side, view], [side, side]],
                };
                let anyres = AnyRes::new(&config)?;
                let tiles = anyres.grid(world.image_size, world.image_size);
                let grid_side = config.llava.vision.grid_side();
                let packing = Packing::new(
                    world.image_size,
                    world.image_size,
                    tiles,
                    grid_side,
                    NextTokens::Unpadded,
                );
                Ok(Self::Next(config, anyres, packing.sources()))
            }
            Family::Qwen25Vl => {
                let config = qwen(recipe, world.patch_size as usize);
                config.validate()?;
                let processor = qwen_processor(world);
                let grid = processor.grid(world.image_size, world.image_size);
                let grid = grid.unwrap_or(Grid { rows: 0, cols: 0 });
                Ok(Self::Qwen(config, processor, grid))
            }
            found => Err(MiniError::Family { found }),
        }
    }

    /// Fresh networks at the scale that small widths want.
    pub fn init(&self, device: &Device) -> (Tower, Reader) {
        let network = match self {
            Self::Llava(config, _) => Network::Llava(config.init(device)),
            Self::Next(config, ..) => Network::Next(config.init(device)),
            Self::Qwen(config, ..) => Network::Qwen(config.init(device)),
        };
        let (tower, reader) = network.parts();
        let bridge = match reader.bridge {
            Bridge::Merger(merger) => Bridge::Merger(rescale(merger)),
            drawn => drawn,
        };
        let reader = Reader {
            bridge,
            language: rescale(reader.language),
        };
        (rescale(tower), reader)
    }

    /// Networks read from a checkpoint folder of this family and these sizes.
    ///
    /// # Errors
    /// When the folder holds another model.
    pub fn load(&self, dir: &Path, device: &Device) -> Result<(Tower, Reader), MiniError> {
        let network = match self {
            Self::Llava(config, _) => Network::Llava(config.load_weights(dir, DType::F32, device)?),
            Self::Next(config, ..) => Network::Next(config.load_weights(dir, DType::F32, device)?),
            Self::Qwen(config, ..) => Network::Qwen(config.load_weights(dir, DType::F32, device)?),
        };
        Ok(network.parts())
    }

    /// The tower of a checkpoint folder whose tower has these sizes; its language model may have others.
    ///
    /// # Errors
    /// When the folder holds another family, or a tower of other sizes.
    pub fn load_tower(&self, dir: &Path, device: &Device) -> Result<Tower, MiniError> {
        let network = match self {
            Self::Llava(config, _) => {
                let start = LlavaConfig::from_dir(dir)?;
                same_tower(dir, &start.vision, &config.vision)?;
                Network::Llava(start.load_weights(dir, DType::F32, device)?)
            }
            Self::Next(config, ..) => {
                let start = LlavaNextConfig::from_dir(dir)?;
                same_tower(dir, &start.llava.vision, &config.llava.vision)?;
                Network::Next(start.load_weights(dir, DType::F32, device)?)
            }
            Self::Qwen(config, ..) => {
                let start = Qwen25VlConfig::from_dir(dir)?;
                // The width of what the merger makes is the language model's.
                let own = QwenVisionConfig {
                    out_hidden_size: start.vision.out_hidden_size,
                    ..config.vision.clone()
                };
                same_tower(dir, &start.vision, &own)?;
                Network::Qwen(start.load_weights(dir, DType::F32, device)?)
            }
        };
        Ok(network.parts().0)
    }

    /// The whole network.
    ///
    /// # Panics
    /// When tower and reader are not of this family.
    pub fn assemble(&self, tower: Tower, reader: Reader, device: &Device) -> Pretrained {
        let Reader { bridge, language } = reader;
        match (self, tower, bridge) {
            (Self::Llava(config, _), Tower::Clip(vision), Bridge::Projector(projector)) => {
                let mut model = config.init(device);
                model.vision = vision;
                model.projector = projector;
                model.language = language;
                Pretrained::Llava(model, config.clone())
            }
            (Self::Next(config, ..), Tower::Clip(vision), Bridge::Newline(bridge)) => {
                let mut model = config.init(device);
                model.llava.vision = vision;
                model.llava.projector = bridge.projector;
                model.llava.language = language;
                model.image_newline = bridge.newline;
                Pretrained::Next(model, config.clone())
            }
            (Self::Qwen(config, ..), Tower::Qwen(vision), Bridge::Merger(merger)) => {
                let mut model = config.init(device);
                model.vision = vision;
                model.merger = merger;
                model.language = language;
                Pretrained::Qwen(model, config.clone())
            }
            _ => panic!("tower and reader are those of one family"),
        }
    }

    /// Width of a token, and of `[CLS]` where there is one.
    pub fn widths(&self) -> (usize, Option<usize>) {
        match self {
            Self::Llava(config, _) => (config.vision.hidden_size, Some(config.vision.hidden_size)),
            Self::Next(config, ..) => {
                let width = config.llava.vision.hidden_size;
                (width, Some(width))
            }
            Self::Qwen(config, ..) => (config.vision.group() * config.vision.hidden_size, None),
        }
    }

    /// Numbers as the tower takes them.
    ///
    /// # Errors
    /// When an image has a shape that the model cannot take.
    pub fn pixels(&self, images: &[RgbImage]) -> Result<TensorData, MiniError> {
        let host = Device::flex();
        let pixels = match self {
            Self::Llava(_, processor) => processor.preprocess(images, &host),
            Self::Next(_, anyres, _) => anyres.preprocess(images, &host),
            Self::Qwen(_, processor, _) => processor.preprocess(images, &host)?.0,
        };
        Ok(pixels.into_data())
    }

    /// Pixels of `batch` images to tokens.
    ///
    /// # Panics
    /// When the tower is not of this family.
    pub fn see(&self, tower: &Tower, pixels: Tensor<4>, batch: usize) -> Seen {
        match (self, tower) {
            (Self::Llava(..), Tower::Clip(vision)) => {
                let (tokens, class) = split(vision.hidden_state(pixels, -2));
                Seen {
                    tokens,
                    class: Some(class),
                }
            }
            (Self::Next(_, _, sources), Tower::Clip(vision)) => {
                let (cells, class) = split(vision.hidden_state(pixels, -2));
                let [views, n, width] = cells.dims();
                let cells = cells.reshape([batch, views / batch * n, width]);
                let places: Vec<i64> = sources.iter().map(|&source| source as i64).collect();
                let places = TensorData::new(places, [sources.len()]);
                let places = Tensor::<1, Int>::from_data(places, &cells.device());
                Seen {
                    tokens: cells.select(1, places),
                    class: Some(class),
                }
            }
            (Self::Qwen(config, _, grid), Tower::Qwen(vision)) => {
                let hidden = vision.encode(pixels, &vec![*grid; batch], false).hidden;
                let group = config.vision.group();
                let (n, width) = (grid.n_tokens() / group, group * hidden.dims()[1]);
                Seen {
                    tokens: hidden.reshape([batch, n, width]),
                    class: None,
                }
            }
            _ => panic!("the tower is that of the family"),
        }
    }

    /// What the tower is asked about a scene.
    pub fn labels(&self, scene: &Scene) -> SceneLabels {
        match self {
            Self::Llava(..) => SceneLabels::whole(scene),
            Self::Next(..) => SceneLabels::tiled(scene, TILES),
            Self::Qwen(..) => SceneLabels {
                facts: Vec::new(),
                ..SceneLabels::whole(scene)
            },
        }
    }

    /// How the tokens of an image lie on it.
    pub fn layout(&self, world: &WorldConfig) -> Layout {
        match self {
            Self::Llava(config, _) => {
                let side = config.vision.grid_side();
                Layout::single(
                    Grid {
                        rows: side,
                        cols: side,
                    },
                    Area::IMAGE,
                )
            }
            Self::Next(config, anyres, _) => {
                let (width, height) = (world.image_size, world.image_size);
                let side = config.llava.vision.grid_side();
                let packing = Packing::new(
                    width,
                    height,
                    anyres.grid(width, height),
                    side,
                    NextTokens::Unpadded,
                );
                packing.layout(width, height, anyres)
            }
            Self::Qwen(_, _, grid) => Layout::single(
                Grid {
                    rows: grid.rows / MERGE,
                    cols: grid.cols / MERGE,
                },
                Area::IMAGE,
            ),
        }
    }

    /// Where kept tokens stand in the language model's sequence: at their places in the full one.
    pub fn sequence(&self, layout: &Layout, keep: &[usize]) -> VisualSequence {
        match self {
            Self::Llava(..) => VisualSequence::raster(keep, layout.n_tokens(), PositionRule::Keep),
            Self::Next(..) => Newlines::All.sequence(layout, keep, PositionRule::Keep),
            Self::Qwen(..) => VisualSequence::cells(layout.segments[0].grid, keep, PositionRule::Keep),
        }
    }
}

/// Refuses a tower of other sizes than the recipe's.
fn same_tower<C: PartialEq + Debug>(dir: &Path, found: &C, expected: &C) -> Result<(), MiniError> {
    match found == expected {
        true => Ok(()),
        false => Err(MiniError::Config {
            field: "start_tower",
            found: format!("a tower of {found:?} in {}", dir.display()),
            wanted: format!("the recipe's, {expected:?}"),
        }),
    }
}

/// Tokens and `[CLS]` of views.
fn split(hidden: Tensor<3>) -> (Tensor<3>, Tensor<2>) {
    let [views, n_states, width] = hidden.dims();
    let class = hidden.clone().narrow(1, 0, 1).reshape([views, width]);
    (hidden.narrow(1, 1, n_states - 1), class)
}

fn llava(recipe: &PretrainConfig, side: usize, patch_size: usize) -> LlavaConfig {
    LlavaConfig {
        vision: ClipVisionConfig {
            hidden_size: recipe.d_vision,
            intermediate_size: 4 * recipe.d_vision,
            num_hidden_layers: recipe.vision_layers + 1,
            num_attention_heads: recipe.n_heads,
            image_size: side,
            patch_size,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        },
        text: LlamaConfig {
            num_key_value_heads: recipe.n_heads,
            rope_theta: 10_000.0,
            rms_norm_eps: 1e-5,
            attention_bias: false,
            mrope_section: None,
            ..language(recipe)
        },
        projector_hidden_act: Activation::Gelu,
        image_token_id: ProcessorIds::of(recipe.family).image,
        vision_feature_layer: -2,
        vision_feature_select_strategy: FeatureSelect::Default,
    }
}

/// The language model as Qwen2.5 has it: pairs of heads share keys, three position axes in the published proportion.
fn language(recipe: &PretrainConfig) -> LlamaConfig {
    let head_dim = recipe.d_model / recipe.n_heads;
    let axis = head_dim / 2 * 3 / 8;
    LlamaConfig {
        vocab_size: ProcessorIds::of(recipe.family).vocab_size,
        hidden_size: recipe.d_model,
        intermediate_size: (8 * recipe.d_model / 3).next_multiple_of(16),
        num_hidden_layers: recipe.language_layers,
        num_attention_heads: recipe.n_heads,
        num_key_value_heads: recipe.n_heads.div_ceil(2),
        head_dim,
        max_position_embeddings: 1024,
        rope_theta: 1e6,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: false,
        attention_bias: true,
        mrope_section: Some([head_dim / 2 - 2 * axis, axis, axis]),
    }
}

fn qwen(recipe: &PretrainConfig, cell: usize) -> Qwen25VlConfig {
    let ids = ProcessorIds::of(recipe.family);
    Qwen25VlConfig {
        vision: QwenVisionConfig {
            hidden_size: recipe.d_vision,
            intermediate_size: (8 * recipe.d_vision / 3).next_multiple_of(16),
            depth: recipe.vision_layers,
            num_heads: recipe.vision_heads,
            patch_size: cell / MERGE,
            temporal_patch_size: 2,
            spatial_merge_size: MERGE,
            window_size: WINDOW * cell,
            // Every second block, the last one among them.
            fullatt_block_indexes: (0..recipe.vision_layers)
                .filter(|block| (recipe.vision_layers - 1 - block).is_multiple_of(2))
                .collect(),
            out_hidden_size: recipe.d_model,
        },
        text: language(recipe),
        image_token_id: ids.image,
        video_token_id: ids.video,
        vision_start_token_id: ids.vision_start,
        vision_end_token_id: ids.vision_end,
    }
}

/// Cells of the world's own patches, and no resizing of its pictures.
pub(crate) fn qwen_processor(world: &WorldConfig) -> QwenImageProcessor {
    let pixels = u64::from(world.image_size) * u64::from(world.image_size);
    QwenImageProcessor {
        patch_size: world.patch_size / MERGE as u32,
        merge_size: MERGE as u32,
        min_pixels: u64::from(world.patch_size * world.patch_size),
        max_pixels: pixels,
        ..QwenImageProcessor::default()
    }
}
