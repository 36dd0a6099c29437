//! Answers in pieces.

use serde_json::{Value, json};

use crate::common::{Reply, TestServer, about, and, echo, fake, saying};

fn chunks(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(
        reply
            .header("content-type")
            .unwrap()
            .starts_with("text/event-stream")
    );
    let mut events = reply.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    events
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect()
}

fn text(chunks: &[Value]) -> String {
    let piece = |chunk: &Value| {
        chunk["choices"][0]["delta"]["content"]
            .as_str()
            .map(str::to_string)
    };
    chunks.iter().filter_map(piece).collect()
}

#[test]
fn pieces_make_the_whole_answer() {
    let server = TestServer::with(|_| {}, fake());
    let body = and(about(9, "what?"), json!({"max_tokens": 30}));
    let whole = server.chat(&body);
    let reply = server.post("/v1/chat/completions", &and(body, json!({"stream": true})));
    let chunks = chunks(&reply);
    assert_eq!(json!(text(&chunks)), whole["choices"][0]["message"]["content"]);
    assert_eq!(
        chunks[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": ""})
    );
    let last = chunks.last().unwrap();
    assert_eq!(
        last["choices"][0]["finish_reason"],
        whole["choices"][0]["finish_reason"]
    );
    let id = format!("chatcmpl-{}", reply.header("x-request-id").unwrap());
    for chunk in &chunks {
        assert_eq!(
            (&chunk["object"], &chunk["id"]),
            (&json!("chat.completion.chunk"), &json!(id))
        );
        assert!(chunk.get("usage").is_none(), "nobody asked for counts");
    }
}

#[test]
fn counts_come_last_where_they_are_asked_for() {
    let server = TestServer::counting();
    let more = json!({"stream": true, "stream_options": {"include_usage": true}, "visual_tokens": 99});
    let chunks = chunks(&server.post("/v1/chat/completions", &and(about(1, "how many?"), more)));
    let (usage, before) = chunks.split_last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["visual_tokens_kept"], 16);
    assert!(
        before
            .iter()
            .all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some())
    );
    let end = before.last().unwrap();
    assert_eq!(end["choices"][0]["finish_reason"], "stop");
    assert!(
        end["warnings"][0].as_str().unwrap().contains("visual_tokens 99"),
        "{end}"
    );
}

#[test]
fn a_refusal_has_a_status_though_a_stream_was_asked_for() {
    let server = TestServer::with(|_| {}, fake().with_positions(20));
    let body = and(saying(&"x".repeat(40)), json!({"stream": true}));
    assert_eq!(server.refused(400, &body)["code"], "context_length_exceeded");
}

#[test]
fn stops_do_not_leak_into_pieces() {
    let server = TestServer::with(|_| {}, echo());
    let body = and(
        saying("one two END three"),
        json!({"stream": true, "stop": ["END"]}),
    );
    let chunks = chunks(&server.post("/v1/chat/completions", &body));
    assert_eq!(text(&chunks), "one two ");
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
}
