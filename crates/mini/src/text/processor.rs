//! The text and image half of a checkpoint folder, in Hugging Face layout.

use super::tokenizer::{ProcessorIds, added_with_ids, build_tokenizer};
use super::words::SPECIAL;
use crate::files::write_text;
use crate::pretrain::{TILES, qwen_processor};
use crate::{Family, MiniError, WorldConfig};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Turns a conversation into `USER: <image>\n... ASSISTANT:`; a system message is put in front as it is.
const LLAVA_TEMPLATE: &str = "{%- for message in messages -%}\
{%- if message['role'] != 'system' -%}{{ message['role'].upper() + ': ' }}{%- endif -%}\
{%- for part in message['content'] if part['type'] == 'image' -%}{{ '<image>\\n' }}{%- endfor -%}\
{%- for part in message['content'] if part['type'] == 'text' -%}{{ part['text'] + ' ' }}{%- endfor -%}\
{%- endfor -%}\
{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%}";

/// Turns between marks, and a system turn in front where none is given.
const QWEN_TEMPLATE: &str = "{%- for message in messages -%}\
{%- if loop.first and message['role'] != 'system' -%}\
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{%- endif -%}\
{{ '<|im_start|>' + message['role'] + '\\n' }}\
{%- for part in message['content'] -%}\
{%- if part['type'] == 'image' -%}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}\
{%- else -%}{{ part['text'] }}{%- endif -%}\
{%- endfor -%}{{ '<|im_end|>\\n' }}\
{%- endfor -%}\
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}";

/// Mean of CLIP's training pictures, per channel.
const CLIP_MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
/// Standard deviation of CLIP's training pictures, per channel.
const CLIP_STD: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];

/// Writes `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`, `chat_template.jinja`,
/// `chat_template.json`, `preprocessor_config.json`, `generation_config.json` and (for the LLaVAs)
/// `processor_config.json` into an existing folder, each file whole or not at all. `config.json` and the weights are
/// the trainer's.
///
/// # Errors
/// [`MiniError::Io`] if a file cannot be written, [`MiniError::Tokenizer`] if the tokenizer cannot be built.
pub fn write_processor_files(
    dir: &Path,
    family: Family,
    world: &WorldConfig,
) -> Result<ProcessorIds, MiniError> {
    let ids = ProcessorIds::of(family);
    let tokenizer = build_tokenizer(family)?;
    let text = tokenizer.to_string(true).map_err(|e| MiniError::Tokenizer {
        reason: e.to_string(),
    })?;
    let template = match family {
        Family::Qwen25Vl => QWEN_TEMPLATE,
        _ => LLAVA_TEMPLATE,
    };
    write_text(&dir.join("tokenizer.json"), &text)?;
    write_text(&dir.join("chat_template.jinja"), template)?;
    let mut files = vec![
        ("tokenizer_config.json", tokenizer_config(family)),
        ("special_tokens_map.json", special_tokens(family)),
        ("chat_template.json", json!({ "chat_template": template })),
        ("preprocessor_config.json", preprocessor(family, world)),
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
    if family != Family::Qwen25Vl {
        files.push(("processor_config.json", processor(family, world.patch_size)));
    }
    for (name, value) in files {
        let path = dir.join(name);
        let text = serde_json::to_string_pretty(&value).map_err(MiniError::json(&path))?;
        write_text(&path, &text)?;
    }
    Ok(ids)
}

fn special_tokens(family: Family) -> Value {
    match family {
        Family::Qwen25Vl => json!({
            "additional_special_tokens": ["<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"],
            "eos_token": "<|im_end|>",
            "unk_token": SPECIAL[0],
            "pad_token": "<|endoftext|>",
        }),
        _ => json!({
            "bos_token": SPECIAL[1],
            "eos_token": SPECIAL[2],
            "unk_token": SPECIAL[0],
            "pad_token": SPECIAL[3],
            "image_token": SPECIAL[4],
        }),
    }
}

fn tokenizer_config(family: Family) -> Value {
    let decoder: Map<String, Value> = added_with_ids(family)
        .into_iter()
        .map(|(id, content, special)| {
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
    let mut config = json!({
        "added_tokens_decoder": decoder,
        "clean_up_tokenization_spaces": false,
        "model_max_length": 1024,
        "padding_side": "left",
        "processor_class": processor_class(family),
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    let named = special_tokens(family);
    if let (Some(config), Some(named)) = (config.as_object_mut(), named.as_object()) {
        config.extend(named.clone());
        if family != Family::Qwen25Vl {
            let image = json!({ "image_token": SPECIAL[4] });
            config.insert("extra_special_tokens".into(), image);
        }
    }
    config
}

fn processor_class(family: Family) -> &'static str {
    match family {
        Family::LlavaNext => "LlavaNextProcessor",
        Family::Qwen25Vl => "Qwen2_5_VLProcessor",
        _ => "LlavaProcessor",
    }
}

fn preprocessor(family: Family, world: &WorldConfig) -> Value {
    if family == Family::Qwen25Vl {
        let processor = qwen_processor(world);
        return json!({
            "min_pixels": processor.min_pixels,
            "max_pixels": processor.max_pixels,
            "patch_size": processor.patch_size,
            "temporal_patch_size": processor.temporal_patch_size,
            "merge_size": processor.merge_size,
            "image_mean": CLIP_MEAN,
            "image_std": CLIP_STD,
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": processor_class(family),
        });
    }
    let side = match family {
        Family::LlavaNext => world.image_size / TILES as u32,
        _ => world.image_size,
    };
    let mut settings = json!({
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
        "processor_class": processor_class(family),
    });
    if family == Family::LlavaNext {
        let whole = world.image_size;
        settings["image_processor_type"] = "LlavaNextImageProcessor".into();
        settings["image_grid_pinpoints"] = json!([[side, whole], [whole, side], [whole, whole]]);
        settings["do_pad"] = true.into();
    }
    settings
}

fn processor(family: Family, patch_size: u32) -> Value {
    json!({
        "image_token": SPECIAL[4],
        "num_additional_image_tokens": 1,
        "patch_size": patch_size,
        "processor_class": processor_class(family),
        "vision_feature_select_strategy": "default",
    })
}
