//! A browser for a test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::common::LONG;

/// Where screenshots are kept; without it they go to a folder that is removed.
const KEPT: &str = "DIFFPRUNE_SCREENSHOTS";

/// A browser with a page, until it is closed.
pub struct Browser {
    pub client: Client,
    driver: Driver,
    session: String,
    shots: PathBuf,
    _folder: tempfile::TempDir,
}

/// The program that drives the browser.
struct Driver {
    child: Child,
    address: String,
}

impl Driver {
    /// Starts chromedriver on a free port.
    fn start() -> Self {
        let child = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.unwrap_or_else(|error| {
            panic!(
                "chromedriver: {error}; this test needs chromium and chromedriver: `apt-get install chromium chromium-driver`, \
                 or put both into the PATH"
            )
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let port = line
                .split("successfully on port ")
                .nth(1)?
                .trim_end_matches('.')
                .to_string();
            port.parse::<u16>().ok()
        });
        // Whatever it says later must find a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let port = port.expect("chromedriver says its port");
        let address = format!("http://127.0.0.1:{port}");
        Self { child, address }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// Starts a browser.
    pub async fn start() -> Self {
        let driver = Driver::start();
        let mut capabilities = fantoccini::wd::Capabilities::new();
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ];
        capabilities.insert("goog:chromeOptions".into(), json!({"args": args}));
        capabilities.insert("goog:loggingPrefs".into(), json!({"browser": "ALL"}));
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&driver.address)
            .await;
        let client = client.unwrap_or_else(|error| {
            panic!("chromium does not start: {error}; `apt-get install chromium chromium-driver` gives a pair that fits")
        });
        let session = client.session_id().await.unwrap().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let shots = std::env::var_os(KEPT).map_or_else(|| folder.path().to_path_buf(), PathBuf::from);
        std::fs::create_dir_all(&shots).unwrap();
        Self {
            client,
            driver,
            session,
            shots,
            _folder: folder,
        }
    }

    /// A command of chromedriver beside the standard.
    async fn command(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/session/{}/{path}", self.driver.address, self.session);
        let sent = tokio::task::spawn_blocking(move || {
            let reply = ureq::post(&url)
                .timeout(LONG)
                .send_string(&body.to_string())
                .unwrap();
            reply.into_string().unwrap()
        });
        let reply: Value = serde_json::from_str(&sent.await.unwrap()).unwrap();
        reply["value"].clone()
    }

    /// A command of the browser's own protocol.
    async fn devtools(&self, name: &str, params: Value) -> Value {
        self.command("goog/cdp/execute", json!({"cmd": name, "params": params}))
            .await
    }

    /// Sets the width of the page, and light or dark, for a user who wants less motion.
    pub async fn look(&self, width: u32, scheme: &str) {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        self.prefer(scheme, "reduce").await;
        self.wait(&format!("innerWidth === {width}")).await;
    }

    /// Sets what the user wants: light or dark, and as much motion.
    pub async fn prefer(&self, scheme: &str, motion: &str) {
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": motion},
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features}))
            .await;
    }

    /// Writes pictures of a state of the page, on a screen and on a phone, light and dark, and checks that nothing is wider than
    /// the page. The screen is light afterwards.
    pub async fn shoot_everywhere(&self, state: &str) {
        for (width, scheme) in [(1400, "dark"), (420, "light"), (420, "dark"), (1400, "light")] {
            self.look(width, scheme).await;
            self.shoot(&format!("{state}-{width}-{scheme}")).await;
            let wide = self
                .value("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                .await;
            assert_eq!(
                wide,
                json!(0),
                "{state}, {width}: something is wider than the page"
            );
        }
    }

    /// Writes a picture of the whole page, once it is drawn.
    pub async fn shoot(&self, name: &str) {
        let drawn = "const [done] = arguments; setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 50);";
        self.client.execute_async(drawn, Vec::new()).await.unwrap();
        let taken = self
            .devtools(
                "Page.captureScreenshot",
                json!({"captureBeyondViewport": true, "format": "webp", "quality": 88}),
            )
            .await;
        let bytes = STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        let path = self.shots.join(format!("{name}.webp"));
        std::fs::write(&path, &bytes).unwrap();
        assert!(bytes.len() > 5_000, "{}: an empty page", path.display());
    }

    /// What the browser complained about.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.command("se/log", json!({"type": "browser"})).await;
        let entries = log
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["level"] == "SEVERE");
        entries.map(|entry| entry["message"].to_string()).collect()
    }

    /// The element of a selector.
    pub async fn find(&self, selector: &str) -> Element {
        let found = self.client.find(Locator::Css(selector)).await;
        found.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    /// The value of an expression in the page.
    pub async fn value(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.client
            .execute(&script, Vec::new())
            .await
            .unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Waits until an expression is true.
    pub async fn wait(&self, expression: &str) {
        let start = Instant::now();
        while self.value(expression).await != json!(true) {
            if start.elapsed() > LONG {
                let page = self.value("document.body.innerText").await;
                panic!("{expression}: not within {LONG:?}; the page says {page}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Gives a file to an input.
    pub async fn give(&self, selector: &str, path: &Path) {
        let path = path.canonicalize().unwrap();
        self.find(selector)
            .await
            .send_keys(path.to_str().unwrap())
            .await
            .unwrap();
    }

    /// Presses the tab key, wherever the focus is.
    pub async fn tab(&self) {
        for kind in ["rawKeyDown", "keyUp"] {
            let key = json!({"type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9});
            self.devtools("Input.dispatchKeyEvent", key).await;
        }
    }

    /// Presses the tab key until an expression about the page is true.
    pub async fn tab_to(&self, expression: &str) {
        for _ in 0..60 {
            if self.value(expression).await == json!(true) {
                return;
            }
            self.tab().await;
        }
        panic!("{expression}: not reached by the tab key");
    }

    /// Types keys, wherever the focus is.
    pub async fn type_keys(&self, keys: &str) {
        let actions = keys
            .chars()
            .fold(KeyActions::new("keyboard".into()), |actions, key| {
                actions
                    .then(KeyAction::Down { value: key })
                    .then(KeyAction::Up { value: key })
            });
        self.client.perform_actions(actions).await.unwrap();
    }

    /// Drags a file of this machine over the middle of an element, as one drags it out of a folder: `dragEnter` and `dragOver`,
    /// and at last `drop`.
    pub async fn drag(&self, kinds: &[&str], path: &Path, selector: &str) {
        let path = path.canonicalize().unwrap();
        let middle = format!(
            "(() => {{ const box = document.querySelector('{selector}').getBoundingClientRect();
                return [box.left + box.width / 2, box.top + box.height / 2]; }})()"
        );
        let middle = self.value(&middle).await;
        for kind in kinds {
            let data = json!({"items": [], "files": [path.to_str().unwrap()], "dragOperationsMask": 1});
            let event = json!({"type": kind, "x": middle[0], "y": middle[1], "data": data});
            self.devtools("Input.dispatchDragEvent", event).await;
        }
    }

    /// Puts a picture that the server gives into the clipboard, as copying it elsewhere does, and presses the keys that paste.
    pub async fn paste(&self, path: &str) {
        let permissions = json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]});
        self.devtools("Browser.grantPermissions", permissions).await;
        let copy = "const [path, done] = arguments;
            fetch(path).then((response) => response.blob())
                .then((blob) => navigator.clipboard.write([new ClipboardItem({'image/png': blob})]))
                .then(() => done('copied'), (error) => done(String(error)));";
        let copied = self.client.execute_async(copy, vec![json!(path)]).await.unwrap();
        assert_eq!(copied, json!("copied"));
        for (kind, commands) in [("rawKeyDown", vec!["paste"]), ("keyUp", vec![])] {
            let key = json!({"type": kind, "key": "v", "code": "KeyV", "windowsVirtualKeyCode": 86, "modifiers": 2,
                "commands": commands});
            self.devtools("Input.dispatchKeyEvent", key).await;
        }
    }

    /// What screen readers are told: role and name of each thing that is not hidden from them.
    pub async fn spoken(&self) -> Vec<(String, String)> {
        self.devtools("Accessibility.enable", json!({})).await;
        let tree = self.devtools("Accessibility.getFullAXTree", json!({})).await;
        let nodes = tree["nodes"].as_array().unwrap().iter();
        let told = nodes.filter(|node| node["ignored"] == false);
        let text = |node: &Value, field: &str| node[field]["value"].as_str().unwrap_or_default().to_string();
        told.map(|node| (text(node, "role"), text(node, "name")))
            .collect()
    }

    /// Ends the browser.
    pub async fn close(self) {
        self.client.close().await.unwrap();
    }
}
