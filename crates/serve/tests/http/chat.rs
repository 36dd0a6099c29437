//! Whole answers.

use serde_json::json;

use crate::common::{TestServer, about, and, content, echo, fake, saying};

#[test]
fn an_answer_looks_as_openai_clients_expect_it() {
    let server = TestServer::counting();
    let reply = server.post_with(
        "/v1/chat/completions",
        &about(1, "how many?"),
        &[("x-request-id", "mine-7")],
    );
    assert_eq!(
        (reply.status, reply.header("x-request-id")),
        (200, Some("mine-7"))
    );
    let answer = reply.json();
    assert_eq!(answer["id"], "chatcmpl-mine-7");
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "fake");
    let choice = &answer["choices"][0];
    assert_eq!(
        choice["message"],
        json!({"role": "assistant", "content": "5 tokens", "refusal": null})
    );
    assert_eq!(
        (&choice["finish_reason"], &choice["index"]),
        (&json!("stop"), &json!(0))
    );
    let usage = &answer["usage"];
    // A third of 16 tokens, 9 letters and a line break.
    assert_eq!(
        (
            usage["visual_tokens_total"].as_u64(),
            usage["visual_tokens_kept"].as_u64()
        ),
        (Some(16), Some(5))
    );
    assert_eq!(usage["prompt_tokens"], 5 + 10);
    assert_eq!(usage["completion_tokens"], "5 tokens".len());
    assert_eq!(usage["total_tokens"], 15 + 8);
    let image = &usage["images"][0];
    assert_eq!(
        (&image["pruner"], &image["visual_tokens"]),
        (&json!("cls-attention"), &json!("1/3"))
    );
    for stage in ["queue", "encode", "select", "prefill", "decode", "first_token"] {
        assert!(
            usage["time_ms"][stage].as_f64().unwrap() >= 0.0,
            "{stage}: {usage}"
        );
    }
    let per_token = usage["kv_bytes"].as_u64().unwrap() / 23;
    assert_eq!(usage["kv_bytes_saved"].as_u64(), Some(11 * per_token));
    assert_eq!(answer["warnings"], json!([]));
}

#[test]
fn a_question_without_a_picture_is_answered() {
    let server = TestServer::with(|_| {}, echo());
    let answer = server.chat(&saying("hello"));
    assert_eq!(content(&answer), "hello");
    assert_eq!(answer["usage"]["visual_tokens_total"], 0);
    // Without a name the first model answers.
    let answer = server.chat(&json!({"messages": [{"role": "user", "content": "hi"}]}));
    assert_eq!((content(&answer), &answer["model"]), ("hi", &json!("fake")));
}

#[test]
fn turns_and_system_words_reach_the_model() {
    let server = TestServer::with(|_| {}, echo());
    let answer = server.chat(&json!({"model": "fake", "messages": [
        {"role": "system", "content": "S"}, {"role": "user", "content": "A"}, {"role": "assistant", "content": "B"},
        {"role": "user", "content": "C"},
    ]}));
    assert_eq!(content(&answer), "S\nA\nB\nC");
}

#[test]
fn answers_end_at_their_length_or_at_a_stop() {
    let server = TestServer::with(|_| {}, echo());
    let answer = server.chat(&and(saying("abcdef"), json!({"max_tokens": 3})));
    assert_eq!(
        (content(&answer), &answer["choices"][0]["finish_reason"]),
        ("abc", &json!("length"))
    );
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    let answer = server.chat(&and(saying("abcdef"), json!({"stop": ["de", "f"]})));
    assert_eq!(
        (content(&answer), &answer["choices"][0]["finish_reason"]),
        ("abc", &json!("stop"))
    );
    let answer = server.chat(&and(
        saying("abcdef"),
        json!({"stop": "x", "max_completion_tokens": 6}),
    ));
    assert_eq!(content(&answer), "abcdef");
}

#[test]
fn a_length_beyond_the_limit_is_told() {
    let server = TestServer::with(|config| config.limits.max_tokens = 4, echo());
    let answer = server.chat(&and(saying("abcdef"), json!({"max_tokens": 4096})));
    assert_eq!(content(&answer), "abcd");
    assert!(
        answer["warnings"][0]
            .as_str()
            .unwrap()
            .contains("max_tokens 4096"),
        "{answer}"
    );
}

#[test]
fn the_seed_decides_what_is_drawn() {
    let server = TestServer::with(|_| {}, fake());
    let ask = |seed: Option<i64>| {
        let body = and(
            about(3, "draw"),
            json!({"temperature": 1.5, "max_tokens": 24, "seed": seed}),
        );
        let answer = server.chat(&body);
        (
            content(&answer).to_string(),
            answer["usage"]["seed"].as_u64().unwrap(),
        )
    };
    assert_eq!(ask(Some(5)), ask(Some(5)));
    assert_ne!(ask(Some(5)).0, ask(Some(6)).0);
    // The seed that was drawn gives the same answer again.
    let (drawn, seed) = ask(None);
    assert_eq!(ask(Some(seed as i64)), (drawn, seed));
    let greedy = |more| content(&server.chat(&and(about(3, "draw"), more))).to_string();
    assert_eq!(
        greedy(json!({"max_tokens": 24})),
        greedy(json!({"max_tokens": 24, "temperature": 0, "seed": 9}))
    );
}

#[test]
fn a_context_that_is_too_long_is_refused() {
    let server = TestServer::with(|_| {}, fake().with_positions(20));
    let error = server.refused(400, &saying(&"x".repeat(30)));
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("context_length_exceeded"), &json!("messages"))
    );
}
