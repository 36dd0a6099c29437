//! The kind of an image file by its first bytes, and files that hold no picture.

use std::path::Path;

use image::{ImageError, ImageFormat};

use crate::ImageFileError;
use crate::jpeg;
use crate::lfs;

pub(super) const WANTED: &str = "a png, jpeg, webp, gif, bmp or tiff image";
const REMEDY: &str = "check the file with an image viewer, or restore it from its source";

/// Most bytes of a decoded picture.
pub(super) const MAX_BYTES: u64 = 512 << 20;

/// The name of the kind of image that `bytes` begin as ("png", "jpeg", "webp", "gif", "bmp", "tiff"); `None` for other data.
pub fn image_kind(bytes: &[u8]) -> Option<&'static str> {
    match format_of(bytes) {
        Ok(ImageFormat::Jpeg) => Some("jpeg"),
        Ok(format) => format.extensions_str().first().copied(),
        Err(_) => None,
    }
}

/// The kind of a file by its first bytes.
pub(super) fn format_of(bytes: &[u8]) -> Result<ImageFormat, Refusal> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    if bytes.is_empty() {
        return Err(Refusal::new("an empty file"));
    }
    if lfs::is_pointer(bytes) {
        return Err(Refusal {
            remedy: lfs::LFS_REMEDY,
            ..Refusal::new(lfs::FOUND)
        });
    }
    match image::guess_format(bytes) {
        Ok(format @ (Png | Jpeg | WebP | Gif | Bmp | Tiff)) => Ok(format),
        Ok(other) => Err(Refusal::new(format!(
            "a {} file",
            other.extensions_str().join("/")
        ))),
        Err(_) => Err(Refusal::new("a file of unknown kind")),
    }
}

/// Why there is no picture, before it is known which file it came from.
#[derive(Debug)]
pub(super) struct Refusal {
    found: String,
    wanted: String,
    remedy: &'static str,
}

impl Refusal {
    pub(super) fn new(found: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            wanted: WANTED.into(),
            remedy: REMEDY,
        }
    }

    pub(super) fn too_large(width: u32, height: u32) -> Self {
        Self {
            found: format!("{width} by {height} pixels"),
            wanted: format!("at most {} MiB of pixels", MAX_BYTES >> 20),
            remedy: "scale the picture down",
        }
    }

    pub(super) fn at(self, path: &Path) -> ImageFileError {
        ImageFileError::Content {
            path: path.into(),
            found: self.found,
            wanted: self.wanted,
            remedy: self.remedy.into(),
        }
    }
}

impl From<jpeg::Problem> for Refusal {
    fn from(problem: jpeg::Problem) -> Self {
        match problem {
            jpeg::Problem::TooLarge { width, height } => Self::too_large(width, height),
            other => Self::new(other.to_string()),
        }
    }
}

impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Self {
        Self::new(format!("damaged or unsupported data ({error})"))
    }
}
