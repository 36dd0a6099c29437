//! The body of `POST /v1/chat/completions`.

use diffprune_vlm::{GenerateOptions, Sampling};
use serde::Deserialize;

use crate::budget::{Detail, VisualTokens};
use crate::config::Limits;
use crate::error::ApiError;

/// Most texts that end an answer.
const MOST_STOPS: usize = 4;

/// A conversation to be continued. Fields that are not here are ignored, or refused by
/// [`refuse_unsupported`](super::refuse_unsupported).
#[derive(Debug, Deserialize)]
pub(crate) struct ChatRequest {
    pub model: Option<String>,
    pub messages: Vec<Message>,
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<usize>,
    pub repetition_penalty: Option<f32>,
    pub seed: Option<i64>,
    pub max_tokens: Option<i64>,
    pub max_completion_tokens: Option<i64>,
    pub stop: Option<Stop>,
    pub visual_tokens: Option<VisualTokens>,
    pub pruner: Option<String>,
}

/// Options of an answer in pieces.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct StreamOptions {
    pub include_usage: Option<bool>,
}

/// Texts that end an answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "stop: expected a text or a list of texts")]
pub(crate) enum Stop {
    One(String),
    Several(Vec<String>),
}

/// One message.
#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    pub role: String,
    #[serde(default)]
    pub content: Option<Content>,
}

/// What a message says.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "content: expected a text or a list of parts")]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a message.
#[derive(Debug, Deserialize)]
pub(crate) struct Part {
    #[serde(rename = "type")]
    pub kind: String,
    pub text: Option<String>,
    pub image_url: Option<ImageUrl>,
    pub visual_tokens: Option<VisualTokens>,
    pub pruner: Option<String>,
}

/// A picture, by its address alone or with more about it.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "image_url: expected an object with a `url`, and `detail` low, auto or high"
)]
pub(crate) enum ImageUrl {
    Url(String),
    Object {
        url: String,
        detail: Option<Detail>,
        visual_tokens: Option<VisualTokens>,
        pruner: Option<String>,
    },
}

impl ChatRequest {
    /// True when the answer is to come in pieces.
    pub fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    /// True when the pieces end with one of counts.
    pub fn wants_usage(&self) -> bool {
        let options = self.stream_options;
        options.and_then(|options| options.include_usage) == Some(true)
    }

    /// Texts that end the answer.
    pub fn stops(&self) -> Result<Vec<String>, ApiError> {
        let stops = match self.stop.clone() {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop],
            Some(Stop::Several(stops)) => stops,
        };
        if stops.len() > MOST_STOPS || stops.iter().any(String::is_empty) {
            let found = format!("{} texts, {} of them empty", stops.len(), empty(&stops));
            let message = format!("stop: found {found}, expected at most {MOST_STOPS} and none empty");
            return Err(ApiError::invalid("stop", message));
        }
        Ok(stops)
    }

    /// The model's own options of generation with the request's wishes; wishes beyond the limits become warnings.
    pub fn options(
        &self,
        own: GenerateOptions,
        limits: &Limits,
        seed: u64,
        warnings: &mut Vec<String>,
    ) -> Result<GenerateOptions, ApiError> {
        let (name, wanted) = match (self.max_completion_tokens, self.max_tokens) {
            (Some(wanted), _) => ("max_completion_tokens", Some(wanted)),
            (None, wanted) => ("max_tokens", wanted),
        };
        let tokens = match wanted {
            None => limits.default_tokens.min(limits.max_tokens),
            Some(wanted) if wanted < 1 => {
                let message = format!("{name}: found {wanted}, expected at least 1");
                return Err(ApiError::invalid(name, message));
            }
            Some(wanted) => match usize::try_from(wanted).unwrap_or(usize::MAX) {
                wanted if wanted > limits.max_tokens => {
                    let most = limits.max_tokens;
                    warnings.push(format!(
                        "{name} {wanted} is more than this server gives; the answer ends after {most} tokens"
                    ));
                    most
                }
                wanted => wanted,
            },
        };
        let within = |name: &'static str, value: Option<f32>, least: f32, most: f32, wanted: &str| match value
        {
            Some(value) if !(least..=most).contains(&value) => {
                let message = format!("{name}: found {value}, expected {wanted}");
                Err(ApiError::invalid(name, message))
            }
            value => Ok(value),
        };
        let temperature = within("temperature", self.temperature, 0.0, 2.0, "0 to 2")?;
        let top_p = within(
            "top_p",
            self.top_p,
            f32::MIN_POSITIVE,
            1.0,
            "more than 0, at most 1",
        )?;
        let penalty = self.repetition_penalty;
        let penalty = within("repetition_penalty", penalty, 0.01, 10.0, "0.01 to 10")?;
        let sampled = temperature.is_some() || self.top_p.is_some() || self.top_k.is_some();
        let temperature = temperature.unwrap_or(1.0);
        let own = match (sampled, temperature > 0.0) {
            (false, _) => own,
            (true, false) => own.with_sampling(Sampling::Greedy),
            (true, true) => own.with_sampling(Sampling::Random {
                temperature,
                top_p: top_p.unwrap_or(1.0),
                top_k: self.top_k.unwrap_or(0),
                seed,
            }),
        };
        let own = match penalty {
            Some(penalty) => own.with_repetition_penalty(penalty),
            None => own,
        };
        Ok(own.with_max_new_tokens(tokens))
    }
}

