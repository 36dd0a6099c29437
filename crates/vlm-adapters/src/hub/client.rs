//! The hub over HTTP: listing a model, and downloading its files so that a broken connection costs nothing.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use ureq::{Agent, AgentBuilder, RedirectAuthHeaders, Request, Response};

use super::cache::{Repo, Snapshot, create_parent, is_commit, is_plain};
use super::{HubError, HubOptions, Progress};

/// Redirections followed before a file's own description is reached.
const MAX_REDIRECTS: usize = 5;
/// Largest listing of a repository, in bytes.
const MAX_LISTING: u64 = 64 << 20;
/// Longest pause that a hub may ask for.
const MAX_WAIT: Duration = Duration::from_secs(120);
/// Bytes that are written at a time.
const CHUNK: usize = 1 << 18;

/// Connections to the hub.
pub(super) struct Client<'a> {
    options: &'a HubOptions,
    /// Follows redirections, for contents.
    agent: Agent,
    /// Follows none, for descriptions: the hub's own headers are on the redirecting answer.
    still: Agent,
    /// The wait that the hub asked for before the next request.
    wait: Cell<Option<Duration>>,
}

#[derive(Deserialize)]
struct Listing {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// The hub's description of a file.
struct Description {
    etag: String,
    size: u64,
}

/// A blob on its way.
struct Arrival<'a> {
    path: PathBuf,
    name: &'a str,
    url: String,
    wanted: Description,
}

impl<'a> Client<'a> {
    pub(super) fn new(options: &'a HubOptions) -> Self {
        // A proxy is for the world outside.
        let host = host(&options.endpoint);
        let proxy = !is_local(host)
            && !["NO_PROXY", "no_proxy"].iter().any(|name| {
                let list = std::env::var(name).unwrap_or_default();
                goes_around_proxies(host, &list)
            });
        let builder = || {
            AgentBuilder::new()
                .timeout_connect(options.timeout)
                .timeout_read(options.timeout)
                .timeout_write(options.timeout)
                .redirect_auth_headers(RedirectAuthHeaders::SameHost)
                .try_proxy_from_env(proxy)
                .user_agent(concat!("diffprune/", env!("CARGO_PKG_VERSION")))
        };
        Self {
            options,
            agent: builder().build(),
            still: builder().redirects(0).build(),
            wait: Cell::new(None),
        }
    }

    pub(super) fn url(&self, repo: &Repo, commit: &str, file: &str) -> String {
        format!("{}/{}/resolve/{commit}/{file}", self.options.endpoint, repo.id())
    }

