//! Decoding image files, in the colours that the reference pipeline sees.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;

use image::{DynamicImage, ImageBuffer, ImageFormat, ImageReader, Rgb, RgbImage, Rgba, RgbaImage};

use crate::LoadError;

/// Bytes that tell the kind of a file.
const SIGNATURE: u64 = 64;
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
    let format = format_of(bytes).map_err(refuse)?;
    let decoded = ImageReader::with_format(Cursor::new(bytes), format)
        .decode()
        .map_err(|error| refuse(format!("damaged or unsupported data ({error})")))?;
    Ok(to_rgb(decoded, has_colour_key(bytes)))
}

/// Width and height of a png or jpeg file, from its first bytes; as for [`load_image`] the content decides which, not
/// the name.
///
/// # Errors
/// As [`load_image`], but for damage behind the header.
pub fn image_size(path: impl AsRef<Path>) -> Result<(u32, u32), LoadError> {
    let path = path.as_ref();
    let refuse = |found: String| LoadError::Image {
        path: path.into(),
        found,
        wanted: WANTED.into(),
        remedy: REMEDY.into(),
    };
    let unread = |source| LoadError::read(path, WANTED, "check the path", source);
    let mut file = File::open(path).map_err(unread)?;
    let mut first = Vec::new();
    (&mut file)
        .take(SIGNATURE)
        .read_to_end(&mut first)
        .map_err(unread)?;
    let format = format_of(&first).map_err(refuse)?;
    file.rewind().map_err(unread)?;
    ImageReader::with_format(BufReader::new(file), format)
        .into_dimensions()
        .map_err(|error| refuse(format!("damaged or unsupported data ({error})")))
}

