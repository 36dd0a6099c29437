//! Bodies of requests to the server.

use arbitrary::{Result, Unstructured};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::texts;
use super::values;

/// A picture of 13 by 9 pixels.
const PICTURE: &[u8] = include_bytes!("../../corpus/image/rgb.png");
/// Fields of other servers of this kind.
const FOREIGN: [&str; 10] = [
    "n",
    "tools",
    "logprobs",
    "logit_bias",
    "response_format",
    "frequency_penalty",
    "best_of",
    "audio",
    "user",
    "metadata",
];

/// One time in `often` any value in place of one that is right.
fn mostly(u: &mut Unstructured<'_>, often: u8, right: Value) -> Result<Value> {
    match u.ratio(1, often)? {
        true => values::value(u),
        false => Ok(right),
    }
}

/// Adds a field in three of four bodies; its value is right in most.
fn maybe(u: &mut Unstructured<'_>, fields: &mut Map<String, Value>, name: &str, right: Value) -> Result<()> {
    if u.ratio(3, 4)? {
        let value = mostly(u, 8, right)?;
        fields.insert(name.to_string(), value);
    }
    Ok(())
}

/// The address of a picture.
fn url(u: &mut Unstructured<'_>) -> Result<String> {
    let data = STANDARD.encode(PICTURE);
    Ok(match u.int_in_range(0..=11)? {
        0 => format!("data:image/png;base64,{}", &data[..u.choose_index(data.len())?]),
        1 => format!("data:{};base64,{data}", values::text(u)?),
        2 => format!("data:image/png,{data}"),
        3 => "http://localhost/x.png".into(),
        4 => "file:///etc/passwd".into(),
        5 => values::text(u)?,
        6 => {
            let mut bytes = PICTURE.to_vec();
            let place = u.choose_index(bytes.len())?;
            bytes[place] = u.arbitrary()?;
            format!("data:image/png;base64,{}", STANDARD.encode(&bytes))
        }
        _ => format!("data:image/png;base64,{data}"),
    })
}

fn tokens(u: &mut Unstructured<'_>) -> Result<Value> {
    Ok(match u.ratio(1, 2)? {
        true => json!(u.int_in_range(0..=20)?),
        false => Value::String(texts::budget(u)?),
    })
}

/// A part of a message.
fn part(u: &mut Unstructured<'_>) -> Result<Value> {
    if u.ratio(1, 16)? {
        return values::value(u);
    }
    let mut fields = Map::new();
    if u.arbitrary()? {
        fields.insert("type".into(), json!("text"));
        let said = values::text(u)?;
        maybe(u, &mut fields, "text", Value::String(said))?;
    } else {
        fields.insert("type".into(), json!("image_url"));
        let picture = image(u)?;
        maybe(u, &mut fields, "image_url", picture)?;
        let wish = tokens(u)?;
        maybe(u, &mut fields, "visual_tokens", wish)?;
        let method = texts::method(u)?;
        maybe(u, &mut fields, "pruner", Value::String(method))?;
    }
    if u.ratio(1, 12)? {
        let kind = values::value(u)?;
        fields.insert("type".into(), kind);
    }
    Ok(Value::Object(fields))
}

/// A picture, by its address alone or with more about it.
fn image(u: &mut Unstructured<'_>) -> Result<Value> {
    let url = url(u)?;
    if u.ratio(1, 3)? {
        return Ok(Value::String(url));
    }
    let mut fields = Map::new();
    fields.insert("url".into(), mostly(u, 12, Value::String(url))?);
    let detail = *u.choose(&["low", "auto", "high", "medium"])?;
    maybe(u, &mut fields, "detail", json!(detail))?;
    let wish = tokens(u)?;
    maybe(u, &mut fields, "visual_tokens", wish)?;
    Ok(Value::Object(fields))
}

fn message(u: &mut Unstructured<'_>, number: usize) -> Result<Value> {
    let role = match (u.ratio(1, 6)?, number % 2) {
        (true, _) => *u.choose(&["system", "developer", "assistant", "tool", "User", ""])?,
        (false, 0) => "user",
        (false, _) => "assistant",
    };
    let content = match u.int_in_range(0..=3)? {
        0 => Value::String(values::text(u)?),
        _ => {
            let parts = (0..u.int_in_range(0..=4)?).map(|_| part(u));
            Value::Array(parts.collect::<Result<_>>()?)
        }
    };
    let content = mostly(u, 16, content)?;
    mostly(u, 32, json!({"role": role, "content": content}))
}

/// The body of a chat completion.
pub fn chat(u: &mut Unstructured<'_>) -> Result<Value> {
    let messages = (0..u.int_in_range(0..=6)?).map(|number| message(u, number));
    let messages = Value::Array(messages.collect::<Result<_>>()?);
    let mut fields = Map::new();
    fields.insert("messages".into(), mostly(u, 24, messages)?);
    let streams = u.arbitrary()?;
    maybe(u, &mut fields, "stream", Value::Bool(streams))?;
    for name in [
        "model",
        "temperature",
        "top_p",
        "top_k",
        "repetition_penalty",
        "seed",
    ] {
        if u.ratio(1, 4)? {
            let right = match name {
                "model" => json!("fake"),
                "top_p" => json!(0.9),
                _ => json!(u.int_in_range(0..=2)?),
            };
            fields.insert(name.into(), mostly(u, 3, right)?);
        }
    }
    for name in ["max_tokens", "max_completion_tokens"] {
        if u.ratio(1, 2)? {
            let right = json!(u.int_in_range(0..=40)?);
            fields.insert(name.into(), mostly(u, 4, right)?);
        }
    }
    let wish = tokens(u)?;
    maybe(u, &mut fields, "visual_tokens", wish)?;
    let method = texts::method(u)?;
    maybe(u, &mut fields, "pruner", Value::String(method))?;
    for name in ["stop", "stream_options"] {
        if u.ratio(1, 4)? {
            let right = match name {
                "stop" => json!(["\n", "x"]),
                _ => json!({"include_usage": true}),
            };
            fields.insert(name.into(), mostly(u, 3, right)?);
        }
    }
    if u.ratio(1, 10)? {
        let name = u.choose(&FOREIGN)?.to_string();
        let any = values::value(u)?;
        fields.insert(name, any);
    }
    mostly(u, 64, Value::Object(fields))
}

/// The body of a selection.
pub fn select(u: &mut Unstructured<'_>) -> Result<Value> {
    let mut fields = Map::new();
    let picture = image(u)?;
    fields.insert("image_url".into(), mostly(u, 24, picture)?);
    let methods = (0..u.int_in_range(0..=5)?).map(|_| Ok(Value::String(texts::method(u)?)));
    let methods = Value::Array(methods.collect::<Result<_>>()?);
    maybe(u, &mut fields, "methods", methods)?;
    let wish = tokens(u)?;
    maybe(u, &mut fields, "visual_tokens", wish)?;
    let question = values::text(u)?;
    maybe(u, &mut fields, "question", Value::String(question))?;
    let seed = Value::Number(values::number(u)?);
    maybe(u, &mut fields, "seed", seed)?;
    mostly(u, 64, Value::Object(fields))
}
