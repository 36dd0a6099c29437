//! The language model's part of Qwen2.5-VL's `config.json`: at the top level on the hub, nested in newer files.

use serde::{Deserialize, Serialize};

use super::llama::derived_head_dim;
use super::{LlamaConfig, Problem, must_be, required};

/// The rotary settings: `rope_scaling` in older files, `rope_parameters` in newer ones.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct RawRope {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_theta: Option<f64>,
    mrope_section: Option<[usize; 3]>,
}

impl RawRope {
    /// Ordinary frequencies in three sections; "mrope" names the sections, not another scale.
    fn check(&self, field: &str) -> Result<(), Problem> {
        let kinds = [&self.kind, &self.rope_type];
        match kinds
            .into_iter()
            .flatten()
            .find(|kind| !["mrope", "default"].contains(&kind.as_str()))
        {
            Some(kind) => Err(Problem::new(
                field,
                kind,
                "mrope or default (unscaled frequencies)",
            )),
            None => Ok(()),
        }
    }
}

/// The fields as the file may have them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct RawQwenText {
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_parameters: Option<RawRope>,
    hidden_act: Option<String>,
    use_sliding_window: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer_types: Option<Vec<String>>,
    tie_word_embeddings: Option<bool>,
}

impl RawQwenText {
    /// `tie_word_embeddings`, where the file has it: the head shares the embedding table.
    pub(super) fn tie_word_embeddings(&self) -> Option<bool> {
        self.tie_word_embeddings
    }

    /// Settings that change the computation; window sizes do not while windows are off.
    fn check(&self) -> Result<(), Problem> {
        must_be("use_sliding_window", self.use_sliding_window, false)?;
        if let Some(kind) = self
            .layer_types
            .iter()
            .flatten()
            .find(|kind| *kind != "full_attention")
        {
            return Err(Problem::new("layer_types", kind, "full_attention"));
        }
        if let Some(act) = self.hidden_act.as_deref().filter(|&act| act != "silu") {
            return Err(Problem::new("hidden_act", act, "silu"));
        }
        Ok(())
    }
}

impl TryFrom<RawQwenText> for LlamaConfig {
    type Error = Problem;

    fn try_from(raw: RawQwenText) -> Result<Self, Problem> {
        raw.check()?;
        let hidden_size = required("hidden_size", raw.hidden_size)?;
        let num_attention_heads = required("num_attention_heads", raw.num_attention_heads)?;
        let head_dim = derived_head_dim(hidden_size, num_attention_heads)?;
        if let Some(found) = raw.head_dim.filter(|&found| found != head_dim) {
            let wanted = format!("{head_dim}, hidden_size / num_attention_heads");
            return Err(Problem::new("head_dim", found, &wanted));
        }
        let (field, rope) = match (raw.rope_parameters, raw.rope_scaling) {
            (Some(rope), _) => ("rope_parameters", rope),
            (None, rope) => ("rope_scaling", rope.unwrap_or_default()),
        };
        rope.check(field)?;
        Ok(Self {
            vocab_size: required("vocab_size", raw.vocab_size)?,
            hidden_size,
            intermediate_size: required("intermediate_size", raw.intermediate_size)?,
            num_hidden_layers: required("num_hidden_layers", raw.num_hidden_layers)?,
            num_attention_heads,
            num_key_value_heads: raw.num_key_value_heads.unwrap_or(num_attention_heads),
            head_dim,
            max_position_embeddings: required("max_position_embeddings", raw.max_position_embeddings)?,
            rope_theta: rope.rope_theta.or(raw.rope_theta).unwrap_or(1e6),
            rms_norm_eps: raw.rms_norm_eps.unwrap_or(1e-6),
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(false),
            attention_bias: true,
            mrope_section: Some(required(&format!("{field}.mrope_section"), rope.mrope_section)?),
        })
    }
}

impl From<LlamaConfig> for RawQwenText {
    fn from(config: LlamaConfig) -> Self {
        Self {
            vocab_size: Some(config.vocab_size),
            hidden_size: Some(config.hidden_size),
            intermediate_size: Some(config.intermediate_size),
            num_hidden_layers: Some(config.num_hidden_layers),
            num_attention_heads: Some(config.num_attention_heads),
            num_key_value_heads: Some(config.num_key_value_heads),
            max_position_embeddings: Some(config.max_position_embeddings),
            rms_norm_eps: Some(config.rms_norm_eps),
            rope_theta: Some(config.rope_theta),
            rope_scaling: Some(RawRope {
                kind: Some("mrope".into()),
                mrope_section: config.mrope_section,
                ..RawRope::default()
            }),
            hidden_act: Some("silu".into()),
            use_sliding_window: Some(false),
            tie_word_embeddings: Some(config.tie_word_embeddings),
            ..Self::default()
        }
    }
}
