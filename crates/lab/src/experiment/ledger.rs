//! The stages of an experiment: which are complete, how long they took, and which code made them.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::timed;
use crate::error::LabError;
use crate::files::{read_json, write_json};

/// The file `stages.json`: an entry for each stage, under the name of its folder or file.
pub struct Ledger {
    path: PathBuf,
    revision: String,
    stages: BTreeMap<String, Stage>,
}

/// The entry of one stage.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, from = "StageEntry")]
pub struct Stage {
    /// Wall-clock time of the call that completed it; `None` while it is not complete.
    pub seconds: Option<f64>,
    /// Revisions of the code that worked on it; unknown when empty.
    pub revisions: Vec<String>,
    /// True when an earlier call was interrupted in it; that call's time is not counted.
    pub resumed: bool,
}

/// An entry as it stands in the file: earlier revisions wrote the seconds and nothing else.
#[derive(Deserialize)]
#[serde(untagged)]
enum StageEntry {
    Seconds(f64),
    Stage {
        seconds: Option<f64>,
        revisions: Vec<String>,
        resumed: bool,
    },
}

impl From<StageEntry> for Stage {
    fn from(entry: StageEntry) -> Self {
        match entry {
            StageEntry::Seconds(seconds) => Self {
                seconds: Some(seconds),
                ..Self::default()
            },
            StageEntry::Stage {
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
    /// Name of the file.
    pub const FILE: &str = "stages.json";

    /// Reads the ledger of an experiment, empty when there is none. Stages that run from now on are entered under `revision`.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn open(path: &Path, revision: String) -> Result<Self, LabError> {
        let stages = match read_json(path, "no list of stages; remove the file") {
            Err(LabError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => BTreeMap::new(),
            stages => stages?,
        };
        Ok(Self {
            path: path.to_path_buf(),
            revision,
            stages,
        })
    }

    /// True when a stage is complete.
    pub fn has(&self, stage: &str) -> bool {
        self.stages
            .get(stage)
            .is_some_and(|stage| stage.seconds.is_some())
    }

    /// Takes over the entry of a stage from another ledger.
    pub fn adopt(&mut self, name: &str, stage: Stage) {
        self.stages.insert(name.to_string(), stage);
    }

    /// Runs a stage and enters its time. A stage that was complete before keeps its entry.
    ///
    /// # Errors
    /// Those of `work`; and when the ledger cannot be written.
    pub fn time<T>(
        &mut self,
        stage: &str,
        work: impl FnOnce() -> Result<T, LabError>,
    ) -> Result<T, LabError> {
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

    /// Enters that a stage begins, or goes on when it was begun before.
    fn start(&mut self, stage: &str) -> Result<(), LabError> {
        let resumed = self.stages.contains_key(stage);
        let entry = self.stages.entry(stage.to_string()).or_default();
        entry.resumed = resumed;
        if !entry.revisions.contains(&self.revision) {
            entry.revisions.push(self.revision.clone());
        }
        self.write()
    }

    fn write(&self) -> Result<(), LabError> {
        write_json(&self.path, &self.stages)
    }

    /// The entry of a stage.
    pub fn stage(&self, name: &str) -> Stage {
        self.stages.get(name).cloned().unwrap_or_default()
    }

    /// The revision of these stages and of the running code, or `mixed` and every one of them.
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

    fn killed() -> LabError {
        LabError::NoQuestions {
            root: "nowhere".into(),
        }
    }

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
                .time("training", || -> Result<(), LabError> { Err(killed()) })
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
