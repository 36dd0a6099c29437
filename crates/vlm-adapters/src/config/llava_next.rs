//! `config.json` of LLaVA-NeXT (v1.6): LLaVA-1.5's fields and the sizes of the canvas that tiles are cut from.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::llava::{Family, RawLlava, read_raw};
use super::{FeatureSelect, LlamaConfig, LlavaConfig, MAX_IMAGE, Problem, must_be};
use crate::LoadError;

/// The whole configuration of a LLaVA-NeXT checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawLlavaNext", into = "RawLlavaNext")]
pub struct LlavaNextConfig {
    /// The part that it shares with LLaVA-1.5.
    pub llava: LlavaConfig,
    /// The canvases that an image may be laid on, (height, width) in pixels, in order of preference; multiples of the
    /// tower's image size.
    pub image_grid_pinpoints: Vec<[usize; 2]>,
}

/// The canvases of the published checkpoints.
const PINPOINTS: [[usize; 2]; 5] = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]];

/// LLaVA-NeXT.
const LLAVA_NEXT: Family = Family {
    model_type: "llava_next",
    architecture: "LlavaNextForConditionalGeneration",
};

impl LlavaNextConfig {
    /// The published sizes of LLaVA-NeXT with Vicuna-7B.
    pub fn vicuna_7b() -> Self {
        Self {
            llava: LlavaConfig::llava_1_5_7b(),
            image_grid_pinpoints: PINPOINTS.to_vec(),
        }
    }

    /// The published sizes of LLaVA-NeXT with Mistral-7B.
    pub fn mistral_7b() -> Self {
        let mut config = Self::vicuna_7b();
        config.llava.text = LlamaConfig {
            intermediate_size: 14336,
            num_key_value_heads: 8,
            max_position_embeddings: 32768,
            rope_theta: 1e6,
            ..LlamaConfig::vicuna_7b()
        };
        config
    }

    /// A model of a few thousand parameters with 16 visual tokens per view, for tests.
    pub fn tiny() -> Self {
        let llava = LlavaConfig::tiny();
        let side = llava.vision.image_size;
        Self {
            llava,
            image_grid_pinpoints: PINPOINTS
                .map(|sides| sides.map(|pixels| pixels / 336 * side))
                .to_vec(),
        }
    }

    /// Read `config.json` in `dir`, fill in the defaults and [`validate`](Self::validate).
    ///
    /// # Errors
    /// As [`LlavaConfig::from_dir`].
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = dir.as_ref().join("config.json");
        let raw: RawLlavaNext = read_raw(&path, &LLAVA_NEXT)?;
        raw.llava.check_parts(&path, &LLAVA_NEXT)?;
        let config = Self::try_from(raw).map_err(|problem| problem.at(&path))?;
        config.check().map_err(|problem| problem.at(&path))?;
        Ok(config)
    }

    /// Refuse what [`LlavaConfig::validate`] refuses, `[CLS]` among the tokens, and canvases that no tiles fill.
    ///
    /// # Errors
    /// [`LoadError::Config`] naming the field.
    pub fn validate(&self) -> Result<(), LoadError> {
        self.check()
            .map_err(|problem| problem.at(&PathBuf::from("LlavaNextConfig")))
    }

    fn check(&self) -> Result<(), Problem> {
        self.llava.check()?;
        if self.llava.vision_feature_select_strategy != FeatureSelect::Default {
            return Err(Problem::new(
                "vision_feature_select_strategy",
                "full",
                "default (the tokens of a tile form a raster)",
            ));
        }
        check_pinpoints(&self.image_grid_pinpoints, self.llava.vision.image_size)
    }
}

/// Most tiles of a canvas; the published ones have four.
const MAX_TILES: usize = 1 << 8;

/// Refuse canvases that tiles of `side` pixels do not fill, or that have more tiles than any model.
fn check_pinpoints(pinpoints: &[[usize; 2]], side: usize) -> Result<(), Problem> {
    let fits = |&pixels: &usize| pixels > 0 && pixels <= MAX_IMAGE && pixels.is_multiple_of(side);
    let canvas = |[height, width]: &[usize; 2]| {
        fits(height) && fits(width) && height / side * (width / side) <= MAX_TILES
    };
    if pinpoints.is_empty() || !pinpoints.iter().all(canvas) {
        return Err(Problem::new(
            "image_grid_pinpoints",
            format!("{pinpoints:?}"),
            &format!(
                "at least one (height, width), each a positive multiple of image_size {side}, of at most {MAX_TILES} tiles"
            ),
        ));
    }
    Ok(())
}

