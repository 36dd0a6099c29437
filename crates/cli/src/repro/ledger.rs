//! Which stages are complete, how long they took, and which code made them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use diffprune::vlm::write_atomic;
use serde::{Deserialize, Serialize};

use crate::clock::timed;

/// The file `stages.json`: what is known of each stage, by the name of its folder or file.
pub struct Ledger {
    path: PathBuf,
    revision: String,
    stages: BTreeMap<String, Stage>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, from = "Noted")]
pub struct Stage {
    /// Wall-clock time of the call that completed it; `None` while it is not complete.
    pub seconds: Option<f64>,
    /// Revisions of the code that worked on it; unknown when empty.
    pub revisions: Vec<String>,
    /// Whether an earlier call was interrupted in it, whose time is not counted.
    pub resumed: bool,
}

/// A stage as it stands in the file: earlier revisions noted the seconds and nothing else.
#[derive(Deserialize)]
#[serde(untagged)]
enum Noted {
    Seconds(f64),
    Stage {
        seconds: Option<f64>,
        revisions: Vec<String>,
        resumed: bool,
    },
}

impl From<Noted> for Stage {
    fn from(noted: Noted) -> Self {
        match noted {
            Noted::Seconds(seconds) => Self {
                seconds: Some(seconds),
                ..Self::default()
            },
            Noted::Stage {
                seconds,
                revisions,
                resumed,
            } => Self {
                seconds,
                revisions,
                resumed,
            },
        }
    }
}

impl Ledger {
    /// Reads the ledger of an experiment, empty when there is none; what is run now is noted under `revision`.
    pub fn open(path: &Path, revision: String) -> anyhow::Result<Self> {
        let stages = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{}: no list of stages; remove the file", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Ok(Self {
            path: path.to_path_buf(),
            revision,
            stages,
        })
    }

    /// Whether a stage is complete.
    pub fn has(&self, stage: &str) -> bool {
        self.stages
            .get(stage)
            .is_some_and(|stage| stage.seconds.is_some())
    }

    /// Takes over what another ledger has noted of a stage.
    pub fn adopt(&mut self, name: &str, stage: Stage) {
        self.stages.insert(name.to_string(), stage);
    }

    /// Runs a stage and notes its time. A stage that was complete before keeps what was noted then.
    pub fn time<T>(&mut self, stage: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        if self.has(stage) {
            return work();
        }
        self.start(stage)?;
        let (result, seconds) = timed(work);
        let result = result?;
        self.stages.entry(stage.to_string()).or_default().seconds = Some(seconds);
        self.write()?;
        Ok(result)
    }

    /// Notes that a stage begins, or goes on when it was begun before.
    fn start(&mut self, stage: &str) -> anyhow::Result<()> {
        let resumed = self.stages.contains_key(stage);
        let noted = self.stages.entry(stage.to_string()).or_default();
        noted.resumed = resumed;
        if !noted.revisions.contains(&self.revision) {
            noted.revisions.push(self.revision.clone());
        }
        self.write()
    }

    fn write(&self) -> anyhow::Result<()> {
        Ok(write_atomic(
            &self.path,
            &serde_json::to_vec_pretty(&self.stages)?,
        )?)
    }

    /// What is noted of a stage.
    pub fn stage(&self, name: &str) -> Stage {
        self.stages.get(name).cloned().unwrap_or_default()
    }

    /// The revision of these stages and of what runs now, or `mixed` and every one of them.
    pub fn revision(&self, names: &[&str]) -> String {
        let mut revisions: Vec<String> = Vec::new();
        for name in names {
            let stage = self.stage(name);
            if stage.revisions.is_empty() {
                revisions.push("unknown".into());
            }
            revisions.extend(stage.revisions);
        }
        revisions.push(self.revision.clone());
        let mut seen = std::collections::BTreeSet::new();
        revisions.retain(|revision| seen.insert(revision.clone()));
        match revisions.as_slice() {
            [one] => one.clone(),
            several => format!("mixed: {}", several.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_know_their_revisions_and_interruptions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stages.json");
        std::fs::write(&path, r#"{"old": 2.5}"#).unwrap();
        let open = |revision: &str| Ledger::open(&path, revision.into()).unwrap();
        let mut ledger = open("a");
        assert!(ledger.has("old"));
        ledger.time("data", || Ok(())).unwrap();
        assert!(
            ledger
                .time("training", || -> anyhow::Result<()> { anyhow::bail!("killed") })
                .is_err()
        );
        assert_eq!(ledger.revision(&["data"]), "a");
        let mut ledger = open("b");
        assert!(ledger.has("data") && !ledger.has("training"));
        ledger.time("data", || Ok(())).unwrap();
        ledger.time("training", || Ok(())).unwrap();
        assert_eq!(
            (ledger.stage("data").resumed, ledger.stage("training").resumed),
            (false, true)
        );
        assert_eq!(ledger.revision(&["data"]), "mixed: a, b");
        assert_eq!(
            ledger.revision(&["old", "data", "training"]),
            "mixed: unknown, a, b"
        );
        assert_eq!(open("b").stage("old").seconds, Some(2.5));
    }
}
