//! One picture with the tokens that a method keeps of it.

use std::path::Path;

use diffprune::pruning::Segment;
use diffprune::vlm::{PruneOptions, encode, prepare_encoded};
use diffprune::{Grid, Layout, Vlm};
use diffprune_eval::heat_map;
use diffprune_files::write_whole;
use image::{ImageFormat, RgbImage};

use crate::error::LabError;
use crate::methods::Method;

/// Numbers of kept tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCounts {
    /// Kept tokens.
    pub kept: usize,
    /// All tokens.
    pub total: usize,
    /// Each raster of tokens with the number kept in it, in the order of the panels: one raster or, in LLaVA-NeXT, the small
    /// view of the whole picture and the map of the tiles.
    pub segments: Vec<(Grid, usize)>,
}

impl KeptCounts {
    fn new(layout: &Layout, keep: &[usize]) -> Self {
        let within = |(first, segment): (usize, &Segment)| {
            let own = first..first + segment.grid.n_tokens();
            let kept = keep.iter().filter(|&index| own.contains(index)).count();
            (segment.grid, kept)
        };
        Self {
            kept: keep.len(),
            total: layout.n_tokens(),
            segments: layout.offsets().map(within).collect(),
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

/// Draws the choice of a method into a picture file of the kind that its name ends with: the picture, then for each raster of tokens their scores as heat and the kept
/// tokens.
///
/// # Errors
/// When the method cannot choose, acts inside the language model, or the file cannot be written.
pub fn draw(
    vlm: &dyn Vlm,
    picture: &RgbImage,
    method: &Method,
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
    let canvas = heat_map(picture, layout, &scores, images.keep_indices(0));
    let mut bytes = std::io::Cursor::new(Vec::new());
    canvas
        .write_to(&mut bytes, format)
        .map_err(|source| LabError::Picture {
            path: out.into(),
            source,
        })?;
    write_whole(out, bytes.get_ref())?;
    Ok(KeptCounts::new(layout, images.keep_indices(0)))
}
