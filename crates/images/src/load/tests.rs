//! Files of every kind, sound, damaged and turned.

use std::io::Cursor;

use image::{
    DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, ImageError, ImageFormat, LumaA, Rgb, RgbImage,
};

use super::*;

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
    for length in 0..whole.len() {
        let outcome = decode_image("inks.jpg", &whole[..length]);
        assert!(
            matches!(&outcome, Err(error @ ImageFileError::Content { .. }) if error.to_string().contains("inks.jpg")),
            "{length}: {outcome:?}"
        );
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
fn of_animations_the_first_picture_is_read() -> Result<(), Box<dyn std::error::Error>> {
    let encoded = |level: u8| -> Result<Vec<u8>, ImageError> {
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
    assert_eq!(
        decode_image("a.gif", gif)?,
        RgbImage::from_pixel(1, 1, Rgb([0; 3]))
    );
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
        assert_eq!(image_size(&path, ImageOrientation::AsStored)?, (5, 3), "{name}");
        assert_eq!(load_image(&path)?.dimensions(), (5, 3), "{name}");
    }
    for bytes in [&b""[..], b"GIF89a", b"nonsense", b"\x89PNG\r\n\x1a\n"] {
        let path = dir.path().join("d.png");
        std::fs::write(&path, bytes)?;
        assert!(
            matches!(
                image_size(&path, ImageOrientation::AsStored),
                Err(ImageFileError::Content { .. })
            ),
            "{bytes:?}"
        );
    }
    let absent = image_size(dir.path().join("absent.png"), ImageOrientation::AsStored);
    assert!(
        matches!(absent, Err(ImageFileError::MissingFile { .. })),
        "{absent:?}"
    );
    Ok(())
}

#[test]
fn other_kinds_are_named() {
    for (bytes, wanted) in [
        (&b"qoif...."[..], "a qoi file"),
        (b"", "an empty file"),
        (b"nonsense", "unknown kind"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:01\nsize 5\n",
            "git lfs pull",
        ),
    ] {
        let error = decode_image("a.png", bytes).unwrap_err().to_string();
        assert!(error.contains("a.png") && error.contains(wanted), "{error}");
    }
}

/// Uneven pixels, so that no encoder finds them easy.
fn uneven(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let mix = x
            .wrapping_mul(2_654_435_761)
            .wrapping_mul(y + 1)
            .wrapping_mul(40_503)
            >> 13;
        Rgb([mix as u8, (x * 7) as u8, (mix >> 8) as u8])
    })
}

#[test]
fn every_kind_is_read_and_refused_when_it_is_cut() -> Result<(), Box<dyn std::error::Error>> {
    let image = uneven(40, 30);
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ] {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format)?;
        let bytes = bytes.into_inner();
        let read = decode_image("a", &bytes)?;
        assert_eq!(read.dimensions(), (40, 30), "{format:?}");
        if ![ImageFormat::Jpeg, ImageFormat::Gif].contains(&format) {
            assert_eq!(read, image, "{format:?}");
        }
        for part in [20, 2] {
            let outcome = decode_image("a", &bytes[..bytes.len() - bytes.len() / part]);
            assert!(
                matches!(outcome, Err(ImageFileError::Content { .. })),
                "{format:?} without its last {part}th"
            );
        }
    }
    Ok(())
}

