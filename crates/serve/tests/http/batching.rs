//! Requests that run together.

use diffprune_lab::Method;
use diffprune_vlm::{PruneOptions, Turn, answer};
use serde_json::{Value, json};

use crate::common::{
    TestServer, about, and, config, content, fake, picture, saying, small_model, small_model_here, url_of,
};

/// Requests with other pictures, budgets, methods and lengths.
fn requests() -> Vec<Value> {
    let budgets = ["all", "1/2", "5", "1/9"];
    let pruners = ["cls", "random", "fastv-kept", "divprune"];
    let about_picture = |i: usize| {
        let more = json!({"visual_tokens": budgets[i % 4], "pruner": pruners[(i / 2) % 4], "max_tokens": 5 + 7 * (i % 5)});
        and(about((i % 3) as u8, &format!("question {i}")), more)
    };
    let mut requests: Vec<Value> = (0..14).map(about_picture).collect();
    requests.push(and(saying("no picture"), json!({"max_tokens": 30})));
    requests.push(and(
        about(1, "drawn"),
        json!({"temperature": 1.0, "seed": 4, "max_tokens": 30}),
    ));
    requests
}

#[test]
fn answers_do_not_depend_on_who_else_is_there() {
    let requests = requests();
    let alone = TestServer::with(|config| config.limits.running = 1, fake());
    let wanted: Vec<String> = requests
        .iter()
        .map(|body| content(&alone.chat(body)).to_string())
        .collect();
    let together = TestServer::with(|config| config.limits.running = 6, fake());
    std::thread::scope(|scope| {
        let ask = |body| {
            let together = &together;
            scope.spawn(move || content(&together.chat(body)).to_string())
        };
        let threads: Vec<_> = requests.iter().map(ask).collect();
        for (thread, wanted) in threads.into_iter().zip(&wanted) {
            assert_eq!(&thread.join().unwrap(), wanted);
        }
    });
    assert_eq!(together.metric("diffprune_running{model=\"fake\"}"), 0.0);
    assert_eq!(together.metric("diffprune_kv_bytes{model=\"fake\"}"), 0.0);
}

#[test]
fn a_model_that_fails_fails_its_requests_and_goes_on() {
    let vlm = fake().answering(|input| match input.text.contains("panic") {
        true => panic!("on purpose"),
        false => "fine".into(),
    });
    let server = TestServer::with(|_| {}, vlm);
    let error = server.refused(500, &saying("panic"));
    assert_eq!(error["type"], "server_error");
    assert_eq!(content(&server.chat(&saying("hello"))), "fine");
}

/// The small model of the repository, with the path that everything else walks as the reference.
#[test]
fn answers_of_a_real_model_are_those_of_a_batch_of_one() {
    let model = small_model_here();
    let vlm = model.vlm.as_ref();
    let picture = picture(200);
    let questions = [
        "what color is the circle?",
        "what is in the picture?",
        "is there a red star?",
    ];
    let asked = |(question, budget): (&str, &str)| {
        let part = json!({"type": "image_url", "image_url": {"url": url_of(200)}});
        let content = json!([part, {"type": "text", "text": question}]);
        json!({"messages": [{"role": "user", "content": content}], "visual_tokens": budget, "pruner": "cls", "max_tokens": 12})
    };
    let alone = |(question, budget): (&str, &str)| {
        let prompts = [vlm.prompt_ids(&[Turn::ask(question)]).unwrap()];
        let pruner = Method::parse("cls", vlm, 0).unwrap().pruner();
        let options = PruneOptions::new(budget.parse().unwrap());
        let generate = vlm.generate_options().with_max_new_tokens(12);
        let images = std::slice::from_ref(&picture);
        let found = answer(vlm, images, &prompts, pruner.as_ref(), &options, &generate).unwrap();
        vlm.text_of(&found.ids[0]).trim().to_string()
    };
    let server = TestServer::of(config(|_| {}), vec![small_model()]);
    let pairs: Vec<(&'static str, &'static str)> = questions
        .into_iter()
        .flat_map(|question| ["all", "1/3", "5"].map(|budget| (question, budget)))
        .collect();
    std::thread::scope(|scope| {
        let ask = |pair: &(&'static str, &'static str)| {
            let (server, body) = (&server, asked(*pair));
            scope.spawn(move || content(&server.chat(&body)).to_string())
        };
        let threads: Vec<_> = pairs.iter().map(ask).collect();
        for (thread, pair) in threads.into_iter().zip(&pairs) {
            assert_eq!(thread.join().unwrap(), alone(*pair), "{pair:?}");
        }
    });
}
