//! `diffprune show`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use diffprune::vlm::{PruneOptions, load_image, write_atomic};
use diffprune::{Budget, Vlm, prune};
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
        let (kept, total) = draw(model.vlm.as_ref(), &picture, &method, &options, &self.out)?;
        let line = format!(
            "{}: {kept} of {total} tokens kept by {}",
            self.out.display(),
            self.pruner
        );
        println!("{}", model.with_options(&line));
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
    Ok((selection.count(0), layout.n_tokens()))
}