#[test]
fn pictures_that_are_too_large_are_told_their_sides() {
    let sides = [15_000u32.to_be_bytes(), 15_000u32.to_be_bytes()].concat();
    let png = [
        &b"\x89PNG\r\n\x1a\n"[..],
        &chunk(b"IHDR", &[&sides[..], &[8, 2, 0, 0, 0]].concat()),
        &chunk(b"IDAT", &[0x78, 0x9c]),
    ]
    .concat();
    let size = 15_000u16.to_be_bytes();
    let sides = [size, size].concat();
    let jpeg = [&[0xff, 0xd8, 0xff, 0xc0, 0, 11, 8][..], &sides, &[1, 1, 0x11, 0]].concat();
    for bytes in [png, jpeg] {
        let error = decode_image("a.png", &bytes).unwrap_err().to_string();
        for part in [
            "a.png",
            "15000 by 15000 pixels",
            "at most 512 MiB",
            "scale the picture down",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn pictures_stand_upright_when_asked() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("phone.jpg");
    let mut bytes = Cursor::new(Vec::new());
    uneven(24, 16).write_to(&mut bytes, ImageFormat::Jpeg)?;
    let plain = bytes.into_inner();
    let stored = decode_image("plain", &plain)?;
    type Turn = fn(&RgbImage) -> RgbImage;
    let turned: [(u8, Turn); 4] = [
        (1, RgbImage::clone),
        (3, image::imageops::rotate180),
        (6, image::imageops::rotate90),
        (8, image::imageops::rotate270),
    ];
    for (note, turn) in turned {
        // One entry: tag 0x0112, a 16-bit number.
        let entry = [0x12, 0x01, 3, 0, 1, 0, 0, 0, note, 0, 0, 0];
        let exif = [&b"Exif\0\0II*\0\x08\0\0\0\x01\0"[..], &entry, &[0; 4]].concat();
        let length = (exif.len() as u16 + 2).to_be_bytes();
        let file = [&plain[..2], &[0xff, 0xe1], &length, &exif, &plain[2..]].concat();
        std::fs::write(&path, file)?;
        assert_eq!(load_image(&path)?, stored, "{note}");
        let upright = load_image_with(&path, ImageOrientation::Upright)?;
        assert_eq!(upright, turn(&stored), "{note}");
        assert_eq!(
            image_size(&path, ImageOrientation::Upright)?,
            upright.dimensions(),
            "{note}"
        );
        assert_eq!(image_size(&path, ImageOrientation::AsStored)?, (24, 16), "{note}");
    }
    Ok(())
}

/// A packed stream of zeros, as the data of a picture holds it.
fn packed_zeros(n: usize) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut bytes = Cursor::new(Vec::new());
    GrayImage::new(4096, (n / 4096) as u32).write_to(&mut bytes, ImageFormat::Png)?;
    let png = bytes.into_inner();
    let mut packed = Vec::new();
    let mut at = 8;
    while let Some(&[a, b, c, d]) = png.get(at..at + 4) {
        let end = at + 8 + u32::from_be_bytes([a, b, c, d]) as usize;
        if &png[at + 4..at + 8] == b"IDAT" {
            packed.extend(&png[at + 8..end]);
        }
        at = end + 4;
    }
    Ok(packed)
}

#[test]
fn profiles_are_not_unpacked() -> Result<(), Box<dyn std::error::Error>> {
    let mut bytes = Cursor::new(Vec::new());
    uneven(5, 3).write_to(&mut bytes, ImageFormat::Png)?;
    let plain = bytes.into_inner();
    let profile = chunk(b"iCCP", &[b"a\0\0", &packed_zeros(8 << 20)?[..]].concat());
    // Behind the signature and the header.
    let bomb = [&plain[..33], &profile, &plain[33..]].concat();
    let read = ImageReader::with_format(Cursor::new(&bomb), ImageFormat::Png)
        .into_decoder()?
        .icc_profile()?;
    assert!(
        read.is_some_and(|profile| profile.len() >= 8 << 20),
        "the library unpacks it"
    );
    assert_eq!(decoder(&bomb, ImageFormat::Png).unwrap().icc_profile()?, None);
    assert_eq!(decode_image("a.png", &bomb)?, decode_image("a.png", &plain)?);
    Ok(())
}

/// A gif file of one colour whose picture has other sides than the file says.
fn gif(sides: [u16; 2], picture: [u16; 2]) -> Vec<u8> {
    // A code that clears the table before each pixel keeps all codes three bits wide: 4, 0, 4, 0, …, 5.
    let n = usize::from(picture[0]) * usize::from(picture[1]);
    let codes = (0..n).flat_map(|_| [4u8, 0]).chain([5]);
    let bits: Vec<u8> = codes
        .flat_map(|code| [code & 1, code >> 1 & 1, code >> 2])
        .collect();
    let data: Vec<u8> = bits
        .chunks(8)
        .map(|bits| bits.iter().rev().fold(0u8, |byte, bit| byte << 1 | bit))
        .collect();
    let packed = data
        .iter()
        .enumerate()
        .fold(Vec::new(), |mut blocks, (i, &byte)| {
            if i % 255 == 0 {
                blocks.push((data.len() - i).min(255) as u8);
            }
            blocks.push(byte);
            blocks
        });
    let le = |sides: [u16; 2]| sides.map(u16::to_le_bytes).concat();
    [
        &b"GIF89a"[..],
        &le(sides),
        &[0x91, 0, 0],
        &[7; 12],
        b",\0\0\0\0",
        &le(picture),
        &[0, 2],
        &packed,
        b"\0;",
    ]
    .concat()
}

#[test]
fn a_part_is_not_larger_than_its_picture() -> Result<(), Box<dyn std::error::Error>> {
    let whole = decode_image("a.gif", &gif([5, 4], [5, 4]))?;
    assert_eq!((whole.dimensions(), whole.get_pixel(4, 3).0), ((5, 4), [7; 3]));
    decode_image("a.gif", &gif([5, 4], [3, 2]))?;
    // Some encoders are careless with a few pixels; megabytes are no carelessness.
    decode_image("a.gif", &gif([5, 4], [6, 6]))?;
    let error = decode_image("a.gif", &gif([5, 4], [1200, 1000]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("a.gif") && error.contains("emory"), "{error}");
    Ok(())
}

#[test]
fn memory_is_told_from_the_header() -> Result<(), Box<dyn std::error::Error>> {
    for (format, least) in [
        (ImageFormat::Png, 3),
        (ImageFormat::Jpeg, 12),
        (ImageFormat::Gif, 8),
        (ImageFormat::Bmp, 3),
        (ImageFormat::Tiff, 6),
        (ImageFormat::WebP, 3),
    ] {
        let mut bytes = Cursor::new(Vec::new());
        uneven(24, 16).write_to(&mut bytes, format)?;
        let needed = decoding_bytes_of("a", bytes.get_ref())?;
        assert!(
            (least * 24 * 16..=24 * 24 * 16).contains(&needed),
            "{format:?}: {needed}"
        );
    }
    let mut deep = Cursor::new(Vec::new());
    ImageBuffer::<image::Rgba<u16>, _>::new(10, 10).write_to(&mut deep, ImageFormat::Png)?;
    assert_eq!(decoding_bytes_of("a", deep.get_ref())?, 1600);
    assert!(decoding_bytes_of("a", b"words").is_err());
    Ok(())
}
