//! Clients that take their time.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use diffprune_serve::ServeConfig;

use serde_json::json;

use crate::common::{LONG, TestServer, and, content, counting, echo, read_all, saying};

fn hasty(config: &mut ServeConfig) {
    config.limits.head_time = Duration::from_secs(1);
    config.limits.body_time = Duration::from_secs(1);
    config.limits.idle_time = Duration::from_secs(1);
    config.limits.write_time = Duration::from_secs(1);
}

#[test]
fn a_head_that_does_not_end_is_given_up() {
    let server = TestServer::with(hasty, counting());
    let mut stream = server.connect();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n")
        .unwrap();
    // A letter now and then does not help.
    let mut writer = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        for _ in 0..3000 {
            std::thread::sleep(Duration::from_millis(20));
            if writer.write_all(b"x").is_err() {
                break;
            }
        }
    });
    let reply = read_all(stream);
    assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 408"), "{reply}");
}

#[test]
fn a_silent_head_is_told_why() {
    let server = TestServer::with(hasty, counting());
    let mut stream = server.connect();
    stream.write_all(b"GET /health HTTP/1.1\r\n").unwrap();
    let reply = read_all(stream);
    assert!(
        reply.starts_with("HTTP/1.1 408") && reply.contains("\"code\":\"slow\""),
        "{reply}"
    );
    assert_eq!(
        read_all(server.connect()),
        "",
        "a connection without a word is closed"
    );
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let server = TestServer::with(hasty, counting());
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: 100\r\n\r\n{{",
        server.addr
    );
    let reply = server.raw(head.as_bytes());
    assert!(
        reply.starts_with("HTTP/1.1 408") && reply.contains("body_timeout"),
        "{reply}"
    );
}

#[test]
fn a_connection_may_rest_between_requests_but_not_for_ever() {
    let server = TestServer::with(hasty, counting());
    let mut stream = server.connect();
    let request = format!("GET /health HTTP/1.1\r\nhost: {}\r\n\r\n", server.addr);
    for _ in 0..2 {
        stream.write_all(request.as_bytes()).unwrap();
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).unwrap();
        assert!(buffer[..n].starts_with(b"HTTP/1.1 200"));
    }
    let start = Instant::now();
    assert_eq!(read_all(stream), "");
    assert!(start.elapsed() < LONG);
}

#[test]
fn slow_answers_are_not_taken_for_slow_clients() {
    let vlm = counting().answering(|_| {
        std::thread::sleep(Duration::from_millis(2500));
        "late".into()
    });
    let server = TestServer::with(hasty, vlm);
    assert_eq!(content(&server.chat(&saying("hi"))), "late");
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    // More than the system holds for a connection.
    let vlm = counting()
        .with_positions(1_000_000)
        .answering(|input| match input.text.contains("long") {
            true => "x".repeat(400_000),
            false => "short".into(),
        });
    let change = |config: &mut ServeConfig| {
        hasty(config);
        config.limits.max_tokens = 400_000;
    };
    let server = TestServer::with(change, vlm);
    let body = and(saying("long"), json!({"stream": true, "max_tokens": 400_000}));
    let idle = server.send(&body);
    server.wait_for("diffprune_cancelled_total{model=\"fake\"}", 1.0);
    server.wait_for("diffprune_running{model=\"fake\"}", 0.0);
    assert_eq!(content(&server.chat(&saying("hi"))), "short");
    drop(idle);
}

#[test]
fn connections_beyond_the_bound_wait() {
    let change = |config: &mut ServeConfig| {
        config.limits.connections = 2;
        config.limits.head_time = Duration::from_secs(1);
    };
    let server = TestServer::with(change, echo());
    let idle: Vec<_> = (0..2).map(|_| server.connect()).collect();
    // Answered once the idle ones are given up.
    assert_eq!(content(&server.chat(&saying("third"))), "third");
    drop(idle);
}
