//! The sizes that arithmetic depends on.

use serde::{Deserialize, Serialize};

/// A stack of equal transformer blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockShape {
    /// Width of a token.
    pub d_model: usize,
    /// Hidden width of the feed-forward network.
    pub d_ffn: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// True when the feed-forward network has a gate: three matrices instead of two.
    pub gated: bool,
}

impl BlockShape {
    /// Ordinary attention: every head has its own keys, and the heads together are as wide as a token.
    pub fn plain(d_model: usize, d_ffn: usize, n_layers: usize, n_heads: usize, gated: bool) -> Self {
        Self {
            d_model,
            d_ffn,
            n_layers,
            n_heads,
            n_kv_heads: n_heads,
            head_dim: d_model / n_heads.max(1),
            gated,
        }
    }

    /// Width of all queries of a token.
    pub fn d_query(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Width of all keys of a token.
    pub fn d_kv(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    /// Multiply-adds of one block for one token without products between tokens: `2 d d_q + 2 d d_kv + 3 d m` with a
    /// gate, `2 d m` in place of `3 d m` without.
    pub fn linear(&self) -> f64 {
        let matrices = if self.gated { 3 } else { 2 };
        let attention = 2 * self.d_model * (self.d_query() + self.d_kv());
        (attention + matrices * self.d_model * self.d_ffn) as f64
    }

    /// Multiply-adds of one block for scores and mixture of `queries` times `keys` tokens: `2 q k d_q`.
    pub fn products(&self, queries: f64, keys: f64) -> f64 {
        2.0 * queries * keys * self.d_query() as f64
    }
}

/// Blocks whose attention stays within windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    /// Patches of a window.
    pub patches: usize,
    /// Blocks that see everything all the same.
    pub full_layers: usize,
}

/// A vision tower with its projector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisionShape {
    /// The blocks that are run: a tower read at its second-last layer runs one less than it has.
    pub blocks: BlockShape,
    /// Numbers of a patch before it is embedded: channels times height times width times frames.
    pub d_patch: usize,
    /// Tokens beside the patches, such as `[CLS]`.
    pub extra_tokens: usize,
    /// Windows of the attention; `None` sees everything everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windows>,
    /// Neighbouring patches that the projector joins into one visual token.
    pub patches_per_token: usize,
    /// Widths through the projector, from its input to the language model's.
    pub projector: Vec<usize>,
    /// Visual tokens of a picture at the usual size.
    pub tokens: usize,
    /// Pictures that the tower sees for one: base picture and tiles.
    pub views: usize,
}

/// Sizes of a vision-language model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelShape {
    /// Name in tables.
    pub name: String,
    /// The decoder.
    pub language: BlockShape,
    /// Rows of the output matrix.
    pub vocab: usize,
    /// The tower in front of it.
    pub vision: VisionShape,
}