/// The fields as the file may have them.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RawLlavaNext {
    #[serde(flatten)]
    llava: RawLlava,
    image_grid_pinpoints: Option<Vec<[usize; 2]>>,
    use_image_newline_parameter: Option<bool>,
}

impl TryFrom<RawLlavaNext> for LlavaNextConfig {
    type Error = Problem;

    fn try_from(raw: RawLlavaNext) -> Result<Self, Problem> {
        must_be(
            "use_image_newline_parameter",
            raw.use_image_newline_parameter,
            true,
        )?;
        Ok(Self {
            llava: raw.llava.try_into()?,
            image_grid_pinpoints: raw.image_grid_pinpoints.unwrap_or_else(|| PINPOINTS.to_vec()),
        })
    }
}

impl From<LlavaNextConfig> for RawLlavaNext {
    fn from(config: LlavaNextConfig) -> Self {
        Self {
            llava: RawLlava::from(config.llava).of(&LLAVA_NEXT),
            image_grid_pinpoints: Some(config.image_grid_pinpoints),
            use_image_newline_parameter: Some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<LlavaNextConfig, serde_json::Error> {
        serde_json::from_str(json)
    }

    const VISION: &str = r#"{"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
        "model_type": "clip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14,
        "projection_dim": 768, "vocab_size": 32000}"#;

    #[test]
    fn hub_files_of_differences_give_the_published_sizes() -> Result<(), serde_json::Error> {
        let vicuna = parse(&format!(
            r#"{{"model_type": "llava_next", "image_token_index": 32000, "vision_config": {VISION},
                "text_config": {{"max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-05,
                                 "vocab_size": 32064}}, "use_image_newline_parameter": true}}"#
        ))?;
        assert_eq!(vicuna, LlavaNextConfig::vicuna_7b());
        let mistral = parse(&format!(
            r#"{{"model_type": "llava_next", "vision_config": {VISION},
                "text_config": {{"intermediate_size": 14336, "max_position_embeddings": 32768,
                                 "model_type": "mistral", "num_key_value_heads": 8, "rms_norm_eps": 1e-05,
                                 "rope_theta": 1000000.0, "sliding_window": null, "vocab_size": 32064}}}}"#
        ))?;
        assert_eq!(mistral, LlavaNextConfig::mistral_7b());
        Ok(())
    }

    #[test]
    fn what_is_written_reads_back_equal() -> Result<(), serde_json::Error> {
        for config in [
            LlavaNextConfig::vicuna_7b(),
            LlavaNextConfig::mistral_7b(),
            LlavaNextConfig::tiny(),
        ] {
            assert!(config.validate().is_ok());
            let text = serde_json::to_string_pretty(&config)?;
            assert!(text.contains("\"model_type\": \"llava_next\""));
            assert_eq!(parse(&text)?, config);
        }
        Ok(())
    }

    #[test]
    fn impossible_settings_do_not_validate() {
        let broken: [fn(&mut LlavaNextConfig); 7] = [
            |c| c.image_grid_pinpoints.clear(),
            |c| c.image_grid_pinpoints[1] = [56, 0],
            |c| c.image_grid_pinpoints[0] = [57, 112],
            |c| c.image_grid_pinpoints[0] = [usize::MAX / 56 * 56, 56],
            |c| c.image_grid_pinpoints[0] = [56 * 16, 56 * 17],
            |c| c.llava.vision_feature_select_strategy = FeatureSelect::Full,
            |c| c.llava.text.head_dim = 7,
        ];
        for (i, spoil) in broken.iter().enumerate() {
            let mut config = LlavaNextConfig::tiny();
            spoil(&mut config);
            assert!(
                matches!(config.validate(), Err(LoadError::Config { .. })),
                "case {i}"
            );
        }
        assert!(parse(r#"{"use_image_newline_parameter": false}"#).is_err());
    }
}
