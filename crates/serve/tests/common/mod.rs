//! A server for a test, and a client for it.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::{Cursor, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burn::tensor::Device;
use diffprune_lab::LoadedModel;
use diffprune_serve::{LoadFailure, ModelSource, ServeConfig, Server};
use diffprune_vlm::{FakeVlm, Vlm};
use diffprune_vlm_adapters::LoadOptions;
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// Longest time that a test waits for something that must happen.
pub const LONG: Duration = Duration::from_secs(60);

/// A server on a free port, until it is dropped.
pub struct TestServer {
    pub addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    /// A server of these models, once they answer.
    pub fn of(config: ServeConfig, sources: Vec<ModelSource>) -> Self {
        Self::start(config, sources, true)
    }

    /// A server that may still be reading its models.
    pub fn start(config: ServeConfig, sources: Vec<ModelSource>, ready: bool) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            runtime.unwrap().block_on(async move {
                let server = Server::bind(config, sources).await.unwrap();
                let readiness = server.readiness();
                let addr = server.addr();
                let running = tokio::spawn(server.run(async {
                    let _ = stopped.await;
                }));
                if ready {
                    readiness.ready().await.unwrap();
                }
                drop(readiness);
                tell.send(addr).unwrap();
                running.await.unwrap().unwrap();
            });
        });
        let addr = told.recv_timeout(LONG).unwrap();
        Self {
            addr,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// A server of the model for tests, which says how many visual tokens it read.
    pub fn counting() -> Self {
        Self::with(|_| {}, counting())
    }

    /// A server of one model for tests.
    pub fn with(change: impl FnOnce(&mut ServeConfig), vlm: FakeVlm) -> Self {
        Self::of(config(change), vec![source("fake", vlm)])
    }

    /// Posts a body.
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_with(path, body, &[])
    }

    /// Posts a body with further headers.
    pub fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Reply {
        let request = ureq::post(&self.url(path)).timeout(LONG);
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.set(name, value));
        Reply::of(
            request
                .set("content-type", "application/json")
                .send_string(&body.to_string()),
        )
    }

    /// Gets a path.
    pub fn get(&self, path: &str) -> Reply {
        Reply::of(ureq::get(&self.url(path)).timeout(LONG).call())
    }

    /// Asks, expecting an answer.
    pub fn chat(&self, body: &Value) -> Value {
        let reply = self.post("/v1/chat/completions", body);
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()
    }

    /// Asks, expecting a refusal with this status; gives the error object.
    pub fn refused(&self, status: u16, body: &Value) -> Value {
        let reply = self.post("/v1/chat/completions", body);
        assert_eq!(reply.status, status, "{}", reply.text);
        reply.error()
    }

    /// The value of a metric, 0 where it is not told.
    pub fn metric(&self, line: &str) -> f64 {
        metric_at(self.addr, line)
    }

    /// Waits until a metric has this value.
    pub fn wait_for(&self, line: &str, wanted: f64) {
        self.wait_until(line, |value| value == wanted);
    }

    /// Waits until a metric has a value of this kind.
    pub fn wait_until(&self, line: &str, wanted: impl Fn(f64) -> bool) {
        let start = Instant::now();
        while !wanted(self.metric(line)) {
            assert!(
                start.elapsed() < LONG,
                "{line}: found {} for too long",
                self.metric(line)
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends bytes on a connection of their own; gives all that comes back until the server closes it.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        read_all(stream)
    }

    /// A connection.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// A chat request on a connection of its own that nobody has answered yet.
    pub fn send(&self, body: &Value) -> TcpStream {
        let body = body.to_string();
        let mut stream = self.connect();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            self.addr,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        stream
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

/// The value of a line of the metrics of the server at an address; 0 where there is none.
pub fn metric_at(addr: SocketAddr, line: &str) -> f64 {
    let text = Reply::of(ureq::get(&format!("http://{addr}/metrics")).timeout(LONG).call()).text;
    let found = text
        .lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    found.map_or(0.0, |value| value.parse().unwrap())
}

/// All that comes until the other side closes the connection.
pub fn read_all(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is an end too.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a server answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Reply {
    fn of(result: Result<ureq::Response, ureq::Error>) -> Self {
        let response = match result {
            Ok(response) | Err(ureq::Error::Status(_, response)) => response,
            Err(error) => panic!("no answer: {error}"),
        };
        let names = response.headers_names();
        let value = |name: String| {
            let value = response.header(&name).unwrap_or_default().to_string();
            (name, value)
        };
        Self {
            status: response.status(),
            headers: names.into_iter().map(value).collect(),
            text: response.into_string().unwrap(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// OpenAI's error object.
    pub fn error(&self) -> Value {
        let body = self.json();
        let error = &body["error"];
        for field in ["message", "type", "param", "code"] {
            assert!(error.get(field).is_some(), "{field}: {body}");
        }
        error.clone()
    }

    /// The data of server-sent events.
    pub fn events(&self) -> Vec<String> {
        let data = |line: &str| line.strip_prefix("data: ").map(str::to_string);
        self.text.lines().filter_map(data).collect()
    }
}

/// Settings on a free port.
pub fn config(change: impl FnOnce(&mut ServeConfig)) -> ServeConfig {
    let mut config = ServeConfig::default();
    config.addr.set_port(0);
    change(&mut config);
    config
}

/// A model for tests under a name.
pub fn source(name: &str, vlm: FakeVlm) -> ModelSource {
    ModelSource::new(name, move || Ok::<Box<dyn Vlm>, LoadFailure>(Box::new(vlm)))
}

/// A model for tests with random answers.
pub fn fake() -> FakeVlm {
    FakeVlm::new(&Device::flex()).with_positions(4096)
}

/// A model for tests that says how many visual tokens it read.
pub fn counting() -> FakeVlm {
    fake().answering(|input| format!("{} tokens", input.visual.len()))
}

/// A model for tests that repeats the prompt.
pub fn echo() -> FakeVlm {
    fake().answering(|input| input.text.trim().to_string())
}

/// A gate that a model for tests waits at, when the prompt says `hold`.
#[derive(Clone, Default)]
pub struct Gate {
    open: Arc<(Mutex<bool>, Condvar)>,
    passed: Arc<Mutex<Vec<String>>>,
}

impl Gate {
    /// A model that waits at the gate and then repeats the prompt.
    pub fn model(&self) -> FakeVlm {
        self.model_with(str::to_string)
    }

    /// A model that waits at the gate and then answers.
    pub fn model_with(&self, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> FakeVlm {
        let gate = self.clone();
        fake().answering(move |input| {
            let text = input.text.trim().to_string();
            gate.passed.lock().unwrap().push(text.clone());
            if text.contains("hold") {
                gate.pass();
            }
            answer(&text)
        })
    }

    /// Waits until the gate is open.
    pub fn pass(&self) {
        let (open, opened) = &*self.open;
        let open = open.lock().unwrap();
        drop(opened.wait_timeout_while(open, LONG, |open| !*open).unwrap());
    }

    pub fn open(&self) {
        *self.open.0.lock().unwrap() = true;
        self.open.1.notify_all();
    }

    /// Prompts that the model has begun, in order.
    pub fn begun(&self) -> Vec<String> {
        self.passed.lock().unwrap().clone()
    }

    /// Waits until the model has begun as many prompts.
    pub fn wait(&self, count: usize) {
        let start = Instant::now();
        while self.begun().len() < count {
            assert!(start.elapsed() < LONG, "begun: {:?}", self.begun());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A picture of one colour with a mark that makes it different from others.
pub fn picture(mark: u8) -> RgbImage {
    let mut picture = RgbImage::from_pixel(32, 32, Rgb([40, 90, 160]));
    for x in 0..32 {
        for y in 0..8 {
            picture.put_pixel(x, y, Rgb([mark, (8 * x) as u8, (20 * y) as u8]));
        }
    }
    picture
}

/// The file of a picture.
pub fn file(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Bytes as a data URL.
pub fn data_url(bytes: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(bytes))
}

/// A picture as a data URL.
pub fn url_of(mark: u8) -> String {
    data_url(&file(&picture(mark), ImageFormat::Png))
}

/// A part of a message with a picture.
pub fn image_part(mark: u8) -> Value {
    json!({"type": "image_url", "image_url": {"url": url_of(mark)}})
}

/// A request with one picture and one question.
pub fn about(mark: u8, question: &str) -> Value {
    json!({"model": "fake", "messages": [{"role": "user", "content": [
        image_part(mark), {"type": "text", "text": question},
    ]}]})
}

/// A request without a picture.
pub fn saying(question: &str) -> Value {
    json!({"model": "fake", "messages": [{"role": "user", "content": question}]})
}

/// The same request with more fields.
pub fn and(mut body: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// What an answer says.
pub fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

/// The small model that ships with the repository.
pub fn small_model() -> ModelSource {
    ModelSource::checkpoint("mini-llava-1.5", || Ok(small_model_here()))
}

/// The same, for this thread.
pub fn small_model_here() -> LoadedModel {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/mini-llava-1.5");
    LoadedModel::load(&dir, &Device::flex(), LoadOptions::f32()).unwrap()
}
