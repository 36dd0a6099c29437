//! `diffprune show`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use diffprune::vlm::{PruneOptions, load_image, write_atomic};
use diffprune::{Budget, Vlm, prune};
use diffprune_eval::heat_map;
use image::{ImageFormat, Rgb, RgbImage};

use crate::model::ModelArgs;
use crate::pruners::{HELP, Method};

/// Colour around pictures that are not square, as LLaVA pads them.
const PADDING: Rgb<u8> = Rgb([122, 116, 104]);

/// Draws a picture beside the scores of its tokens and beside the tokens that are kept.
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The picture, PNG or JPEG.
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// PNG to write.
    #[arg(long, value_name = "PNG")]
    out: PathBuf,
    /// How tokens are chosen.
    #[arg(long, default_value = "cls", help = HELP)]
    pruner: String,
    /// Tokens that stay: a count (16), a fraction (1/9), a percentage (11%) or all.
    #[arg(long, default_value = "1/9")]
    keep: Budget,
    /// Seed of methods that draw at random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl ShowArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let picture = load_image(&self.image)?;
        let model = self.model.load()?;
        let method = Method::parse(&self.pruner, model.vlm.as_ref(), self.seed)?;
        let options = PruneOptions {
            seed: self.seed,
            ..PruneOptions::new(self.keep)
        };
        let (kept, total) = draw(model.vlm.as_ref(), &picture, &method, &options, &self.out)?;
        println!(
            "{}: {kept} of {total} tokens kept by {}",
            self.out.display(),
            self.pruner
        );
        Ok(())
    }
}

/// Draws the choice of a method into a PNG; gives the numbers of kept and of all tokens.
pub fn draw(
    vlm: &dyn Vlm,
    picture: &RgbImage,
    method: &Method,
    options: &PruneOptions,
    out: &Path,
) -> anyhow::Result<(usize, usize)> {
    let pruner = method.pruner();
    let encoded = vlm.encode(vlm.preprocess(std::slice::from_ref(picture)), pruner.signals());
    let (_, selection) = prune(vlm, &encoded, pruner.as_ref(), options)?;
    let grid = encoded.grids[0];
    let scores = method.scores(&encoded);
    let canvas = heat_map(&squared(picture), grid, &scores, selection.keep_indices(0));
    let mut bytes = std::io::Cursor::new(Vec::new());
    canvas
        .write_to(&mut bytes, ImageFormat::Png)
        .with_context(|| format!("cannot encode {}", out.display()))?;
    write_atomic(out, bytes.get_ref())?;
    Ok((selection.count(0), grid.n_tokens()))
}

/// The picture on a square, as the model sees it.
fn squared(picture: &RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let side = width.max(height);
    let mut square = RgbImage::from_pixel(side, side, PADDING);
    let (x, y) = ((side - width) / 2, (side - height) / 2);
    image::imageops::replace(&mut square, picture, i64::from(x), i64::from(y));
    square
}
