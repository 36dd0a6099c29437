//! The budget of each picture.

use serde_json::{Value, json};

use crate::common::{TestServer, about, and, content, counting, image_part, url_of};

/// Visual tokens that the model read, for a request with these fields.
fn kept(server: &TestServer, more: Value) -> String {
    content(&server.chat(&and(about(1, "n"), more))).to_string()
}

#[test]
fn a_request_names_a_budget_in_every_form() {
    let server = TestServer::counting();
    for (budget, wanted) in [
        (json!(7), 7),
        (json!("7"), 7),
        (json!("1/4"), 4),
        (json!("50%"), 8),
        (json!("all"), 16),
    ] {
        assert_eq!(
            kept(&server, json!({"visual_tokens": budget})),
            format!("{wanted} tokens")
        );
    }
    assert_eq!(
        kept(&server, json!({"visual_tokens": 3, "pruner": "none"})),
        "16 tokens"
    );
}

#[test]
fn detail_is_a_budget_by_the_table() {
    let server = TestServer::counting();
    let ask = |detail: &str, more: Value| {
        let part = json!({"type": "image_url", "image_url": {"url": url_of(1), "detail": detail}});
        let body = json!({"messages": [{"role": "user", "content": [part]}]});
        content(&server.chat(&and(body, more))).to_string()
    };
    assert_eq!(ask("low", json!({})), "2 tokens");
    assert_eq!(ask("high", json!({})), "16 tokens");
    assert_eq!(ask("auto", json!({})), "5 tokens");
    assert_eq!(ask("auto", json!({"visual_tokens": 9})), "9 tokens");
    assert_eq!(ask("low", json!({"visual_tokens": 9})), "2 tokens");
}

#[test]
fn each_picture_has_a_budget_and_a_method_of_its_own() {
    let server = TestServer::counting();
    let first = and(image_part(1), json!({"visual_tokens": 3}));
    let second = and(image_part(2), json!({"visual_tokens": "1/2", "pruner": "random"}));
    let body = json!({"visual_tokens": 1, "messages": [{"role": "user", "content": [
        first, second, image_part(3), {"type": "text", "text": "n"},
    ]}]});
    let answer = server.chat(&body);
    assert_eq!(content(&answer), "12 tokens");
    let images = answer["usage"]["images"].as_array().unwrap();
    let told: Vec<_> = images
        .iter()
        .map(|image| {
            (
                image["kept"].as_u64().unwrap(),
                image["pruner"].as_str().unwrap(),
                &image["visual_tokens"],
            )
        })
        .collect();
    let wanted = [
        (3, "cls-attention", &json!("3")),
        (8, "random", &json!("1/2")),
        (1, "cls-attention", &json!("1")),
    ];
    assert_eq!(told, wanted);
    assert_eq!(answer["usage"]["visual_tokens_total"], 48);
}

#[test]
fn a_budget_that_cannot_be_kept_is_told() {
    let server = TestServer::counting();
    let answer = server.chat(&and(about(1, "n"), json!({"visual_tokens": 40})));
    assert_eq!(content(&answer), "16 tokens");
    let warning = answer["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("visual_tokens 40") && warning.contains("16"),
        "{warning}"
    );
    for wrong in [json!(0), json!(-3), json!("0%"), json!("many"), json!(0.5)] {
        let error = server.refused(400, &and(about(1, "n"), json!({"visual_tokens": wrong})));
        assert!(
            error["message"].as_str().unwrap().contains("visual_tokens"),
            "{error}"
        );
    }
}

#[test]
fn a_method_that_the_model_cannot_run_is_refused() {
    let server = TestServer::with(|_| {}, counting().without_class());
    let error = server.refused(400, &and(about(1, "n"), json!({"pruner": "cls"})));
    assert_eq!(
        (&error["param"], &error["code"]),
        (&json!("pruner"), &json!("unsupported_parameter"))
    );
    assert!(error["message"].as_str().unwrap().contains("[CLS]"), "{error}");
    let error = server.refused(400, &and(about(1, "n"), json!({"pruner": "oracle-keep"})));
    assert!(error["message"].as_str().unwrap().contains("truth"), "{error}");
}

#[test]
fn an_unknown_method_is_refused_with_the_nearest() {
    let server = TestServer::counting();
    let error = server.refused(400, &and(about(1, "n"), json!({"pruner": "randon"})));
    assert!(error["message"].as_str().unwrap().contains("`random`"), "{error}");
    let error = server.refused(400, &and(about(1, "n"), json!({"pruner": "diffprune:/etc"})));
    assert!(
        error["message"].as_str().unwrap().contains("--scorer NAME=DIR"),
        "{error}"
    );
}

#[test]
fn a_method_inside_the_language_model_has_the_budget_of_all_pictures() {
    let server = TestServer::counting();
    let answer = server.chat(&and(
        about(1, "n"),
        json!({"pruner": "fastv-kept", "visual_tokens": 4}),
    ));
    assert_eq!(content(&answer), "4 tokens");
    // Its first layers see every token, and that is told.
    let kept = answer["usage"]["visual_tokens_kept"].as_u64().unwrap();
    assert!((5..16).contains(&kept), "{answer}");
    let warning = answer["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains(&format!("{kept} visual tokens")) && warning.contains("4 were asked for"),
        "{warning}"
    );
    let body = json!({"pruner": "fastv-kept", "visual_tokens": 4, "messages": [{"role": "user", "content": [
        image_part(1), image_part(2), {"type": "text", "text": "n"},
    ]}]});
    assert_eq!(content(&server.chat(&body)), "8 tokens");
    let mixed = json!({"messages": [{"role": "user", "content": [
        and(image_part(1), json!({"pruner": "fastv"})), and(image_part(2), json!({"pruner": "random"})),
    ]}]});
    let error = server.refused(400, &mixed);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("one method for all pictures"),
        "{error}"
    );
}
