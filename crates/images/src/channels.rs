//! The three colour channels of a picture, as the reference pipeline sees them.

use image::{DynamicImage, ImageBuffer, Rgb, RgbImage, Rgba, RgbaImage};

/// `true` if this is a png of colour type 2 (no alpha channel). Decoding gives such a file an alpha channel if it names
/// one colour as transparent, which the reference pipeline ignores.
pub(super) fn has_colour_key(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG") && bytes.get(25) == Some(&2)
}

/// The three colour channels at 8 bits.
pub(super) fn to_rgb(image: DynamicImage, ignore_alpha: bool) -> RgbImage {
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
}
