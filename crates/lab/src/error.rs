//! The crate's one error type.

use std::path::{Path, PathBuf};

use diffprune::vlm::ImageFileError;
use diffprune::{
    CheckpointError, ConfigError, DataError, FeatureError, LoadError, PruneError, TrainError, VlmError,
};
use diffprune_eval::EvalError;
use diffprune_mini::MiniError;
use diffprune_pilots::PilotError;

use crate::observer::Observer;

/// Why an experiment could not be set up, run or reported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The operating system refused to read, write or remove a file.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The refused operation, as a verb.
        action: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },

    /// A folder for results cannot be made.
    #[error("cannot create the folder {}; choose one that can be written, with room in it", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },

    /// A pilot study could not be carried out.
    #[error(transparent)]
    Pilot(#[from] PilotError),

    /// A JSON file that an earlier run wrote cannot be read.
    #[error("{}: {wanted}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Its expected content, and the remedy.
        wanted: &'static str,
        /// The parser's error, with the place.
        #[source]
        source: serde_json::Error,
    },

    /// The recipe of a small model cannot be read.
    #[error("the recipe beside the model")]
    Recipe(#[from] Box<toml::de::Error>),

    /// Settings or results cannot be written as JSON.
    #[error("settings as JSON")]
    Encode(#[from] serde_json::Error),

    /// A picture cannot be encoded.
    #[error("cannot encode {}", path.display())]
    Picture {
        /// The file that was to hold it.
        path: PathBuf,
        /// Why encoding stopped.
        #[source]
        source: image::ImageError,
    },

    /// A model cannot take a picture.
    #[error("{}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Box<VlmError>,
    },

    /// A recipe in TOML cannot be read.
    #[error("{}: expected a recipe in TOML", path.display())]
    RecipeFile {
        /// The file.
        path: PathBuf,
        /// The parser's error, with the place.
        #[source]
        source: Box<toml::de::Error>,
    },

    /// A data folder holds no benchmark.
    #[error(
        "{}: found no questions, expected folders of benchmarks (gqa, pope, mme, ...) with the official files", root.display()
    )]
    NoQuestions {
        /// The folder.
        root: PathBuf,
    },

    /// A benchmark that was asked for has no folder.
    #[error("{}: found no folder {benchmark}, expected the official files of the benchmark in it", root.display())]
    NoBenchmark {
        /// The folder of the data.
        root: PathBuf,
        /// Name of the benchmark.
        benchmark: &'static str,
    },

    /// A name stands for no arm.
    #[error("arms: found `{name}`, expected {wanted}, or the name of a trained scorer")]
    UnknownArm {
        /// The name.
        name: String,
        /// The names that would do, separated by commas.
        wanted: String,
    },

    /// An arm is made from a trained scorer that was not given.
    #[error("arms: found no scorer called `{name}`")]
    UnknownScorer {
        /// The name.
        name: String,
    },

    /// A text names no method.
    #[error("pruner: found `{found}`, expected {wanted}")]
    UnknownMethod {
        /// The text.
        found: String,
        /// The texts that would do.
        wanted: String,
    },

    /// A method cannot do what is wanted of it.
    #[error("{subject}: found {found}, expected {wanted}")]
    Setup {
        /// The setting in question.
        subject: String,
        /// Its value.
        found: String,
        /// Values that would do, and the remedy.
        wanted: String,
    },

    /// The checkpoint of a trained scorer cannot be used with this model.
    #[error("scorer {}", dir.display())]
    Scorer {
        /// Its folder.
        dir: PathBuf,
        /// The reason.
        #[source]
        source: Box<CheckpointError>,
    },

    /// An arm failed when it was tried, for a reason other than a budget out of reach or a missing signal.
    #[error("arm `{arm}` at {budget}")]
    Arm {
        /// The arm.
        arm: String,
        /// The budget.
        budget: String,
        /// The reason.
        #[source]
        source: Box<VlmError>,
    },

    /// The observer asked to stop.
    #[error("stopped {after}; the same call goes on there")]
    Stopped {
        /// What was done before.
        after: String,
    },

    /// A folder holds the records of an evaluation of something else.
    #[error(
        "{}: the records here are of another run, which differs in its {differing}; choose another folder, or remove the \
         records to begin anew",
        folder.display()
    )]
    OtherRun {
        /// The folder.
        folder: PathBuf,
        /// The inputs that differ.
        differing: String,
    },

    /// The device did not finish its work.
    #[error("device: {0}")]
    Device(String),

    /// Questions, a run or a report failed.
    #[error(transparent)]
    Eval(Box<EvalError>),

    /// The model failed.
    #[error(transparent)]
    Vlm(Box<VlmError>),

    /// A checkpoint, a picture or a text cannot be read.
    #[error(transparent)]
    Load(Box<LoadError>),

    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] diffprune_files::WriteError),

    /// A folder cannot be locked, because another process works in it or the system refuses.
    #[error(transparent)]
    Lock(#[from] diffprune_files::LockError),

    /// A training failed.
    #[error(transparent)]
    Train(Box<TrainError>),

    /// Features of captions cannot be written or read.
    #[error(transparent)]
    Features(Box<FeatureError>),

    /// The small world cannot be written or read.
    #[error(transparent)]
    Mini(Box<MiniError>),

    /// Captions cannot be read.
    #[error(transparent)]
    Data(Box<DataError>),

    /// Settings of a method cannot be used.
    #[error(transparent)]
    Config(Box<ConfigError>),

    /// A method cannot run on a model.
    #[error(transparent)]
    Prune(Box<PruneError>),
}

impl LabError {
    /// True when the work was asked to stop and has saved what it had done, or is begun anew by the next call.
    pub fn is_stop(&self) -> bool {
        match self {
            Self::Stopped { .. } | Self::Pilot(PilotError::Stopped) => true,
            Self::Eval(error) => matches!(**error, EvalError::Stopped { .. } | EvalError::Unfinished { .. }),
            Self::Mini(error) => matches!(**error, MiniError::Stopped { .. } | MiniError::Unfinished { .. }),
            Self::Features(error) => matches!(**error, FeatureError::Stopped { .. }),
            _ => false,
        }
    }

    /// An error once the observer asks to stop, with what was done before.
    pub(crate) fn unless_stopped(observer: &dyn Observer, after: &str) -> Result<(), Self> {
        match observer.stop().is_requested() {
            false => Ok(()),
            true => Err(Self::Stopped { after: after.into() }),
        }
    }

    /// The message with those of its causes, outermost first.
    pub(crate) fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        text
    }

    /// A refused operation on a file.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            path: path.into(),
            action,
            source,
        }
    }
}

macro_rules! boxed {
    ($($variant:ident($error:ty)),* $(,)?) => {$(
        impl From<$error> for LabError {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        }
    )*};
}

impl From<ImageFileError> for LabError {
    fn from(error: ImageFileError) -> Self {
        Self::Load(Box::new(error.into()))
    }
}

boxed! {
    Eval(EvalError),
    Vlm(VlmError),
    Load(LoadError),
    Train(TrainError),
    Features(FeatureError),
    Mini(MiniError),
    Data(DataError),
    Config(ConfigError),
    Prune(PruneError),
}
