//! `diffprune encode`.

use std::path::PathBuf;

use clap::Args;
use diffprune::{CachePrecision, CaptionData, FeatureOptions, FeaturePlan, ShardOf, TrainConfig};
use diffprune_lab::{TrainingData, encode_captions, readable_bytes};

use super::train::usable;
use crate::model::ModelArgs;
use crate::print::{self, say, tell};
use crate::signals;

/// Encodes captioned pictures once, so that `train --features` needs neither pictures nor the vision tower's time.
///
/// A call that was interrupted is continued by the same call. A job array gives each job its --shard.
#[derive(Debug, Args)]
pub struct EncodeArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Folder with captions.jsonl, or with `train` and `val` that have one each.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Column of the list that has the captions [default: as `train` has it].
    #[arg(long, value_name = "NAME")]
    caption_column: Option<String>,
    /// Folder of the features: `train`, and `val` where something is held out.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// The part of the files that this call writes, i of n counted from 1.
    #[arg(long, value_name = "I/N", default_value = "1/1", help_heading = "Output")]
    shard: ShardOf,
    /// Precision of the stored tokens: f32 trains to the bit as the pictures do, f16 takes half the room (--dtype is that of the
    /// model's weights).
    #[arg(long, value_parser = precision, value_name = "f16|f32", default_value = "f16", help_heading = "Output")]
    precision: CachePrecision,
    /// Leave out the samples that the model cannot take, and say how many and which [default: end at the first].
    #[arg(long)]
    skip_unusable: bool,
}

impl EncodeArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let model = self.model.load()?;
        let data = TrainingData::pictures(&self.data, true, self.caption_column.as_deref())?;
        let (_watch, stop) = signals::after("file")?;
        let options = FeatureOptions::default()
            .with_precision(self.precision)
            .with_shard(self.shard)
            .with_stop(stop);
        for (name, data) in data.splits() {
            let used;
            let data: &dyn CaptionData = match self.skip_unusable {
                false => data,
                true => {
                    used = usable(model.vlm.as_ref(), data, &TrainConfig::default())?;
                    &used
                }
            };
            let mut bar = None;
            let mut progress = |done, total| {
                let bar = bar.get_or_insert_with(|| print::progress("samples", total));
                bar.step(done, &[]);
            };
            let told = |plan: &FeaturePlan| {
                tell!("{}", described(name, plan));
                Ok(())
            };
            let report = encode_captions(&model, (name, data), &self.out, &options, told, &mut progress)?;
            if let Some(bar) = bar {
                bar.finish();
            }
            let (folder, bytes) = (report.folder.display(), readable_bytes(report.n_bytes));
            say!(
                "{folder}: {} files written ({bytes}), {} were there",
                report.written,
                report.kept
            );
        }
        Ok(())
    }
}

/// What will be written, before anything is.
fn described(name: &str, plan: &FeaturePlan) -> String {
    let (own, all) = (readable_bytes(plan.n_bytes), readable_bytes(plan.all_bytes));
    let (n_own, n_all) = (plan.files.len(), plan.index.n_files());
    format!(
        "{name}: {} samples; this shard has {n_own} of {n_all} files and takes about {own} of {all} on disk",
        plan.index.n_samples
    )
}

fn precision(name: &str) -> Result<CachePrecision, String> {
    match name {
        "f16" => Ok(CachePrecision::F16),
        "f32" => Ok(CachePrecision::F32),
        _ => Err(format!("found `{name}`, expected f16 or f32")),
    }
}
