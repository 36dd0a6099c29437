//! The cache that all tools of the hub share.
//!
//! ```text
//! models--owner--name/refs/main                  the commit that the branch stood at
//! models--owner--name/snapshots/COMMIT/FILE  ->  ../../blobs/ETAG
//! models--owner--name/blobs/ETAG                 what a file holds; ETAG.incomplete while it arrives
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{HubError, HubOptions, Needed};
use crate::write_atomic;

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

const TOKENIZER: &str = "tokenizer.json";
/// The names of the files of models and scorers.
const CONFIG: &str = "config.json";
const SCORER: &str = "diffprune.json";

/// Files beside the weights that this family of crates may read, in the order in which they are fetched: by those that
/// come last a folder is known to be complete.
const SETTINGS: [&str; 11] = [
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
    TOKENIZER,
    SCORER,
    CONFIG,
];

/// The needed files of a listing, without weights.
pub(super) fn settings(files: &[String]) -> impl Iterator<Item = &'static str> {
    SETTINGS
        .into_iter()
        .filter(|wanted| files.iter().any(|file| file == wanted))
}

/// `true` if a revision is a commit, which never changes.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A name that cannot leave its folder.
pub(super) fn is_plain(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    !name.is_empty() && name != "." && name != ".." && name.bytes().all(allowed)
}

/// A model of the hub and its folder in the cache.
#[derive(Debug)]
pub(super) struct Repo {
    id: String,
    cache: PathBuf,
    folder: String,
}

