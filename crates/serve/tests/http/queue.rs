//! The queue in front of a model.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use diffprune_serve::ServeConfig;
use serde_json::json;

use crate::common::{Gate, LONG, TestServer, and, content, fake, metric_at, read_all, saying};

const QUEUE: &str = "diffprune_queue_length{model=\"fake\"}";

#[test]
fn a_full_queue_says_when_to_come_again() {
    let gate = Gate::default();
    let server = TestServer::with(|config| config.limits.queue = 1, gate.model());
    let held = server.send(&saying("hold"));
    gate.wait(1);
    let waiting = server.send(&saying("waits"));
    server.wait_for(QUEUE, 1.0);
    let reply = server.post("/v1/chat/completions", &saying("too many"));
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("1")));
    assert_eq!(reply.error()["code"], "queue_full");
    gate.open();
    for (stream, words) in [(held, "hold"), (waiting, "waits")] {
        let text = read_all(stream);
        assert!(text.starts_with("HTTP/1.1 200") && text.contains(words), "{text}");
    }
}

#[test]
fn a_client_that_goes_away_frees_its_place_in_the_queue() {
    let gate = Gate::default();
    let server = TestServer::with(|config| config.limits.queue = 1, gate.model());
    let held = server.send(&saying("hold"));
    gate.wait(1);
    let waiting = server.send(&saying("waits"));
    server.wait_for(QUEUE, 1.0);
    drop(waiting);
    server.wait_for(QUEUE, 0.0);
    let next = server.send(&saying("next"));
    server.wait_for(QUEUE, 1.0);
    gate.open();
    assert!(read_all(next).contains("next"));
    assert!(read_all(held).contains("hold"));
    assert_eq!(gate.begun(), ["hold", "next"], "nobody worked for who went away");
}

#[test]
fn a_client_that_goes_away_frees_its_place_in_the_batch() {
    // So long that it never ends by itself while this test waits.
    let vlm = fake()
        .with_positions(1_000_000)
        .answering(|input| match input.text.contains("long") {
            true => "x".repeat(400_000),
            false => input.text.trim().to_string(),
        });
    let change = |config: &mut ServeConfig| {
        config.limits.running = 1;
        config.limits.max_tokens = 400_000;
    };
    let server = TestServer::with(change, vlm);
    let body = and(saying("long"), json!({"stream": true, "max_tokens": 400_000}));
    let streamed = server.send(&body);
    server.wait_for("diffprune_running{model=\"fake\"}", 1.0);
    drop(streamed);
    server.wait_for("diffprune_cancelled_total{model=\"fake\"}", 1.0);
    // The same when nothing of the answer was to be sent yet.
    let whole = server.send(&and(body, json!({"stream": false})));
    server.wait_for("diffprune_running{model=\"fake\"}", 1.0);
    drop(whole);
    server.wait_for("diffprune_cancelled_total{model=\"fake\"}", 2.0);
    assert_eq!(content(&server.chat(&saying("next"))), "next");
    server.wait_for("diffprune_running{model=\"fake\"}", 0.0);
}

#[test]
fn who_came_first_joins_first() {
    let gate = Gate::default();
    let server = TestServer::with(|config| config.limits.running = 2, gate.model());
    let names: Vec<String> = (0..6).map(|i| format!("number {i}")).collect();
    let mut streams = vec![server.send(&saying("hold"))];
    gate.wait(1);
    for (i, name) in names.iter().enumerate() {
        streams.push(server.send(&saying(name)));
        server.wait_for(QUEUE, (i + 1) as f64);
    }
    gate.open();
    streams.into_iter().for_each(|stream| drop(read_all(stream)));
    assert_eq!(gate.begun()[1..], names);
}

#[test]
fn a_request_does_not_wait_for_ever() {
    let gate = Gate::default();
    let change = |config: &mut ServeConfig| config.limits.request_time = Duration::from_secs(1);
    let server = TestServer::with(change, gate.model());
    let held = server.send(&saying("hold"));
    gate.wait(1);
    let reply = server.post("/v1/chat/completions", &saying("waits"));
    assert_eq!(
        (reply.status, &reply.error()["code"]),
        (503, &json!("queue_timeout"))
    );
    assert!(reply.header("retry-after").is_some());
    gate.open();
    assert!(read_all(held).contains("HTTP/1.1 503"));
}

/// Tokens of a long answer that were made when each of these prompts was read, where the waiting ones join by these rules. The
/// first of them makes the others wait until all are there.
fn tokens_between(joins: usize, join_time: Duration) -> Vec<f64> {
    const NAME: &str = "diffprune_time_between_tokens_seconds_count{model=\"fake\"}";
    let gate = Gate::default();
    let addr = Arc::new(OnceLock::<SocketAddr>::new());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (at, tell) = (addr.clone(), seen.clone());
    let vlm = gate.model_with(move |text| match text {
        "long" => "x".repeat(400_000),
        _ => {
            // Prompts are read on the thread that makes the steps, so the number stands still meanwhile.
            tell.lock().unwrap().push(metric_at(*at.get().unwrap(), NAME));
            "y".into()
        }
    });
    let change = |config: &mut ServeConfig| {
        config.limits.running = 32;
        config.limits.joins = joins;
        config.limits.join_time = join_time;
        config.limits.max_tokens = 400_000;
    };
    let server = TestServer::with(change, vlm.with_positions(1_000_000));
    addr.set(server.addr).unwrap();
    let long = server.send(&and(
        saying("long"),
        json!({"stream": true, "max_tokens": 400_000}),
    ));
    server.wait_until(NAME, |tokens| tokens >= 1.0);
    let mut streams = vec![server.send(&saying("hold"))];
    gate.wait(2);
    for i in 0..8 {
        streams.push(server.send(&saying(&format!("number {i}"))));
        server.wait_for(QUEUE, (i + 1) as f64);
    }
    gate.open();
    streams.into_iter().for_each(|stream| drop(read_all(stream)));
    drop(long);
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 9);
    seen
}

#[test]
fn answers_go_on_after_so_many_prompts() {
    let seen = tokens_between(3, LONG);
    for three in seen.chunks(3) {
        assert!(three.iter().all(|tokens| *tokens == three[0]), "{seen:?}");
    }
    assert!(seen[0] < seen[3] && seen[3] < seen[6], "{seen:?}");
}

#[test]
fn answers_go_on_after_the_prompt_that_took_the_time() {
    let seen = tokens_between(100, Duration::ZERO);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
}
