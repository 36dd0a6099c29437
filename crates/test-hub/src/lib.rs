//! A hub on the loopback interface, for tests: the few addresses that the client uses, and their troubles.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// The only commit there is.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The only model there is.
pub const MODEL: &str = "owner/model-1.5";

/// Faults that the server shows.
#[derive(Debug, Default, Clone)]
pub struct Trouble {
    /// For the next answers with large contents: after how many bytes the connection ends.
    pub cuts: Vec<usize>,
    /// Contents always start at the beginning.
    pub ignores_ranges: bool,
    /// Contents differ from what was announced.
    pub damages: bool,
    /// Contents are longer than announced.
    pub lengthens: bool,
    /// Every answer has this status.
    pub status: Option<u16>,
    /// So many of the next answers say that the hub is busy, by turns with and without a time to wait.
    pub busy: usize,
    /// The model has moved here from this name.
    pub old_name: Option<&'static str>,
    /// Time between two pieces of 16 KiB of an answer.
    pub pause: Duration,
}

/// Bytes that are sent between two pauses.
const PIECE: usize = 16 << 10;

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `HEAD`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Header lines by their names in lower case.
    pub headers: BTreeMap<String, String>,
}

/// A hub that serves one model until the test program ends.
#[derive(Debug)]
pub struct Server {
    /// Its address, as the client wants it.
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    trouble: Trouble,
    requests: Vec<Request>,
    connections: usize,
}

impl Server {
    /// Serves these files as [`MODEL`]. The thread ends with the test program.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(files: BTreeMap<String, Vec<u8>>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State {
            files,
            ..Default::default()
        }));
        let server = Self {
            endpoint: endpoint.clone(),
            state: state.clone(),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, endpoint) = (state.clone(), endpoint.clone());
                lock(&state).connections += 1;
                thread::spawn(move || answer(stream, &state, &endpoint));
            }
        });
        Ok(server)
    }

    /// From now on things go wrong in this way.
    pub fn trouble(&self, trouble: Trouble) {
        lock(&self.state).trouble = trouble;
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        lock(&self.state).connections
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut lock(&self.state).requests)
    }
}

/// SHA-256 in hexadecimal digits, as the hub announces it.
pub fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// A test that panicked leaves the state as good as it was.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Weights are stored apart, as large files are.
fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors")
}

fn answer(stream: TcpStream, state: &Mutex<State>, endpoint: &str) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(n) if n > 0 && !line.trim().is_empty() => lines.push(line.trim().to_string()),
            _ => break,
        }
    }
    let Some(first) = lines.first() else { return };
    let mut words = first.split(' ');
    let mut word = || words.next().unwrap_or_default().to_string();
    let (method, path) = (word(), word());
    let header = |line: &String| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_lowercase(), value.trim().to_string()))
    };
    let headers: BTreeMap<_, _> = lines[1..].iter().filter_map(header).collect();
    let request = Request {
        method,
        path,
        headers,
    };
    let (reply, pause) = {
        let mut state = lock(state);
        state.requests.push(request.clone());
        let pause = state.trouble.pause;
        (reply(&request, &mut state, endpoint), pause)
    };
    let mut stream = reader.into_inner();
    if pause.is_zero() {
        let _ = stream.write_all(&reply);
        return;
    }
    for piece in reply.chunks(PIECE) {
        // Whoever asked has gone away.
        if stream.write_all(piece).is_err() {
            return;
        }
        thread::sleep(pause);
    }
}

fn reply(request: &Request, state: &mut State, endpoint: &str) -> Vec<u8> {
    if let Some(status) = state.trouble.status {
        return head(status, &[], 0);
    }
    if state.trouble.busy > 0 {
        state.trouble.busy -= 1;
        return match state.trouble.busy.is_multiple_of(2) {
            true => head(429, &[("Retry-After", "0")], 0),
            false => head(503, &[], 0),
        };
    }
    let mut path = request.path.clone();
    if let Some(old) = state.trouble.old_name
        && path.contains(old)
    {
        path = path.replace(old, MODEL);
        return head(307, &[("Location", &path)], 0);
    }
    if path == format!("/api/models/{MODEL}/revision/main") || path.ends_with(COMMIT) {
        let names: Vec<_> = state
            .files
            .keys()
            .map(|name| format!(r#"{{"rfilename": "{name}"}}"#))
            .collect();
        let body = format!(
            r#"{{"id": "{MODEL}", "sha": "{COMMIT}", "siblings": [{}]}}"#,
            names.join(",")
        );
        return [head(200, &[], body.len()), body.into_bytes()].concat();
    }
    if let Some(name) = path.strip_prefix(&format!("/{MODEL}/resolve/{COMMIT}/")) {
        let Some(content) = state.files.get(name).cloned() else {
            return head(404, &[], 0);
        };
        if is_large(name) {
            let (etag, size) = (format!("\"{}\"", sha256(&content)), content.len().to_string());
            // Large files lie with another host.
            let store = endpoint.replace("127.0.0.1", "localhost");
            let location = format!("{store}/store/{name}?signed");
            let about = [
                ("Location", location.as_str()),
                ("X-Linked-Etag", &etag),
                ("X-Linked-Size", &size),
                ("ETag", "\"of-the-pointer\""),
            ];
            return head(302, &about, 0);
        }
        let etag = format!("W/\"{}\"", &sha256(&content)[..40]);
        let head = head(200, &[("ETag", &etag)], content.len());
        return if request.method == "HEAD" {
            head
        } else {
            [head, content].concat()
        };
    }
    match path
        .strip_prefix("/store/")
        .and_then(|name| name.strip_suffix("?signed"))
    {
        Some(name) if state.files.contains_key(name) => contents(request, state, name),
        _ => head(404, &[], 0),
    }
}

fn contents(request: &Request, state: &mut State, name: &str) -> Vec<u8> {
    let mut content = state.files[name].clone();
    let trouble = &mut state.trouble;
    if trouble.damages {
        content[0] ^= 1;
    }
    if trouble.lengthens {
        content.push(0);
    }
    let from = request
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let from = from
        .and_then(|from| from.parse::<usize>().ok())
        .filter(|_| !trouble.ignores_ranges);
    let size = content.len();
    let mut reply = match from {
        Some(from) => {
            let range = format!("bytes {from}-{}/{size}", size - 1);
            content.drain(..from);
            [
                head(206, &[("Content-Range", &range)], content.len()),
                content.clone(),
            ]
            .concat()
        }
        None => [head(200, &[], size), content.clone()].concat(),
    };
    if !trouble.cuts.is_empty() {
        let n = trouble.cuts.remove(0);
        reply.truncate(reply.len() - content.len() + n);
    }
    reply
}

fn head(status: u16, headers: &[(&str, &str)], length: usize) -> Vec<u8> {
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("HTTP/1.1 {status} Answer\r\nConnection: close\r\nContent-Length: {length}\r\n{lines}\r\n")
        .into_bytes()
}
