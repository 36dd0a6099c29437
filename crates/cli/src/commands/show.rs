//! `diffprune show`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use diffprune::pruning::Segment;
use diffprune::vlm::{PruneOptions, encode, load_image, prepare_encoded, write_atomic};
use diffprune::{Budget, Grid, Layout, Vlm};
use diffprune_eval::heat_map;
use image::{ImageFormat, RgbImage};

use crate::model::ModelArgs;
use crate::pruners::{HELP, Method, default_for};

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
    #[arg(long, value_name = "METHOD", help = HELP)]
    pruner: Option<String>,
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
        let name = self.pruner.as_deref().unwrap_or(default_for(model.vlm.family()));
        let method = Method::parse(name, model.vlm.as_ref(), self.seed)?;
        let options = PruneOptions {
            seed: self.seed,
            ..PruneOptions::new(self.keep)
        };
        let counts = draw(model.vlm.as_ref(), &picture, &method, &options, &self.out)?;
        let line = format!(
            "{}: {} of {} tokens kept by {name}{}",
            self.out.display(),
            counts.kept,
            counts.total,
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
///
/// # Errors
/// When the method cannot choose, acts inside the language model, or the file cannot be written.
pub fn draw(
    vlm: &dyn Vlm,
    picture: &RgbImage,
    method: &Method,
    options: &PruneOptions,
    out: &Path,
) -> anyhow::Result<Counts> {
    let pruner = method.pruner();
    if pruner.decoder().is_some() {
        bail!(
            "pruner: found `{}`, which keeps every token until the language model reads a question, wanted a method \
             that chooses before it; `diffprune ask` runs both kinds",
            pruner.name()
        );
    }
    let encoded = encode(vlm, std::slice::from_ref(picture), pruner.signals())?;
    let images = prepare_encoded(vlm, &encoded, pruner.as_ref(), options)?;
    let layout = &encoded.layouts[0];
    let scores = method.scores(&encoded, vlm.group());
    let canvas = heat_map(picture, layout, &scores, images.keep_indices(0));
    let mut bytes = std::io::Cursor::new(Vec::new());
    canvas
        .write_to(&mut bytes, ImageFormat::Png)
        .with_context(|| format!("cannot encode {}", out.display()))?;
    write_atomic(out, bytes.get_ref())?;
    Ok(Counts::new(layout, images.keep_indices(0)))
}
