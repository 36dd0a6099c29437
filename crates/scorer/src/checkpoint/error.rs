//! Errors of reading and writing a checkpoint.

use std::io;
use std::path::PathBuf;

use safetensors::SafeTensorError;

use super::FORMAT_VERSION;
use crate::config::ScorerConfigError;

/// Why a checkpoint could not be written or read. Every variant names the file and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file of the checkpoint is not there.
    #[error("{} does not exist; a checkpoint is a folder with diffprune.json and model.safetensors", path.display())]
    MissingFile {
        /// The file looked for.
        path: PathBuf,
    },
    /// The system refused to read a file.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system refused to write a file or make the folder.
    #[error("cannot write {}; choose a folder that exists or can be made, with room in it", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// `diffprune.json` is not JSON or lacks a field.
    #[error("{} is not a valid description of a scorer", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's error, with the place.
        source: serde_json::Error,
    },
    /// The format is of another version.
    #[error("{} has format version {found}, expected {FORMAT_VERSION}; use the release that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it states.
        found: u32,
    },
    /// The sizes in `diffprune.json` do not fit one another.
    #[error("{} describes an impossible scorer", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Which size.
        source: ScorerConfigError,
    },
    /// `diffprune.json` contradicts itself about the width of the tokens.
    #[error("{}: d_descriptor is {d_descriptor}, but the scorer has d_model {d_model}", path.display())]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// Width of the tokens it states.
        d_descriptor: usize,
        /// Width of the scorer it states.
        d_model: usize,
    },
    /// `model.safetensors` is cut off or not of that format.
    #[error("{} is truncated or not a safetensors file; copy or train it again", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: SafeTensorError,
    },
    /// A tensor that the description asks for is not in the file.
    #[error("{} has no tensor `{name}`; it belongs to another diffprune.json", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// The file holds a tensor that the description does not know.
    #[error("{} has a tensor `{name}` that the scorer does not have; it belongs to another diffprune.json", path.display())]
    ExtraTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor has another shape than the description asks for.
    #[error("{}: tensor `{name}` has shape {found:?}, expected {wanted:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that the description asks for.
        wanted: Vec<usize>,
    },
    /// A tensor is not of a float type that can be read.
    #[error("{}: tensor `{name}` is of type {found}, expected F32, F16 or BF16", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// A tensor holds a NaN or an infinity, which would make every score meaningless.
    #[error("{}: tensor `{name}` is not finite; the training that wrote it diverged or the file is damaged", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// The scorer was trained for tokens of another width.
    #[error(
        "the scorer was trained for tokens of width {found}{}, expected {wanted}; use the scorer of this VLM",
        trained_on(vlm)
    )]
    Width {
        /// Width that the scorer has.
        found: usize,
        /// Width of the tokens at hand.
        wanted: usize,
        /// The VLM it was trained on, if known.
        vlm: Option<String>,
    },
    /// A parameter could not be read back from its device.
    #[error("cannot read parameter `{name}` from its device: {reason}")]
    Device {
        /// The parameter.
        name: String,
        /// The device's reason.
        reason: String,
    },
}

fn trained_on(vlm: &Option<String>) -> String {
    vlm.as_ref().map_or_else(String::new, |vlm| format!(" ({vlm})"))
}
