//! The vision tower's part of Qwen2.5-VL's `config.json`.

use serde::{Deserialize, Serialize};

use super::{MAX_IMAGE, MAX_LAYERS, MAX_PATCH, MAX_WIDTH, Problem, required, size};

/// Sizes of the vision tower of Qwen2.5-VL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawQwenVision", into = "RawQwenVision")]
pub struct QwenVisionConfig {
    /// Width of a patch.
    pub hidden_size: usize,
    /// Width of the hidden layer of an MLP.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads per block; the width of one is a multiple of 4 (two coordinates, two halves).
    pub num_heads: usize,
    /// Side of a square patch, in pixels.
    pub patch_size: usize,
    /// Frames of one patch; a still image is repeated.
    pub temporal_patch_size: usize,
    /// Patches along one side of a cell: the merger fuses a cell into one token.
    pub spatial_merge_size: usize,
    /// Side of an attention window, in pixels.
    pub window_size: usize,
    /// Blocks that attend over the whole image; all others attend inside a window.
    pub fullatt_block_indexes: Vec<usize>,
    /// Width of the merger's output: that of the language model.
    pub out_hidden_size: usize,
}

impl QwenVisionConfig {
    /// The tower of the 3B, 7B and 32B models, which differ in the two widths given.
    pub fn published(intermediate_size: usize, out_hidden_size: usize) -> Self {
        Self {
            hidden_size: 1280,
            intermediate_size,
            depth: 32,
            num_heads: 16,
            patch_size: 14,
            temporal_patch_size: 2,
            spatial_merge_size: 2,
            window_size: 112,
            fullatt_block_indexes: FULL_BLOCKS.to_vec(),
            out_hidden_size,
        }
    }

    /// A tower of a few thousand parameters with windows of 2 by 2 cells, for tests.
    pub fn tiny() -> Self {
        Self {
            hidden_size: 16,
            intermediate_size: 24,
            depth: 3,
            num_heads: 2,
            patch_size: 4,
            window_size: 16,
            fullatt_block_indexes: vec![1],
            ..Self::published(24, 16)
        }
    }

    /// Patches of a cell: vectors that the merger fuses into one token.
    pub fn group(&self) -> usize {
        self.spatial_merge_size * self.spatial_merge_size
    }

    /// Side of a cell in pixels; the sides of resized images are multiples of it.
    pub fn cell_size(&self) -> usize {
        self.patch_size * self.spatial_merge_size
    }

    /// Cells along one side of an attention window.
    pub fn window_cells(&self) -> usize {
        self.window_size / self.cell_size()
    }

    /// Numbers of one patch, `(channel, frame, y, x)`.
    pub fn patch_values(&self) -> usize {
        3 * self.temporal_patch_size * self.patch_size * self.patch_size
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        size("hidden_size", self.hidden_size, MAX_WIDTH)?;
        size("intermediate_size", self.intermediate_size, MAX_WIDTH)?;
        size("depth", self.depth, MAX_LAYERS)?;
        size("num_heads", self.num_heads, MAX_WIDTH)?;
        size("patch_size", self.patch_size, MAX_PATCH)?;
        size("temporal_patch_size", self.temporal_patch_size, MAX_FRAMES)?;
        size("spatial_merge_size", self.spatial_merge_size, MAX_MERGE)?;
        size("window_size", self.window_size, MAX_IMAGE)?;
        size("out_hidden_size", self.out_hidden_size, MAX_WIDTH)?;
        if !self.hidden_size.is_multiple_of(4 * self.num_heads) {
            let wanted = format!(
                "heads whose width is a multiple of 4, of hidden_size {}",
                self.hidden_size
            );
            return Err(Problem::new("num_heads", self.num_heads, &wanted));
        }
        if self.window_cells() == 0 {
            let wanted = format!("at least one cell of {} pixels", self.cell_size());
            return Err(Problem::new("window_size", self.window_size, &wanted));
        }
        match self
            .fullatt_block_indexes
            .iter()
            .find(|&&block| block >= self.depth)
        {
            Some(block) => {
                let wanted = format!("blocks below depth {}", self.depth);
                Err(Problem::new("fullatt_block_indexes", block, &wanted))
            }
            None => Ok(()),
        }
    }
}

/// Blocks with full attention in the published towers.
const FULL_BLOCKS: [usize; 4] = [7, 15, 23, 31];
/// Most frames of a patch.
const MAX_FRAMES: usize = 1 << 6;
/// Most patches along one side of a cell.
const MAX_MERGE: usize = 1 << 6;

/// The fields as the file may have them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct RawQwenVision {
    #[serde(skip_serializing_if = "Option::is_none")]
    model_type: Option<String>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    depth: Option<usize>,
    num_heads: Option<usize>,
    in_chans: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_channels: Option<usize>,
    patch_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    spatial_merge_size: Option<usize>,
    window_size: Option<usize>,
    fullatt_block_indexes: Option<Vec<usize>>,
    out_hidden_size: Option<usize>,
    hidden_act: Option<String>,
}

impl RawQwenVision {
    /// The tower's kind, when the file names one.
    pub(super) fn model_type(&self) -> Option<&str> {
        self.model_type.as_deref()
    }
}

impl TryFrom<RawQwenVision> for QwenVisionConfig {
    type Error = Problem;

    fn try_from(raw: RawQwenVision) -> Result<Self, Problem> {
        // Two spellings of one field; a re-saved file may hold both.
        for (field, channels) in [("in_chans", raw.in_chans), ("in_channels", raw.in_channels)] {
            if let Some(channels) = channels.filter(|&channels| channels != 3) {
                return Err(Problem::new(field, channels, "3 (colours)"));
            }
        }
        if let Some(act) = raw.hidden_act.as_deref().filter(|&act| act != "silu") {
            return Err(Problem::new("hidden_act", act, "silu"));
        }
        Ok(Self {
            hidden_size: required("hidden_size", raw.hidden_size)?,
            intermediate_size: required("intermediate_size", raw.intermediate_size)?,
            out_hidden_size: required("out_hidden_size", raw.out_hidden_size)?,
            depth: raw.depth.unwrap_or(32),
            num_heads: raw.num_heads.unwrap_or(16),
            patch_size: raw.patch_size.unwrap_or(14),
            temporal_patch_size: raw.temporal_patch_size.unwrap_or(2),
            spatial_merge_size: raw.spatial_merge_size.unwrap_or(2),
            window_size: raw.window_size.unwrap_or(112),
            fullatt_block_indexes: raw.fullatt_block_indexes.unwrap_or_else(|| FULL_BLOCKS.to_vec()),
        })
    }
}

impl From<QwenVisionConfig> for RawQwenVision {
    fn from(config: QwenVisionConfig) -> Self {
        Self {
            model_type: None,
            in_channels: None,
            hidden_size: Some(config.hidden_size),
            intermediate_size: Some(config.intermediate_size),
            depth: Some(config.depth),
            num_heads: Some(config.num_heads),
            in_chans: Some(3),
            patch_size: Some(config.patch_size),
            temporal_patch_size: Some(config.temporal_patch_size),
            spatial_merge_size: Some(config.spatial_merge_size),
            window_size: Some(config.window_size),
            fullatt_block_indexes: Some(config.fullatt_block_indexes),
            out_hidden_size: Some(config.out_hidden_size),
            hidden_act: Some("silu".into()),
        }
    }
}
