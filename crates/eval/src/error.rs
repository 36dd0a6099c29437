//! The crate's one error type: everything that files, images, models or disks can get wrong.

use std::path::{Path, PathBuf};

use diffprune_files::{LockError, WriteError};
use diffprune_images::{ImageFileError, is_lfs_pointer};
use diffprune_vlm::VlmError;

/// Why a benchmark could not be read, run or reported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The operating system refused to read or write a file.
    #[error("{}: cannot {action}; check that the path exists, is permitted and has space left", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operation, as a verb.
        action: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },

    /// None of the files that a benchmark may consist of is there.
    #[error("{}: found none of {wanted}; point to the folder with the official files", root.display())]
    NoFiles {
        /// The folder that was searched.
        root: PathBuf,
        /// The files that would do.
        wanted: String,
    },

    /// There are parquet copies in place of the files that a benchmark may consist of.
    #[error(
        "{}: found parquet copies ({}), expected the official files; write them with `diffprune unpack {benchmark} --from {} \
         --out DIR`",
        root.display(),
        file.display(),
        root.display()
    )]
    ParquetCopies {
        /// The benchmark.
        benchmark: crate::data::Benchmark,
        /// The folder that was searched.
        root: PathBuf,
        /// One of the copies.
        file: PathBuf,
    },

    /// A line of a data file cannot be used.
    #[error("{}:{line}: found {found}, expected {wanted}; restore the published file", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// The content found.
        found: String,
        /// Values that would do.
        wanted: String,
    },

    /// Two questions share one id.
    #[error("{}:{line}: found id `{id}` again (first in line {first}), expected unique ids; remove one", path.display())]
    DuplicateId {
        /// The file.
        path: PathBuf,
        /// Line of the second one, counted from 1.
        line: usize,
        /// The id.
        id: String,
        /// Line of the first one.
        first: usize,
    },

    /// A question names a picture that is not there.
    #[error("{}:{line}: image {} is missing (with .jpg, .jpeg and .png tried); complete the image folder", path.display(), image.display())]
    MissingImage {
        /// The question file.
        path: PathBuf,
        /// Line of the question, counted from 1.
        line: usize,
        /// The picture.
        image: PathBuf,
    },

    /// A question has no annotation, or the annotation is about something else.
    #[error("{}:{line}: question `{id}` has no match in {}; use files of one release", path.display(), other.display())]
    Unmatched {
        /// The question file.
        path: PathBuf,
        /// Line of the question, counted from 1.
        line: usize,
        /// The question's id.
        id: String,
        /// The annotation file.
        other: PathBuf,
    },

    /// A file of records belongs to another run.
    #[error("{}: found records of run `{found}`, expected `{wanted}`; remove the file or choose another folder", path.display())]
    OtherRun {
        /// The record file.
        path: PathBuf,
        /// Fingerprint in the file.
        found: String,
        /// Fingerprint of this run.
        wanted: String,
    },

    /// A run was asked to stop.
    #[error("{}: stopped with {answered} of {of} answers, which are saved; the same call goes on there", records.display())]
    Stopped {
        /// The record file.
        records: PathBuf,
        /// Answers that it holds.
        answered: usize,
        /// Answers of the whole run.
        of: usize,
    },

    /// Unpacking was asked to stop.
    #[error("{}: stopped after {done} of {of} rows; the same call writes what is missing", folder.display())]
    Unfinished {
        /// The folder of the files.
        folder: PathBuf,
        /// Rows that were read.
        done: usize,
        /// Rows of all files.
        of: usize,
    },

    /// Another process works in the folder of a run.
    #[error(transparent)]
    Lock(LockError),

    /// Two questions, arms or seeds cannot be told apart, or something is absent that the run needs.
    #[error("{subject}: found {found}, expected {wanted}")]
    Setup {
        /// The subject of the error.
        subject: String,
        /// The value given.
        found: String,
        /// Values that would do.
        wanted: String,
    },

    /// A file gives no picture.
    #[error(transparent)]
    Image(#[from] ImageFileError),

    /// The model or the method failed.
    #[error(transparent)]
    Model(#[from] VlmError),

    /// A picture could not be drawn.
    #[error("plot `{name}`: {problem}")]
    Plot {
        /// The plot.
        name: String,
        /// Why drawing stopped.
        problem: String,
    },
}

impl EvalError {
    /// A failed read or write.
    pub fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            action,
            source,
        }
    }

    /// Refuses a file that begins with `bytes` if it stands in the place of one that git-lfs did not fetch.
    pub(crate) fn check_pointer(path: &Path, bytes: &[u8]) -> Result<(), Self> {
        if !is_lfs_pointer(bytes) {
            return Ok(());
        }
        Err(Self::Setup {
            subject: path.display().to_string(),
            found: "a git-lfs pointer in place of the file".into(),
            wanted: "its content; run `git lfs pull` where it was cloned, or download the file itself".into(),
        })
    }

    /// A line that cannot be used.
    pub fn line(path: &Path, line: usize, found: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self::Line {
            path: path.into(),
            line,
            found: found.into(),
            wanted: wanted.into(),
        }
    }
}

impl From<LockError> for EvalError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Io { folder, source } => Self::io(&folder, "write in the folder", source),
            held => Self::Lock(held),
        }
    }
}

impl From<WriteError> for EvalError {
    fn from(error: WriteError) -> Self {
        let path = error.path().to_path_buf();
        Self::io(&path, "write the file", error.into())
    }
}
