//! What the page says when something is wrong.

use diffprune_serve::{LoadFailure, ModelSource};
use diffprune_vlm::Vlm;
use fantoccini::key::Key;

use crate::common::{Gate, TestServer, config, small_model};
use crate::driver::Browser;
use crate::story::shows;

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
    browser.wait("document.activeElement.id === 'key'").await;
    browser.shoot_everywhere("key").await;
    let key = browser.find("#key").await;
    key.send_keys("secret").await.unwrap();
    key.send_keys(&Key::Tab.to_string()).await.unwrap();
    browser.wait(&shows(48)).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.png");
    std::fs::write(&path, "no picture").unwrap();
    browser.give("#file", &path).await;
    let told = "document.querySelector('#notice').textContent.includes('no picture that a browser can show')";
    browser.wait(told).await;
    browser.shoot_everywhere("no-picture").await;
    // In sight on a phone, too.
    browser.look(420, "light").await;
    let seen = "(() => {
        const box = document.querySelector('#notice').getBoundingClientRect();
        return box.top >= 0 && box.bottom <= innerHeight;
    })()";
    browser.wait(seen).await;
    browser
        .client
        .execute("scrollTo(0, 600)", Vec::new())
        .await
        .unwrap();
    browser.wait(seen).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and its driver; .ci/run installs them and runs this"]
async fn a_model_that_is_being_read_is_waited_for() {
    let gate = Gate::default();
    let waits = gate.clone();
    let source = ModelSource::new("slow", move || {
        waits.pass();
        Ok::<Box<dyn Vlm>, LoadFailure>(Box::new(crate::common::fake()))
    });
    let server = TestServer::start(config(|_| {}), vec![source], false);
    let browser = Browser::start().await;
    browser.look(1400, "light").await;
    browser.client.goto(&server.url("/")).await.unwrap();
    browser
        .wait("document.querySelector('#notice').textContent === 'The model is being read.'")
        .await;
    browser.shoot_everywhere("loading").await;
    gate.open();
    browser.wait("document.body.dataset.selected === '5/16'").await;
    browser.wait("document.querySelector('#notice').hidden").await;
    browser.close().await;
}
