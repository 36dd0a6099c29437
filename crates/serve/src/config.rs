//! Settings of a server, with their defaults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use diffprune_pruner::Budget;

use crate::error::ServeError;

/// Settings of a server. [`ServeConfig::default`] listens on `127.0.0.1:8080` and lets nobody but this machine in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServeConfig {
    /// Address to listen on [default: `127.0.0.1:8080`]. Port 0 takes a free one.
    pub addr: SocketAddr,
    /// Key that requests carry as `Authorization: Bearer KEY` [default: none]. Needed on any address but loopback.
    pub api_key: Option<String>,
    /// Further names by which the server may be called (`Host` headers), without a port [default: none]. Loopback names
    /// and the address itself are always among them.
    pub allowed_hosts: Vec<String>,
    /// Web pages of other origins that may call the server, as `https://example.org` [default: none].
    pub allowed_origins: Vec<String>,
    /// Budget of pictures whose request names none [default: 1/3].
    pub visual_tokens: Budget,
    /// Method of pictures whose request names none [default: that of the model's family].
    pub pruner: Option<String>,
    /// True when pictures may be fetched from `http` and `https` addresses [default: false].
    pub allow_remote_images: bool,
    /// Folder below which `file://` pictures may lie [default: none].
    pub media_root: Option<PathBuf>,
    /// Bounds on what a client can ask for.
    pub limits: Limits,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            api_key: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            visual_tokens: Budget::rate(1, 3),
            pruner: None,
            allow_remote_images: false,
            media_root: None,
            limits: Limits::default(),
        }
    }
}

impl ServeConfig {
    /// The settings, checked and with the media root as the system knows it.
    ///
    /// # Errors
    /// When the address is not loopback and there is no key, when the key is empty or cannot stand in a header, when an
    /// origin is none, or when the media root is no folder.
    pub(crate) fn checked(mut self) -> Result<Self, ServeError> {
        match &self.api_key {
            None if !self.addr.ip().is_loopback() => return Err(ServeError::KeyNeeded { addr: self.addr }),
            Some(key) if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Err(ServeError::Setting {
                    name: "api-key",
                    found: "an empty key, or one with blanks or letters outside ASCII".into(),
                    wanted: "visible ASCII characters".into(),
                });
            }
            _ => {}
        }
        for origin in &mut self.allowed_origins {
            *origin = origin.trim_end_matches('/').to_ascii_lowercase();
            let host = origin
                .strip_prefix("https://")
                .or_else(|| origin.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.contains(['/', '@', '*'])) {
                return Err(ServeError::Setting {
                    name: "allowed-origin",
                    found: format!("`{origin}`"),
                    wanted: "a scheme and a host, as in https://example.org".into(),
                });
            }
        }
        for host in &mut self.allowed_hosts {
            *host = host.to_ascii_lowercase();
        }
        if let Some(root) = &mut self.media_root {
            let found = root.canonicalize().ok().filter(|root| root.is_dir());
            *root = found.ok_or_else(|| ServeError::Setting {
                name: "media-root",
                found: format!("`{}`, which is no folder", root.display()),
                wanted: "a folder that exists".into(),
            })?;
        }
        Ok(self)
    }
}

