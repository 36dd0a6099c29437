//! The address of the hub and the folder of its cache.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The hub that models come from, and the cache that they go to.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubOptions {
    /// Address of the hub, without a slash at the end.
    pub endpoint: String,
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Token for gated and private models; sent to the hub's own host only.
    pub token: Option<String>,
    /// Use the cache alone and open no connection.
    pub offline: bool,
    /// Branch, tag or commit.
    pub revision: String,
    /// The number of times that a broken download is taken up again without a byte of progress before it fails.
    pub retries: u32,
    /// Pause before a broken download is taken up again.
    pub pause: Duration,
    /// The longest wait for a connection, and for the next bytes of an answer.
    pub timeout: Duration,
}

impl fmt::Debug for HubOptions {
    /// Everything but the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("offline", &self.offline)
            .field("revision", &self.revision)
            .field("retries", &self.retries)
            .field("pause", &self.pause)
            .field("timeout", &self.timeout)
            .finish()
    }
}

const ENDPOINT: &str = "https://huggingface.co";

impl HubOptions {
    /// The public hub, no token, branch `main`, this cache.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: ENDPOINT.into(),
            cache: cache.into(),
            token: None,
            offline: false,
            revision: "main".into(),
            retries: 3,
            pause: Duration::from_secs(1),
            timeout: Duration::from_secs(30),
        }
    }

    /// The options of the environment, with the names and defaults that all tools of the hub share:
    ///
    /// | variable | meaning | default |
    /// |---|---|---|
    /// | `HF_ENDPOINT` | address of the hub | the public one |
    /// | `HF_HUB_CACHE` | the cache | `$HF_HOME/hub` |
    /// | `HF_HOME` | parent of cache and token | `$XDG_CACHE_HOME/huggingface`, `~/.cache/huggingface` |
    /// | `HF_TOKEN` | token | the file `HF_TOKEN_PATH`, `$HF_HOME/token` |
    /// | `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE` | `1`, `true`, `yes` or `on`: no connections | off |
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The same settings for another branch, tag or commit.
    pub fn with_revision(self, revision: impl Into<String>) -> Self {
        let revision = revision.into();
        Self { revision, ..self }
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let given = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let path = |name: &str| given(name).map(PathBuf::from);
        let home = path("HF_HOME").unwrap_or_else(|| {
            let caches = path("XDG_CACHE_HOME").unwrap_or_else(|| {
                let user = path("HOME").or_else(|| path("USERPROFILE"));
                user.unwrap_or_default().join(".cache")
            });
            caches.join("huggingface")
        });
        let token_path = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let flag = |name: &str| {
            let value = given(name).unwrap_or_default().trim().to_lowercase();
            ["1", "true", "yes", "on"].contains(&value.as_str())
        };
        let mut options = Self::new(path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub")));
        if let Some(endpoint) = given("HF_ENDPOINT") {
            options.endpoint = endpoint.trim().trim_end_matches('/').into();
        }
        options.token = given("HF_TOKEN").or_else(|| read_token(&token_path));
        options.token = options.token.map(|token| token.trim().into());
        options.offline = flag("HF_HUB_OFFLINE") || flag("TRANSFORMERS_OFFLINE");
        options
    }
}

fn read_token(path: &Path) -> Option<String> {
    let token = std::fs::read_to_string(path).ok()?;
    Some(token).filter(|token| !token.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)]) -> HubOptions {
        HubOptions::from_variables(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn the_shared_variables_are_honoured() -> std::io::Result<()> {
        let plain = options(&[("HOME", "/home/a")]);
        assert_eq!(plain.cache, Path::new("/home/a/.cache/huggingface/hub"));
        assert_eq!((plain.endpoint.as_str(), plain.offline), (ENDPOINT, false));
        assert_eq!(
            options(&[("XDG_CACHE_HOME", "/c")]).cache,
            Path::new("/c/huggingface/hub")
        );
        assert_eq!(
            options(&[("HF_HOME", "/h"), ("HOME", "/a")]).cache,
            Path::new("/h/hub")
        );
        assert_eq!(
            options(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]).cache,
            Path::new("/c")
        );
        let other = options(&[("HF_ENDPOINT", "http://127.0.0.1:1/"), ("HF_TOKEN", " t \n")]);
        assert_eq!(
            (other.endpoint.as_str(), other.token.as_deref()),
            ("http://127.0.0.1:1", Some("t"))
        );
        for (value, offline) in [
            ("1", true),
            ("TRUE", true),
            ("on", true),
            ("0", false),
            ("", false),
        ] {
            assert_eq!(options(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
        }
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("token"), "from a file\n")?;
        let home = dir.path().to_string_lossy();
        let stored = options(&[("HF_HOME", &home)]);
        assert_eq!(stored.token.as_deref(), Some("from a file"));
        assert!(
            !format!("{stored:?}").contains("from a file"),
            "a token is never printed"
        );
        Ok(())
    }
}
