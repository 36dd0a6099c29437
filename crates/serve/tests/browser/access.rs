//! The page for whoever uses a keyboard or a screen reader, sees little contrast, or wants no motion.

use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::common::{TestServer, config, small_model};
use crate::driver::Browser;
use crate::story::{shows, texts};

const WANTED: &str = "what color is the cross?";

/// Texts whose colour is too near to what is behind them: less than 4.5 to 1, or 3 to 1 for large ones (WCAG 2.2, 1.4.3).
/// Buttons that cannot be pressed need none.
const FAINT: &str = r"
    const rgb = (colour) => colour.match(/[\d.]+/g).map(Number);
    const over = ([r, g, b, a = 1], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a)];
    const linear = (level) => (level <= 10.31 ? level / 3294.6 : ((level / 255 + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const behind = (element) => {
        if (!element) return [255, 255, 255];
        const own = rgb(getComputedStyle(element).backgroundColor);
        return own[3] === 0 ? behind(element.parentElement) : over(own, behind(element.parentElement));
    };
    const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    return [...document.querySelectorAll('body *')]
        .filter((element) => hasText(element) || element.matches('select, textarea'))
        .filter((element) => element.checkVisibility() && !element.closest(':disabled, .hidden, .skip, script, option'))
        .map((element) => {
            const style = getComputedStyle(element);
            const back = behind(element);
            const [low, high] = [light(over(rgb(style.color), back)), light(back)].sort((a, b) => a - b);
            const size = parseFloat(style.fontSize);
            const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
            return [(high + 0.05) / (low + 0.05), isLarge ? 3 : 4.5, element.outerHTML.slice(0, 90)];
        })
        .filter(([found, wanted]) => !(found >= wanted));
";

/// Buttons and fields that are too small for a finger (WCAG 2.2, 2.5.8), but for those that are only there for keyboards.
const SMALL: &str = "
    return [...document.querySelectorAll('button, select, textarea, input')]
        .filter((element) => element.checkVisibility() && element.id !== 'file')
        .map((element) => [element.getBoundingClientRect(), element.outerHTML.slice(0, 90)])
        .filter(([box]) => box.width < 24 || box.height < 24)
        .map(([, found]) => found);
";

async fn open(browser: &Browser, server: &TestServer) {
    browser.look(1400, "light").await;
    browser
        .client
        .goto(&server.url("/?methods=visionzip&tokens=16"))
        .await
        .unwrap();
    browser.wait(&shows(16)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and its driver; .ci/run installs them and runs this"]
async fn everything_can_be_done_with_the_keyboard() {
    let server = TestServer::of(config(|_| {}), vec![small_model()]);
    let browser = Browser::start().await;
    open(&browser, &server).await;
    // Everything can be reached by the tab key, in the order in which it stands, and shows that it is.
    let mut reached = Vec::new();
    browser.tab().await;
    for _ in 0..24 {
        let at = "document.activeElement.id || document.activeElement.dataset.share || document.activeElement.className";
        reached.push(browser.value(at).await.as_str().unwrap_or_default().to_string());
        let ring = "document.activeElement === document.body || document.activeElement.id === 'file'
            || getComputedStyle(document.activeElement).outlineStyle !== 'none'";
        assert_eq!(browser.value(ring).await, json!(true), "{reached:?}");
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
    // From the first link to an answer without a mouse.
    open(&browser, &server).await;
    browser.tab().await;
    browser.type_keys(&Key::Enter.to_string()).await;
    browser.wait("document.activeElement.id === 'results'").await;
    browser
        .tab_to("document.activeElement.dataset.sample === 'shapes'")
        .await;
    browser.type_keys(" ").await;
    browser
        .wait("document.querySelector('#preview').alt === 'Sample picture: shapes'")
        .await;
    browser
        .tab_to("document.activeElement.dataset.share === '2/9'")
        .await;
    browser.type_keys(" ").await;
    browser.wait(&shows(32)).await;
    browser
        .tab_to("document.activeElement.getAttribute('aria-label') === 'Remove visionzip'")
        .await;
    browser.type_keys(&Key::Enter.to_string()).await;
    browser.wait("document.activeElement.id === 'add'").await;
    assert_eq!(texts(&browser, ".card h3").await, ["Every token"]);
    // Letters and arrows pass over others on the way.
    browser.type_keys("divprune").await;
    browser
        .wait("document.querySelector('#add').value === 'divprune'")
        .await;
    assert_eq!(texts(&browser, ".card h3").await, ["Every token"]);
    browser.type_keys(&Key::Enter.to_string()).await;
    browser
        .wait("document.querySelectorAll('.card').length === 2")
        .await;
    browser.tab_to("document.activeElement.id === 'question'").await;
    browser
        .type_keys(&format!("what color is the star?{}", Key::Enter))
        .await;
    browser
        .wait("document.querySelectorAll('.turns .a:not(.streaming)').length === 2")
        .await;
    assert_eq!(texts(&browser, ".turns .a").await[0], "pink");
    browser.tab_to("document.activeElement.id === 'clear'").await;
    browser.type_keys(&Key::Enter.to_string()).await;
    browser
        .wait("document.querySelectorAll('.turns li').length === 0")
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and its driver; .ci/run installs them and runs this"]
async fn everything_has_a_name_and_news_are_told() {
    let server = TestServer::of(config(|_| {}), vec![small_model()]);
    let browser = Browser::start().await;
    open(&browser, &server).await;
    let spoken = browser.spoken().await;
    for role in [
        "button", "combobox", "slider", "textbox", "image", "form", "region", "heading", "link",
    ] {
        let names: Vec<&String> = spoken
            .iter()
            .filter(|(found, _)| found == role)
            .map(|(_, name)| name)
            .collect();
        assert!(!names.is_empty(), "found no {role} in {spoken:?}");
        assert!(
            names.iter().all(|name| !name.trim().is_empty()),
            "{role}: {names:?}"
        );
    }
    for landmark in ["banner", "main", "status"] {
        assert!(
            spoken.iter().any(|(role, _)| role == landmark),
            "{landmark}: {spoken:?}"
        );
    }
    let says = |role: &str, part: &str| {
        spoken
            .iter()
            .any(|(found, name)| found == role && name.contains(part))
    };
    assert!(says("image", "16 of 144 tokens kept by visionzip"), "{spoken:?}");
    assert!(
        says("button", "Remove visionzip") && says("slider", "Visual tokens"),
        "{spoken:?}"
    );
    assert!(says("article", "visionzip"), "{spoken:?}");
    let told = "document.querySelector('#budget').getAttribute('aria-valuetext')";
    assert_eq!(browser.value(told).await, json!("16 of 144 tokens, 11 percent"));
    // An answer is told once it is whole.
    let question = browser.find("#question").await;
    question.send_keys(WANTED).await.unwrap();
    question.send_keys(&Key::Enter.to_string()).await.unwrap();
    browser
        .wait("document.querySelector('#status').textContent.includes('visionzip: ')")
        .await;
    // A picture that comes by itself, too.
    browser.find("[data-sample=busy]").await.click().await.unwrap();
    browser
        .wait("document.querySelector('#status').textContent.includes('Sample picture: busy')")
        .await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and its driver; .ci/run installs them and runs this"]
async fn texts_stand_out_and_buttons_are_large_enough() {
    let server = TestServer::of(config(|_| {}), vec![small_model()]);
    let browser = Browser::start().await;
    open(&browser, &server).await;
    let question = browser.find("#question").await;
    question.send_keys(WANTED).await.unwrap();
    question.send_keys(&Key::Enter.to_string()).await.unwrap();
    browser
        .wait("document.querySelectorAll('.turns .a:not(.streaming)').length === 2")
        .await;
    let nothing = Vec::<Value>::new();
    for (width, scheme) in [(1400, "light"), (1400, "dark"), (420, "light"), (320, "dark")] {
        browser.look(width, scheme).await;
        let faint = browser.client.execute(FAINT, Vec::new()).await.unwrap();
        assert_eq!(faint, json!(nothing), "{width}, {scheme}");
        let small = browser.client.execute(SMALL, Vec::new()).await.unwrap();
        assert_eq!(small, json!(nothing), "{width}");
        let wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.value(wide).await, json!(0), "{width}");
    }
    let paper = "getComputedStyle(document.body).backgroundColor";
    let dark = browser.value(paper).await;
    browser.look(1400, "light").await;
    assert_ne!(browser.value(paper).await, dark);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and its driver; .ci/run installs them and runs this"]
async fn nothing_moves_for_who_wants_no_motion() {
    let server = TestServer::of(config(|_| {}), vec![small_model()]);
    let browser = Browser::start().await;
    open(&browser, &server).await;
    let moving = "(() => {
        const answer = document.createElement('p');
        answer.className = 'a streaming';
        document.querySelector('.turns').append(answer);
        const name = getComputedStyle(answer, '::after').animationName;
        answer.remove();
        return [name, getComputedStyle(document.querySelector('#ask')).transitionDuration];
    })()";
    assert_eq!(browser.value(moving).await, json!(["none", "0s"]));
    browser.prefer("light", "no-preference").await;
    let usual = browser.value(moving).await;
    assert_eq!(usual[0], "blink");
    assert_ne!(usual[1], "0s");
    browser.close().await;
}
