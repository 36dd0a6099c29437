//! Decoding image files, in the colours that the reference pipeline sees.

use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use crate::ImageFileError;
use crate::channels::{has_colour_key, to_rgb};
use crate::jpeg;
use crate::kind::{MAX_BYTES, Refusal, WANTED, format_of};
use crate::profile::without_profiles;

/// Bytes that a decoder may take beside those of its picture, however small that is.
const BESIDE: u64 = 4 << 20;

/// Which way up a picture is read.
///
/// Cameras store what the sensor saw and note beside it how the camera was held (Exif orientation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImageOrientation {
    /// The pixels as they are stored, as evaluation code reads the pictures of benchmarks.
    #[default]
    AsStored,
    /// Turned and mirrored as the note says: how viewers, and the reference's `load_image`, show a picture.
    Upright,
}

/// Read a png, jpeg, webp, gif (first picture), bmp or tiff file; the content decides which, not the name.
///
/// JPEG pixels are those of libjpeg-turbo, and with it of Pillow, to the bit. Gray levels are repeated in the three
/// channels, transparent pixels are laid over white, 16-bit levels keep their upper byte, and orientation marks are not
/// applied (see [`load_image_with`]). In two of these the reference pipeline differs: Pillow clips 16-bit gray levels to 255,
/// which leaves most of such a picture white, and the original LLaVA code drops the alpha channel, so that transparent pixels
/// show their stored colour.
///
/// # Errors
/// [`ImageFileError::MissingFile`], [`ImageFileError::Io`], and [`ImageFileError::Content`] for files that are empty, damaged, truncated, of
/// another kind, or larger than half a gigabyte when decoded.
pub fn load_image(path: impl AsRef<Path>) -> Result<RgbImage, ImageFileError> {
    load_image_with(path, ImageOrientation::AsStored)
}

/// Like [`load_image`], the chosen way up.
///
/// # Errors
/// As [`load_image`].
pub fn load_image_with(
    path: impl AsRef<Path>,
    orientation: ImageOrientation,
) -> Result<RgbImage, ImageFileError> {
    let path = path.as_ref();
    decode(path, &read(path)?, orientation)
}

/// Like [`load_image`], for `bytes` that are already in memory (from an archive, say); `path` is for messages.
///
/// # Errors
/// [`ImageFileError::Content`].
pub fn decode_image(path: impl AsRef<Path>, bytes: &[u8]) -> Result<RgbImage, ImageFileError> {
    decode_image_with(path, bytes, ImageOrientation::AsStored)
}

/// Like [`decode_image`], the chosen way up.
///
/// # Errors
/// [`ImageFileError::Content`].
pub fn decode_image_with(
    path: impl AsRef<Path>,
    bytes: &[u8],
    orientation: ImageOrientation,
) -> Result<RgbImage, ImageFileError> {
    decode(path.as_ref(), bytes, orientation)
}

/// Width and height of an image file, from its header; as for [`load_image`] the content decides about its kind, not the
/// name.
///
/// # Errors
/// As [`load_image`], but for damage behind the header.
pub fn image_size(
    path: impl AsRef<Path>,
    orientation: ImageOrientation,
) -> Result<(u32, u32), ImageFileError> {
    let path = path.as_ref();
    image_size_of(path, &read(path)?, orientation)
}

/// Like [`image_size`], for `bytes` that are already in memory; `path` is for messages.
///
/// # Errors
/// [`ImageFileError::Content`], but not for damage behind the header.
pub fn image_size_of(
    path: impl AsRef<Path>,
    bytes: &[u8],
    orientation: ImageOrientation,
) -> Result<(u32, u32), ImageFileError> {
    let outcome = match format_of(bytes) {
        Ok(ImageFormat::Jpeg) => {
            let size = jpeg::dimensions(bytes).map_err(Refusal::from);
            size.map(|size| (size, jpeg_orientation(bytes)))
        }
        Ok(format) => decoder(bytes, format).map(|mut decoder| {
            let turned = decoder.orientation().unwrap_or(Orientation::NoTransforms);
            (decoder.dimensions(), turned)
        }),
        Err(refusal) => Err(refusal),
    };
    let ((width, height), note) = outcome.map_err(|refusal| refusal.at(path.as_ref()))?;
    let lies = matches!(
        note,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    Ok(match orientation {
        ImageOrientation::Upright if lies => (height, width),
        _ => (width, height),
    })
}

/// Bytes of memory that [`decode_image`] takes for a file at most, give or take a few megabytes, from its header: for whoever
/// reads files of strangers and has to share memory between them.
///
/// # Errors
/// As [`image_size_of`].
pub fn decoding_bytes_of(path: impl AsRef<Path>, bytes: &[u8]) -> Result<u64, ImageFileError> {
    let pixels = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
    let needed = || -> Result<u64, Refusal> {
        Ok(match format_of(bytes)? {
            // Samples and coefficients of four components, and colours.
            ImageFormat::Jpeg => 16 * pixels(jpeg::dimensions(bytes)?),
            format => {
                let decoder = decoder(bytes, format)?;
                let stored = decoder.total_bytes();
                let parts = match format {
                    // A picture of a larger one, and strips before they are put together.
                    ImageFormat::Gif | ImageFormat::Tiff => stored,
                    _ => 0,
                };
                // Eight bits with an alpha channel and without.
                stored + parts + 8 * pixels(decoder.dimensions())
            }
        })
    };
    needed().map_err(|refusal| refusal.at(path.as_ref()))
}

fn read(path: &Path) -> Result<Vec<u8>, ImageFileError> {
    std::fs::read(path).map_err(|source| ImageFileError::read(path, WANTED, source))
}

fn decode(path: &Path, bytes: &[u8], orientation: ImageOrientation) -> Result<RgbImage, ImageFileError> {
    let pixels = || -> Result<RgbImage, Refusal> {
        let (image, note) = match format_of(bytes)? {
            ImageFormat::Jpeg => (jpeg::decode(bytes)?.into(), jpeg_orientation(bytes)),
            format => {
                let mut decoder = decoder(bytes, format)?;
                let note = decoder.orientation().unwrap_or(Orientation::NoTransforms);
                (DynamicImage::from_decoder(decoder)?, note)
            }
        };
        let mut image = DynamicImage::from(to_rgb(image, has_colour_key(bytes)));
        if orientation == ImageOrientation::Upright {
            image.apply_orientation(note);
        }
        Ok(image.into_rgb8())
    };
    pixels().map_err(|refusal| refusal.at(path))
}

/// A decoder of any kind but jpeg, for a picture that is not too large. What the file says beside its size, such as that of
/// a part of it, makes the decoder take no more memory than that size would.
fn decoder(bytes: &[u8], format: ImageFormat) -> Result<impl ImageDecoder, Refusal> {
    let bytes = match format {
        ImageFormat::Png => without_profiles(bytes),
        _ => bytes.into(),
    };
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder()?;
    let (width, height) = decoder.dimensions();
    if decoder.total_bytes() > MAX_BYTES {
        return Err(Refusal::too_large(width, height));
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(2 * decoder.total_bytes() + BESIDE);
    decoder.set_limits(limits)?;
    Ok(decoder)
}

/// The orientation of the camera that a jpeg file states.
fn jpeg_orientation(bytes: &[u8]) -> Orientation {
    jpeg::exif(bytes)
        .and_then(Orientation::from_exif_chunk)
        .unwrap_or(Orientation::NoTransforms)
}

#[cfg(test)]
mod tests;
