//! The description of the interface against the interface.

use serde_json::{Value, json};

use crate::common::{TestServer, about, and, counting, saying, url_of};

/// A schema, references followed.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            &document[reference.strip_prefix("#/").unwrap().split('/').next().unwrap()]["schemas"]
                [reference.rsplit('/').next().unwrap()]
        }
        None => schema,
    }
}

/// Fails about a field of a value that its schema does not describe.
fn described(document: &Value, schema: &Value, value: &Value, place: &str) {
    let schema = resolved(document, schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = |choice: &&Value| resolved(document, choice)["type"] == kind(value);
        let choice = choices.iter().find(fits);
        let choice = choice.unwrap_or_else(|| panic!("{place}: no choice for {value}"));
        return described(document, choice, value, place);
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    let fits = types
        .iter()
        .any(|wanted| wanted == kind(value) || (wanted == "number" && kind(value) == "integer"));
    assert!(fits, "{place}: found {value}, described as {types:?}");
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let place = format!("{place}.{name}");
                let field = schema["properties"]
                    .get(name)
                    .or_else(|| schema.get("additionalProperties"));
                let field = field.unwrap_or_else(|| panic!("{place} is not described"));
                described(document, field, value, &place);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                described(document, &schema["items"], item, &format!("{place}[{number}]"));
            }
        }
        _ => {}
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[test]
fn what_the_server_says_is_described() {
    let server = TestServer::counting();
    let document = server.get("/openapi.json").json();
    let schema = |name: &str| document["components"]["schemas"][name].clone();
    let check = |name: &str, value: &Value| described(&document, &schema(name), value, name);
    let body = and(about(1, "n"), json!({"visual_tokens": 99}));
    check("ChatAnswer", &server.chat(&body));
    let streamed = and(
        body,
        json!({"stream": true, "stream_options": {"include_usage": true}}),
    );
    let mut events = server.post("/v1/chat/completions", &streamed).events();
    events.pop();
    for event in events {
        check("ChatPiece", &serde_json::from_str(&event).unwrap());
    }
    check("Models", &server.get("/v1/models").json());
    check("Health", &server.get("/health").json());
    let methods = ["cls", "random", "fastv"];
    for question in [json!("what?"), json!(null)] {
        let body = json!({"image_url": url_of(1), "methods": methods, "question": question});
        check("SelectAnswer", &server.post("/v1/diffprune/select", &body).json());
    }
    check("Error", &server.post("/v1/chat/completions", &json!({})).json());
    check(
        "Error",
        &server
            .post("/v1/chat/completions", &and(saying("x"), json!({"n": 3})))
            .json(),
    );
}

#[test]
fn references_lead_somewhere() {
    let document = TestServer::with(|_| {}, counting()).get("/openapi.json").json();
    let text = document.to_string();
    let mut found = 0;
    for reference in text.split("\"$ref\":\"").skip(1) {
        let reference = reference.split('"').next().unwrap();
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        found += 1;
    }
    assert!(found > 20);
}
