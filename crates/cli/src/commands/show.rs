//! `diffprune show`.

use std::path::PathBuf;

use clap::Args;
use diffprune::vlm::{PruneOptions, load_image_with};
use diffprune::{Budget, Grid};
use diffprune_lab::{KeptCounts, LoadedModel, draw};
use serde_json::json;

use crate::method::HELP;
use crate::model::{ModelArgs, tell_foreign, tell_idle};
use crate::picture::PictureArgs;
use crate::print::{self, say};

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
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: PathBuf,
    /// How tokens are chosen.
    #[arg(long, value_name = "METHOD", help = HELP, help_heading = "Pruning")]
    pruner: Option<String>,
    /// Tokens that stay: a count (16), a fraction (1/9), a percentage (11%) or all.
    #[arg(
        long,
        default_value = "1/9",
        allow_negative_numbers = true,
        help_heading = "Pruning"
    )]
    keep: Budget,
    /// Seed of methods that draw at random.
    #[arg(long, default_value_t = 0, help_heading = "Pruning")]
    seed: u64,
    /// Print the kept tokens and the score of every token as one line of JSON (docs/json.md).
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl ShowArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let picture = load_image_with(&self.image, self.picture.orientation())?;
        let model = self.model.load()?;
        let (name, method) = model.method(self.pruner.as_deref(), self.seed)?;
        tell_foreign(&name.resolved, model.vlm.family());
        let name = name.shown.as_str();
        let options = PruneOptions::new(self.keep).with_seed(self.seed);
        let counts = draw(model.vlm.as_ref(), &picture, &method, name, &options, &self.out)?;
        tell_idle(self.keep, counts.total);
        if self.json {
            return print::json(&self.as_json(&model, name, &counts));
        }
        let line = format!(
            "{}: {} of {} tokens kept by {name}{}",
            self.out.display(),
            counts.kept,
            counts.total,
            counts.by_segment()
        );
        say!("{}", model.with_options(&line));
        Ok(())
    }

    fn as_json(&self, model: &LoadedModel, name: &str, counts: &KeptCounts) -> serde_json::Value {
        let part = |(grid, kept): &(Grid, usize)| json!({"rows": grid.rows, "cols": grid.cols, "kept": kept});
        json!({
            "file": self.out,
            "image": self.image,
            "model": model.name(),
            "method": name,
            "keep": self.keep,
            "seed": self.seed,
            "total": counts.total,
            "kept": counts.kept,
            "merged": counts.merged,
            "segments": counts.segments.iter().map(part).collect::<Vec<_>>(),
            "indices": counts.indices,
            "scores": counts.finite_scores(),
        })
    }
}
