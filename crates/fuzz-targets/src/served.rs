//! The server with the model for tests, in this process, and a client that sends it any bytes.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use burn::tensor::Device;
use diffprune_serve::{LoadFailure, ModelSource, ServeConfig, Server};
use diffprune_vlm::{FakeVlm, Vlm};
use serde_json::Value;

/// Time that an answer may take; a run that takes five seconds is a finding in any case.
const LONGEST: Duration = Duration::from_secs(20);
/// Time for the parts of a request that do not come, so that a broken one costs no more.
const PATIENCE: Duration = Duration::from_millis(20);
/// New connections before a request counts as not answered: on a busy machine one may be closed before its first byte is sent.
const ATTEMPTS: usize = 3;
/// The key of the server.
const KEY: &str = "secret";
/// Statuses of HTTP itself: to go on, nothing to say, another method, an address or a head that is too long.
const PROTOCOL: [u16; 6] = [100, 204, 400, 405, 414, 431];

/// A server that runs until the process ends.
pub struct Served {
    addr: SocketAddr,
    /// Statuses that the server's own description has: of chat completions, of selections, of all routes.
    documented: [BTreeSet<u16>; 3],
    /// A connection for one request after another.
    connection: Mutex<Option<BufReader<TcpStream>>>,
}

/// An answer, as far as it matters.
struct Answer {
    status: u16,
    body: Vec<u8>,
    closes: bool,
}

impl Served {
    /// Starts the server on a free port of the loopback interface.
    ///
    /// # Errors
    /// When there is no port, or the server does not describe itself.
    pub fn start() -> io::Result<Self> {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            runtime.block_on(async move {
                let server = Server::bind(config(), vec![source()]).await;
                let server = server.map_err(io::Error::other)?;
                // Whoever asked has gone away when this fails, and the server with it.
                let _ = tell.send(server.addr());
                server.run(std::future::pending()).await.map_err(io::Error::other)
            })
        });
        let addr = told.recv().map_err(io::Error::other)?;
        let mut served = Self {
            addr,
            documented: Default::default(),
            connection: Mutex::default(),
        };
        served.documented = served.read_documented()?;
        Ok(served)
    }

    /// A chat completion with this body.
    ///
    /// # Panics
    /// When there is no answer, or its status is not documented or says that the server is at fault.
    pub fn chat(&self, body: &[u8]) {
        self.post("/v1/chat/completions", body, &self.documented[0]);
    }

    /// A selection with this body.
    ///
    /// # Panics
    /// As [`Self::chat`].
    pub fn select(&self, body: &[u8]) {
        self.post("/v1/diffprune/select", body, &self.documented[1]);
    }

    /// Bytes on a connection of their own, head and all.
    ///
    /// # Panics
    /// When a whole head gets no answer, or one of a status that is not documented or says that the server is at fault.
    pub fn raw(&self, bytes: &[u8]) {
        let mut answer = Vec::new();
        for _ in 0..ATTEMPTS {
            answer = self.answer_to(bytes);
            if !answer.is_empty() || !is_whole(bytes) {
                break;
            }
        }
        let head = String::from_utf8_lossy(&answer);
        let told: String = head.chars().take(600).collect();
        if answer.is_empty() {
            // Behind a reset the answer may be lost.
            assert!(!is_whole(bytes) || bytes.len() > 4096, "no answer");
            return;
        }
        let status = head
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5)?.parse::<u16>().ok())
            .unwrap_or_else(|| panic!("no status: {told}"));
        let known = self.documented[2].contains(&status) || PROTOCOL.contains(&status);
        assert!(known && status != 500, "status {status}: {told}");
    }

    /// All that comes back until the server closes the connection.
    fn answer_to(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().expect("the server listens");
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        // A reset after the answer is an end too.
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    fn post(&self, path: &str, body: &[u8], documented: &BTreeSet<u16>) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        let answer = self
            .exchange(&request)
            .unwrap_or_else(|error| panic!("no answer: {error}"));
        let said = String::from_utf8_lossy(&answer.body);
        assert!(
            documented.contains(&answer.status) && answer.status != 500,
            "status {}: {said}",
            answer.status
        );
        if answer.status != 200 {
            let error: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            assert!(error["error"]["message"].is_string(), "no error object: {said}");
        }
    }

    /// One request on the connection that is kept, or on a new one where the server has closed that.
    fn exchange(&self, request: &[u8]) -> io::Result<Answer> {
        let kept = self.connection.lock().ok().and_then(|mut kept| kept.take());
        let on = |mut connection: BufReader<TcpStream>| {
            let answer = ask(&mut connection, request)?;
            Ok((connection, answer))
        };
        let mut answered = match kept {
            Some(connection) => on(connection),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        for _ in 0..ATTEMPTS {
            if answered.is_err() {
                answered = self.connect().map(BufReader::new).and_then(on);
            }
        }
        let (connection, answer) = answered?;
        if !answer.closes
            && let Ok(mut kept) = self.connection.lock()
        {
            *kept = Some(connection);
        }
        Ok(answer)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LONGEST))?;
        stream.set_write_timeout(Some(LONGEST))?;
        Ok(stream)
    }

    /// The statuses of the server's own description.
    fn read_documented(&self) -> io::Result<[BTreeSet<u16>; 3]> {
        let answer = self.exchange(b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let description: Value = serde_json::from_slice(&answer.body)?;
        let of = |path: &str| -> BTreeSet<u16> {
            let methods = description["paths"][path].as_object();
            let answers = methods.into_iter().flatten();
            let answers = answers.filter_map(|(_, method)| method["responses"].as_object());
            answers
                .flatten()
                .filter_map(|(status, _)| status.parse().ok())
                .collect()
        };
        let paths = description["paths"].as_object();
        let all = paths.into_iter().flatten().flat_map(|(path, _)| of(path));
        Ok([
            of("/v1/chat/completions"),
            of("/v1/diffprune/select"),
            all.collect(),
        ])
    }
}

