//! What a visitor does, from the first look to a second question.

use std::path::Path;

use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::common::{TestServer, config, small_model};
use crate::driver::Browser;

const LEFT: char = '\u{e012}';

/// True when every card shows so many tokens of the picture.
fn shows(tokens: usize) -> String {
    format!("document.body.dataset.selected === '{tokens}/144'")
}

/// The texts of all elements of a selector.
async fn texts(browser: &Browser, selector: &str) -> Vec<String> {
    let list = format!("[...document.querySelectorAll('{selector}')].map((found) => found.textContent)");
    let Value::Array(found) = browser.value(&list).await else {
        panic!("{selector}: no list");
    };
    found
        .iter()
        .map(|text| text.as_str().unwrap().to_string())
        .collect()
}

/// Number of pixels in the colour of the edge around kept tokens, on the canvases of a method.
async fn edges(browser: &Browser, method: &str) -> u64 {
    let count = format!(
        "(() => {{
            const canvas = document.querySelector('[data-method=\"{method}\"] canvas');
            const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            let n = 0;
            for (let i = 0; i < data.length; i += 4) n += data[i] === 255 && data[i + 1] === 212 && data[i + 2] === 59;
            return n;
        }})()"
    );
    browser.value(&count).await.as_u64().unwrap()
}

async fn ask(browser: &Browser, question: &str, turn: usize) {
    let field = browser.find("#question").await;
    field.clear().await.unwrap();
    field.send_keys(question).await.unwrap();
    field.send_keys(&Key::Enter.to_string()).await.unwrap();
    let done = format!(
        "!document.querySelector('#ask').disabled && [...document.querySelectorAll('.card')].every((card) =>
            card.querySelectorAll('.turns .a:not(.streaming)').length === {turn})"
    );
    browser.wait(&done).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and its driver; .ci/run installs them and runs this"]
