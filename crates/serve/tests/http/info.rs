//! What the server says about itself.

use std::sync::mpsc::channel;

use burn::tensor::Device;
use diffprune_serve::ModelSource;
use diffprune_vlm::{FakeVlm, Vlm};
use serde_json::json;

use crate::common::{LONG, TestServer, about, config, counting, saying, source};

#[test]
fn models_are_listed_with_their_methods() {
    let sources = vec![
        source("one", counting()),
        source("two", counting().without_class()),
    ];
    let server = TestServer::of(config(|_| {}), sources);
    let list = server.get("/v1/models").json();
    assert_eq!(list["object"], "list");
    let names: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["id"])
        .collect();
    assert_eq!(names, ["one", "two"]);
    let one = &list["data"][0];
    assert_eq!((&one["object"], &one["ready"]), (&json!("model"), &json!(true)));
    let ours = &one["diffprune"];
    assert_eq!(
        (&ours["default_pruner"], &ours["default_visual_tokens"]),
        (&json!("cls-attention"), &json!("1/3"))
    );
    let methods = ours["methods"].as_array().unwrap();
    let fastv = methods.iter().find(|method| method["name"] == "fastv").unwrap();
    assert_eq!(fastv["inside"], true);
    assert!(methods.iter().all(|method| method["name"] != "oracle-keep"));
    assert_eq!(server.get("/v1/models/two").json()["id"], "two");
    let missing = server.get("/v1/models/three");
    assert_eq!(
        (missing.status, &missing.error()["code"]),
        (404, &json!("model_not_found"))
    );
    let other = server.post("/v1/chat/completions", &saying("hi"));
    assert_eq!(
        (other.status, &other.error()["code"]),
        (404, &json!("model_not_found"))
    );
}

#[test]
fn a_model_that_is_being_read_is_told() {
    let (finish, finished) = channel::<()>();
    let late = ModelSource::new("fake", move || {
        let _ = finished.recv_timeout(LONG);
        Ok(Box::new(FakeVlm::new(&Device::flex())) as Box<dyn Vlm>)
    });
    let server = TestServer::start(config(|_| {}), vec![late], false);
    let health = server.get("/health");
    assert_eq!(
        (health.status, &health.json()["status"]),
        (503, &json!("loading"))
    );
    assert_eq!(server.get("/v1/models").json()["data"][0]["ready"], false);
    let reply = server.post("/v1/chat/completions", &saying("hi"));
    assert_eq!(
        (reply.status, &reply.error()["code"]),
        (503, &json!("model_loading"))
    );
    assert!(reply.header("retry-after").is_some());
    finish.send(()).unwrap();
    let start = std::time::Instant::now();
    while server.get("/health").status != 200 {
        assert!(start.elapsed() < LONG);
    }
    assert_eq!(
        server.get("/health").json(),
        json!({"status": "ok", "models": {"fake": "ready"}})
    );
}

#[test]
fn a_model_that_cannot_be_read_is_told() {
    let broken = ModelSource::new("broken", || Err("no such folder".into()));
    let server = TestServer::start(config(|_| {}), vec![broken, source("fake", counting())], false);
    let start = std::time::Instant::now();
    while server.get("/health").json()["status"] != "failed" {
        assert!(start.elapsed() < LONG);
    }
    server.wait_for("diffprune_queue_length{model=\"fake\"}", 0.0);
    let body = json!({"model": "broken", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(server.refused(503, &body)["code"], "model_failed");
}

#[test]
fn requests_tokens_and_times_are_counted() {
    let server = TestServer::counting();
    server.chat(&about(1, "a"));
    server.chat(&about(1, "b"));
    server.refused(400, &json!({"messages": []}));
    let text = server.get("/metrics").text;
    for line in [
        "diffprune_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 2",
        "diffprune_requests_total{route=\"/v1/chat/completions\",status=\"400\"} 1",
        "diffprune_visual_tokens_total{model=\"fake\",outcome=\"kept\"} 10",
        "diffprune_visual_tokens_total{model=\"fake\",outcome=\"dropped\"} 22",
        "diffprune_completion_tokens_total{model=\"fake\"} 16",
        "diffprune_time_to_first_token_seconds_count{model=\"fake\"} 2",
        "diffprune_time_between_tokens_seconds_count{model=\"fake\"} 14",
        "diffprune_queue_length{model=\"fake\"} 0",
        "diffprune_running{model=\"fake\"} 0",
        "diffprune_cache_lookups_total{model=\"fake\",cache=\"features\",outcome=\"hit\"} 1",
        "diffprune_cache_lookups_total{model=\"fake\",cache=\"prefixes\",outcome=\"hit\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    // Paths that clients make up do not make new lines.
    server.get("/made/up/1");
    server.get("/made/up/2");
    assert_eq!(
        server.metric("diffprune_requests_total{route=\"other\",status=\"404\"}"),
        2.0
    );
}

#[test]
fn the_page_asks_nobody_else() {
    let server = TestServer::counting();
    for path in ["/", "/page/app.js", "/page/style.css", "/page/sign.png"] {
        let reply = ureq::get(&server.url(path)).call().unwrap();
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(server.get("/page/none.png").status, 404);
    for path in [
        "/",
        "/page/app.js",
        "/page/api.js",
        "/page/cards.js",
        "/page/draw.js",
        "/page/style.css",
    ] {
        let text = server.get(path).text;
        for outside in ["http://", "https://", "//cdn", "@import"] {
            let found = text
                .lines()
                .find(|line| line.contains(outside) && !line.contains("www.w3.org"));
            assert_eq!(found, None, "{path}");
        }
    }
}
