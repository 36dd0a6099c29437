//! What methods keep of a picture, side by side.

use serde_json::{Value, json};

use crate::common::{TestServer, and, counting, url_of};

fn body(more: Value) -> Value {
    and(json!({"model": "fake", "image_url": {"url": url_of(1)}}), more)
}

fn select(server: &TestServer, more: Value) -> Value {
    let reply = server.post("/v1/diffprune/select", &body(more));
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()
}

#[test]
fn methods_are_shown_side_by_side() {
    let server = TestServer::counting();
    let methods = ["cls", "random", "average-pool", "fastv-kept"];
    let found = select(
        &server,
        json!({"methods": methods, "visual_tokens": 4, "question": "what?"}),
    );
    assert_eq!(
        (&found["total"], &found["width"], &found["model"]),
        (&json!(16), &json!(32), &json!("fake"))
    );
    assert_eq!(
        found["grid"],
        json!([{"rows": 4, "cols": 4, "area": [0.0, 0.0, 1.0, 1.0]}])
    );
    let of = |index: usize| &found["methods"][index];
    for index in 0..4 {
        let indices = of(index)["indices"].as_array().unwrap();
        assert_eq!(indices.len(), 4, "{}", of(index));
        assert!(indices.iter().all(|index| index.as_u64().unwrap() < 16));
        let bytes = found["kv_bytes"].as_u64().unwrap() / 16;
        assert_eq!(
            of(index)["kv_bytes"].as_u64().unwrap(),
            bytes * of(index)["kept"].as_u64().unwrap()
        );
    }
    assert_eq!(of(0)["scores"].as_array().unwrap().len(), 16);
    assert!(of(1).get("scores").is_none());
    assert_eq!(
        (&of(2)["merged"], &of(2)["inside"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        (&of(3)["inside"], of(3)["layers"].as_array().unwrap().len()),
        (&json!(true), 4)
    );
    // The scores are those that decide.
    let scores: Vec<f64> = of(0)["scores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|score| score.as_f64().unwrap())
        .collect();
    let kept: Vec<usize> = of(0)["indices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i.as_u64().unwrap() as usize)
        .collect();
    let least = kept.iter().map(|&i| scores[i]).fold(f64::INFINITY, f64::min);
    let above = (0..16)
        .filter(|i| !kept.contains(i))
        .filter(|&i| scores[i] > least)
        .count();
    assert_eq!(above, 0);
}

#[test]
fn defaults_and_seeds_hold_here_too() {
    let server = TestServer::counting();
    let plain = select(&server, json!({}));
    assert_eq!(
        (&plain["methods"][0]["method"], &plain["methods"][0]["kept"]),
        (&json!("cls-attention"), &json!(5))
    );
    let drawn = |seed: i64| {
        select(&server, json!({"methods": ["random"], "seed": seed}))["methods"][0]["indices"].clone()
    };
    assert_eq!(drawn(1), drawn(1));
    assert!((2..20).any(|seed| drawn(seed) != drawn(1)));
    let more = select(&server, json!({"visual_tokens": 50}));
    assert!(
        more["warnings"][0].as_str().unwrap().contains("visual_tokens 50"),
        "{more}"
    );
}

#[test]
fn a_method_that_cannot_choose_does_not_hide_the_others() {
    let server = TestServer::with(|_| {}, counting().without_class());
    let found = select(&server, json!({"methods": ["cls", "random", "fastv"]}));
    assert!(found["methods"][0]["error"].as_str().unwrap().contains("[CLS]"));
    assert_eq!(found["methods"][1]["kept"], 5);
    assert!(
        found["methods"][2]["error"]
            .as_str()
            .unwrap()
            .contains("question")
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    let server = TestServer::counting();
    for (more, status, words) in [
        (json!({"methods": vec!["x"; 9]}), 400, "at most 8"),
        (json!({"methods": ["nothing-like-it"]}), 400, "nothing-like-it"),
        (json!({"model": "other"}), 404, "other"),
        (json!({"image_url": "file:///etc/passwd"}), 400, "--media-root"),
        (json!({"visual_tokens": 0}), 400, "visual_tokens"),
    ] {
        let reply = server.post("/v1/diffprune/select", &body(more));
        assert_eq!(reply.status, status, "{}", reply.text);
        assert!(
            reply.error()["message"].as_str().unwrap().contains(words),
            "{}",
            reply.text
        );
    }
}