/// The kind of a file by its first bytes; what was found when it is none that is read.
fn format_of(bytes: &[u8]) -> Result<ImageFormat, String> {
    if bytes.is_empty() {
        return Err("an empty file".into());
    }
    match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => Ok(format),
        Ok(other) => Err(format!("a {} file", other.extensions_str().join("/"))),
        Err(_) => Err("a file of unknown kind".into()),
    }
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

    /// A JPEG file of 8 by 8 pixels of one colour in four inks, level 255 for no ink as Adobe's programs write it: a frame of
    /// four components whose blocks have nothing but a mean.
    fn four_inks(levels: [u8; 4]) -> Vec<u8> {
        let segment = |marker: u8, body: &[u8]| {
            let length = (body.len() as u16 + 2).to_be_bytes();
            [&[0xff, marker], &length[..], body].concat()
        };
        let mut bits = String::new();
        for level in levels {
            // Means of 8 times the level above 128: nothing, or ten bits. An end of block follows.
            bits += &match 8 * (i32::from(level) - 128) {
                0 => "00".into(),
                mean if mean < 0 => format!("01{:010b}", mean + 1023),
                mean => format!("01{mean:010b}"),
            };
            bits += "0";
        }
        bits += &"1".repeat((8 - bits.len() % 8) % 8);
        let byte = |i: usize| u8::from_str_radix(&bits[8 * i..8 * i + 8], 2).unwrap();
        // A zero stands behind each byte that could begin a marker.
        let stuffed = |byte: u8| if byte == 0xff { vec![byte, 0] } else { vec![byte] };
        let data: Vec<u8> = (0..bits.len() / 8).map(byte).flat_map(stuffed).collect();
        let codes = |class: u8, lengths: [u8; 2], values: &[u8]| {
            let mut body = vec![class];
            body.extend(lengths);
            body.extend([0; 14]);
            body.extend(values);
            segment(0xc4, &body)
        };
        let components: Vec<u8> = (1..=4).flat_map(|id| [id, 0x11, 0]).collect();
        let scanned: Vec<u8> = (1..=4).flat_map(|id| [id, 0]).collect();
        [
            vec![0xff, 0xd8],
            segment(0xee, b"Adobe\x00\x64\x00\x00\x00\x00\x00"),
            segment(0xdb, &[vec![0], vec![1; 64]].concat()),
            segment(0xc0, &[vec![8, 0, 8, 0, 8, 4], components].concat()),
            codes(0x00, [0, 2], &[0, 10]),
            codes(0x10, [1, 0], &[0]),
            segment(0xda, &[vec![4], scanned, vec![0, 63, 0]].concat()),
            data,
            vec![0xff, 0xd9],
        ]
        .concat()
    }

    #[test]
    fn four_inks_become_three_colours() -> Result<(), Box<dyn std::error::Error>> {
        for (inks, wanted) in [
            ([255, 255, 255, 255], [255, 255, 255]),
            ([1, 255, 255, 255], [1, 255, 255]),
            ([255, 1, 1, 255], [255, 1, 1]),
            ([255, 255, 255, 1], [1, 1, 1]),
            ([128, 255, 255, 128], [64, 128, 128]),
        ] {
            let image = decode_image("inks.jpg", &four_inks(inks))?;
            assert_eq!(image.dimensions(), (8, 8));
            for pixel in image.pixels() {
                for (found, wanted) in pixel.0.into_iter().zip(wanted) {
                    assert!(found.abs_diff(wanted) <= 2, "{inks:?}: {pixel:?}");
                }
            }
        }
        let whole = four_inks([255; 4]);
        for length in 0..whole.len() - 4 {
            // Whatever is missing, there is an image or an error that names the file.
            if let Err(error) = decode_image("inks.jpg", &whole[..length]) {
                assert!(error.to_string().contains("inks.jpg"), "{length}: {error}");
            }
        }
        Ok(())
    }

    /// The check sum of a png chunk.
    fn crc(bytes: &[u8]) -> u32 {
        let step = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        let byte = |crc: u32, &byte: &u8| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc));
        !bytes.iter().fold(u32::MAX, byte)
    }

    fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let content = [&kind[..], body].concat();
        let length = (body.len() as u32).to_be_bytes();
        [&length[..], &content, &crc(&content).to_be_bytes()].concat()
    }

    /// The frame control of an animation: number, size, place, 1/10 s, replace.
    fn frame(number: u32, width: u32, height: u32) -> Vec<u8> {
        let numbers = [number, width, height, 0, 0].map(u32::to_be_bytes).concat();
        chunk(b"fcTL", &[numbers, vec![0, 1, 0, 10, 0, 0]].concat())
    }

    #[test]
    fn of_animations_the_first_picture_is_read_or_their_kind_is_refused()
    -> Result<(), Box<dyn std::error::Error>> {
        let encoded = |level: u8| -> Result<Vec<u8>, image::ImageError> {
            let mut bytes = Cursor::new(Vec::new());
            RgbImage::from_pixel(4, 3, Rgb([level, 20, 30])).write_to(&mut bytes, ImageFormat::Png)?;
            Ok(bytes.into_inner())
        };
        // A still png is signature, header (25 bytes), one chunk of data, end (12 bytes).
        let (first, second) = (encoded(10)?, encoded(200)?);
        let (header, data, end) = (
            &first[..33],
            &first[33..first.len() - 12],
            &first[first.len() - 12..],
        );
        let other = &second[33 + 8..second.len() - 12 - 4];
        let animated = [
            header,
            &chunk(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]),
            &frame(0, 4, 3),
            data,
            &frame(1, 4, 3),
            &chunk(b"fdAT", &[&2u32.to_be_bytes()[..], other].concat()),
            end,
        ]
        .concat();
        let image = decode_image("a.png", &animated)?;
        assert_eq!(image.dimensions(), (4, 3));
        assert!(image.pixels().all(|pixel| *pixel == Rgb([10, 20, 30])));

        // Two frames of one pixel.
        let gif: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff\
            !\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00\
            ,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00\
            ,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02L\x01\x00;";
        let error = decode_image("a.png", gif).unwrap_err().to_string();
        assert!(error.contains("a.png") && error.contains("a gif file"), "{error}");
        Ok(())
    }

    #[test]
    fn sizes_are_those_of_the_content() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        for (name, format) in [
            ("a.jpg", ImageFormat::Png),
            ("b.png", ImageFormat::Jpeg),
            ("c", ImageFormat::Png),
        ] {
            let path = dir.path().join(name);
            RgbImage::new(5, 3).save_with_format(&path, format)?;
            assert_eq!(image_size(&path)?, (5, 3), "{name}");
            assert_eq!(load_image(&path)?.dimensions(), (5, 3), "{name}");
        }
        for bytes in [
            &b""[..],
            b"GIF89a\x01\x00\x01\x00",
            b"nonsense",
            b"\x89PNG\r\n\x1a\n",
        ] {
            let path = dir.path().join("d.png");
            std::fs::write(&path, bytes)?;
            assert!(
                matches!(image_size(&path), Err(LoadError::Image { .. })),
                "{bytes:?}"
            );
        }
        let absent = image_size(dir.path().join("absent.png"));
        assert!(matches!(absent, Err(LoadError::MissingFile { .. })), "{absent:?}");
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