/// `true` if the bytes hold a whole head of the first version of HTTP; another one is not spoken here.
fn is_whole(bytes: &[u8]) -> bool {
    let ends = [&b"\r\n\r\n"[..], b"\n\n", b"\n\r\n"];
    let holds = |end: &&[u8]| bytes.windows(end.len()).any(|part| part == *end);
    ends.iter().any(holds) && !bytes.starts_with(b"PRI * HTTP/2")
}

/// Sends a request and reads its answer.
fn ask(connection: &mut BufReader<TcpStream>, request: &[u8]) -> io::Result<Answer> {
    connection.get_mut().write_all(request)?;
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let status = head
        .first()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    let field = |name: &str| {
        head.iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let mut body = Vec::new();
    if field("transfer-encoding") == Some("chunked") {
        loop {
            let mut line = String::new();
            connection.read_line(&mut line)?;
            let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            let start = body.len();
            body.resize(start + length, 0);
            connection.read_exact(&mut body[start..])?;
            connection.read_line(&mut line)?;
            if length == 0 {
                break;
            }
        }
    } else if let Some(length) = field("content-length") {
        body.resize(length.parse().map_err(io::Error::other)?, 0);
        connection.read_exact(&mut body)?;
    }
    Ok(Answer {
        status,
        closes: field("connection") == Some("close"),
        body,
    })
}

fn config() -> ServeConfig {
    let mut config = ServeConfig::default();
    config.addr.set_port(0);
    config.api_key = Some(KEY.into());
    config.limits.head_time = PATIENCE;
    config.limits.idle_time = PATIENCE;
    config.limits.body_time = PATIENCE;
    config
}

/// A model that says how many visual tokens it read.
fn source() -> ModelSource {
    ModelSource::new("fake", || {
        let model = FakeVlm::new(&Device::flex()).with_positions(4096);
        let model = model.answering(|input| format!("{} tokens", input.visual.len()));
        Ok::<Box<dyn Vlm>, LoadFailure>(Box::new(model))
    })
}