    /// The commit of the wanted revision, and its files.
    pub(super) fn list(&self, repo: &Repo) -> Result<(String, Vec<String>), HubError> {
        let revision = self.options.revision.replace('/', "%2F");
        let url = format!(
            "{}/api/models/{}/revision/{revision}",
            self.options.endpoint,
            repo.id()
        );
        let response = self.send_patiently(repo, &url, &self.request(&self.agent, "GET", &url))?;
        let answer = |found: String| HubError::Answer {
            url: url.clone(),
            found,
            wanted: "the commit and the files of a model, as json".into(),
        };
        let mut bytes = Vec::new();
        let mut reader = response.into_reader().take(MAX_LISTING);
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| broken(&url, &error))?;
        let listing: Listing = serde_json::from_slice(&bytes).map_err(|error| answer(error.to_string()))?;
        if !is_commit(&listing.sha) {
            return Err(answer(format!("the commit `{}`", listing.sha)));
        }
        let files = listing.siblings.into_iter().map(|file| file.rfilename);
        Ok((listing.sha, files.collect()))
    }

    /// Puts a file into a snapshot, unless it is there.
    pub(super) fn fetch(
        &self,
        repo: &Repo,
        snapshot: &Snapshot,
        file: &str,
        report: &mut dyn FnMut(Progress),
    ) -> Result<(), HubError> {
        if snapshot.has(file) {
            return Ok(());
        }
        let url = self.url(repo, snapshot.commit(), file);
        let wanted = self.describe(repo, &url)?;
        let etag = wanted.etag.clone();
        let blob = repo.blob(&etag);
        create_parent(&blob)?;
        let _guard = lock(&repo.lock(&etag))?;
        if !self.is_whole(&blob, &wanted)? {
            let arrival = Arrival {
                path: blob.with_file_name(format!("{etag}.incomplete")),
                name: file,
                url,
                wanted,
            };
            self.receive(repo, &arrival, report)?;
            fs::rename(&arrival.path, &blob).map_err(|error| local(&blob, "write", error))?;
        }
        snapshot.link(file, &etag)
    }

    /// Size and content name of a file.
    fn describe(&self, repo: &Repo, url: &str) -> Result<Description, HubError> {
        let mut at = url.to_string();
        for _ in 0..MAX_REDIRECTS {
            let request = self
                .request(&self.still, "HEAD", &at)
                .set("Accept-Encoding", "identity");
            let response = self.send_patiently(repo, &at, &request)?;
            let moved = (300..400).contains(&response.status());
            // A move within the hub (a renamed model) leads to the description; one to elsewhere is beside it.
            match response.header("location") {
                Some(location) if moved && location.starts_with('/') && !location.starts_with("//") => {
                    at = format!("{}{location}", origin(&self.options.endpoint));
                }
                _ => return description(&at, &response),
            }
        }
        Err(HubError::Answer {
            url: url.into(),
            found: format!("more than {MAX_REDIRECTS} redirections"),
            wanted: "the file".into(),
        })
    }

    /// Downloads until all bytes are there, taking broken connections up again, and checks what came.
    fn receive(
        &self,
        repo: &Repo,
        arrival: &Arrival,
        report: &mut dyn FnMut(Progress),
    ) -> Result<(), HubError> {
        let path = &arrival.path;
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let mut file = open.map_err(|error| local(path, "write", error))?;
        let mut hash = Sha256::new();
        let mut done = hash_all(&mut file, &mut hash).map_err(|error| local(path, "read", error))?;
        let mut failures = 0;
        while done < arrival.wanted.size {
            let before = done;
            let outcome = self.continue_from(repo, arrival, &mut file, &mut hash, &mut done, report);
            failures = if done > before { 0 } else { failures + 1 };
            match outcome {
                Err(HubError::Network { .. })
                    if failures <= self.options.retries && self.options.retries > 0 =>
                {
                    self.pause();
                }
                outcome => outcome?,
            }
        }
        check(arrival, done, hash).inspect_err(|_| {
            let _ = fs::remove_file(path);
        })?;
        file.sync_all().map_err(|error| local(path, "write", error))
    }

    /// One connection's worth of a file, from byte `done` on. Comes back without an error only at the end.
    fn continue_from(
        &self,
        repo: &Repo,
        arrival: &Arrival,
        file: &mut File,
        hash: &mut Sha256,
        done: &mut u64,
        report: &mut dyn FnMut(Progress),
    ) -> Result<(), HubError> {
        let (path, url) = (&arrival.path, &arrival.url);
        let mut request = self
            .request(&self.agent, "GET", url)
            .set("Accept-Encoding", "identity");
        if *done > 0 {
            request = request.set("Range", &format!("bytes={done}-"));
        }
        let response = self.send(repo, url, request)?;
        let goes_on = response.status() == 206
            && response
                .header("content-range")
                .is_some_and(|range| range.trim().starts_with(&format!("bytes {done}-")));
        if *done > 0 && !goes_on {
            // The server starts at the beginning again, and so do we.
            restart(file, hash, done).map_err(|error| local(path, "write", error))?;
            if response.status() == 206 {
                return Err(HubError::Network {
                    url: url.clone(),
                    problem: "the server sent another part than asked for".into(),
                });
            }
        }
        let mut reader = response.into_reader();
        let mut buffer = vec![0; CHUNK];
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) if *done < arrival.wanted.size => {
                    return Err(HubError::Network {
                        url: url.clone(),
                        problem: format!(
                            "the connection ended after {done} of {} bytes",
                            arrival.wanted.size
                        ),
                    });
                }
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(url, &error)),
            };
            file.write_all(&buffer[..n])
                .map_err(|error| local(path, "write", error))?;
            hash.update(&buffer[..n]);
            *done += n as u64;
            report(Progress {
                file: arrival.name,
                done: *done,
                size: arrival.wanted.size,
            });
            if *done > arrival.wanted.size {
                return Ok(());
            }
        }
    }

    /// Returns `true` if a blob is there and is what the hub describes. Of a blob whose name is no sha256 (small files have such names)
    /// only a new download tells.
    fn is_whole(&self, blob: &Path, wanted: &Description) -> Result<bool, HubError> {
        let size = fs::metadata(blob).map(|found| found.len()).ok();
        if !is_sha256(&wanted.etag) || size != Some(wanted.size) {
            return Ok(false);
        }
        let mut hash = Sha256::new();
        let mut file = File::open(blob).map_err(|error| local(blob, "read", error))?;
        hash_all(&mut file, &mut hash).map_err(|error| local(blob, "read", error))?;
        Ok(format!("{:x}", hash.finalize()).eq_ignore_ascii_case(&wanted.etag))
    }

    /// Sends a request that is repeated while the hub answers that it is busy, as often as the options say. Where no hub
    /// answers at all the cache may serve, at once.
    fn send_patiently(&self, repo: &Repo, url: &str, request: &Request) -> Result<Response, HubError> {
        let mut failures = 0;
        loop {
            match self.send(repo, url, request.clone()) {
                Err(HubError::Network { .. })
                    if self.wait.get().is_some() && failures < self.options.retries =>
                {
                    failures += 1;
                    self.pause();
                }
                outcome => return outcome,
            }
        }
    }

    /// Waits as long as the hub asked to, or as the options say.
    fn pause(&self) {
        sleep(self.wait.take().unwrap_or(self.options.pause));
    }

    fn request(&self, agent: &Agent, method: &str, url: &str) -> Request {
        let request = agent.request(method, url);
        match &self.options.token {
            Some(token) => request.set("Authorization", &format!("Bearer {token}")),
            None => request,
        }
    }

    fn send(&self, repo: &Repo, url: &str, request: Request) -> Result<Response, HubError> {
        let url = url.to_string();
        self.wait.set(None);
        match request.call() {
            Ok(response) => Ok(response),
            Err(ureq::Error::Status(status @ (401 | 403), _)) => Err(HubError::NotAuthorised {
                url,
                id: repo.id().into(),
                status,
            }),
            Err(ureq::Error::Status(status @ (404 | 410), _)) => Err(HubError::NotFound {
                url,
                id: repo.id().into(),
                revision: self.options.revision.clone(),
                status,
            }),
            Err(ureq::Error::Status(status, response)) if status >= 500 || status == 429 => {
                let seconds = response
                    .header("retry-after")
                    .and_then(|text| text.trim().parse().ok());
                let asked = seconds.map(|seconds| Duration::from_secs(seconds).min(MAX_WAIT));
                self.wait.set(Some(asked.unwrap_or(self.options.pause)));
                Err(HubError::Network {
                    url,
                    problem: format!("the server answers {status}"),
                })
            }
            Err(ureq::Error::Status(status, _)) => Err(HubError::Answer {
                url,
                found: format!("status {status}"),
                wanted: "an ordinary answer".into(),
            }),
            Err(ureq::Error::Transport(error)) => Err(HubError::Network {
                url,
                problem: error.to_string(),
            }),
        }
    }
}

