//! `diffprune show`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use diffprune::pruning::Segment;
use diffprune::vlm::{PruneOptions, load_image, write_atomic};
use diffprune::{Budget, Grid, Layout, Vlm, prune};
use diffprune_eval::heat_map;
use image::{ImageFormat, RgbImage};

use crate::model::ModelArgs;
use crate::pruners::{HELP, Method};

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
        let counts = draw(model.vlm.as_ref(), &picture, &method, &options, &self.out)?;
        let line = format!(
            "{}: {} of {} tokens kept by {}{}",
            self.out.display(),
            counts.kept,
            counts.total,
            self.pruner,
            counts.by_segment()
        );
        println!("{}", model.with_options(&line));
        Ok(())
    }
}

/// How many tokens were kept.
pub struct Counts {
    /// Kept tokens.
    pub kept: usize,
    /// All tokens.
    pub total: usize,
    /// For each raster of tokens its size and the kept ones in it, in the order of the panels.
    segments: Vec<(Grid, usize)>,
}

impl Counts {
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

    /// The counts of each raster where there are several: in LLaVA-NeXT the small view of the whole picture, then the
    /// map of the tiles.
    fn by_segment(&self) -> String {
        if self.segments.len() < 2 {
            return String::new();
        }
        let part = |(grid, kept): &(Grid, usize)| {
            format!("{kept} of the raster of {}x{} tokens", grid.rows, grid.cols)
        };
        let parts: Vec<_> = self.segments.iter().map(part).collect();
        format!(" ({})", parts.join(", "))
    }
}

/// Draws the choice of a method into a PNG.
pub fn draw(
    vlm: &dyn Vlm,
    picture: &RgbImage,
    method: &Method,
    options: &PruneOptions,
    out: &Path,
) -> anyhow::Result<Counts> {
    let pruner = method.pruner();
    let pixels = vlm.preprocess(std::slice::from_ref(picture))?;
    let encoded = vlm.encode(pixels, pruner.signals());
    let (_, selection) = prune(vlm, &encoded, pruner.as_ref(), options)?;
    let layout = &encoded.layouts[0];
    let scores = method.scores(&encoded, vlm.group());
    let canvas = heat_map(picture, layout, &scores, selection.keep_indices(0));
    let mut bytes = std::io::Cursor::new(Vec::new());
    canvas
        .write_to(&mut bytes, ImageFormat::Png)
        .with_context(|| format!("cannot encode {}", out.display()))?;
    write_atomic(out, bytes.get_ref())?;
    Ok(Counts::new(layout, selection.keep_indices(0)))
}
