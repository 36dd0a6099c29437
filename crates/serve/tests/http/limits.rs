//! Bounds of size.

use image::{ImageFormat, RgbImage};
use serde_json::json;

use crate::common::{TestServer, about, content, counting, data_url, file, image_part, saying};

#[test]
fn a_large_body_is_refused_told_or_not() {
    let server = TestServer::with(|config| config.limits.body_bytes = 2000, counting());
    let error = server.refused(413, &saying(&"x".repeat(3000)));
    assert_eq!(error["code"], "body_too_large");
    // A body that does not say its length.
    let mut request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        server.addr
    );
    for _ in 0..30 {
        request += &format!("64\r\n{}\r\n", "x".repeat(100));
    }
    let reply = server.raw((request + "0\r\n\r\n").as_bytes());
    assert!(
        reply.starts_with("HTTP/1.1 413") && reply.contains("body_too_large"),
        "{reply}"
    );
}

#[test]
fn a_large_picture_is_refused_by_its_header() {
    let server = TestServer::with(|config| config.limits.pixels = 1000, counting());
    let large = file(&RgbImage::new(50, 50), ImageFormat::Png);
    let body = json!({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": data_url(&large)}},
    ]}]});
    let error = server.refused(413, &body);
    assert_eq!(error["code"], "image_too_large");
    assert!(error["message"].as_str().unwrap().contains("50 by 50"), "{error}");
}

/// A few hundred bytes that say they are 60,000 by 60,000 pixels, 10 GB when decoded.
#[test]
fn a_bomb_is_not_decoded() {
    let server = TestServer::counting();
    let mut bomb = file(&RgbImage::new(4, 4), ImageFormat::Png);
    bomb[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    let checksum = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    let mut gif = file(&RgbImage::new(4, 4), ImageFormat::Gif);
    gif[6..10].copy_from_slice(&[0xff; 4]);
    let mut bmp = file(&RgbImage::new(4, 4), ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&60_000u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&60_000u32.to_le_bytes());
    for (name, bytes) in [("png", bomb), ("gif", gif), ("bmp", bmp)] {
        let body = json!({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": data_url(&bytes)}},
        ]}]});
        let reply = server.post("/v1/chat/completions", &body);
        assert!([400, 413].contains(&reply.status), "{name}: {}", reply.text);
        assert!(
            reply.text.contains("60000") || reply.text.contains("65535"),
            "{name}: {}",
            reply.text
        );
    }
    assert_eq!(content(&server.chat(&about(1, "still there?"))), "5 tokens");
}

/// A picture that is small by its header and whose part is not; `diffprune-images` has the same of colour profiles.
#[test]
fn a_part_larger_than_its_picture_is_not_decoded() {
    let server = TestServer::counting();
    let mut gif = file(&RgbImage::new(4, 4), ImageFormat::Gif);
    let part = gif.iter().rposition(|&byte| byte == b',').unwrap();
    gif[part + 5..part + 9].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
    let body = json!({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": data_url(&gif)}},
    ]}]});
    let error = server.refused(400, &body);
    assert_eq!(error["code"], "invalid_image");
    assert!(error["message"].as_str().unwrap().contains("emory"), "{error}");
}

#[test]
fn pictures_that_are_none_are_refused() {
    let server = TestServer::counting();
    let whole = file(&RgbImage::new(40, 40), ImageFormat::Png);
    for bytes in [&b""[..], b"hello", &whole[..whole.len() / 2]] {
        let body = json!({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": data_url(bytes)}},
        ]}]});
        let error = server.refused(400, &body);
        assert_eq!(error["code"], "invalid_image", "{error}");
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .starts_with("messages[0].content[0]: "),
            "{error}"
        );
    }
}

#[test]
fn pictures_are_bounded_in_number_and_together() {
    let server = TestServer::with(|config| config.limits.images = 2, counting());
    let body =
        json!({"messages": [{"role": "user", "content": [image_part(1), image_part(2), image_part(3)]}]});
    assert_eq!(server.refused(400, &body)["code"], "too_many_images");
    // Eleven bytes for each of their pixels while they are decoded.
    let small = TestServer::with(|config| config.limits.decoded_bytes = 20 * 1024, counting());
    let body = json!({"messages": [{"role": "user", "content": [image_part(1), image_part(2)]}]});
    assert_eq!(small.refused(413, &body)["code"], "images_too_large");
    // One after the other there is room for any number.
    for mark in 1..8 {
        assert_eq!(content(&small.chat(&about(mark, "one"))), "5 tokens");
    }
}

/// The checksum of a part of a PNG file.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
            1 => (crc >> 1) ^ 0xedb8_8320,
            _ => crc >> 1,
        })
    };
    !bytes.iter().fold(!0, step)
}
