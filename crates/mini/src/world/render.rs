//! From a scene to pixels.

use super::blur::blur;
use super::glyphs;
use super::scene::{Box2, Object, Scene, Sign};
use super::shapes::signed_distance;
use image::RgbImage;

/// Paint of a sign's plate.
const PLATE: [u8; 3] = [244, 243, 238];
/// Paint of a sign's border and letters.
const INK: [u8; 3] = [22, 22, 26];

/// Draws the scene.
pub fn render(scene: &Scene) -> RgbImage {
    let mut image = RgbImage::new(scene.image_size, scene.image_size);
    render_into(scene, &mut image);
    image
}

/// Draws the scene over the first `3 * image_size^2` bytes of `pixels`, rows of RGB, without allocating an image.
///
/// # Panics
/// If `pixels` is shorter than that.
pub fn render_into(scene: &Scene, pixels: &mut [u8]) {
    let size = scene.image_size as usize;
    let pixels = &mut pixels[..3 * size * size];
    scene.background.fill(pixels, size);
    for object in &scene.objects {
        draw_object(object, pixels, size);
    }
    if let Some(sign) = &scene.sign {
        draw_sign(sign, pixels, size);
    }
    if scene.blurred {
        blur(pixels, size);
    }
}

/// Blends the object over what is there; its edge is smoothed over one pixel.
fn draw_object(object: &Object, pixels: &mut [u8], size: usize) {
    let paint = object.colour.rgb();
    let half = (object.bbox.x1 - object.bbox.x0) / 2.0;
    let [cx, cy] = object.centre;
    let (columns, rows) = pixel_ranges(&object.bbox, size);
    for y in rows {
        let dy = (y as f32 + 0.5 - cy) / half;
        for x in columns.clone() {
            let dx = (x as f32 + 0.5 - cx) / half;
            let cover = (0.5 - half * signed_distance(object.shape, dx, dy)).clamp(0.0, 1.0);
            if cover > 0.0 {
                let weight = (cover * 256.0) as u32;
                let at = 3 * (y * size + x);
                for (value, ink) in pixels[at..at + 3].iter_mut().zip(paint) {
                    *value = ((u32::from(*value) * (256 - weight) + u32::from(ink) * weight) >> 8) as u8;
                }
            }
        }
    }
}

fn draw_sign(sign: &Sign, pixels: &mut [u8], size: usize) {
    fill_box(&sign.bbox, INK, pixels, size);
    let border = sign.border as f32;
    let Box2 { x0, y0, x1, y1 } = sign.bbox;
    let plate = Box2 {
        x0: x0 + border,
        y0: y0 + border,
        x1: x1 - border,
        y1: y1 - border,
    };
    fill_box(&plate, PLATE, pixels, size);
    for (letter, bbox) in sign.text.chars().zip(&sign.letters) {
        draw_letter(letter, bbox, sign.scale as f32, pixels, size);
    }
}

fn draw_letter(letter: char, bbox: &Box2, scale: f32, pixels: &mut [u8], size: usize) {
    for (j, bits) in glyphs::glyph(letter).into_iter().enumerate() {
        for i in (0..glyphs::WIDTH).filter(|i| bits >> (glyphs::WIDTH - 1 - i) & 1 == 1) {
            let (x0, y0) = (bbox.x0 + i as f32 * scale, bbox.y0 + j as f32 * scale);
            fill_box(
                &Box2 {
                    x0,
                    y0,
                    x1: x0 + scale,
                    y1: y0 + scale,
                },
                INK,
                pixels,
                size,
            );
        }
    }
}

fn fill_box(bbox: &Box2, paint: [u8; 3], pixels: &mut [u8], size: usize) {
    let (columns, rows) = pixel_ranges(bbox, size);
    for y in rows {
        let row = &mut pixels[3 * (y * size + columns.start)..3 * (y * size + columns.end)];
        for pixel in row.chunks_exact_mut(3) {
            pixel.copy_from_slice(&paint);
        }
    }
}

/// Columns and rows of the pixels that the box touches, within the image.
pub(super) fn pixel_ranges(bbox: &Box2, size: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let low = |v: f32| (v.floor().max(0.0) as usize).min(size);
    let high = |v: f32| (v.ceil().max(0.0) as usize).min(size);
    (low(bbox.x0)..high(bbox.x1), low(bbox.y0)..high(bbox.y1))
}
