//! Pictures shrunk until they hold no more than some of the tokens could say.

use diffprune_images::resize_bicubic;
use diffprune_vlm::{ImageShape, Pixels};
use image::RgbImage;

/// Width and height of what the vision encoder looks at, for each image: the square of a view, the views of a tiled
/// picture side by side, or the raster of patches.
pub(crate) fn inputs(pixels: &Pixels) -> Vec<[f64; 2]> {
    let [_, _, height, width] = pixels.values.dims();
    let input = |image: &ImageShape| {
        [
            (width * image.grid.cols) as f64,
            (height * image.grid.rows) as f64,
        ]
    };
    pixels.images.iter().map(input).collect()
}

/// The picture at the size at which it is worth `kept` of `total` tokens: both sides times `sqrt(kept / total)`.
///
/// A picture that is larger than the encoder's `input` counts at the size at which it fits into it, since the encoder sees
/// no more of it. All tokens leave the picture as it is.
pub(crate) fn downsampled(image: &RgbImage, input: [f64; 2], kept: usize, total: usize) -> RgbImage {
    if kept >= total {
        return image.clone();
    }
    let sides = [f64::from(image.width()), f64::from(image.height())];
    let fit = (input[0] / sides[0]).min(input[1] / sides[1]).min(1.0);
    let scale = fit * (kept as f64 / total as f64).sqrt();
    let [width, height] = sides.map(|side| (side * scale).round().max(1.0) as u32);
    resize_bicubic(image, width, height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn sides_follow_the_root_of_the_share() {
        let size = |width, height, input, kept| {
            let image = RgbImage::from_pixel(width, height, Rgb([1, 2, 3]));
            let small = downsampled(&image, input, kept, 576);
            assert_eq!(small.get_pixel(0, 0), &Rgb([1, 2, 3]));
            small.dimensions()
        };
        assert_eq!(size(336, 336, [336.0; 2], 64), (112, 112));
        assert_eq!(size(100, 200, [336.0; 2], 144), (50, 100));
        // A larger picture counts as the encoder sees it, whatever its size.
        assert_eq!(size(672, 336, [336.0; 2], 64), (112, 56));
        assert_eq!(size(6720, 3360, [336.0; 2], 64), (112, 56));
        assert_eq!(size(672, 336, [672.0, 336.0], 64), (224, 112));
        assert_eq!(size(40, 1, [336.0; 2], 1), (2, 1));
        assert_eq!(size(6720, 3360, [336.0; 2], 576), (6720, 3360));
    }
}
