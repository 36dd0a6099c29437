//! `generation_config.json`: what the checkpoint's authors want when nobody says otherwise.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Problem, positive_real, read_optional_json};
use crate::notes::note;
use crate::{GenerateOptions, LoadError, Sampling, TextTokenizer};

/// Defaults of text generation.
///
/// "Greedy" reference numbers of some checkpoints are *penalised* greedy, because their file sets a repetition
/// penalty; that is why this file is read rather than assumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawGeneration", into = "RawGeneration")]
pub struct GenerationConfig {
    /// Ids that end an answer; empty when no file names one (the tokenizer's end token is then the choice).
    pub eos_token_ids: Vec<u32>,
    /// Id that begins a text.
    pub bos_token_id: Option<u32>,
    /// Id that fills short rows of a batch.
    pub pad_token_id: Option<u32>,
    /// Divides the positive logits (multiplies the negative) of every id seen so far, prompt included; 1 is off.
    pub repetition_penalty: f32,
    /// Divides the logits before sampling.
    pub temperature: f32,
    /// Mass of the smallest set of most likely ids that is sampled from; 1 is off.
    pub top_p: f32,
    /// Number of most likely ids that are sampled from; 0 is off.
    pub top_k: usize,
    /// `true` to sample; otherwise the most likely id is taken and the three fields above are unused.
    pub do_sample: bool,
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self {
            eos_token_ids: Vec::new(),
            bos_token_id: None,
            pad_token_id: None,
            repetition_penalty: 1.0,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 50,
            do_sample: false,
        }
    }
}

impl GenerationConfig {
    /// Read `generation_config.json` in `dir`; without one, the defaults and the ids that `config.json` names (see
    /// [`take_notes`](crate::take_notes)).
    ///
    /// # Errors
    /// [`LoadError::Json`] and [`LoadError::Config`] for a file that is there but damaged.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = dir.as_ref().join("generation_config.json");
        let raw = read_optional_json::<RawGeneration>(&path, "generation settings")?;
        if raw.is_none() {
            note(format!(
                "{}: absent; greedy decoding without a penalty, up to the end token of config.json or the tokenizer, is assumed",
                path.display()
            ));
        }
        let mut config = Self::try_from(raw.unwrap_or_default()).map_err(|problem| problem.at(&path))?;
        if config.eos_token_ids.is_empty() {
            config.eos_token_ids = model_eos(dir.as_ref())?;
        }
        Ok(config)
    }

    /// Options with these stop ids and this penalty, and greedy decoding.
    pub fn greedy(&self) -> GenerateOptions {
        GenerateOptions::default()
            .with_stop_ids(self.eos_token_ids.clone())
            .with_repetition_penalty(self.repetition_penalty)
    }

    /// The authors' own choice: as [`Self::greedy`], drawn at random where the file says so.
    pub fn configured(&self, seed: u64) -> GenerateOptions {
        let mut options = self.greedy();
        if self.do_sample {
            options.sampling = Sampling::Random {
                temperature: self.temperature,
                top_p: self.top_p,
                top_k: self.top_k,
                seed,
            };
        }
        options
    }

    /// As [`Self::greedy`]; where no file names a stop id, with the tokenizer's end token.
    pub(crate) fn greedy_with(&self, tokenizer: &TextTokenizer) -> GenerateOptions {
        let mut options = self.greedy();
        if options.stop_ids.is_empty() {
            options.stop_ids.extend(tokenizer.eos_id());
        }
        options
    }
}

/// The end ids in `config.json`, at the top level or in the decoder's part.
fn model_eos(dir: &Path) -> Result<Vec<u32>, LoadError> {
    let path = dir.join("config.json");
    let Some(model) = read_optional_json::<Value>(&path, "a model configuration")? else {
        return Ok(Vec::new());
    };
    let found = model.get("eos_token_id").filter(|ids| !ids.is_null());
    let Some(ids) = found
        .or_else(|| model.pointer("/text_config/eos_token_id"))
        .filter(|ids| !ids.is_null())
    else {
        return Ok(Vec::new());
    };
    serde_json::from_value(ids.clone())
        .map(OneOrMany::into_vec)
        .map_err(|_| Problem::new("eos_token_id", ids, "an id or a list of ids").at(&path))
}

/// Ids as the files write them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

