//! Pictures as bytes.

use crate::MiniError;
use crate::world::{Scene, render};
use image::ImageEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use std::path::Path;

/// The scene as a PNG; `path` is for the error.
pub(super) fn png(scene: &Scene, path: &Path) -> Result<Vec<u8>, MiniError> {
    let image = render(scene);
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Sub)
        .write_image(
            &image,
            image.width(),
            image.height(),
            image::ExtendedColorType::Rgb8,
        )
        .map_err(|source| MiniError::Picture {
            action: "encode",
            path: path.to_path_buf(),
            source,
        })?;
    Ok(bytes)
}

/// The name of a picture inside a file: its FNV-1a hash, 128 bits in hexadecimal, as evaluation names it.
pub(super) fn inline_name(bytes: &[u8]) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = bytes.iter().fold(OFFSET, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
    });
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fnv_1a_hashes() {
        assert_eq!(inline_name(b""), "6c62272e07bb014262b821756295c58d");
        assert_eq!(inline_name(b"a"), "d228cb696f1a8caf78912b704e4a8964");
    }
}