fn empty(stops: &[String]) -> usize {
    stops.iter().filter(|stop| stop.is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn request(fields: Value) -> ChatRequest {
        let mut body = json!({"messages": []});
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        serde_json::from_value(body).unwrap()
    }

    fn options(fields: Value) -> Result<(GenerateOptions, Vec<String>), ApiError> {
        let mut warnings = Vec::new();
        let own = GenerateOptions::default().with_stop_ids(vec![7]);
        let made = request(fields).options(own, &Limits::default(), 5, &mut warnings)?;
        assert_eq!(made.stop_ids, [7], "the model's own stop ids stay");
        Ok((made, warnings))
    }

    #[test]
    fn an_answer_is_greedy_unless_something_else_is_asked_for() {
        let (plain, warnings) = options(json!({})).unwrap();
        assert_eq!((plain.sampling, plain.max_new_tokens), (Sampling::Greedy, 256));
        assert!(warnings.is_empty());
        assert_eq!(
            options(json!({"temperature": 0})).unwrap().0.sampling,
            Sampling::Greedy
        );
        let drawn = options(json!({"top_p": 0.5, "top_k": 3})).unwrap().0.sampling;
        let wanted = Sampling::Random {
            temperature: 1.0,
            top_p: 0.5,
            top_k: 3,
            seed: 5,
        };
        assert_eq!(drawn, wanted);
    }

    #[test]
    fn lengths_are_bounded_and_the_newer_name_counts() {
        let (made, _) = options(json!({"max_tokens": 9, "max_completion_tokens": 4})).unwrap();
        assert_eq!(made.max_new_tokens, 4);
        let (made, warnings) = options(json!({"max_tokens": 100_000})).unwrap();
        assert_eq!(made.max_new_tokens, 1024);
        assert!(warnings[0].contains("max_tokens 100000"), "{warnings:?}");
        assert_eq!(
            options(json!({"max_tokens": 0})).unwrap_err().param.as_deref(),
            Some("max_tokens")
        );
    }

    #[test]
    fn numbers_outside_their_range_are_named() {
        for (name, value) in [
            ("temperature", json!(-0.1)),
            ("temperature", json!(2.1)),
            ("top_p", json!(0)),
            ("top_p", json!(1.5)),
            ("repetition_penalty", json!(0)),
        ] {
            let error = options(json!({name: value})).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(name));
        }
    }

    #[test]
    fn stops_are_one_or_several() {
        assert_eq!(request(json!({"stop": "a"})).stops().unwrap(), ["a"]);
        assert_eq!(request(json!({"stop": ["a", "b"]})).stops().unwrap(), ["a", "b"]);
        assert!(request(json!({"stop": null})).stops().unwrap().is_empty());
        assert!(request(json!({"stop": [""]})).stops().is_err());
        assert!(
            request(json!({"stop": ["a", "b", "c", "d", "e"]}))
                .stops()
                .is_err()
        );
    }
}
