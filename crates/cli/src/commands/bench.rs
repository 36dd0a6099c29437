//! `diffprune bench`.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::bail;
use burn::tensor::Device;
use clap::Args;
use diffprune::Budget;
use diffprune_eval::peak_memory;
use diffprune_lab::{
    BudgetTimes, ShapeBench, ShapeNetwork, WeightType, budget_table, make_folder, readable_bytes, revision,
};
use serde_json::json;

use crate::model::weight_types;
use crate::print::{self, say, tell};
use crate::questions::at_least_one;
use crate::signals;

/// Times the stages of an answer on random weights of a published shape: what pruning saves, whatever the weights say.
///
/// With --methods, the papers' table of times: several methods beside one another, each once in every round.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// llava-1.5-7b, llava-next-7b, qwen2.5-vl-3b, qwen2.5-vl-7b or qwen2.5-vl-32b.
    #[arg(long)]
    shape: String,
    /// Tokens that stay, several separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "all,1/3,2/9,1/9")]
    keep: Vec<Budget>,
    /// The papers' table of times instead: these methods of `diffprune methods` (and `diffprune`, an untrained scorer), separated
    /// by commas, and the unpruned model, in turn, at the last budget of --keep.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "A,B,C",
        conflicts_with = "concurrency"
    )]
    methods: Vec<String>,
    /// Folder for the table of --methods: times.json and times.md [default: it is only printed].
    #[arg(long, value_name = "DIR", requires = "methods", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Tokens of the prompt beside the picture.
    #[arg(long, default_value_t = 97)]
    text: usize,
    /// Timed passes for each budget; medians of fewer than 30 are marked.
    #[arg(long, default_value_t = 30, value_parser = at_least_one)]
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
    #[arg(long, value_parser = weight_types(), default_value = "f16", help_heading = "Hardware")]
    dtype: WeightType,
    /// Keep only the first layers of tower and language model, for a quick look.
    #[arg(long)]
    layers: Option<usize>,
    /// cpu, wgpu, vulkan or cuda, with an index as in cuda:1.
    #[arg(long, default_value = "cpu", help_heading = "Hardware")]
    device: String,
    /// Seed of the weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print everything that was measured as one line of JSON (docs/json.md).
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl BenchArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let device = diffprune_devices::parse(&self.device)?;
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
        let seconds = start.elapsed().as_secs_f64();
        if !self.json {
            let layers = self
                .layers
                .map_or(String::new(), |n| format!(", first {n} layers only"));
            say!(
                "{} with random weights in {:?}{layers}: {seconds:.1} s to make, peak memory {}",
                self.shape,
                self.dtype,
                memory()
            );
        }
        if !self.methods.is_empty() {
            return self.table(&network);
        }
        let mut measured: Vec<(Budget, BudgetTimes)> = Vec::new();
        for budget in &self.keep {
            tell!("measuring {} passes at {budget}", self.warm_up + self.runs);
            measured.push((*budget, network.measure(budget)?));
        }
        if self.json {
            return print::json(&self.as_json(&measured));
        }
        say!("{}peak memory {}", budget_table(&measured), memory());
        Ok(())
    }

    /// The papers' table of times.
    fn table(&self, network: &ShapeNetwork<'_>) -> anyhow::Result<()> {
        let Some(budget) = self.keep.last().copied().filter(|budget| *budget != Budget::All) else {
            bail!("--keep: found all, expected a budget that leaves tokens out");
        };
        let rounds = self.warm_up + self.runs;
        let (_watch, stop) = signals::after("round")?;
        let table = network.table(&self.methods, budget, &revision(), &mut |done| {
            tell!("round {done} of {rounds}");
            !stop.is_requested()
        })?;
        if let Some(out) = &self.out {
            make_folder(out)?;
            let path = table.write(out)?;
            if !self.json {
                say!("{}", path.display());
            }
        }
        if self.json {
            return print::json(&table);
        }
        print::text(format_args!("{}", table.to_text()))?;
        Ok(())
    }

    fn as_json(&self, measured: &[(Budget, BudgetTimes)]) -> serde_json::Value {
        let budget = |(budget, times): &(Budget, BudgetTimes)| {
            json!({
                "keep": budget, "kept": times.kept, "total": times.total, "kv_bytes": times.cache_bytes,
                "flops": times.flops, "timings": times.timings, "batches": times.batches,
            })
        };
        json!({
            "shape": self.shape, "layers": self.layers, "text": self.text, "warm_up": self.warm_up, "seed": self.seed,
            "budgets": measured.iter().map(budget).collect::<Vec<_>>(), "peak_bytes": peak_memory(),
        })
    }
}

/// The process's peak memory as people read it.
fn memory() -> String {
    peak_memory().map_or("unknown".into(), readable_bytes)
}
