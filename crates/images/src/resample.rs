//! Bicubic (or bilinear) resizing of 8-bit colour images, equal to Pillow 12 in every bit.
//!
//! Two passes, first along the rows, then along the columns, each rounding and clamping to 8 bits; the widths of the
//! filters follow the scale, so that shrinking averages. Generic cubic filters differ from this by several levels,
//! which is visible in a vision tower's output.

use std::ops::Range;

use image::{Rgb, RgbImage};
use rayon::prelude::*;

use crate::coefficients::{Coefficients, Filter, PRECISION_BITS};

/// Resize `image` to `width` by `height` pixels.
///
/// # Panics
/// If one of the four sides is zero.
pub fn resize_bicubic(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    Canvas::of(image).resize(
        width,
        height,
        Crop {
            x: 0,
            y: 0,
            width,
            height,
        },
    )
}

/// A picture to resize: an image somewhere on a larger plane of one colour. The plane is never stored, so a very
/// long image on a square plane costs no more than itself.
#[derive(Debug)]
pub struct Canvas<'a> {
    image: &'a RgbImage,
    background: Rgb<u8>,
    /// Size of the plane.
    width: usize,
    height: usize,
    /// Place of the image's top left corner on it.
    left: usize,
    top: usize,
    filter: Filter,
}

/// The part of the resized picture that is wanted, in pixels.
#[derive(Debug, Clone, Copy)]
pub struct Crop {
    /// Column of its left edge.
    pub x: u32,
    /// Row of its upper edge.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Crop {
    fn columns(&self) -> Range<usize> {
        self.x as usize..self.x as usize + self.width as usize
    }

    fn rows(&self) -> Range<usize> {
        self.y as usize..self.y as usize + self.height as usize
    }
}

impl<'a> Canvas<'a> {
    /// The image alone.
    pub fn of(image: &'a RgbImage) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        Self {
            image,
            background: Rgb([0; 3]),
            width,
            height,
            left: 0,
            top: 0,
            filter: Filter::Bicubic,
        }
    }

    /// The same picture, to be resized by another filter.
    pub fn with_filter(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// The image in the middle of a square plane of its longer side; an odd rest goes to the right or the bottom.
    pub fn square(image: &'a RgbImage, background: Rgb<u8>) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let side = width.max(height);
        let (left, top) = ((side - width) / 2, (side - height) / 2);
        Self {
            image,
            background,
            width: side,
            height: side,
            left,
            top,
            filter: Filter::Bicubic,
        }
    }

    /// Resize the plane to `width` by `height` and return the part `crop` of the result.
    ///
    /// # Panics
    /// If a side of the picture or of the result is zero, or `crop` is not inside the result.
    pub fn resize(&self, width: u32, height: u32, crop: Crop) -> RgbImage {
        let (n_columns, n_rows) = (self.image.width() as usize, self.image.height() as usize);
        assert!(
            n_columns > 0 && n_rows > 0,
            "an image must have at least one pixel"
        );
        assert!(
            width > 0 && height > 0,
            "cannot resize to {width} by {height} pixels"
        );
        let along = Coefficients::new(self.width, width as usize, crop.columns(), self.filter);
        let along = along.within(self.left..self.left + n_columns);
        let down = Coefficients::new(self.height, height as usize, crop.rows(), self.filter);
        let down = down.within(self.top..self.top + n_rows);
        let row_len = crop.width as usize * 3;
        let span = down.span();
        let rows = self.horizontal_pass(&along, span.clone(), row_len);
        let mut pixels = vec![0; row_len * crop.height as usize];
        pixels.par_chunks_mut(row_len).enumerate().for_each(|(i, out)| {
            let taps = down
                .taps(i)
                .map(|y| &rows[(y - span.start) * row_len..][..row_len]);
            sum_rows(out, self.start(down.outside(i)), taps, down.weights(i));
        });
        to_image(crop.width, crop.height, pixels)
    }

    /// The image's rows `span`, resized. Rows of the plane beside the image would keep the background's colour, since
    /// the weights of a position sum to one but for their rounding.
    fn horizontal_pass(&self, along: &Coefficients, span: Range<usize>, row_len: usize) -> Vec<u8> {
        let mut rows = vec![0; row_len * span.len()];
        rows.par_chunks_mut(row_len).zip(span).for_each(|(out, y)| {
            let line = self.line(y);
            for (i, pixel) in out.chunks_exact_mut(3).enumerate() {
                sum_pixels(
                    pixel,
                    self.start(along.outside(i)),
                    &line[along.taps(i)],
                    along.weights(i),
                );
            }
        });
        rows
    }

    /// One row of the image, four bytes per pixel so that a pixel is one vector.
    fn line(&self, y: usize) -> Vec<[u8; 4]> {
        let n = self.image.width() as usize;
        let row = &self.image.as_raw()[y * n * 3..(y + 1) * n * 3];
        row.as_chunks::<3>()
            .0
            .iter()
            .map(|&[r, g, b]| [r, g, b, 0])
            .collect()
    }

    /// The first value of the sums of a position that gives the background the weight `outside`; with half a level, so that
    /// the final shift rounds.
    fn start(&self, outside: i32) -> [i32; 4] {
        let [r, g, b] = self.background.0.map(|level| HALF + outside * i32::from(level));
        [r, g, b, HALF]
    }
}

