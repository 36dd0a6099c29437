//! `diffprune bench`.

use std::time::Instant;

use burn::tensor::Device;
use clap::Args;
use diffprune::Budget;
use diffprune_eval::{StageTimer, peak_memory};
use diffprune_lab::{BudgetTimes, ShapeBench, WeightType};

use crate::model::weight_types;
use crate::print::say;
use crate::{arithmetic, device};

/// Times the stages of an answer on random weights of a published shape: what pruning saves, whatever the weights say.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// llava-1.5-7b, llava-next-7b, qwen2.5-vl-3b, qwen2.5-vl-7b or qwen2.5-vl-32b.
    #[arg(long)]
    shape: String,
    /// Tokens that stay, several separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "all,1/3,2/9,1/9")]
    keep: Vec<Budget>,
    /// Tokens of the prompt beside the picture.
    #[arg(long, default_value_t = 97)]
    text: usize,
    /// Timed passes for each budget; medians of fewer than 30 are marked.
    #[arg(long, default_value_t = 30)]
    runs: usize,
    /// Passes before the clock counts.
    #[arg(long, default_value_t = 3)]
    warm_up: usize,
    /// Requests answered together, several numbers separated by commas: for each the throughput, the time until all are
    /// answered, and the peak memory [default: no such sweep].
    #[arg(long, value_delimiter = ',', value_name = "N,N,...")]
    concurrency: Vec<usize>,
    /// New tokens of each answer in the sweep of --concurrency.
    #[arg(long, default_value_t = 16)]
    answer: usize,
    /// Type of the weights.
    #[arg(long, value_parser = weight_types(), default_value = "f16")]
    dtype: WeightType,
    /// Keep only the first layers of tower and language model, for a quick look.
    #[arg(long)]
    layers: Option<usize>,
    /// cpu, wgpu, vulkan or cuda, with an index as in cuda:1.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Seed of the weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl BenchArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let device = device::parse(&self.device)?;
        self.measure(&device)
    }

    fn measure(&self, device: &Device) -> anyhow::Result<()> {
        let bench = ShapeBench {
            shape: self.shape.clone(),
            dtype: self.dtype,
            layers: self.layers,
            seed: self.seed,
            text: self.text,
            runs: self.runs,
            warm_up: self.warm_up,
            concurrency: self.concurrency.clone(),
            answer: self.answer,
        };
        let start = Instant::now();
        let network = bench.network(device, &self.device)?;
        say!(
            "{} with random weights in {:?}{}: {:.1} s to make, peak memory {}",
            self.shape,
            self.dtype,
            self.layers
                .map_or(String::new(), |n| format!(", first {n} layers only")),
            start.elapsed().as_secs_f64(),
            memory()
        );
        for budget in &self.keep {
            print(budget, &network.measure(budget)?)?;
        }
        say!("peak memory {}", memory());
        Ok(())
    }
}

fn print(budget: &Budget, times: &BudgetTimes) -> anyhow::Result<()> {
    let counted = times.flops.map_or(String::new(), |flops| {
        format!(
            "; {:.2} TFLOPs before the first token, {:.2} of them prefill",
            flops.total() / 1e12,
            flops.prefill / 1e12
        )
    });
    say!(
        "keep {budget}: {} of {} tokens, KV cache {}{counted}",
        times.kept,
        times.total,
        arithmetic::bytes(times.cache_bytes)
    );
    for timing in &times.timings {
        say!("  {timing}{}", few(timing.runs));
    }
    for point in &times.batches {
        let most = point.peak_bytes.map_or("unknown".into(), arithmetic::bytes);
        say!("  {point}; peak memory {most}{}", few(point.latency.runs));
    }
    Ok(())
}

/// The remark behind a median of too few runs.
fn few(runs: usize) -> &'static str {
    if runs < StageTimer::LEAST_RUNS {
        " (few runs: no claim)"
    } else {
        ""
    }
}

/// The process's peak memory as people read it.
fn memory() -> String {
    peak_memory().map_or("unknown".into(), arithmetic::bytes)
}
