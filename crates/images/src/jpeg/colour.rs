//! Components to red, green and blue.

use image::RgbImage;

use super::frame::Frame;
use super::upsample::Enlarged;

/// The meaning of a picture's components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// One: grey levels.
    Grey,
    /// Three: colours.
    Rgb,
    /// Three: luma and two colour differences.
    YCbCr,
    /// Four: inks, the more the lower.
    Cmyk,
    /// Four: three inks as luma and colour differences, and black.
    Ycck,
}

/// Bits of the constants' fraction.
const BITS: u32 = 16;

/// A constant as a fixed-point number.
const fn fixed(x: f64) -> i32 {
    (x * (1 << BITS) as f64 + 0.5) as i32
}

/// The picture of a frame whose samples are computed.
pub(super) fn convert(frame: &Frame, colour: Colour) -> RgbImage {
    let components: Vec<Enlarged<'_>> = frame
        .components
        .iter()
        .map(|component| Enlarged::new(frame, component))
        .collect();
    let mut rows = vec![Vec::with_capacity(frame.width + 8); components.len()];
    let mut pixels = Vec::with_capacity(frame.width * frame.height * 3);
    for y in 0..frame.height {
        for (component, row) in components.iter().zip(&mut rows) {
            component.row(y, row);
            row.truncate(frame.width);
        }
        append(&rows, colour, &mut pixels);
    }
    RgbImage::from_raw(frame.width as u32, frame.height as u32, pixels)
        .unwrap_or_else(|| unreachable!("three bytes for each pixel"))
}

fn append(rows: &[Vec<u8>], colour: Colour, pixels: &mut Vec<u8>) {
    match (colour, rows) {
        (Colour::Rgb, [r, g, b]) => {
            pixels.extend(r.iter().zip(g).zip(b).flat_map(|((&r, &g), &b)| [r, g, b]));
        }
        (Colour::YCbCr, [y, cb, cr]) => {
            pixels.extend(
                y.iter()
                    .zip(cb)
                    .zip(cr)
                    .flat_map(|((&y, &cb), &cr)| rgb(y, cb, cr)),
            );
        }
        (Colour::Cmyk, [c, m, y, k]) => {
            let inks = c.iter().zip(m).zip(y).zip(k);
            pixels.extend(inks.flat_map(|(((&c, &m), &y), &k)| [c, m, y].map(|ink| mixed(ink, k))));
        }
        (Colour::Ycck, [y, cb, cr, k]) => {
            let inks = y.iter().zip(cb).zip(cr).zip(k);
            // The file's luma and differences are those of the colours that the inks leave.
            let pixel = |(((&y, &cb), &cr), &k)| rgb(y, cb, cr).map(|left| mixed(255 - left, k));
            pixels.extend(inks.flat_map(pixel));
        }
        (_, [levels, ..]) => pixels.extend(levels.iter().flat_map(|&level| [level; 3])),
        (_, []) => {}
    }
}

#[inline]
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let half = 1 << (BITS - 1);
    let r = y + ((fixed(1.402) * cr + half) >> BITS);
    let g = y + ((-fixed(0.344_14) * cb - fixed(0.714_14) * cr + half) >> BITS);
    let b = y + ((fixed(1.772) * cb + half) >> BITS);
    [r, g, b].map(|level| level.clamp(0, 255) as u8)
}

/// The light that an ink and black leave of white; both are stored inverted, as Adobe's programs do.
#[inline]
fn mixed(ink: u8, black: u8) -> u8 {
    let (ink, left) = (255 - u32::from(ink), u32::from(black));
    let product = ink * left + 128;
    left.saturating_sub((product + (product >> 8)) >> 8) as u8
}
