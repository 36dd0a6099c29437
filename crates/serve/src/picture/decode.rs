//! Size, pixels and digest of a picture's file.

use diffprune_images::{
    ImageFileError, ImageOrientation, decode_image_with, decoding_bytes_of, image_size_of,
};
use image::RgbImage;
use sha2::{Digest as _, Sha256};

use super::Digest;
use crate::error::ApiError;

/// Width and height by the header alone.
pub fn size(bytes: &[u8], place: &str) -> Result<(u32, u32), ApiError> {
    image_size_of(place, bytes, ImageOrientation::Upright).map_err(|error| unreadable(place, &error))
}

/// Bytes of memory that [`pixels`] takes at most, by the header alone.
pub fn needed(bytes: &[u8], place: &str) -> Result<u64, ApiError> {
    decoding_bytes_of(place, bytes).map_err(|error| unreadable(place, &error))
}

/// The pixels, the way up that viewers show.
pub fn pixels(bytes: &[u8], place: &str) -> Result<RgbImage, ApiError> {
    decode_image_with(place, bytes, ImageOrientation::Upright).map_err(|error| unreadable(place, &error))
}

/// The name under which what is computed of a picture is kept. The pixels follow from the file.
pub fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

fn unreadable(place: &str, error: &ImageFileError) -> ApiError {
    ApiError::invalid(place, error.to_string()).with_code("invalid_image")
}
