//! Decoding image files, in the colours that the reference pipeline sees.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageBuffer, ImageFormat, ImageReader, Rgb, RgbImage, Rgba, RgbaImage};

use crate::LoadError;

const WANTED: &str = "a png or jpeg image";
const REMEDY: &str = "check the file with an image viewer, or convert it to png";

/// Read a png or jpeg file; the content decides which, not the name.
///
/// Gray levels are repeated in the three channels, transparent pixels are laid over white, 16-bit levels keep their
/// upper byte, and orientation marks are not applied: what the reference pipeline does. (The original LLaVA code
/// drops the alpha channel instead, so that transparent pixels show their stored colour.)
///
/// # Errors
/// [`LoadError::MissingFile`], [`LoadError::Io`], and [`LoadError::Image`] for files that are empty, damaged, of
/// another kind, or larger than half a gigabyte when decoded.
pub fn load_image(path: impl AsRef<Path>) -> Result<RgbImage, LoadError> {
    let path = path.as_ref();
    let bytes =
        std::fs::read(path).map_err(|source| LoadError::read(path, WANTED, "check the path", source))?;
    decode_image(path, &bytes)
}

/// Like [`load_image`], for `bytes` that are already in memory (from an archive, say); `path` is for messages.
///
/// # Errors
/// [`LoadError::Image`].
pub fn decode_image(path: impl AsRef<Path>, bytes: &[u8]) -> Result<RgbImage, LoadError> {
    let refuse = |found: String| LoadError::Image {
        path: path.as_ref().into(),
        found,
        wanted: WANTED.into(),
        remedy: REMEDY.into(),
    };
    if bytes.is_empty() {
        return Err(refuse("an empty file".into()));
    }
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => format,
        Ok(other) => return Err(refuse(format!("a {} file", other.extensions_str().join("/")))),
        Err(_) => return Err(refuse("a file of unknown kind".into())),
    };
    let decoded = ImageReader::with_format(Cursor::new(bytes), format)
        .decode()
        .map_err(|error| refuse(format!("damaged or unsupported data ({error})")))?;
    Ok(to_rgb(decoded, has_colour_key(bytes)))
}

/// Whether this is a png of colour type 2 (no alpha channel). Decoding gives such a file an alpha channel if it names
/// one colour as transparent, which the reference pipeline ignores.
fn has_colour_key(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG") && bytes.get(25) == Some(&2)
}

/// The three colour channels at 8 bits.
fn to_rgb(image: DynamicImage, ignore_alpha: bool) -> RgbImage {
    let has_alpha = image.color().has_alpha();
    let image = match image {
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => upper_bytes(image.into_rgba16()).into(),
        other => other,
    };
    if ignore_alpha || !has_alpha {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    let mut opaque = RgbImage::new(image.width(), image.height());
    for (to, Rgba([r, g, b, alpha])) in opaque.pixels_mut().zip(image.pixels()) {
        *to = Rgb([r, g, b].map(|level| over_white(*level, *alpha)));
    }
    opaque
}

fn upper_bytes(deep: ImageBuffer<Rgba<u16>, Vec<u16>>) -> RgbaImage {
    let (width, height) = deep.dimensions();
    let levels = deep
        .into_raw()
        .into_iter()
        .map(|level| (level >> 8) as u8)
        .collect();
    RgbaImage::from_raw(width, height, levels).unwrap_or_else(|| unreachable!("one byte for each level"))
}

/// Mix `level` with white by `alpha` of 255, in Pillow's fixed-point arithmetic with 7 more bits.
fn over_white(level: u8, alpha: u8) -> u8 {
    let (level, alpha) = (u32::from(level), u32::from(alpha));
    let mixed = ((level * alpha + 255 * (255 - alpha)) << 7) + (128 << 7);
    ((((mixed >> 8) + mixed) >> 8) >> 7) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayAlphaImage, LumaA};

    fn png(image: DynamicImage) -> Result<RgbImage, Box<dyn std::error::Error>> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png)?;
        Ok(decode_image("memory.jpg", bytes.get_ref())?)
    }

    #[test]
    fn gray_is_repeated_and_what_is_transparent_is_white() -> Result<(), Box<dyn std::error::Error>> {
        for (alpha, level) in [(255, 90), (0, 255), (127, 173)] {
            let image = GrayAlphaImage::from_pixel(2, 1, LumaA([90, alpha]));
            assert!(
                png(image.into())?.pixels().all(|pixel| *pixel == Rgb([level; 3])),
                "{alpha}"
            );
        }
        Ok(())
    }

    #[test]
    fn mixing_rounds_to_the_nearest_level() {
        for level in 0..=255u8 {
            for alpha in 0..=255u8 {
                let exact = 255.0 - f64::from(alpha) * (255.0 - f64::from(level)) / 255.0;
                assert!(
                    (f64::from(over_white(level, alpha)) - exact).abs() <= 0.51,
                    "{level} {alpha}"
                );
            }
        }
    }

    #[test]
    fn deep_levels_keep_their_upper_byte() -> Result<(), Box<dyn std::error::Error>> {
        let image = ImageBuffer::from_pixel(1, 2, Rgb([0x12ffu16, 0x00ff, 0xff00]));
        assert!(
            png(image.into())?
                .pixels()
                .all(|pixel| *pixel == Rgb([0x12, 0x00, 0xff]))
        );
        Ok(())
    }

    #[test]
    fn other_kinds_are_named() {
        let error = decode_image("a.png", b"GIF89a...")
            .err()
            .map(|error| error.to_string());
        assert!(error.is_some_and(|text| text.contains("a.png") && text.contains("gif")));
        assert!(matches!(decode_image("a.png", b""), Err(LoadError::Image { .. })));
        assert!(matches!(
            decode_image("a.png", b"nonsense"),
            Err(LoadError::Image { .. })
        ));
    }
}
