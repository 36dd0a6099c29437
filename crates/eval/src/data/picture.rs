//! Finding pictures, in files and inside data files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use diffprune_images::image_kind;

/// Endings tried beside the one that a file names.
const ENDINGS: [&str; 5] = ["jpg", "png", "jpeg", "JPEG", "webp"];

/// An encoded picture (JPEG, PNG, WebP, GIF, BMP or TIFF) from inside a data file. Copies share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct InlineImage(Arc<[u8]>);

impl InlineImage {
    /// The encoded picture, or what was found instead of one.
    pub(crate) fn new(bytes: Vec<u8>) -> Result<Self, String> {
        match image_kind(&bytes) {
            Some(_) => Ok(Self(bytes.into())),
            None => Err(format!("{} bytes that are no picture", bytes.len())),
        }
    }

    /// The same from base64 text, in which white space does not count.
    pub(crate) fn from_base64(text: &str) -> Result<Self, String> {
        let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
        let bytes = STANDARD
            .decode(text.as_bytes())
            .map_err(|error| format!("broken base64 ({error})"))?;
        Self::new(bytes)
    }

    /// The encoded picture.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A name that depends on the bytes alone, so that equal pictures are one cluster (FNV-1a, 128 bits).
    pub(crate) fn name(&self) -> String {
        let hash = self
            .0
            .iter()
            .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, &byte| {
                (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
            });
        format!("{hash:032x}")
    }
}

impl fmt::Debug for InlineImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InlineImage({} bytes)", self.0.len())
    }
}

/// The picture `name` in `folder`, or the same stem with another known ending.
pub(crate) fn find_picture(folder: &Path, name: &str) -> Option<PathBuf> {
    let exact = folder.join(name);
    if !name.is_empty() && exact.is_file() {
        return Some(exact);
    }
    let stem = ENDINGS
        .iter()
        .find_map(|ending| name.strip_suffix(&format!(".{ending}")))
        .unwrap_or(name);
    ENDINGS
        .iter()
        .map(|ending| folder.join(format!("{stem}.{ending}")))
        .find(|path| path.is_file())
}
