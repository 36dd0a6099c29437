//! One picture with the tokens that a method keeps of it.

mod letters;

use std::path::Path;

use diffprune::pruning::Segment;
use diffprune::vlm::{PruneOptions, encode, prepare_encoded};
use diffprune::{Grid, Layout, Vlm};
use diffprune_eval::{heat_colour, heat_map, merged_map};
use diffprune_files::write_whole;
use image::{ImageFormat, Rgb, RgbImage};

use crate::error::LabError;
use crate::methods::Method;

/// White between a picture and what is written above and below it, pixels.
const MARGIN: u32 = 8;
/// Height of the bar of colours, pixels.
const BAR: u32 = letters::HEIGHT;

/// The choice that was drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptCounts {
    /// Kept tokens.
    pub kept: usize,
    /// All tokens.
    pub total: usize,
    /// Each raster of tokens with the number kept in it, in the order of the panels: one raster or, in LLaVA-NeXT, the small
    /// view of the whole picture and the map of the tiles.
    pub segments: Vec<(Grid, usize)>,
    /// The kept tokens, or the places at which merged ones stand, in the order of the sequence.
    pub indices: Vec<usize>,
    /// The score of each token; empty when the method has none.
    pub scores: Vec<f32>,
    /// True when tokens were merged into the kept ones.
    pub merged: bool,
}

impl KeptCounts {
    /// The counts of each raster as the end of a line, where there are several: in LLaVA-NeXT the small view of the whole
    /// picture, then the map of the tiles.
    pub fn by_segment(&self) -> String {
        if self.segments.len() < 2 {
            return String::new();
        }
        let part = |(grid, kept): &(Grid, usize)| {
            format!("{kept} of the raster of {}x{} tokens", grid.rows, grid.cols)
        };
        let parts: Vec<_> = self.segments.iter().map(part).collect();
        format!(" ({})", parts.join(", "))
    }

    /// The scores as JSON has them: what is no number is `None`; `None` in all when the method has no scores.
    pub fn finite_scores(&self) -> Option<Vec<Option<f32>>> {
        let finite = |score: &f32| score.is_finite().then_some(*score);
        (!self.scores.is_empty()).then(|| self.scores.iter().map(finite).collect())
    }

    fn new(layout: &Layout, keep: &[usize], scores: Vec<f32>, merged: bool) -> Self {
        let within = |(first, segment): (usize, &Segment)| {
            let own = first..first + segment.grid.n_tokens();
            let kept = keep.iter().filter(|&index| own.contains(index)).count();
            (segment.grid, kept)
        };
        Self {
            kept: keep.len(),
            total: layout.n_tokens(),
            segments: layout.offsets().map(within).collect(),
            indices: keep.to_vec(),
            scores,
            merged,
        }
    }
}

/// The format of a picture file, by the end of its name; PNG without one.
fn format_of(out: &Path) -> Result<ImageFormat, LabError> {
    use ImageFormat::{Bmp, Jpeg, Png, Tiff, WebP};
    let Some(ending) = out.extension() else {
        return Ok(Png);
    };
    let known =
        ImageFormat::from_extension(ending).filter(|format| [Bmp, Jpeg, Png, Tiff, WebP].contains(format));
    known.ok_or_else(|| LabError::Setup {
        subject: out.display().to_string(),
        found: format!("the ending .{}", ending.to_string_lossy()),
        wanted: "png, jpg, webp, bmp or tiff".into(),
    })
}

/// Draws the choice of a method into a picture file of the kind that its name ends with: `name` and the number of kept tokens
/// above; the picture, then for each raster of tokens their scores as heat and the kept tokens; below them what colours mean.
///
/// # Errors
/// When the method cannot choose, acts inside the language model, or the file cannot be written.
pub fn draw(
    vlm: &dyn Vlm,
    picture: &RgbImage,
    method: &Method,
    name: &str,
    options: &PruneOptions,
    out: &Path,
) -> Result<KeptCounts, LabError> {
    let format = format_of(out)?;
    let pruner = method.pruner();
    if pruner.decoder().is_some() {
        return Err(LabError::Setup {
            subject: "pruner".into(),
            found: format!(
                "`{}`, which keeps every token until the language model reads a question",
                pruner.name()
            ),
            wanted: "a method that chooses before it; `diffprune ask` runs both kinds".into(),
        });
    }
    let encoded = encode(vlm, std::slice::from_ref(picture), pruner.signals())?;
    let images = prepare_encoded(vlm, &encoded, pruner.as_ref(), options)?;
    let layout = &encoded.layouts[0];
    let scores = method.scores(&encoded, vlm.group());
    let keep = images.keep_indices(0);
    let canvas = match method.merges() {
        false => heat_map(picture, layout, &scores, keep),
        true => merged_map(picture, layout, &scores, keep),
    };
    let counts = KeptCounts::new(layout, keep, scores, method.merges());
    let canvas = captioned(&canvas, &counts, name);
    let mut bytes = std::io::Cursor::new(Vec::new());
    canvas
        .write_to(&mut bytes, format)
        .map_err(|source| LabError::Picture {
            path: out.into(),
            source,
        })?;
    write_whole(out, bytes.get_ref())?;
    Ok(counts)
}

