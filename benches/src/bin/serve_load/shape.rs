//! A model of random weights in the proportions of a published one.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{DType, Device};
use diffprune_vlm_adapters::{
    ChatTemplate, GenerationConfig, ImageProcessor, Llava, LlavaConfig, LlavaParts, PromptStyle,
    TextTokenizer, Vlm,
};
use serde::{Deserialize, Serialize};

use crate::Failure;

/// The one shape that has a tokenizer here.
const LLAVA: &str = "llava-1.5-7b";
/// Where the tokenizer and the template come from: those of the small model, for texts have no part in the measurement.
const TEXTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/mini-llava-1.5");

/// Sizes of a model: those of a published one, with fewer layers and all widths divided alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The published model.
    pub of: String,
    /// Width of the language model; that of the tower follows.
    pub width: usize,
    /// Most layers of the language model; the tower keeps the same part of its own.
    pub layers: usize,
    /// Visual tokens of a picture.
    #[serde(default)]
    pub visual_tokens: usize,
    /// Weights, all together.
    #[serde(default)]
    pub parameters: usize,
}

impl Shape {
    /// A shape by name, whole.
    pub fn whole(name: &str) -> Result<Self, Failure> {
        if name != LLAVA {
            return Err(format!("--shape: found {name}, expected {LLAVA}").into());
        }
        let config = LlavaConfig::llava_1_5_7b();
        Ok(Self {
            of: name.into(),
            width: config.text.hidden_size,
            layers: config.text.num_hidden_layers,
            visual_tokens: 0,
            parameters: 0,
        })
    }

    /// A name for drawings.
    pub fn name(&self) -> String {
        format!("random-{}-w{}-l{}", self.of, self.width, self.layers)
    }

    /// The sizes of every part.
    fn config(&self, tokenizer: &TextTokenizer) -> Result<LlavaConfig, Failure> {
        let mut config = LlavaConfig::llava_1_5_7b();
        let (text, vision) = (&mut config.text, &mut config.vision);
        let whole = (text.hidden_size, text.num_hidden_layers);
        if self.width == 0 || !self.width.is_multiple_of(256) || self.width > whole.0 {
            return Err(format!(
                "--width: found {}, expected a multiple of 256 up to {}",
                self.width, whole.0
            )
            .into());
        }
        if self.layers == 0 || self.layers > whole.1 {
            return Err(format!("--layers: found {}, expected 1 to {}", self.layers, whole.1).into());
        }
        // Heads keep their width, so their number is divided; all of these are multiples of 16.
        let narrow = |size: &mut usize| *size = *size * self.width / whole.0;
        for size in [
            &mut text.hidden_size,
            &mut text.intermediate_size,
            &mut text.num_attention_heads,
            &mut text.num_key_value_heads,
            &mut vision.hidden_size,
            &mut vision.intermediate_size,
            &mut vision.num_attention_heads,
        ] {
            narrow(size);
        }
        text.num_hidden_layers = self.layers;
        // The tower is read at its second-last layer.
        let used = vision.num_hidden_layers - 1;
        vision.num_hidden_layers = (used * self.layers).div_ceil(whole.1) + 1;
        text.vocab_size = tokenizer.vocab_size();
        config.image_token_id = tokenizer
            .image_token_id()
            .ok_or("the tokenizer knows no picture")?;
        Ok(config)
    }

    /// The model, and its sizes as they came out.
    pub fn model(mut self) -> Result<(Box<dyn Vlm>, Self), Failure> {
        let texts = Path::new(TEXTS);
        let tokenizer = TextTokenizer::from_file(texts.join("tokenizer.json"))?;
        let config = self.config(&tokenizer)?;
        let model = config.init_random(DType::F32, 0, &Device::flex())?;
        self.visual_tokens = config.n_visual_tokens();
        self.parameters = model.num_params();
        let generation = GenerationConfig {
            // An answer must not end by chance; nothing says the placeholder of a picture.
            eos_token_ids: vec![config.image_token_id],
            ..GenerationConfig::default()
        };
        let parts = LlavaParts {
            processor: ImageProcessor::clip(config.vision.image_size as u32),
            template: ChatTemplate::from_dir(texts)?,
            prompt_style: PromptStyle::default(),
            config,
            model,
            tokenizer,
            generation,
        };
        Ok((Box::new(Llava::from_parts(parts)?), self))
    }
}
