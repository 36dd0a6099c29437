//! The language model's part of `config.json`: Llama, or Mistral, which differs in its defaults only.

use serde::{Deserialize, Serialize};

use super::{MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, Problem, must_be, positive, positive_real, size};

/// Sizes of a Llama-style decoder.
///
/// Published files often hold only the *differences* from the defaults of their class; reading fills in the rest:
/// Llama-7B values, or Mistral-7B values where `model_type` says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawLlama", into = "RawLlama")]
pub struct LlamaConfig {
    /// Rows of the embedding table and of the head.
    pub vocab_size: usize,
    /// Width of a token.
    pub hidden_size: usize,
    /// Width of the hidden layer of an MLP.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Query heads per layer.
    pub num_attention_heads: usize,
    /// Key and value heads per layer; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of one head; even. `hidden_size / num_attention_heads` where the file does not say.
    pub head_dim: usize,
    /// Longest sequence that the model was trained on.
    pub max_position_embeddings: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// `true` if the head reuses the embedding table (then no head tensor is stored).
    pub tie_word_embeddings: bool,
    /// `true` if queries, keys and values have a bias (Qwen).
    pub attention_bias: bool,
    /// Frequencies of a head that follow the time, row and column position (Qwen's M-RoPE); they sum to half of
    /// `head_dim`. `None` is one position axis.
    pub mrope_section: Option<[usize; 3]>,
}

impl LlamaConfig {
    /// Vicuna-7B as LLaVA-1.5 stores it: 32064 rows, 4096 positions.
    pub fn vicuna_7b() -> Self {
        Self {
            vocab_size: 32064,
            hidden_size: 4096,
            intermediate_size: 11008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: 32,
            head_dim: 128,
            max_position_embeddings: 4096,
            rope_theta: 1e4,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: false,
            attention_bias: false,
            mrope_section: None,
        }
    }

    /// A decoder of a few thousand parameters, for tests.
    pub fn tiny() -> Self {
        Self {
            vocab_size: 64,
            hidden_size: 16,
            intermediate_size: 32,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            num_key_value_heads: 2,
            head_dim: 8,
            max_position_embeddings: 256,
            rope_theta: 1e4,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: false,
            attention_bias: false,
            mrope_section: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        size("vocab_size", self.vocab_size, MAX_VOCAB)?;
        size("hidden_size", self.hidden_size, MAX_WIDTH)?;
        size("intermediate_size", self.intermediate_size, MAX_WIDTH)?;
        size("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS)?;
        size("num_attention_heads", self.num_attention_heads, MAX_WIDTH)?;
        size("num_key_value_heads", self.num_key_value_heads, MAX_WIDTH)?;
        size("head_dim", self.head_dim, MAX_WIDTH)?;
        positive("max_position_embeddings", self.max_position_embeddings)?;
        positive_real("rope_theta", self.rope_theta)?;
        positive_real("rms_norm_eps", self.rms_norm_eps)?;
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let wanted = format!("a divisor of num_attention_heads {}", self.num_attention_heads);
            return Err(Problem::new(
                "num_key_value_heads",
                self.num_key_value_heads,
                &wanted,
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(Problem::new(
                "head_dim",
                self.head_dim,
                "an even number (the rotation pairs two halves)",
            ));
        }
        Ok(())
    }
}

/// The rotary settings in the newer files' own object, or the scaling object of the older ones.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct RawRope {
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_theta: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_type: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    old_type: Option<String>,
}

impl RawRope {
    fn check(&self, field: &str) -> Result<(), Problem> {
        match self.rope_type.as_deref().or(self.old_type.as_deref()) {
            None | Some("default") => Ok(()),
            Some(kind) => Err(Problem::new(field, kind, "unscaled rotary positions (default)")),
        }
    }
}

/// The fields as the file may have them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct RawLlama {
    #[serde(skip_serializing_if = "Option::is_none")]
    model_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    architectures: Option<Vec<String>>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    rope_theta: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_parameters: Option<RawRope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_scaling: Option<RawRope>,
    rms_norm_eps: Option<f64>,
    tie_word_embeddings: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_act: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention_bias: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mlp_bias: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sliding_window: Option<usize>,
}

impl RawLlama {
    /// The decoder's kind, when the file names one.
    pub(super) fn model_type(&self) -> Option<&str> {
        self.model_type.as_deref()
    }

