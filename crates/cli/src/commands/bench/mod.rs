//! `diffprune bench`.

mod network;
mod pass;

use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use diffprune::scorer::ScorerConfig;
use diffprune::{Budget, DiffPrune, Vlm};
use diffprune_eval::{
    BatchPoint, BatchSweep, BlockShape, Counting, ModelShape, StageTimer, Timing, TimingContext, peak_memory,
    stages,
};

use self::network::Network;
use self::pass::Pass;
use crate::model::WeightType;
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
    #[arg(long, value_enum, default_value = "f16")]
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
        let shape = ModelShape::preset(&self.shape).with_context(|| {
            format!(
                "shape: found `{}`, wanted one of {}",
                self.shape,
                ModelShape::PRESETS.join(", ")
            )
        })?;
        if self.runs == 0 || self.text < 2 {
            bail!(
                "runs and text: found {} and {}, wanted at least 1 and 2",
                self.runs,
                self.text
            );
        }
        if self.answer == 0 || self.concurrency.contains(&0) {
            bail!("answer and concurrency: found 0, wanted at least 1");
        }
        let start = Instant::now();
        let network = Network::new(&self.shape, self.layers, self.dtype.into(), self.seed, &device)?;
        println!(
            "{} with random weights in {:?}{}: {:.1} s to make, peak memory {}",
            self.shape,
            self.dtype,
            self.layers
                .map_or(String::new(), |n| format!(", first {n} layers only")),
            start.elapsed().as_secs_f64(),
            memory()
        );
        let scorer_config = ScorerConfig::base(network.d_descriptor());
        let pruner = DiffPrune::new(scorer_config.init(&device)).with_name("untrained");
        let blocks = BlockShape::plain(
            scorer_config.d_model,
            scorer_config.ff_width(),
            scorer_config.n_layers,
            scorer_config.n_heads,
            false,
        );
        let context = TimingContext::new(
            format!("{:?} weights", self.dtype).to_lowercase(),
            // The fused kernels serve f32 on the CPU; everything else takes the composed form.
            match self.dtype == WeightType::F32 && device::is_cpu(&device) {
                true => "fused",
                false => "composed",
            },
            self.device.clone(),
            1,
        );
        for budget in &self.keep {
            let kept = budget.resolve(network.n_tokens())?;
            let pass = Pass {
                network: &network,
                pruner: &pruner,
                budget,
                text: self.text,
            };
            let timings = self.time(&pass, &context)?;
            let flops = stages(&shape, Some(&blocks), kept, self.text, Counting::FULL);
            let counted = match self.layers {
                Some(_) => String::new(),
                None => format!(
                    "; {:.2} TFLOPs before the first token, {:.2} of them prefill",
                    flops.total() / 1e12,
                    flops.prefill / 1e12
                ),
            };
            let cache = network.kv_bytes_per_token() * (kept + self.text) as u64;
            println!(
                "keep {budget}: {kept} of {} tokens, KV cache {}{counted}",
                network.n_tokens(),
                arithmetic::bytes(cache)
            );
            for timing in timings {
                println!("  {timing}{}", few(timing.runs));
            }
            for point in self.sweep(&pass, &context)? {
                let most = point.peak_bytes.map_or("unknown".into(), arithmetic::bytes);
                println!("  {point}; peak memory {most}{}", few(point.latency.runs));
            }
        }
        println!("peak memory {}", memory());
        Ok(())
    }

    /// Times of every stage for one picture at one budget.
    fn time(&self, pass: &Pass<'_>, context: &TimingContext) -> anyhow::Result<Vec<Timing>> {
        let mut seconds: [Vec<f64>; Pass::STAGES.len()] = Default::default();
        for number in 0..self.warm_up + self.runs {
            let laps = pass.run(1, 2)?;
            if number >= self.warm_up {
                seconds.iter_mut().zip(laps).for_each(|(all, lap)| all.push(lap));
            }
        }
        let totals = (0..self.runs).map(|run| seconds[..4].iter().map(|stage| stage[run]).sum());
        let total = Timing::new("to the first token", totals.collect(), context);
        let timings = Pass::STAGES
            .iter()
            .zip(seconds)
            .map(|(stage, seconds)| Timing::new(stage, seconds, context));
        Ok(timings.chain([total]).collect())
    }

    /// Throughput, time and memory of several requests answered together.
    fn sweep(&self, pass: &Pass<'_>, context: &TimingContext) -> anyhow::Result<Vec<BatchPoint>> {
        let sweep = BatchSweep {
            warm_up: self.warm_up,
            runs: self.runs,
            tokens_per_answer: self.answer,
            context: context.clone(),
        };
        sweep.measure(&self.concurrency, |batch| {
            Ok(move || pass.run(batch, self.answer).map(drop))
        })
    }
}

/// What stands behind a median of too few runs.
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