async fn a_visitor_compares_methods_and_asks() {
    let server = TestServer::of(config(|_| {}), vec![small_model()]);
    let browser = Browser::start().await;
    browser.look(1400, "light").await;

    // The first look: a sample, the default method and a control.
    browser.client.goto(&server.url("/")).await.unwrap();
    browser.wait(&shows(48)).await;
    assert_eq!(
        texts(&browser, ".card h3").await,
        ["Every token", "diffprune", "random"]
    );
    browser.shoot("first-look").await;

    // A file of one's own, and other methods by the address.
    let shared = "/?methods=diffprune,visionzip&tokens=16&q=what%20color%20is%20the%20cross%3F";
    browser.client.goto(&server.url(shared)).await.unwrap();
    browser.wait(&shows(16)).await;
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/scene.png");
    browser.give("#file", &picture).await;
    browser
        .wait("document.querySelector('#preview').alt === 'scene.png'")
        .await;
    browser.wait(&shows(16)).await;
    assert_eq!(
        texts(&browser, ".card .count").await[1..],
        ["16 of 144 tokens (11 %)", "16 of 144 tokens (11 %)"]
    );

    let pressed = browser
        .find("[data-share='1/9']")
        .await
        .attr("aria-pressed")
        .await
        .unwrap();
    assert_eq!(pressed.as_deref(), Some("true"));

    // The slider by keyboard, and what is drawn follows.
    let before = edges(&browser, "diffprune").await;
    assert!(before > 100, "{before}");
    let slider = browser.find("#budget").await;
    for _ in 0..8 {
        slider.send_keys(&LEFT.to_string()).await.unwrap();
    }
    browser.wait(&shows(8)).await;
    browser
        .wait("document.querySelector('[data-method=diffprune] .count').textContent.startsWith('8 of 144')")
        .await;
    let after = edges(&browser, "diffprune").await;
    assert!(after > 50 && after < before, "{before} {after}");
    assert!(
        browser
            .value("location.search")
            .await
            .as_str()
            .unwrap()
            .contains("tokens=8")
    );
    browser.find("[data-share='1/9']").await.click().await.unwrap();
    browser.wait(&shows(16)).await;

    // A question, its answers, and a further one.
    ask(&browser, "what color is the cross?", 1).await;
    let answers = texts(&browser, ".turns .a").await;
    assert_eq!(
        answers[..2],
        ["purple", "purple"],
        "every token, and sixteen of them"
    );
    browser.shoot("answered").await;
    ask(&browser, "what color is the circle?", 2).await;
    assert_eq!(
        texts(&browser, "[data-method=diffprune] .turns .q").await,
        ["what color is the cross?", "what color is the circle?"]
    );
    let rows = texts(&browser, "[data-method=diffprune] .stats dt").await;
    assert_eq!(
        rows,
        ["Tokens read", "KV cache", "Encode", "Select", "Prefill", "Decode"]
    );
    let status = browser
        .find("#status")
        .await
        .prop("textContent")
        .await
        .unwrap()
        .unwrap();
    assert!(
        status.contains("Every token:") && status.contains("diffprune:"),
        "{status}"
    );

    // A method inside the language model, added and removed.
    browser.client.execute("const add = document.getElementById('add'); add.value = 'fastv-kept'; add.dispatchEvent(new Event('change'));", vec![]).await.unwrap();
    browser
        .wait("document.querySelectorAll('[data-method=fastv-kept] canvas').length > 0")
        .await;
    browser
        .find("[aria-label='Remove visionzip']")
        .await
        .click()
        .await
        .unwrap();
    browser
        .wait("document.querySelectorAll('.card').length === 3")
        .await;
    assert_eq!(texts(&browser, ".card h3").await.len(), 3);
    ask(&browser, "what color is the cross?", 1).await;

    // Every width and colour scheme.
    for (width, scheme) in [(1400, "light"), (1400, "dark"), (420, "light"), (420, "dark")] {
        browser.look(width, scheme).await;
        browser.wait(&format!("innerWidth === {width}")).await;
        browser.shoot(&format!("compared-{width}-{scheme}")).await;
        let wide = browser
            .value("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            .await;
        assert_eq!(wide, json!(0), "{width}: something is wider than the page");
    }
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and its driver; .ci/run installs them and runs this"]
async fn the_page_is_there_for_keyboards_and_screen_readers() {
    let server = TestServer::of(config(|_| {}), vec![small_model()]);
    let browser = Browser::start().await;
    browser.look(1400, "light").await;
    browser
        .client
        .goto(&server.url("/?methods=visionzip&tokens=16"))
        .await
        .unwrap();
    browser.wait(&shows(16)).await;
    let nameless = "[...document.querySelectorAll('input, select, textarea, button, canvas, img')]
        .filter((found) => !found.hidden && !found.labels?.length && !found.getAttribute('aria-label')
            && !found.getAttribute('aria-labelledby') && !found.alt && !found.textContent.trim()
            && !found.querySelector('img[alt]'))
        .map((found) => found.outerHTML)";
    assert_eq!(browser.value(nameless).await, json!([]));
    // Everything can be reached by the tab key, in the order in which it stands.
    let mut reached = Vec::new();
    browser.tab().await;
    for _ in 0..24 {
        let at = "document.activeElement.id || document.activeElement.dataset.share || document.activeElement.className";
        reached.push(browser.value(at).await.as_str().unwrap_or_default().to_string());
        browser.tab().await;
    }
    let wanted = [
        "skip", "model", "share", "file", "budget", "1/9", "1/1", "add", "question", "ask",
    ];
    let mut rest = reached.iter();
    for name in wanted {
        assert!(
            rest.any(|found| found == name),
            "{name} is not reached in its turn: {reached:?}"
        );
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and its driver; .ci/run installs them and runs this"]
async fn problems_are_told_on_the_page() {
    let server = TestServer::of(
        config(|config| config.api_key = Some("secret".into())),
        vec![small_model()],
    );
    let browser = Browser::start().await;
    browser.look(1400, "light").await;
    browser.client.goto(&server.url("/")).await.unwrap();
    browser.wait("!document.querySelector('#key-field').hidden").await;
    browser.shoot("key").await;
    let key = browser.find("#key").await;
    key.send_keys("secret").await.unwrap();
    key.send_keys(&Key::Tab.to_string()).await.unwrap();
    browser.wait(&shows(48)).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.png");
    std::fs::write(&path, "no picture").unwrap();
    browser.give("#file", &path).await;
    browser
        .wait("document.querySelector('#notice').textContent.includes('no picture that a browser can show')")
        .await;
    browser.close().await;
}
