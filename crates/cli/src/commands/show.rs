//! `diffprune show`.

use std::path::PathBuf;

use clap::Args;
use diffprune::vlm::{PruneOptions, load_image_with};
use diffprune::{Budget, Grid};
use diffprune_lab::{KeptCounts, Method, default_method, draw};

use crate::method::HELP;
use crate::model::{ModelArgs, tell_foreign, tell_idle};
use crate::picture::PictureArgs;
use crate::print::say;

/// Draws a picture beside the scores of its tokens and beside the tokens that are kept.
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The picture (PNG, JPEG, WebP, GIF, BMP or TIFF).
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    #[command(flatten)]
    picture: PictureArgs,
    /// File to write, in the format of its ending: png, jpg, webp, bmp or tiff.
    #[arg(long, value_name = "FILE")]
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
        let picture = load_image_with(&self.image, self.picture.orientation())?;
        let model = self.model.load()?;
        let name = self
            .pruner
            .as_deref()
            .unwrap_or(default_method(model.vlm.family()));
        tell_foreign(name, model.vlm.family());
        let method = Method::parse(name, model.vlm.as_ref(), self.seed)?;
        let options = PruneOptions {
            seed: self.seed,
            ..PruneOptions::new(self.keep)
        };
        let counts = draw(model.vlm.as_ref(), &picture, &method, &options, &self.out)?;
        tell_idle(self.keep, counts.total);
        let line = format!(
            "{}: {} of {} tokens kept by {name}{}",
            self.out.display(),
            counts.kept,
            counts.total,
            by_segment(&counts)
        );
        say!("{}", model.with_options(&line));
        Ok(())
    }
}

/// The counts of each raster where there are several: in LLaVA-NeXT the small view of the whole picture, then the map of
/// the tiles.
fn by_segment(counts: &KeptCounts) -> String {
    if counts.segments.len() < 2 {
        return String::new();
    }
    let part =
        |(grid, kept): &(Grid, usize)| format!("{kept} of the raster of {}x{} tokens", grid.rows, grid.cols);
    let parts: Vec<_> = counts.segments.iter().map(part).collect();
    format!(" ({})", parts.join(", "))
}
