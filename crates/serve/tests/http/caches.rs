//! What is kept between requests.

use serde_json::{Value, json};

use crate::common::{TestServer, about, and, content, counting, fake, image_part};

fn lookups(server: &TestServer, cache: &str) -> (f64, f64) {
    let count = |outcome: &str| {
        server.metric(&format!(
            "diffprune_cache_lookups_total{{model=\"fake\",cache=\"{cache}\",outcome=\"{outcome}\"}}"
        ))
    };
    (count("hit"), count("miss"))
}

#[test]
fn a_picture_is_encoded_once_whatever_is_kept_of_it() {
    let vlm = counting();
    let server = TestServer::with(|_| {}, vlm.clone());
    server.chat(&about(1, "a"));
    server.chat(&about(1, "b"));
    server.chat(&and(about(1, "c"), json!({"visual_tokens": 3, "pruner": "cls"})));
    assert_eq!(vlm.images_encoded(), 1);
    assert_eq!(lookups(&server, "features"), (2.0, 1.0));
    assert_eq!(lookups(&server, "selections"), (1.0, 2.0));
    server.chat(&about(2, "a"));
    assert_eq!(vlm.images_encoded(), 2);
    // A method with other signals needs another pass, and then both are there.
    server.chat(&and(about(1, "d"), json!({"pruner": "fastervlm"})));
    server.chat(&and(about(1, "e"), json!({"pruner": "cls"})));
    let image = &server.chat(&about(1, "a"))["usage"]["images"][0];
    assert_eq!(image["cached"], true);
}

#[test]
fn a_prefix_is_read_once_and_its_key_holds_method_budget_and_seed() {
    let vlm = fake();
    let server = TestServer::with(|_| {}, vlm.clone());
    let ask = |question: &str, more: Value| server.chat(&and(about(1, question), more));
    let first = ask("one?", json!({"visual_tokens": 4}));
    assert_eq!(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    let read = vlm.tokens_read();
    let second = ask("two?", json!({"visual_tokens": 4}));
    assert_eq!(second["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
    assert_eq!(
        vlm.tokens_read() - read,
        "two?\n".len(),
        "the picture was not read again"
    );
    // The same number in another form is the same key.
    let same = ask("three?", json!({"visual_tokens": "1/4"}));
    assert_eq!(same["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
    for other in [
        json!({"visual_tokens": 5}),
        json!({"visual_tokens": 4, "pruner": "random"}),
        json!({"visual_tokens": 4, "pruner": "random", "seed": 8}),
    ] {
        let answer = ask("two?", other);
        assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    }
    assert_eq!(lookups(&server, "prefixes"), (2.0, 4.0));
}

#[test]
fn answers_are_the_same_with_and_without_caches() {
    let with = TestServer::with(|_| {}, fake());
    let without = TestServer::with(
        |config| {
            config.limits.feature_cache_bytes = 0;
            config.limits.selection_cache_bytes = 0;
            config.limits.prefix_cache_bytes = 0;
        },
        fake(),
    );
    for question in ["one?", "two?", "one?"] {
        let body = and(about(4, question), json!({"max_tokens": 20, "visual_tokens": 6}));
        assert_eq!(
            content(&with.chat(&body)),
            content(&without.chat(&body)),
            "{question}"
        );
    }
    assert_eq!(lookups(&without, "features").0, 0.0);
}

#[test]
fn later_turns_find_the_picture_as_it_was_pruned() {
    let vlm = fake();
    let server = TestServer::with(|_| {}, vlm.clone());
    let first = and(about(1, "one?"), json!({"visual_tokens": 4, "max_tokens": 8}));
    let said = content(&server.chat(&first)).to_string();
    let second = json!({"model": "fake", "visual_tokens": 4, "max_tokens": 8, "messages": [
        first["messages"][0], {"role": "assistant", "content": said}, {"role": "user", "content": "two?"},
    ]});
    let usage = &server.chat(&second)["usage"];
    assert_eq!(vlm.images_encoded(), 1);
    assert_eq!(
        (&usage["images"][0]["cached"], &usage["visual_tokens_kept"]),
        (&json!(true), &json!(4))
    );
    assert_eq!(lookups(&server, "selections"), (1.0, 1.0));
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 4);
}

#[test]
fn a_method_inside_the_language_model_decides_once_for_a_conversation() {
    let conversation = |first: &Value| {
        json!({"model": "fake", "pruner": "fastv-kept", "visual_tokens": 4, "max_tokens": 8, "messages": [
            first["messages"][0], {"role": "assistant", "content": "x"}, {"role": "user", "content": "and now?"},
        ]})
    };
    let first = and(
        about(1, "one?"),
        json!({"pruner": "fastv-kept", "visual_tokens": 4, "max_tokens": 8}),
    );
    let server = TestServer::with(|_| {}, fake());
    server.chat(&first);
    let known = server.chat(&conversation(&first));
    assert_eq!(lookups(&server, "decisions"), (1.0, 1.0));
    // A server that never saw the first turn decides as it would have been decided there.
    let other = TestServer::with(|_| {}, fake());
    let replayed = other.chat(&conversation(&first));
    assert_eq!(content(&known), content(&replayed));
    assert_eq!(
        known["usage"]["visual_tokens_kept"],
        replayed["usage"]["visual_tokens_kept"]
    );
}

#[test]
fn pictures_of_several_turns_are_each_their_own() {
    let server = TestServer::with(|_| {}, counting());
    let body = json!({"visual_tokens": 3, "messages": [
        {"role": "user", "content": [image_part(1)]}, {"role": "assistant", "content": "x"},
        {"role": "user", "content": [image_part(2), {"type": "text", "text": "n"}]},
    ]});
    assert_eq!(content(&server.chat(&body)), "6 tokens");
}