/// Bounds on what a client can ask for, and on what the server holds for its clients.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a request's body [default: 20 MiB].
    pub body_bytes: usize,
    /// Bytes of a picture's file [default: 10 MiB].
    pub image_bytes: usize,
    /// Pixels of a picture, by its header, before anything is decoded [default: 25 million].
    pub pixels: u64,
    /// Bytes that pictures take while they are decoded or wait for the model, all requests together [default: 512 MiB].
    pub decoded_bytes: usize,
    /// Pictures of a request [default: 8].
    pub images: usize,
    /// Messages of a request [default: 256].
    pub messages: usize,
    /// Methods that one call of the selection endpoint compares [default: 8].
    pub methods: usize,
    /// New tokens of an answer when the request names no number [default: 256].
    pub default_tokens: usize,
    /// Most new tokens of an answer [default: 1024].
    pub max_tokens: usize,
    /// Sequences that a model continues together [default: 16].
    pub running: usize,
    /// Most requests that join those sequences between two steps [default: 4]: more of them shorten the wait of a crowd,
    /// fewer the pauses of answers that are being made.
    pub joins: usize,
    /// Time after which no further request joins before the next step [default: 100 ms]. One request joins in any case, so
    /// answers that are being made pause for at most this and the reading of one prompt.
    pub join_time: Duration,
    /// Requests that wait for a model [default: 64]; further ones are answered with 429.
    pub queue: usize,
    /// Bytes of encoder features that are kept for pictures that come again, for each model [default: 256 MiB].
    pub feature_cache_bytes: u64,
    /// Bytes of chosen and projected tokens that are kept for the next turn, for each model [default: 64 MiB].
    pub selection_cache_bytes: u64,
    /// Bytes of keys and values of prefixes that are kept, for each model [default: 256 MiB].
    pub prefix_cache_bytes: u64,
    /// Time that a request may take from its arrival to its last token [default: 120 s].
    pub request_time: Duration,
    /// Time in which the head of a request must be here [default: 10 s].
    pub head_time: Duration,
    /// Time in which the body of a request must be here [default: 30 s].
    pub body_time: Duration,
    /// Time for which a connection may rest between requests [default: 75 s].
    pub idle_time: Duration,
    /// Time for which a client may take nothing of an answer [default: 30 s].
    pub write_time: Duration,
    /// Time in which a picture must be fetched from its address [default: 10 s].
    pub fetch_time: Duration,
    /// Connections at the same time [default: 2048]; further ones wait.
    pub connections: usize,
    /// Time for running answers when the server is told to stop [default: 10 s].
    pub stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            body_bytes: 20 << 20,
            image_bytes: 10 << 20,
            pixels: 25_000_000,
            decoded_bytes: 512 << 20,
            images: 8,
            messages: 256,
            methods: 8,
            default_tokens: 256,
            max_tokens: 1024,
            running: 16,
            joins: 4,
            join_time: Duration::from_millis(100),
            queue: 64,
            feature_cache_bytes: 256 << 20,
            selection_cache_bytes: 64 << 20,
            prefix_cache_bytes: 256 << 20,
            request_time: seconds(120),
            head_time: seconds(10),
            body_time: seconds(30),
            idle_time: seconds(75),
            write_time: seconds(30),
            fetch_time: seconds(10),
            connections: 2048,
            stop_time: seconds(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(change: impl FnOnce(&mut ServeConfig)) -> Result<ServeConfig, String> {
        let mut config = ServeConfig::default();
        change(&mut config);
        config.checked().map_err(|error| error.to_string())
    }

    #[test]
    fn another_address_than_loopback_needs_a_key() {
        let open = |config: &mut ServeConfig| config.addr = ([0, 0, 0, 0], 8080).into();
        let error = checked(open).unwrap_err();
        assert!(
            error.contains("0.0.0.0:8080") && error.contains("--api-key"),
            "{error}"
        );
        let keyed = checked(|config| {
            open(config);
            config.api_key = Some("secret".into());
        });
        assert!(keyed.is_ok());
        for other in [
            "192.168.0.7:80",
            "[::]:80",
            "[fe80::1]:80",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(
                checked(|config| config.addr = other.parse().unwrap()).is_err(),
                "{other}"
            );
        }
        for own in ["127.0.0.9:80", "[::1]:80"] {
            assert!(
                checked(|config| config.addr = own.parse().unwrap()).is_ok(),
                "{own}"
            );
        }
        assert!(checked(|config| config.api_key = Some(String::new())).is_err());
        assert!(checked(|config| config.api_key = Some("two words".into())).is_err());
        assert!(checked(|_| {}).is_ok());
    }

    #[test]
    fn origins_and_folders_are_checked() {
        let origin = |text: &str| checked(|config| config.allowed_origins = vec![text.into()]);
        assert_eq!(
            origin("https://Example.org/").unwrap().allowed_origins,
            ["https://example.org"]
        );
        for wrong in ["*", "example.org", "https://", "https://a/b", "ftp://a"] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
        let root = checked(|config| config.media_root = Some("/no/such/folder".into()));
        assert!(root.unwrap_err().contains("media-root"));
    }
}