    /// `tie_word_embeddings`, where the file has it: the head shares the embedding table.
    pub(super) fn tie_word_embeddings(&self) -> Option<bool> {
        self.tie_word_embeddings
    }

    fn check(&self) -> Result<(), Problem> {
        must_be("attention_bias", self.attention_bias, false)?;
        must_be("mlp_bias", self.mlp_bias, false)?;
        if let Some(act) = self
            .hidden_act
            .as_deref()
            .filter(|act| !["silu", "swish"].contains(act))
        {
            return Err(Problem::new("hidden_act", act, "silu"));
        }
        if let Some(window) = self.sliding_window {
            return Err(Problem::new(
                "sliding_window",
                window,
                "null (full causal attention)",
            ));
        }
        self.rope_scaling
            .as_ref()
            .map_or(Ok(()), |rope| rope.check("rope_scaling"))?;
        self.rope_parameters
            .as_ref()
            .map_or(Ok(()), |rope| rope.check("rope_parameters"))
    }
}

impl TryFrom<RawLlama> for LlamaConfig {
    type Error = Problem;

    fn try_from(raw: RawLlama) -> Result<Self, Problem> {
        raw.check()?;
        let mistral = raw.model_type() == Some("mistral");
        let hidden_size = raw.hidden_size.unwrap_or(4096);
        let num_attention_heads = raw.num_attention_heads.unwrap_or(32);
        let default_kv = if mistral { 8 } else { num_attention_heads };
        let nested_theta = raw.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
        Ok(Self {
            vocab_size: raw.vocab_size.unwrap_or(32000),
            hidden_size,
            intermediate_size: raw
                .intermediate_size
                .unwrap_or(if mistral { 14336 } else { 11008 }),
            num_hidden_layers: raw.num_hidden_layers.unwrap_or(32),
            num_attention_heads,
            num_key_value_heads: raw.num_key_value_heads.unwrap_or(default_kv),
            head_dim: match raw.head_dim {
                Some(head_dim) => head_dim,
                None => derived_head_dim(hidden_size, num_attention_heads)?,
            },
            max_position_embeddings: raw.max_position_embeddings.unwrap_or(if mistral {
                131_072
            } else {
                2048
            }),
            rope_theta: nested_theta.or(raw.rope_theta).unwrap_or(1e4),
            rms_norm_eps: raw.rms_norm_eps.unwrap_or(1e-6),
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(false),
            attention_bias: false,
            mrope_section: None,
        })
    }
}

/// The head width where the file leaves it to the other sizes.
pub(super) fn derived_head_dim(hidden_size: usize, n_heads: usize) -> Result<usize, Problem> {
    positive("num_attention_heads", n_heads)?;
    if !hidden_size.is_multiple_of(n_heads) {
        let wanted = format!("a divisor of hidden_size {hidden_size}");
        return Err(Problem::new("num_attention_heads", n_heads, &wanted));
    }
    Ok(hidden_size / n_heads)
}

impl From<LlamaConfig> for RawLlama {
    fn from(config: LlamaConfig) -> Self {
        Self {
            model_type: Some("llama".into()),
            architectures: Some(vec!["LlamaForCausalLM".into()]),
            vocab_size: Some(config.vocab_size),
            hidden_size: Some(config.hidden_size),
            intermediate_size: Some(config.intermediate_size),
            num_hidden_layers: Some(config.num_hidden_layers),
            num_attention_heads: Some(config.num_attention_heads),
            num_key_value_heads: Some(config.num_key_value_heads),
            head_dim: Some(config.head_dim),
            max_position_embeddings: Some(config.max_position_embeddings),
            rope_theta: Some(config.rope_theta),
            rms_norm_eps: Some(config.rms_norm_eps),
            tie_word_embeddings: Some(config.tie_word_embeddings),
            hidden_act: Some("silu".into()),
            ..Self::default()
        }
    }
}
