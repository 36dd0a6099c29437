//! Writes the pictures of the stored corpus: a few pixels in every format that is read.

use diffprune_fuzz_targets::corpus;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

fn main() -> image::ImageResult<()> {
    let picture = RgbImage::from_fn(13, 9, |x, y| Rgb([x as u8 * 19, y as u8 * 28, (x * y) as u8]));
    let picture = DynamicImage::from(picture);
    let grey = DynamicImage::from(picture.to_luma16());
    let clear = DynamicImage::from(picture.to_rgba8());
    let folder = corpus().join("image");
    std::fs::create_dir_all(&folder)?;
    for (name, format) in [
        ("rgb.png", ImageFormat::Png),
        ("rgb.jpg", ImageFormat::Jpeg),
        ("rgb.webp", ImageFormat::WebP),
        ("rgb.gif", ImageFormat::Gif),
        ("rgb.bmp", ImageFormat::Bmp),
        ("rgb.tiff", ImageFormat::Tiff),
    ] {
        picture.save_with_format(folder.join(name), format)?;
    }
    grey.save_with_format(folder.join("grey16.png"), ImageFormat::Png)?;
    grey.save_with_format(folder.join("grey16.tiff"), ImageFormat::Tiff)?;
    clear.save_with_format(folder.join("rgba.png"), ImageFormat::Png)?;
    clear.save_with_format(folder.join("rgba.webp"), ImageFormat::WebP)
}
