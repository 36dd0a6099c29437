//! `diffprune unpack`.

use std::path::PathBuf;

use clap::Args;
use diffprune::training::Progress;
use diffprune_eval::{Parcel, UnpackOptions};

use crate::print::{self, say};
use crate::signals;

/// Writes the official files of a benchmark from its parquet copy, pictures included, so that `eval` reads them; or the
/// captioned pictures of ImageNet-1K-VL-Enriched, so that `train` does.
///
/// What an earlier call wrote stays, so a call that was stopped goes on where it was.
#[derive(Debug, Args)]
pub struct UnpackArgs {
    /// `captions`, `imagenet`, or the benchmark: gqa, pope, textvqa, mmbench, mmbench_cn, mme, scienceqa, vqav2, seed_bench or vizwiz.
    #[arg(value_name = "WHAT")]
    what: Parcel,
    /// Folder with the parquet files.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Folder for the files; `eval` looks for a benchmark's in a folder of the benchmark's name.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Column of the captions [default: caption_enriched, or caption].
    #[arg(long, value_name = "NAME")]
    caption_column: Option<String>,
    /// Captioned pictures of each split, at most.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl UnpackArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let (_watch, stop) = signals::after("row")?;
        let mut bar: Option<Progress> = None;
        let mut progress = |done, total| {
            let bar = bar.get_or_insert_with(|| print::progress("rows", total));
            bar.step(done, &[]);
        };
        let Self {
            what,
            from,
            out,
            limit,
            caption_column,
        } = self;
        let options = UnpackOptions {
            limit,
            caption_column,
        };
        let n_rows = what.unpack(&from, &out, &options, &stop, &mut progress)?;
        if let Some(bar) = bar {
            bar.finish();
        }
        say!("{}: {n_rows} {} in {}", what.name(), what.unit(), out.display());
        Ok(())
    }
}
