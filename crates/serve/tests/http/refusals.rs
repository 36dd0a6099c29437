//! Requests that make no sense, or ask for what this server does not have.

use serde_json::json;

use crate::common::{TestServer, and, saying};

#[test]
fn what_would_change_the_answer_is_refused_by_name() {
    let server = TestServer::counting();
    for (name, value) in [
        ("n", json!(2)),
        ("tools", json!([{"type": "function", "function": {"name": "f"}}])),
        ("logprobs", json!(true)),
        ("response_format", json!({"type": "json_schema"})),
        ("audio", json!({"voice": "alloy", "format": "wav"})),
        ("presence_penalty", json!(1)),
    ] {
        let error = server.refused(400, &and(saying("hi"), json!({name: value})));
        assert_eq!(
            (&error["param"], &error["code"]),
            (&json!(name), &json!("unsupported_parameter"))
        );
        assert_eq!(error["type"], "invalid_request_error");
    }
    for (name, value) in [
        ("temperature", json!(9)),
        ("stop", json!(["", "x"])),
        ("max_tokens", json!(0)),
    ] {
        assert_eq!(
            server.refused(400, &and(saying("hi"), json!({name: value})))["param"],
            name
        );
    }
}

#[test]
fn unknown_fields_are_ignored() {
    let server = TestServer::counting();
    let more = json!({"user": "me", "n": 1, "tools": [], "response_format": {"type": "text"}, "unheard_of": {"a": 1}});
    server.chat(&and(saying("hi"), more));
}

#[test]
fn a_body_that_is_none_is_told_where_it_goes_wrong() {
    let server = TestServer::counting();
    for (body, words) in [
        ("", "EOF"),
        ("{", "EOF"),
        ("[]", "no JSON object"),
        ("{}", "missing field `messages`"),
        ("{\"messages\": 3}", "expected a sequence at line 1"),
        (
            "{\"messages\": [{\"role\": \"user\", \"content\": 3}]}",
            "content: expected a text or a list",
        ),
        (
            "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"temperature\": \"hot\"}",
            "invalid type: string",
        ),
    ] {
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            server.addr,
            body.len()
        );
        let reply = server.raw(request.as_bytes());
        assert!(
            reply.starts_with("HTTP/1.1 400") && reply.contains(words),
            "{body}: {reply}"
        );
    }
    let deep = format!("{{\"messages\": {}{}}}", "[".repeat(5000), "]".repeat(5000));
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{deep}",
        server.addr,
        deep.len()
    );
    assert!(server.raw(request.as_bytes()).contains("recursion limit"));
}

#[test]
fn paths_and_methods_that_do_not_exist_are_told() {
    let server = TestServer::counting();
    let reply = server.get("/v1/completions");
    assert_eq!(
        (reply.status, &reply.error()["code"]),
        (404, &json!("route_not_found"))
    );
    let reply = server.get("/v1/chat/completions");
    assert_eq!(
        (reply.status, &reply.error()["code"]),
        (405, &json!("method_not_allowed"))
    );
    assert!(reply.header("x-request-id").unwrap().starts_with("req-"));
}
