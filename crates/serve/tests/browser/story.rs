//! What a visitor does, from the first look to a second question.

use std::path::Path;

use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::common::{TestServer, config, small_model};
use crate::driver::Browser;

const LEFT: char = '\u{e012}';

/// True when every card shows so many tokens of the picture.
pub fn shows(tokens: usize) -> String {
    format!("document.body.dataset.selected === '{tokens}/144'")
}

/// The texts of all elements of a selector.
pub async fn texts(browser: &Browser, selector: &str) -> Vec<String> {
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
    browser.shoot_everywhere("first-look").await;

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
    browser.shoot_everywhere("answered").await;
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
    browser
        .find("#add option[value='fastv-kept']")
        .await
        .click()
        .await
        .unwrap();
    assert_eq!(
        texts(&browser, ".card h3").await.len(),
        3,
        "only the button adds it"
    );
    browser.find("#add-method").await.click().await.unwrap();
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

    browser.shoot_everywhere("compared").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

/// Number of each sample picture that is chosen, and what the picture is called.
async fn chosen(browser: &Browser) -> (Value, Value) {
    let sample = "document.querySelector('[data-sample][aria-pressed=true]')?.dataset.sample ?? null";
    let name = "document.querySelector('#preview').alt";
    (browser.value(sample).await, browser.value(name).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and its driver; .ci/run installs them and runs this"]
async fn a_picture_is_dropped_and_another_is_pasted() {
    let server = TestServer::of(config(|_| {}), vec![small_model()]);
    let browser = Browser::start().await;
    browser.look(1400, "light").await;
    let address = server.url("/?methods=diffprune&tokens=16&q=what%20color%20is%20the%20cross%3F");
    browser.client.goto(&address).await.unwrap();
    browser.wait(&shows(16)).await;
    assert_eq!(chosen(&browser).await.0, json!("sign"));
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/scene.png");

    // While it is over the page the page says so, and no longer once it is taken away.
    let over = "document.querySelector('#drop').classList.contains('over')";
    browser.drag(&["dragEnter", "dragOver"], &picture, "#drop").await;
    browser.wait(over).await;
    browser.shoot_everywhere("dragged").await;
    // The driver ends a drag without telling the page, as no user can.
    let leave = "document.body.dispatchEvent(new DragEvent('dragleave', { bubbles: true, dataTransfer: new DataTransfer() }));";
    browser.client.execute(leave, Vec::new()).await.unwrap();
    browser.wait(&format!("!{over}")).await;
    assert_eq!(chosen(&browser).await.0, json!("sign"), "nothing was dropped");

    // Dropped, far from the field too: a picture that misses it must not take the place of the page.
    for place in ["#drop", "#cards"] {
        browser.find("[data-sample=busy]").await.click().await.unwrap();
        browser
            .wait("document.querySelector('#preview').alt !== 'scene.png'")
            .await;
        browser
            .drag(&["dragEnter", "dragOver", "drop"], &picture, place)
            .await;
        browser
            .wait("document.querySelector('#preview').alt === 'scene.png'")
            .await;
        browser.wait(&format!("!{over}")).await;
    }
    assert_eq!(chosen(&browser).await, (json!(null), json!("scene.png")));
    browser.wait(&shows(16)).await;
    ask(&browser, "what color is the cross?", 1).await;
    assert_eq!(texts(&browser, ".turns .a").await, ["purple", "purple"]);
    browser.shoot_everywhere("dropped").await;

    // Pasted, with the focus in the question; the conversation about the other picture is over.
    browser.find("#question").await.click().await.unwrap();
    browser.paste("/page/shapes.png").await;
    browser
        .wait("document.querySelector('#preview').alt === 'The pasted picture'")
        .await;
    browser
        .wait("document.querySelectorAll('.turns li').length === 0")
        .await;
    assert_eq!(chosen(&browser).await.0, json!(null));
    assert_eq!(
        browser.value("document.querySelector('#question').value").await,
        json!("what color is the cross?"),
        "nothing was pasted into the question"
    );
    ask(&browser, "what color is the star?", 1).await;
    assert_eq!(texts(&browser, ".turns .a").await[0], "pink");
    browser.shoot_everywhere("pasted").await;

    // Words are dropped and pasted as everywhere.
    let refused = "(() => {
        const data = new DataTransfer();
        data.setData('text/plain', 'words');
        const drag = new DragEvent('dragover', { bubbles: true, cancelable: true, dataTransfer: data });
        document.querySelector('#question').dispatchEvent(drag);
        return drag.defaultPrevented;
    })()";
    assert_eq!(browser.value(refused).await, json!(false));
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}