impl Repo {
    pub(super) fn new(id: &str, options: &HubOptions) -> Result<Self, HubError> {
        let parts: Vec<&str> = id.split('/').collect();
        let sound = |part: &&str| is_plain(part) && !part.contains("--") && !part.contains("..");
        if parts.len() > 2 || !parts.iter().all(sound) {
            return Err(HubError::Id {
                id: id.into(),
                remedy: "check the folder's path",
            });
        }
        let parts_of_revision = |part: &str| is_plain(part);
        if !options.revision.split('/').all(parts_of_revision) {
            return Err(HubError::Id {
                id: format!("{id}@{}", options.revision),
                remedy: "check the revision",
            });
        }
        Ok(Self {
            id: id.into(),
            cache: options.cache.clone(),
            folder: format!("models--{}", id.replace('/', "--")),
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    fn dir(&self) -> PathBuf {
        self.cache.join(&self.folder)
    }

    pub(super) fn snapshot(&self, commit: &str) -> Snapshot {
        Snapshot {
            dir: self.dir().join("snapshots").join(commit),
            commit: commit.into(),
        }
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.dir().join("blobs").join(etag)
    }

    /// The file that keeps two processes from downloading one blob at a time.
    pub(super) fn lock(&self, etag: &str) -> PathBuf {
        let locks = self.cache.join(".locks").join(&self.folder);
        locks.join(format!("{etag}.lock"))
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.dir().join("refs").join(revision)
    }

    /// The folder of a model of which the cache holds all that is needed.
    pub(super) fn cached(&self, revision: &str, needed: Needed) -> Result<PathBuf, HubError> {
        let absent = |missing: &str| HubError::Offline {
            cache: self.cache.clone(),
            id: self.id.clone(),
            revision: revision.into(),
            missing: missing.into(),
        };
        let commit = if is_commit(revision) {
            revision.into()
        } else {
            let stored = fs::read_to_string(self.reference(revision)).ok();
            stored.map(|commit| commit.trim().to_string()).unwrap_or_default()
        };
        if !is_plain(&commit) {
            return Err(absent("the revision"));
        }
        let snapshot = self.snapshot(&commit);
        if !snapshot.has(CONFIG) && !snapshot.has(SCORER) {
            return Err(absent(CONFIG));
        }
        // Other tools may have fetched a model's configuration alone.
        if needed == Needed::Settings && !snapshot.has(SCORER) && !snapshot.has(TOKENIZER) {
            return Err(absent(TOKENIZER));
        }
        if needed == Needed::Everything && !snapshot.has(SINGLE) {
            if !snapshot.has(INDEX) {
                return Err(absent(SINGLE));
            }
            if let Some(shard) = snapshot.shards()?.into_iter().find(|shard| !snapshot.has(shard)) {
                return Err(absent(&shard));
            }
        }
        Ok(snapshot.dir)
    }

    /// Remembers which commit a branch or tag stands at.
    pub(super) fn set_ref(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if is_commit(revision) {
            return Ok(());
        }
        let path = self.reference(revision);
        // A cache that nobody may write to can still be whole.
        if fs::read_to_string(&path).is_ok_and(|known| known.trim() == commit) {
            return Ok(());
        }
        create_parent(&path)?;
        write_atomic(&path, commit.as_bytes()).map_err(|error| HubError::Io {
            path,
            action: "write",
            source: io::Error::other(error),
        })
    }
}

/// The files of a model at one commit.
#[derive(Debug)]
pub(super) struct Snapshot {
    dir: PathBuf,
    commit: String,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: std::collections::BTreeMap<String, String>,
}

impl Snapshot {
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn commit(&self) -> &str {
        &self.commit
    }

    /// `true` if a file is there as a whole (a link to a blob that is gone does not count).
    pub(super) fn has(&self, file: &str) -> bool {
        self.dir.join(file).is_file()
    }

    /// The shards that the index names.
    pub(super) fn shards(&self) -> Result<Vec<String>, HubError> {
        let path = self.dir.join(INDEX);
        let answer = |found: String| HubError::Answer {
            url: path.display().to_string(),
            found,
            wanted: "a weight_map of plain file names".into(),
        };
        let bytes = fs::read(&path).map_err(|source| HubError::Io {
            path: path.clone(),
            action: "read",
            source,
        })?;
        let index: ShardIndex = serde_json::from_slice(&bytes).map_err(|error| answer(error.to_string()))?;
        let shards: BTreeSet<String> = index.weight_map.into_values().collect();
        match shards.iter().find(|shard| !is_plain(shard)) {
            Some(shard) => Err(answer(format!("the name `{shard}`"))),
            None => Ok(shards.into_iter().collect()),
        }
    }

    /// Gives a blob its name.
    pub(super) fn link(&self, file: &str, etag: &str) -> Result<(), HubError> {
        if self.has(file) {
            return Ok(());
        }
        let path = self.dir.join(file);
        create_parent(&path)?;
        let target = Path::new("../../blobs").join(etag);
        // A link to a blob that is gone.
        if path.symlink_metadata().is_ok() {
            let _ = fs::remove_file(&path);
        }
        match symlink(&self.dir, &target, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            outcome => outcome.map_err(|source| HubError::Io {
                path,
                action: "link",
                source,
            }),
        }
    }
}

#[cfg(unix)]
fn symlink(_: &Path, target: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

/// A second name or a copy, for systems where links need rights that users rarely have.
#[cfg(not(unix))]
fn symlink(dir: &Path, target: &Path, path: &Path) -> io::Result<()> {
    let blob = dir.join(target);
    fs::hard_link(&blob, path).or_else(|_| fs::copy(&blob, path).map(drop))
}

pub(super) fn create_parent(path: &Path) -> Result<(), HubError> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    fs::create_dir_all(parent).map_err(|source| HubError::Io {
        path: parent.into(),
        action: "create",
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_cache_are_refused() {
        let options = HubOptions::new("/nowhere");
        for id in [
            "", "a/b/c", "../a", "a/..", "/a", "a/", "a b", "a/b--c", "a\\b", "~/a", "a/b?c",
        ] {
            assert!(
                matches!(Repo::new(id, &options), Err(HubError::Id { .. })),
                "{id}"
            );
        }
        for id in [
            "gpt2",
            "llava-hf/llava-1.5-7b-hf",
            "timm/vit_base_patch16_224.augreg_in21k",
        ] {
            assert!(Repo::new(id, &options).is_ok(), "{id}");
        }
        for revision in ["", "..", "refs/../x", "a b", "/main"] {
            assert!(
                Repo::new("a", &options.clone().with_revision(revision)).is_err(),
                "{revision}"
            );
        }
        assert!(Repo::new("a", &options.with_revision("refs/pr/1")).is_ok());
    }
}
