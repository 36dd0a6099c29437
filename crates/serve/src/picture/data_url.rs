//! Pictures in the request itself.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::too_large;
use crate::error::ApiError;

/// Base64 with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes of a data URL. The media type is not looked at: the bytes themselves say what they are.
pub fn decode(url: &str, place: &str, most: usize) -> Result<Vec<u8>, ApiError> {
    let wrong = |found: &str| {
        let message = format!(
            "{place}: found {found}, expected data:image/png;base64,… (or jpeg, webp, gif, bmp, tiff)"
        );
        ApiError::invalid(place, message)
    };
    let Some((head, data)) = url.split_once(',') else {
        return Err(wrong("a data URL without a comma"));
    };
    if !head.to_ascii_lowercase().ends_with(";base64") {
        return Err(wrong("a data URL that is not base64"));
    }
    // Before anything is decoded: four letters are three bytes.
    if data.len() / 4 * 3 > most + 3 {
        let message = format!(
            "{place}: found more than {most} bytes, expected at most as many; scale the picture down"
        );
        return Err(too_large("image_too_large", message));
    }
    BASE64
        .decode(data.trim())
        .map_err(|_| wrong("base64 that cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_with_padding_and_without() {
        let read = |url: &str| decode(url, "here", 100).unwrap();
        assert_eq!(read("data:image/png;base64,aGk="), b"hi");
        assert_eq!(read("data:image/png;base64,aGk"), b"hi");
        assert_eq!(read("DATA:;BASE64,aGk="), b"hi");
    }

    #[test]
    fn everything_else_is_refused_with_its_place() {
        for (url, words) in [
            ("data:image/png;base64", "without a comma"),
            ("data:text/plain,hello", "not base64"),
            ("data:;base64,!!!", "cannot be read"),
        ] {
            let error = decode(url, "messages[0]", 100).unwrap_err();
            assert!(
                error.message.contains(words) && error.message.starts_with("messages[0]: "),
                "{error}"
            );
        }
        let long = format!("data:;base64,{}", "A".repeat(400));
        assert_eq!(decode(&long, "here", 100).unwrap_err().status, 413);
    }
}
