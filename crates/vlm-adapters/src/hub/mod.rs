//! Checkpoints by name: the hub's client and its cache on disk.

mod cache;
mod client;
mod error;
mod options;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

pub use error::HubError;
pub use options::HubOptions;

use cache::{Repo, Snapshot};
use client::Client;

/// The progress of a file's download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file's name in the repository.
    pub file: &'a str,
    /// Bytes that are on disk.
    pub done: u64,
    /// Bytes of the whole file.
    pub size: u64,
}

/// The folder of a checkpoint: a local one as it is, or that of a model of the hub (`llava-hf/llava-1.5-7b-hf`),
/// whose needed files are downloaded into the cache unless they are there already.
///
/// Needed are the configurations, the tokenizer, the chat template and the safetensors weights; nothing else is
/// downloaded. The cache has the layout that all tools of the hub share. An interrupted download goes on where it
/// stopped. When the hub cannot be reached and the cache holds the model, the cached files are used; offline no
/// connection is tried.
///
/// # Errors
/// [`HubError`], for every way in which this can fail.
pub fn resolve_checkpoint(id_or_dir: &str, options: &HubOptions) -> Result<PathBuf, HubError> {
    resolve_checkpoint_with(id_or_dir, options, &mut |_| {})
}

/// Like [`resolve_checkpoint`]; `report` is called as bytes arrive.
///
/// # Errors
/// As [`resolve_checkpoint`].
pub fn resolve_checkpoint_with(
    id_or_dir: &str,
    options: &HubOptions,
    report: &mut dyn FnMut(Progress),
) -> Result<PathBuf, HubError> {
    resolve(id_or_dir, Needed::Everything, options, report)
}

/// The folder of a checkpoint's settings: as [`resolve_checkpoint`] without the weights, of which nothing is asked for
/// or downloaded. What [`plan_vlm`](crate::plan_vlm) reads is there.
///
/// A branch that stands at a model which the cache holds as a whole stays there, so that it can be loaded offline.
///
/// # Errors
/// As [`resolve_checkpoint`].
pub fn resolve_settings(id_or_dir: &str, options: &HubOptions) -> Result<PathBuf, HubError> {
    resolve_settings_with(id_or_dir, options, &mut |_| {})
}

/// Like [`resolve_settings`]; `report` is called as bytes arrive.
///
/// # Errors
/// As [`resolve_checkpoint`].
pub fn resolve_settings_with(
    id_or_dir: &str,
    options: &HubOptions,
    report: &mut dyn FnMut(Progress),
) -> Result<PathBuf, HubError> {
    resolve(id_or_dir, Needed::Settings, options, report)
}

/// The part of a model that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needed {
    Settings,
    Everything,
}

fn resolve(
    id_or_dir: &str,
    needed: Needed,
    options: &HubOptions,
    report: &mut dyn FnMut(Progress),
) -> Result<PathBuf, HubError> {
    let dir = Path::new(id_or_dir);
    if dir.is_dir() {
        return Ok(dir.into());
    }
    let repo = Repo::new(id_or_dir, options)?;
    let cached = repo.cached(&options.revision, needed);
    if options.offline || cached.as_ref().is_ok_and(|_| cache::is_commit(&options.revision)) {
        return cached;
    }
    match guarded(options, || download(&repo, needed, options, report)) {
        Err(HubError::Network { .. }) if cached.is_ok() => cached,
        outcome => outcome,
    }
}

/// The HTTP library panics at a header without a colon; whoever answers so is no hub.
fn guarded(
    options: &HubOptions,
    work: impl FnOnce() -> Result<PathBuf, HubError>,
) -> Result<PathBuf, HubError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(HubError::Answer {
            url: options.endpoint.clone(),
            found: "an answer that is no HTTP".into(),
            wanted: "the hub".into(),
        })
    })
}

fn download(
    repo: &Repo,
    needed: Needed,
    options: &HubOptions,
    report: &mut dyn FnMut(Progress),
) -> Result<PathBuf, HubError> {
    let client = Client::new(options);
    let (commit, files) = client.list(repo)?;
    let snapshot = repo.snapshot(&commit);
    for file in cache::settings(&files) {
        client.fetch(repo, &snapshot, file, report)?;
    }
    if needed == Needed::Everything {
        for file in weights(&client, repo, &snapshot, &files, report)? {
            client.fetch(repo, &snapshot, &file, report)?;
        }
    }
    // Last, so that the name never leads to a snapshot with holes in place of a whole one.
    if needed == Needed::Everything || repo.cached(&options.revision, Needed::Everything).is_err() {
        repo.set_ref(&options.revision, &commit)?;
    }
    Ok(snapshot.dir().into())
}

/// The weight files of a listing: the single file, or the shards that the index (fetched here) names.
fn weights(
    client: &Client,
    repo: &Repo,
    snapshot: &Snapshot,
    files: &[String],
    report: &mut dyn FnMut(Progress),
) -> Result<Vec<String>, HubError> {
    let has = |wanted: &str| files.iter().any(|file| file == wanted);
    if has(cache::SINGLE) {
        return Ok(vec![cache::SINGLE.into()]);
    }
    if !has(cache::INDEX) {
        return Err(HubError::Answer {
            url: client.url(repo, snapshot.commit(), cache::SINGLE),
            found: "a model without safetensors weights".into(),
            wanted: format!("{} or {}", cache::SINGLE, cache::INDEX),
        });
    }
    client.fetch(repo, snapshot, cache::INDEX, report)?;
    snapshot.shards()
}
