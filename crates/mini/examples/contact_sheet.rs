//! Draws a sheet of scenes: `cargo run -p diffprune-mini --example contact_sheet -- sheet.png [first] [rows] [columns]`.

use diffprune_mini::{SceneDataset, Split, WorldConfig, render};
use image::{RgbImage, imageops};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give the path of the PNG to write")?;
    let mut number = |default: u32| arguments.next().map_or(Ok(default), |text| text.parse::<u32>());
    let (first, rows, columns) = (number(0)?, number(4)?, number(6)?);
    let scenes = SceneDataset::new(WorldConfig::default(), 0, Split::Train)?;
    let pitch = scenes.config().image_size + 6;
    let mut sheet = RgbImage::new(columns * pitch, rows * pitch);
    for cell in 0..rows * columns {
        let scene = scenes.get(u64::from(first + cell));
        let (x, y) = (
            i64::from(cell % columns * pitch),
            i64::from(cell / columns * pitch),
        );
        imageops::replace(&mut sheet, &render(&scene), x, y);
    }
    sheet.save(&path)?;
    println!("{} scenes in {path}", rows * columns);
    Ok(())
}