/// The host of an address, without its port.
fn host(endpoint: &str) -> &str {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let rest = rest.split('/').next().unwrap_or_default();
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    match rest.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => rest.split(':').next().unwrap_or_default(),
    }
}

fn is_local(host: &str) -> bool {
    host.starts_with("127.") || host == "localhost" || host == "::1"
}

/// `true` if `NO_PROXY` exempts a host: a list of names, each of which stands for itself and what is below it; `*` is all.
fn goes_around_proxies(host: &str, list: &str) -> bool {
    let host = host.to_lowercase();
    list.to_lowercase().split(',').map(str::trim).any(|entry| {
        let name = entry.trim_start_matches("*.").trim_start_matches('.');
        // A port may stand behind a name, but colons are part of an IPv6 address.
        let name = match name.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => name,
        };
        let below = || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        entry == "*" || (!name.is_empty() && (host == name || below()))
    })
}

/// `true` if a blob's name is the hash of its content.
fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Scheme and host of an address.
fn origin(endpoint: &str) -> &str {
    let host = endpoint.find("://").map_or(0, |i| i + 3);
    let end = endpoint[host..].find('/').map_or(endpoint.len(), |i| host + i);
    &endpoint[..end]
}

fn description(url: &str, response: &Response) -> Result<Description, HubError> {
    let header = |names: [&str; 2]| names.into_iter().find_map(|name| response.header(name));
    let answer = |found: String, wanted: &str| HubError::Answer {
        url: url.into(),
        found,
        wanted: wanted.into(),
    };
    let etag = header(["x-linked-etag", "etag"]).unwrap_or_default();
    let etag = etag.trim().trim_start_matches("W/").trim_matches('"');
    if !is_plain(etag) {
        return Err(answer(format!("the etag `{etag}`"), "a plain etag"));
    }
    let size = header(["x-linked-size", "content-length"]);
    let size = size.and_then(|size| size.trim().parse().ok());
    Ok(Description {
        etag: etag.into(),
        size: size.ok_or_else(|| answer("no size".into(), "the file's size"))?,
    })
}