/// The panels with a title above them and the meaning of their colours below.
fn captioned(panels: &RgbImage, counts: &KeptCounts, name: &str) -> RgbImage {
    let strip = letters::HEIGHT + 2 * MARGIN;
    let (width, height) = (panels.width(), panels.height() + 2 * strip);
    let mut canvas = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    image::imageops::replace(&mut canvas, panels, 0, i64::from(strip));
    let how = if counts.merged { ", merged" } else { "" };
    let title = format!("{name}: {} of {} tokens{how}", counts.kept, counts.total);
    letters::write(&mut canvas, &title, MARGIN, MARGIN);
    let meaning = match counts.merged {
        true => "dot: where a merged token stands",
        false => "clear: kept, dark: dropped",
    };
    let finite = || counts.scores.iter().copied().filter(|score| score.is_finite());
    let range = finite().reduce(f32::min).zip(finite().reduce(f32::max));
    let top = height - letters::HEIGHT - MARGIN;
    let mut left = MARGIN;
    letters::write(&mut canvas, "scores:", left, top);
    left += letters::width("scores: ");
    match range {
        None => {
            letters::write(&mut canvas, "the method has none", left, top);
            left += letters::width("the method has none");
        }
        Some((least, greatest)) => {
            let (least, greatest) = (short(least), short(greatest));
            letters::write(&mut canvas, &least, left, top);
            left += letters::width(&least) + MARGIN;
            let bar = (width / 4).min(256);
            for x in (0..bar).filter(|x| left + x < width) {
                for y in 0..BAR {
                    canvas.put_pixel(left + x, top + y, heat_colour(x as f32 / bar as f32));
                }
            }
            left += bar + MARGIN;
            letters::write(&mut canvas, &greatest, left, top);
            left += letters::width(&greatest);
        }
    }
    letters::write(&mut canvas, meaning, left + letters::width("    "), top);
    canvas
}

/// A score as it is written under a picture.
fn short(score: f32) -> String {
    match score.abs() {
        size if size != 0.0 && !(1e-3..1e4).contains(&size) => format!("{score:.1e}"),
        _ => format!("{score:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_stands_above_and_the_colours_are_told_below() {
        let panels = RgbImage::from_pixel(1024, 336, Rgb([10, 20, 30]));
        let counts = |scores: Vec<f32>, merged| KeptCounts {
            kept: 2,
            total: 3,
            segments: Vec::new(),
            indices: vec![0, 2],
            scores,
            merged,
        };
        let with_scores = captioned(&panels, &counts(vec![0.0, 2.0, f32::NAN], false), "cls");
        let strip = letters::HEIGHT + 2 * MARGIN;
        assert_eq!(with_scores.dimensions(), (1024, 336 + 2 * strip));
        assert_eq!(with_scores.get_pixel(5, strip + 100), &Rgb([10, 20, 30]));
        let below = |canvas: &RgbImage| {
            let rows = image::imageops::crop_imm(canvas, 0, 336 + strip, 1024, strip).to_image();
            rows.pixels()
                .filter(|pixel| pixel.0 != [0; 3] && pixel.0 != [255; 3])
                .count() as u32
        };
        assert_eq!(below(&with_scores), 256 * BAR, "a bar of colours");
        assert_eq!(
            below(&captioned(&panels, &counts(Vec::new(), false), "random")),
            0
        );
        let above = |merged| {
            let canvas = captioned(&panels, &counts(Vec::new(), merged), "tome");
            let rows = image::imageops::crop_imm(&canvas, 0, 0, 1024, strip).to_image();
            rows.pixels().filter(|pixel| pixel.0 == [0; 3]).count()
        };
        assert!(above(true) > above(false) && above(false) > 0);
    }
}
