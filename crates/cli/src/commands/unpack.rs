//! `diffprune unpack`.

use std::path::PathBuf;

use crate::print::{self, say};
use crate::signals;
use anyhow::ensure;
use clap::Args;
use diffprune::training::Progress;
use diffprune_eval::{Benchmark, unpack_caption_column, unpack_captions, unpack_imagenet, unpack_parquet};

/// Writes the official files of a benchmark from its parquet copy, pictures included, so that `eval` reads them; or the
/// captioned pictures of ImageNet-1K-VL-Enriched, so that `train` does.
///
/// What an earlier call wrote stays, so a call that was stopped goes on where it was.
#[derive(Debug, Args)]
pub struct UnpackArgs {
    /// `captions`, `imagenet`, or the benchmark: gqa, pope, textvqa, mmbench, mmbench_cn, mme, scienceqa, vqav2, seed_bench or vizwiz.
    #[arg(value_name = "WHAT", value_parser = parcel)]
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

/// The data to unpack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parcel {
    /// Pictures to train on.
    Captions,
    /// Pictures with a class.
    ImageNet,
    /// Questions.
    Benchmark(Benchmark),
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
        ensure!(
            self.caption_column.is_none() || self.what == Parcel::Captions,
            "unpack: found --caption-column, which is for captions; leave it out"
        );
        ensure!(
            self.limit.is_none() || self.what == Parcel::Captions,
            "unpack: found --limit, which is for captions: the others are unpacked whole; leave it out, and give it to `eval`"
        );
        let (name, n_rows, unit) = match self.what {
            Parcel::Captions => {
                let (from, to, limit) = (&self.from, &self.out, self.limit);
                let n_rows = match &self.caption_column {
                    Some(column) => {
                        unpack_caption_column(from, to, &[column.as_str()], limit, &stop, &mut progress)?
                    }
                    None => unpack_captions(from, to, limit, &stop, &mut progress)?,
                };
                ("captions".to_string(), n_rows, "captioned pictures")
            }
            Parcel::ImageNet => {
                let n_rows = unpack_imagenet(&self.from, &self.out, &stop, &mut progress)?;
                ("imagenet".to_string(), n_rows, "pictures")
            }
            Parcel::Benchmark(benchmark) => {
                let n_rows = unpack_parquet(benchmark, &self.from, &self.out, &stop, &mut progress)?;
                (benchmark.to_string(), n_rows, "questions")
            }
        };
        if let Some(bar) = bar {
            bar.finish();
        }
        say!("{name}: {n_rows} {unit} in {}", self.out.display());
        Ok(())
    }
}

/// The data of that name.
fn parcel(name: &str) -> Result<Parcel, String> {
    match name {
        "captions" => return Ok(Parcel::Captions),
        "imagenet" => return Ok(Parcel::ImageNet),
        _ => {}
    }
    let found = Benchmark::ALL
        .into_iter()
        .find(|benchmark| benchmark.name() == name);
    found.map(Parcel::Benchmark).ok_or_else(|| {
        let names = Benchmark::ALL.map(Benchmark::name);
        format!(
            "found `{name}`, expected captions, imagenet or one of {}",
            names.join(", ")
        )
    })
}