/// Half a level.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Round a sum of weighted levels to a level.
#[inline(always)]
fn to_level(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// `out` = the weighted sum of neighbouring pixels of a line.
#[inline]
fn sum_pixels(out: &mut [u8], mut sums: [i32; 4], pixels: &[[u8; 4]], weights: &[i32]) {
    for (pixel, &weight) in pixels.iter().zip(weights) {
        for (sum, &level) in sums.iter_mut().zip(pixel) {
            *sum += weight * i32::from(level);
        }
    }
    for (level, sum) in out.iter_mut().zip(sums) {
        *level = to_level(sum);
    }
}

/// `out` = the weighted sum of whole rows.
fn sum_rows<'r>(out: &mut [u8], start: [i32; 4], rows: impl Iterator<Item = &'r [u8]>, weights: &[i32]) {
    let mut sums = start[..3].repeat(out.len() / 3);
    for (row, &weight) in rows.zip(weights) {
        for (sum, &level) in sums.iter_mut().zip(row) {
            *sum += weight * i32::from(level);
        }
    }
    for (level, sum) in out.iter_mut().zip(sums) {
        *level = to_level(sum);
    }
}

/// An image of exactly these pixels.
fn to_image(width: u32, height: u32, pixels: Vec<u8>) -> RgbImage {
    RgbImage::from_raw(width, height, pixels).unwrap_or_else(|| unreachable!("three bytes for each pixel"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of reproducible noise.
    fn noise(width: u32, height: u32) -> RgbImage {
        let mut state = 12345u32;
        RgbImage::from_fn(width, height, |_, _| {
            Rgb([0; 3].map(|_: u8| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            }))
        })
    }

    /// The same picture with the plane really stored.
    fn painted(canvas: &Canvas) -> RgbImage {
        let mut plane = RgbImage::from_pixel(canvas.width as u32, canvas.height as u32, canvas.background);
        for (x, y, pixel) in canvas.image.enumerate_pixels() {
            plane.put_pixel(x + canvas.left as u32, y + canvas.top as u32, *pixel);
        }
        plane
    }

    #[test]
    fn the_same_size_is_the_identity() {
        let image = noise(13, 9);
        assert_eq!(resize_bicubic(&image, 13, 9), image);
    }

    #[test]
    fn one_colour_stays_that_colour() {
        for (width, height) in [(1, 1), (7, 40), (300, 2)] {
            let image = RgbImage::from_pixel(width, height, Rgb([0, 128, 255]));
            let resized = resize_bicubic(&image, 31, 17);
            assert!(resized.pixels().all(|pixel| *pixel == Rgb([0, 128, 255])));
        }
    }

    #[test]
    fn a_crop_is_a_part_of_the_whole() {
        for (width, height) in [(50, 31), (31, 50), (20, 90)] {
            let image = noise(width, height);
            let whole = resize_bicubic(&image, 40, 44);
            let crop = Crop {
                x: 5,
                y: 7,
                width: 20,
                height: 25,
            };
            let part = Canvas::of(&image).resize(40, 44, crop);
            assert_eq!(part, image::imageops::crop_imm(&whole, 5, 7, 20, 25).to_image());
        }
    }

    #[test]
    fn an_imagined_plane_equals_a_painted_one() {
        for (width, height) in [(60, 25), (25, 60), (61, 60), (3, 90), (90, 3), (40, 40), (20, 7)] {
            let image = noise(width, height);
            let canvas = Canvas::square(&image, Rgb([122, 116, 104]));
            for side in [16, 60, 77] {
                let crop = Crop {
                    x: 0,
                    y: 0,
                    width: side,
                    height: side,
                };
                let direct = canvas.resize(side, side, crop);
                assert_eq!(
                    direct,
                    resize_bicubic(&painted(&canvas), side, side),
                    "{width} {height} {side}"
                );
            }
        }
    }
}