/// Compares size and, where the content's name is its sha256, the content.
fn check(arrival: &Arrival, size: u64, hash: Sha256) -> Result<(), HubError> {
    let wanted = &arrival.wanted;
    let mismatch = |what, found: String, wanted: String| HubError::Mismatch {
        path: arrival.path.clone(),
        what,
        found,
        wanted,
    };
    if size != wanted.size {
        return Err(mismatch("size", size.to_string(), wanted.size.to_string()));
    }
    let is_hash = is_sha256(&wanted.etag);
    let found = format!("{:x}", hash.finalize());
    if is_hash && !found.eq_ignore_ascii_case(&wanted.etag) {
        return Err(mismatch("sha256", found, wanted.etag.clone()));
    }
    Ok(())
}

/// Reads a file to its end into a hash; its length.
fn hash_all(file: &mut File, hash: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut n_bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(n_bytes),
            n => hash.update(&buffer[..n]),
        }
        n_bytes = file.stream_position()?;
    }
}

fn restart(file: &mut File, hash: &mut Sha256, done: &mut u64) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    *hash = Sha256::new();
    *done = 0;
    Ok(())
}

/// Waits for the lock of a blob; it ends with the returned file.
fn lock(path: &Path) -> Result<File, HubError> {
    create_parent(path)?;
    let file = File::create(path).map_err(|error| local(path, "write", error))?;
    match file.lock() {
        // Some network file systems have no locks; then two downloads at a time are the user's business.
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(local(path, "lock", error)),
        _ => Ok(file),
    }
}

fn broken(url: &str, error: &io::Error) -> HubError {
    HubError::Network {
        url: url.into(),
        problem: error.to_string(),
    }
}

fn local(path: &Path, action: &'static str, source: io::Error) -> HubError {
    HubError::Io {
        path: path.into(),
        action,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_exempt_by_name_or_domain() {
        assert_eq!(host("https://huggingface.co"), "huggingface.co");
        assert_eq!(host("http://user@hub.example.org:8080/x"), "hub.example.org");
        assert_eq!(host("http://[::1]:80"), "::1");
        for (list, exempt) in [
            ("", false),
            ("*", true),
            ("hub.example.org", true),
            (" .example.org , a", true),
            ("*.EXAMPLE.org", true),
            ("example.org:8080", true),
            ("ample.org", false),
            ("hub.example.org.evil", false),
            (",", false),
        ] {
            assert_eq!(goes_around_proxies("hub.example.org", list), exempt, "{list}");
        }
    }
}
