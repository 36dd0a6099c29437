//! JPEG files to the bits that libjpeg-turbo, and with it Pillow, makes of them.
//!
//! A decoder is free in the rounding of its inverse DCT and in how it enlarges subsampled colour, and most decoders in Rust
//! differ from libjpeg-turbo by a few levels in one value of eight. Benchmarks are JPEG files and published numbers were
//! measured on Pillow's pixels, so the same integer arithmetic is done here: the accurate integer inverse DCT (`islow`),
//! triangular ("fancy") enlargement, and its tables from YCbCr to RGB. Inks (CMYK, YCCK) become colours as Pillow's
//! `convert("RGB")` mixes them.
//!
//! Unlike that library nothing is made up: a file that ends early, a code that does not exist, a restart marker out of turn
//! and a progressive file without its last scans are errors, where libjpeg-turbo fills in grey or smooths.

mod bits;
mod colour;
mod frame;
mod huffman;
mod idct;
mod scan;
mod segments;
mod upsample;

use image::RgbImage;

use segments::Decoder;

/// Why a JPEG file gives no picture.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Problem {
    /// The file ends before its picture does.
    #[error("a truncated jpeg file ({0})")]
    Truncated(String),
    /// Bytes that no encoder writes.
    #[error("damaged jpeg data ({0})")]
    Damaged(String),
    /// A kind of JPEG that is not read.
    #[error("a jpeg file with {0}")]
    Unsupported(String),
    /// More pixels than are read.
    #[error("{width} by {height} pixels")]
    TooLarge {
        /// Pixels of a row.
        width: u32,
        /// Rows.
        height: u32,
    },
}

impl Problem {
    fn truncated(place: impl Into<String>) -> Self {
        Self::Truncated(place.into())
    }

    fn damaged(found: impl Into<String>) -> Self {
        Self::Damaged(found.into())
    }

    fn unsupported(found: impl Into<String>) -> Self {
        Self::Unsupported(found.into())
    }
}

/// The picture of a file.
pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, Problem> {
    let (frame, colour) = Decoder::new(bytes).decode()?;
    frame.finished()?;
    Ok(colour::convert(&frame, colour))
}

/// Width and height, from the file's header.
pub(super) fn dimensions(bytes: &[u8]) -> Result<(u32, u32), Problem> {
    Decoder::new(bytes).dimensions()
}

/// The Exif block of a file (a TIFF structure, without the marker's name), if it has one before its first scan.
pub(super) fn exif(bytes: &[u8]) -> Option<&[u8]> {
    Decoder::new(bytes).exif()
}
