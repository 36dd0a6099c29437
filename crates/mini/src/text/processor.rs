//! The text and image half of a LLaVA-1.5 checkpoint folder, in Hugging Face layout.

use super::tokenizer::build_tokenizer;
use super::words::{SPECIAL, sentences, vocabulary};
use crate::files::write_text;
use crate::{MiniError, WorldConfig};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Turns a conversation into `USER: <image>\n... ASSISTANT:`; a system message is put in front as it is.
const CHAT_TEMPLATE: &str = "{%- for message in messages -%}\
{%- if message['role'] != 'system' -%}{{ message['role'].upper() + ': ' }}{%- endif -%}\
{%- for part in message['content'] if part['type'] == 'image' -%}{{ '<image>\\n' }}{%- endfor -%}\
{%- for part in message['content'] if part['type'] == 'text' -%}{{ part['text'] + ' ' }}{%- endfor -%}\
{%- endfor -%}\
{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%}";

/// Mean of CLIP's training pictures, per channel.
const CLIP_MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
/// Standard deviation of CLIP's training pictures, per channel.
const CLIP_STD: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];

/// Token ids that a model's configuration repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessorIds {
    /// Unknown words.
    pub unk: u32,
    /// Begin of text.
    pub bos: u32,
    /// End of a turn.
    pub eos: u32,
    /// Padding.
    pub pad: u32,
    /// The image placeholder, `image_token_index` of the model.
    pub image: u32,
    /// Entries of the vocabulary, `vocab_size` of the model; a multiple of 16.
    pub vocab_size: usize,
}

impl ProcessorIds {
    /// The ids of [`build_tokenizer`].
    pub fn of_mini() -> Self {
        Self {
            unk: 0,
            bos: 1,
            eos: 2,
            pad: 3,
            image: 4,
            vocab_size: vocabulary().len(),
        }
    }
}

/// Writes `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`, `chat_template.jinja`,
/// `chat_template.json`, `preprocessor_config.json`, `processor_config.json` and `generation_config.json` into an
/// existing folder, each file whole or not at all. `config.json` and the weights are the trainer's.
///
/// # Errors
/// [`MiniError::Io`] if a file cannot be written, [`MiniError::Tokenizer`] if the tokenizer cannot be built.
pub fn write_processor_files(dir: &Path, world: &WorldConfig) -> Result<ProcessorIds, MiniError> {
    let ids = ProcessorIds::of_mini();
    let tokenizer = build_tokenizer()?;
    let text = tokenizer.to_string(true).map_err(|e| MiniError::Tokenizer {
        reason: e.to_string(),
    })?;
    write_text(&dir.join("tokenizer.json"), &text)?;
    write_text(&dir.join("chat_template.jinja"), CHAT_TEMPLATE)?;
    let side = world.image_size;
    let files = [
        ("tokenizer_config.json", tokenizer_config()),
        ("special_tokens_map.json", special_tokens()),
        ("chat_template.json", json!({ "chat_template": CHAT_TEMPLATE })),
        ("preprocessor_config.json", preprocessor(side)),
        ("processor_config.json", processor(world.patch_size)),
        (
            "generation_config.json",
            json!({
                "_from_model_config": true,
                "bos_token_id": ids.bos,
                "eos_token_id": ids.eos,
                "pad_token_id": ids.pad,
            }),
        ),
    ];
    for (name, value) in files {
        let path = dir.join(name);
        let text = serde_json::to_string_pretty(&value).map_err(MiniError::json(&path))?;
        write_text(&path, &text)?;
    }
    Ok(ids)
}

fn special_tokens() -> Value {
    json!({
        "bos_token": SPECIAL[1],
        "eos_token": SPECIAL[2],
        "unk_token": SPECIAL[0],
        "pad_token": SPECIAL[3],
        "image_token": SPECIAL[4],
    })
}

fn tokenizer_config() -> Value {
    let added = (SPECIAL.into_iter().map(|token| (token, true)))
        .chain(sentences().into_iter().map(|token| (token, false)))
        .enumerate();
    let decoder: Map<String, Value> = added
        .map(|(id, (content, special))| {
            let entry = json!({
                "content": content,
                "lstrip": false,
                "normalized": false,
                "rstrip": false,
                "single_word": false,
                "special": special,
            });
            (id.to_string(), entry)
        })
        .collect();
    json!({
        "added_tokens_decoder": decoder,
        "bos_token": SPECIAL[1],
        "eos_token": SPECIAL[2],
        "unk_token": SPECIAL[0],
        "pad_token": SPECIAL[3],
        "extra_special_tokens": { "image_token": SPECIAL[4] },
        "image_token": SPECIAL[4],
        "clean_up_tokenization_spaces": false,
        "model_max_length": 512,
        "padding_side": "left",
        "processor_class": "LlavaProcessor",
        "tokenizer_class": "PreTrainedTokenizerFast",
    })
}

fn preprocessor(side: u32) -> Value {
    json!({
        "crop_size": { "height": side, "width": side },
        "do_center_crop": true,
        "do_convert_rgb": true,
        "do_normalize": true,
        "do_rescale": true,
        "do_resize": true,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "resample": 3,
        "rescale_factor": 1.0 / 255.0,
        "size": { "shortest_edge": side },
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "LlavaProcessor",
    })
}

fn processor(patch_size: u32) -> Value {
    json!({
        "image_token": SPECIAL[4],
        "num_additional_image_tokens": 1,
        "patch_size": patch_size,
        "processor_class": "LlavaProcessor",
        "vision_feature_select_strategy": "default",
    })
}
