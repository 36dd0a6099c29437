//! Fields of OpenAI's interface that would change the answer, and that this server does not have.

use serde_json::Value;

use crate::error::ApiError;

/// Refuses a body with a field that would change the answer and that this server does not have. The value that changes
/// nothing (`n: 1`, `tools: []`, `logprobs: false`) is allowed.
pub(crate) fn refuse_unsupported(body: &Value) -> Result<(), ApiError> {
    let Some(fields) = body.as_object() else {
        return Err(ApiError::invalid(
            "",
            "found no JSON object, expected one with `messages`",
        ));
    };
    for (name, value) in fields {
        if let Some(wanted) = wanted(name, value) {
            let message = format!(
                "{name}: found {}, expected {wanted}; this server has nothing else",
                short(value)
            );
            return Err(ApiError::unsupported(name.as_str(), message));
        }
    }
    Ok(())
}

/// What would be allowed in place of a value that is not; `None` for one that is.
fn wanted(name: &str, value: &Value) -> Option<&'static str> {
    if value.is_null() {
        return None;
    }
    let zero = value.as_f64() == Some(0.0);
    let off = value == &Value::Bool(false);
    let (allowed, wanted) = match name {
        "n" => (value.as_i64() == Some(1), "1"),
        "best_of" => (value.as_i64() == Some(1), "1"),
        "frequency_penalty" | "presence_penalty" => (zero, "0"),
        "logit_bias" => (is_empty(value), "none"),
        "logprobs" | "echo" => (off, "false"),
        "top_logprobs" | "prompt_logprobs" => (zero, "0"),
        "tools" | "functions" => (is_empty(value), "none"),
        "tool_choice" | "function_call" => (value == "none" || value == "auto", "none"),
        "response_format" => (value["type"] == "text", "{\"type\": \"text\"}"),
        "modalities" => (value == &serde_json::json!(["text"]), "[\"text\"]"),
        "audio" | "web_search_options" | "suffix" => (false, "none"),
        "guided_json" | "guided_regex" | "guided_choice" | "guided_grammar" => (false, "none"),
        _ => return None,
    };
    (!allowed).then_some(wanted)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// A value as a message shows it.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_would_change_the_answer_is_named() {
        for (name, value) in [
            ("n", json!(2)),
            ("tools", json!([{"type": "function"}])),
            ("functions", json!([{}])),
            ("tool_choice", json!("required")),
            ("logprobs", json!(true)),
            ("top_logprobs", json!(3)),
            ("response_format", json!({"type": "json_object"})),
            ("audio", json!({"voice": "x"})),
            ("modalities", json!(["text", "audio"])),
            ("frequency_penalty", json!(0.5)),
            ("presence_penalty", json!(-1)),
            ("logit_bias", json!({"5": 1})),
            ("web_search_options", json!({})),
        ] {
            let error = refuse_unsupported(&json!({"messages": [], name: value})).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(name));
            assert_eq!(error.code, Some("unsupported_parameter"));
            assert!(error.message.starts_with(name), "{}", error.message);
        }
    }

    #[test]
    fn what_changes_nothing_is_allowed() {
        let body = json!({
            "n": 1, "tools": [], "tool_choice": "auto", "logprobs": false, "top_logprobs": null,
            "response_format": {"type": "text"}, "modalities": ["text"], "frequency_penalty": 0, "presence_penalty": 0.0,
            "logit_bias": {}, "user": "me", "store": true, "metadata": {"a": "b"}, "service_tier": "auto", "unheard_of": [1],
        });
        refuse_unsupported(&body).unwrap();
    }
}
