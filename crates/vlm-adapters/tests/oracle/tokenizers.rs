//! Token ids of all probes, and the prompts of all stored conversations.

use diffprune_vlm_adapters::{
    ChatTemplate, Content, Message, PromptStyle, TextTokenizer, Turn, render_prompt,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{Outcome, entries, fixture, json};

#[derive(Deserialize)]
struct Probe {
    text: String,
    ids: Vec<u32>,
    ids_no_special: Vec<u32>,
    decoded: String,
}

#[test]
fn all_probes_encode_and_decode() -> Outcome {
    let probes = json("tokenizers/probes.json")?;
    let mut n_probes = 0;
    for (name, probes) in probes.as_object().ok_or("probes by tokenizer")? {
        let tokenizer = TextTokenizer::from_file(fixture("tokenizers").join(format!("{name}.json")))?;
        for probe in serde_json::from_value::<Vec<Probe>>(probes.clone())? {
            let text = &probe.text;
            assert_eq!(tokenizer.encode(text, true)?, probe.ids, "{name}: {text:?}");
            assert_eq!(
                tokenizer.encode(text, false)?,
                probe.ids_no_special,
                "{name}: {text:?}"
            );
            assert_eq!(
                tokenizer.decode(&probe.ids, true),
                probe.decoded,
                "{name}: {text:?}"
            );
            n_probes += 1;
        }
    }
    assert!(n_probes > 0, "no probes");
    println!("{n_probes} probes");
    Ok(())
}

/// For every tokenizer whose probes hold an image's token.
#[test]
fn an_image_is_one_id_wherever_it_stands() -> Outcome {
    let mut n_tokenizers = 0;
    let probes = json("tokenizers/probes.json")?;
    for (name, probes) in probes.as_object().ok_or("probes by tokenizer")? {
        let probes: Vec<Probe> = serde_json::from_value(probes.clone())?;
        let Some(image) = stored_image_id(name)? else {
            continue;
        };
        if !probes.iter().any(|probe| probe.ids.contains(&image)) {
            continue;
        }
        let tokenizer = TextTokenizer::from_file(fixture("tokenizers").join(format!("{name}.json")))?;
        assert_eq!(tokenizer.image_token_id(), Some(image), "{name}");
        let spelt = tokenizer.decode(&[image], false);
        let spelt = spelt.trim();
        let ids = tokenizer.encode(&format!("a{spelt}{spelt}\n b {spelt}"), true)?;
        assert_eq!(
            ids.iter().filter(|&&id| id == image).count(),
            3,
            "{name}: {ids:?}"
        );
        n_tokenizers += 1;
    }
    assert!(n_tokenizers > 0, "no tokenizer's probes hold an image");
    println!("{n_tokenizers} tokenizers");
    Ok(())
}

/// The id of the image's token among those added to the vocabulary, read from the file itself.
fn stored_image_id(name: &str) -> Result<Option<u32>, Box<dyn std::error::Error>> {
    let stored = json(&format!("tokenizers/{name}.json"))?;
    let added = stored["added_tokens"].as_array().into_iter().flatten();
    let id = added
        .filter(|token| matches!(token["content"].as_str(), Some("<image>" | "<|image_pad|>")))
        .find_map(|token| token["id"].as_u64());
    Ok(id.map(u32::try_from).transpose()?)
}

#[test]
fn stored_prompts_are_rendered_and_encoded() -> Outcome {
    let mut n_prompts = 0;
    for file in entries("expected", |name| name.ends_with(".json"))? {
        let expected = json(&format!("expected/{file}"))?;
        let dir = fixture(expected["checkpoint"].as_str().ok_or("no checkpoint")?);
        if !dir.exists() {
            continue;
        }
        let tokenizer = TextTokenizer::from_file(dir.join("tokenizer.json"))?;
        let template = ChatTemplate::from_dir(&dir)?.ok_or("no chat template")?;
        for case in expected["cases"].as_array().into_iter().flatten() {
            let prompt = case["prompt"].as_str().ok_or("no prompt")?;
            let messages = messages(&case["messages"]).ok_or("messages")?;
            assert_eq!(
                rendered(prompt, &template, &messages)?,
                prompt,
                "{file} {}",
                case["id"]
            );
            let ids: Vec<u32> = serde_json::from_value(case["prompt_ids_unexpanded"].clone())?;
            assert_eq!(tokenizer.encode(prompt, true)?, ids, "{file} {}", case["id"]);
            if case["image_token_id"].is_u64() {
                assert_eq!(
                    tokenizer.image_token_id().map(u64::from),
                    case["image_token_id"].as_u64()
                );
            }
            n_prompts += 1;
        }
    }
    assert!(n_prompts > 0, "no prompts");
    println!("{n_prompts} prompts");
    Ok(())
}

/// The text of `messages` in the style that the stored prompt begins with.
fn rendered(
    prompt: &str,
    template: &ChatTemplate,
    messages: &[Message],
) -> Result<String, diffprune_vlm_adapters::LoadError> {
    let style = match prompt {
        _ if prompt.starts_with("A chat between a curious user") => PromptStyle::VicunaV1,
        _ if prompt.starts_with("A chat between a curious human") => PromptStyle::VicunaV1Human,
        _ => PromptStyle::Hf,
    };
    match turns(messages) {
        Some(turns) => render_prompt(style, Some(template), &turns),
        None => {
            let open = messages.last().is_none_or(|message| message.role == "user");
            template.render(messages, open)
        }
    }
}

/// Questions and answers; `None` for conversations with other roles.
fn turns(messages: &[Message]) -> Option<Vec<Turn>> {
    let mut turns: Vec<Turn> = Vec::new();
    for message in messages {
        let text = message.content.iter().find_map(|content| match content {
            Content::Text(text) => Some(text.clone()),
            Content::Image => None,
        })?;
        let n_images = message
            .content
            .iter()
            .filter(|content| **content == Content::Image)
            .count();
        match message.role.as_str() {
            "user" => turns.push(Turn::ask(text).with_images(n_images)),
            "assistant" => turns.last_mut()?.answer = Some(text),
            _ => return None,
        }
    }
    Some(turns)
}

fn messages(stored: &Value) -> Option<Vec<Message>> {
    let part = |part: &Value| match part["type"].as_str()? {
        "image" => Some(Content::Image),
        _ => Some(Content::Text(part["text"].as_str()?.to_string())),
    };
    let message = |message: &Value| {
        let content = match &message["content"] {
            Value::String(text) => vec![Content::Text(text.clone())],
            parts => parts.as_array()?.iter().map(part).collect::<Option<_>>()?,
        };
        Some(Message {
            role: message["role"].as_str()?.to_string(),
            content,
        })
    };
    stored.as_array()?.iter().map(message).collect()
}