/// The fields as the file may have them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct RawGeneration {
    #[serde(skip_serializing_if = "Option::is_none")]
    eos_token_id: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bos_token_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pad_token_id: Option<i64>,
    repetition_penalty: Option<f32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    do_sample: Option<bool>,
}

/// An id of the file; older files say that there is none by a negative number.
fn id_of(field: &str, id: Option<i64>) -> Result<Option<u32>, Problem> {
    match id {
        Some(id) if id >= 0 => u32::try_from(id)
            .map(Some)
            .map_err(|_| Problem::new(field, id, "an id of the vocabulary")),
        _ => Ok(None),
    }
}

impl TryFrom<RawGeneration> for GenerationConfig {
    type Error = Problem;

    fn try_from(raw: RawGeneration) -> Result<Self, Problem> {
        let base = Self::default();
        let config = Self {
            eos_token_ids: raw.eos_token_id.map(OneOrMany::into_vec).unwrap_or_default(),
            bos_token_id: id_of("bos_token_id", raw.bos_token_id)?,
            pad_token_id: id_of("pad_token_id", raw.pad_token_id)?,
            repetition_penalty: raw.repetition_penalty.unwrap_or(base.repetition_penalty),
            temperature: raw.temperature.unwrap_or(base.temperature),
            top_p: raw.top_p.unwrap_or(base.top_p),
            top_k: raw.top_k.unwrap_or(base.top_k),
            do_sample: raw.do_sample.unwrap_or(base.do_sample),
        };
        positive_real("repetition_penalty", config.repetition_penalty.into())?;
        if config.do_sample {
            positive_real("temperature", config.temperature.into())?;
            positive_real("top_p", config.top_p.into())?;
        }
        Ok(config)
    }
}

impl From<GenerationConfig> for RawGeneration {
    fn from(config: GenerationConfig) -> Self {
        Self {
            eos_token_id: (!config.eos_token_ids.is_empty()).then_some(OneOrMany::Many(config.eos_token_ids)),
            bos_token_id: config.bos_token_id.map(i64::from),
            pad_token_id: config.pad_token_id.map(i64::from),
            repetition_penalty: Some(config.repetition_penalty),
            temperature: Some(config.temperature),
            top_p: Some(config.top_p),
            top_k: Some(config.top_k),
            do_sample: Some(config.do_sample),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_ids_are_one_or_many_or_none() -> Result<(), serde_json::Error> {
        for (json, ids) in [
            (r#"{"eos_token_id": 2}"#, vec![2]),
            (r#"{"eos_token_id": [5, 6]}"#, vec![5, 6]),
            (r#"{"eos_token_id": null}"#, vec![]),
        ] {
            let config: GenerationConfig = serde_json::from_str(json)?;
            assert_eq!(
                config,
                GenerationConfig {
                    eos_token_ids: ids,
                    ..GenerationConfig::default()
                }
            );
            assert_eq!(
                serde_json::from_str::<GenerationConfig>(&serde_json::to_string(&config)?)?,
                config
            );
        }
        Ok(())
    }

    #[test]
    fn negative_ids_stand_for_none() -> Result<(), serde_json::Error> {
        let config: GenerationConfig =
            serde_json::from_str(r#"{"pad_token_id": -1, "bos_token_id": 1, "eos_token_id": 2}"#)?;
        assert_eq!((config.pad_token_id, config.bos_token_id), (None, Some(1)));
        let large = serde_json::from_str::<GenerationConfig>(r#"{"pad_token_id": 5000000000}"#);
        assert!(large.is_err());
        Ok(())
    }

    #[test]
    fn without_its_file_the_model_configuration_names_the_end() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        assert_eq!(GenerationConfig::from_dir(&dir)?, GenerationConfig::default());
        std::fs::write(
            dir.path().join("config.json"),
            r#"{"text_config": {"eos_token_id": 9}}"#,
        )?;
        assert_eq!(GenerationConfig::from_dir(&dir)?.eos_token_ids, [9]);
        std::fs::write(
            dir.path().join("generation_config.json"),
            r#"{"repetition_penalty": 0.0}"#,
        )?;
        assert!(matches!(
            GenerationConfig::from_dir(&dir),
            Err(LoadError::Config { .. })
        ));
        Ok(())
    }
}
