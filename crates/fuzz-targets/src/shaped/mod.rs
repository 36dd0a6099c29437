//! Inputs of the right form: bytes are the choices of a generator, so that what is read begins where a parser ends.

pub(crate) mod requests;
mod texts;
mod tokens;
pub(crate) mod values;

use std::fmt::Debug;
use std::path::Path;
use std::str::FromStr;

use arbitrary::Unstructured;
use diffprune::{Budget, TrainConfig};
use diffprune_eval::Protocols;
use diffprune_lab::Plan;
use diffprune_mini::{DeitRecipe, Family, PretrainConfig};
use serde::Serialize;
use serde_json::Value;

use crate::targets::{self, Bench};

/// Files of a checkpoint whose values are exchanged.
const FILES: [&str; 6] = [
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
];

/// Values to start from: files of the checkpoints, settings of the family's own, the head of weights.
pub(crate) struct Forms {
    /// Checkpoint, file and what is in it.
    settings: Vec<(&'static str, &'static str, Value)>,
    own: Vec<Value>,
    head: Value,
    numbers: usize,
}

impl Forms {
    /// Reads the files of the checkpoints in `folder`.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn read(folder: &Path) -> std::io::Result<Self> {
        let mut settings = Vec::new();
        for model in ["llava", "qwen"] {
            for file in FILES {
                let path = folder.join(model).join(file);
                if path.is_file() {
                    settings.push((model, file, serde_json::from_slice(&std::fs::read(path)?)?));
                }
            }
        }
        let weights = std::fs::read(folder.join("llava/model.safetensors"))?;
        let head = weights
            .first_chunk::<8>()
            .map(|length| u64::from_le_bytes(*length) as usize)
            .and_then(|length| weights.get(8..8 + length));
        let head = head.ok_or(std::io::ErrorKind::InvalidData)?;
        Ok(Self {
            settings,
            own: own_settings().ok_or(std::io::ErrorKind::InvalidData)?,
            head: serde_json::from_slice(head)?,
            numbers: weights.len() - 8 - head.len(),
        })
    }
}

/// Every kind of settings that the family reads, as it writes them.
fn own_settings() -> Option<Vec<Value>> {
    fn value(settings: impl Serialize) -> Option<Value> {
        serde_json::to_value(settings).ok()
    }
    Some(vec![
        value(TrainConfig::default())?,
        value(Plan::named("quick")?)?,
        value(Plan::named("full")?)?,
        value(PretrainConfig::of(Family::Qwen25Vl))?,
        value(DeitRecipe::default())?,
    ])
}

/// Settings of a checkpoint with values exchanged.
pub(crate) fn settings(bench: &Bench, bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let forms = bench.forms();
    let drawn = u.choose(&forms.settings).and_then(|(model, file, value)| {
        let mut value = value.clone();
        values::edit(&mut u, &mut value)?;
        Ok((*model, *file, value))
    });
    if let Ok((model, file, value)) = drawn {
        bench.checkpoint(model, file, value.to_string().as_bytes(), targets::plan);
    }
}

/// Settings of the family's own with values exchanged, as TOML and as JSON.
pub(crate) fn toml(bench: &Bench, bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let drawn = u.choose(&bench.forms().own).and_then(|value| {
        let mut value = value.clone();
        values::edit(&mut u, &mut value)?;
        Ok(value)
    });
    let Ok(value) = drawn else { return };
    targets::toml(bench, value.to_string().as_bytes());
    // A value of nothing has no form in TOML.
    if let Ok(text) = ::toml::to_string(&without_nothing(value)) {
        targets::toml(bench, text.as_bytes());
    }
}

/// The same without the fields that hold nothing.
fn without_nothing(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                fields
                    .map(|(name, value)| (name, without_nothing(value)))
                    .collect(),
            )
        }
        Value::Array(items) => {
            let items = items.into_iter().filter(|item| !item.is_null());
            Value::Array(items.map(without_nothing).collect())
        }
        other => other,
    }
}

/// Weights whose head has values exchanged, or another length than it says.
pub(crate) fn safetensors(bench: &Bench, bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let forms = bench.forms();
    let mut draw = || -> arbitrary::Result<Vec<u8>> {
        let mut head = forms.head.clone();
        values::edit(&mut u, &mut head)?;
        let head = head.to_string();
        let said = match u.int_in_range(0..=15)? {
            0 => values::number(&mut u)?.as_u64().unwrap_or(u64::MAX),
            1 => head.len() as u64 - 1,
            _ => head.len() as u64,
        };
        let numbers = match u.int_in_range(0..=7)? {
            0 => u.int_in_range(0..=forms.numbers)?,
            1 => forms.numbers + u.int_in_range(1..=9)?,
            _ => forms.numbers,
        };
        let mut file = said.to_le_bytes().to_vec();
        file.extend_from_slice(head.as_bytes());
        let fill = u.arbitrary()?;
        file.resize(file.len() + numbers, fill);
        Ok(file)
    };
    if let Ok(file) = draw() {
        targets::safetensors(bench, &file);
    }
}

/// Texts of options that are nearly right. What is read is written and read again.
pub(crate) fn options(bench: &Bench, bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let text = match u.int_in_range(0..=2) {
        Ok(0) => texts::method(&mut u),
        Ok(1) => texts::protocols(&mut u),
        _ => texts::budget(&mut u),
    };
    let Ok(text) = text else { return };
    targets::options(bench, text.as_bytes());
    if let Some(budget) = again::<Budget>(&text) {
        for n_tokens in [1, 2, 576, 4096, usize::MAX] {
            let count = budget.resolve(n_tokens);
            let kept = count.unwrap_or_else(|error| panic!("`{text}` was read, and yet: {error}"));
            assert!((1..=n_tokens).contains(&kept), "`{text}`: {kept} of {n_tokens}");
        }
    }
    again::<Protocols>(&text);
}

/// The value of a text, when there is one; written and read again it is the same.
fn again<T: FromStr + ToString + PartialEq + Debug>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    let second = value.to_string().parse().ok();
    assert_eq!(second.as_ref(), Some(&value), "`{text}`");
    Some(value)
}

/// Visual tokens for methods that need no training.
pub(crate) fn choice(_: &Bench, bytes: &[u8]) {
    // Too few bytes make no images, and that is no finding.
    let _ = tokens::choose(&mut Unstructured::new(bytes));
}

/// A chat completion of a generator.
pub(crate) fn chat(bench: &Bench, bytes: &[u8]) {
    if let Ok(body) = requests::chat(&mut Unstructured::new(bytes)) {
        bench.server().chat(body.to_string().as_bytes());
    }
}

/// A selection of a generator.
pub(crate) fn select(bench: &Bench, bytes: &[u8]) {
    if let Ok(body) = requests::select(&mut Unstructured::new(bytes)) {
        bench.server().select(body.to_string().as_bytes());
    }
}
