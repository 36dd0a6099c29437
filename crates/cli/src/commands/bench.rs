//! `diffprune bench`.

use std::time::Instant;

use anyhow::{Context, bail};
use burn::tensor::{DType, Device, Distribution, Tensor};
use clap::{Args, ValueEnum};
use diffprune::pruning::{PruningContext, Space};
use diffprune::scorer::ScorerConfig;
use diffprune::vlm::{
    GenerateOptions, Hooks, LlavaConfig, LlavaModel, LlavaNextConfig, Qwen25VlConfig, Qwen25VlModel,
    VisualInput, VisualSequence,
};
use diffprune::{Budget, DiffPrune, Grid, PositionRule, Pruner};
use diffprune_eval::{BlockShape, Counting, ModelShape, Timing, TimingContext, peak_memory, stages};

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

/// Types that weights can be held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WeightType {
    F32,
    F16,
    Bf16,
}

/// A network with random weights.
enum Network {
    Llava {
        model: Box<LlavaModel>,
        views: usize,
        side: usize,
    },
    Qwen(Box<Qwen25VlModel>),
}

/// Patch rows and columns of the picture that Qwen2.5-VL is timed on: 1008 by 1008 pixels.
const PATCHES: Grid = Grid { rows: 72, cols: 72 };

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
        let start = Instant::now();
        let network = self.network(&device)?;
        println!(
            "{} with random weights in {:?}{}: {:.1} s to make, peak memory {}",
            self.shape,
            self.dtype,
            self.layers
                .map_or(String::new(), |n| format!(", first {n} layers only")),
            start.elapsed().as_secs_f64(),
            memory()
        );
        let (d_token, group) = network.widths();
        let scorer_config = ScorerConfig::base(d_token / group);
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
            let timings = self.time(&network, &pruner, group, budget, &context, &device)?;
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
                let few = if timing.runs < 30 {
                    " (few runs: no claim)"
                } else {
                    ""
                };
                println!("  {timing}{few}");
            }
        }
        println!("peak memory {}", memory());
        Ok(())
    }

    fn network(&self, device: &Device) -> anyhow::Result<Network> {
        let dtype = match self.dtype {
            WeightType::F32 => DType::F32,
            WeightType::F16 => DType::F16,
            WeightType::Bf16 => DType::BF16,
        };
        let cut = |n: &mut usize| {
            if let Some(layers) = self.layers {
                *n = layers.clamp(1, *n);
            }
        };
        let llava = |mut config: LlavaConfig| {
            // The tower is read at its second-last layer.
            let mut depth = config.vision.num_hidden_layers - 1;
            cut(&mut depth);
            config.vision.num_hidden_layers = depth + 1;
            cut(&mut config.text.num_hidden_layers);
            config
        };
        let qwen = |mut config: Qwen25VlConfig| {
            cut(&mut config.vision.depth);
            let depth = config.vision.depth;
            config.vision.fullatt_block_indexes.retain(|&block| block < depth);
            cut(&mut config.text.num_hidden_layers);
            config
        };
        let config = match self.shape.as_str() {
            "llava-1.5-7b" => {
                let config = llava(LlavaConfig::llava_1_5_7b());
                return Ok(Network::Llava {
                    side: config.vision.image_size,
                    model: Box::new(config.init_random(dtype, self.seed, device)?),
                    views: 1,
                });
            }
            "llava-next-7b" => {
                let config = llava(LlavaNextConfig::vicuna_7b().llava);
                return Ok(Network::Llava {
                    side: config.vision.image_size,
                    model: Box::new(config.init_random(dtype, self.seed, device)?),
                    views: 5,
                });
            }
            "qwen2.5-vl-3b" => Qwen25VlConfig::qwen2_5_vl_3b(),
            "qwen2.5-vl-7b" => Qwen25VlConfig::qwen2_5_vl_7b(),
            "qwen2.5-vl-32b" => Qwen25VlConfig::qwen2_5_vl_32b(),
            other => bail!(
                "shape: found `{other}`, wanted one of {}",
                ModelShape::PRESETS.join(", ")
            ),
        };
        let model = qwen(config).init_random(dtype, self.seed, device)?;
        Ok(Network::Qwen(Box::new(model)))
    }

    /// Times of every stage at one budget.
    fn time(
        &self,
        network: &Network,
        pruner: &DiffPrune,
        group: usize,
        budget: &Budget,
        context: &TimingContext,
        device: &Device,
    ) -> anyhow::Result<Vec<Timing>> {
        const STAGES: [&str; 5] = ["encode", "select", "project", "prefill", "first decode"];
        let mut seconds: [Vec<f64>; 5] = Default::default();
        let pixels = network.pixels(device);
        let prompt = network.prompt(self.text);
        for pass in 0..self.warm_up + self.runs {
            let mut laps = Vec::with_capacity(STAGES.len());
            let mut clock = Instant::now();
            let mut lap = |laps: &mut Vec<f64>| {
                device.sync().ok();
                laps.push(clock.elapsed().as_secs_f64());
                clock = Instant::now();
            };
            let tokens = network.encode(pixels.clone());
            lap(&mut laps);
            let grid = Grid {
                rows: 1,
                cols: tokens.dims()[1],
            };
            let mut seen = PruningContext::new(tokens.clone(), grid, budget)?;
            seen.group = group;
            let selection = pruner.select(&seen)?;
            debug_assert_eq!(selection.space(), Space::Vision);
            let kept = selection.gather(tokens);
            lap(&mut laps);
            let visual = network.visual(network.project(kept), selection.keep_indices(0));
            lap(&mut laps);
            laps.extend(network.answer(&prompt, &visual)?);
            if pass >= self.warm_up {
                seconds.iter_mut().zip(laps).for_each(|(all, lap)| all.push(lap));
            }
        }
        let totals = (0..self.runs).map(|run| seconds[..4].iter().map(|stage| stage[run]).sum());
        let total = Timing::new("to the first token", totals.collect(), context);
        let timings = STAGES
            .iter()
            .zip(seconds)
            .map(|(stage, seconds)| Timing::new(stage, seconds, context));
        Ok(timings.chain([total]).collect())
    }
}

impl Network {
    /// Visual tokens of the picture.
    fn n_tokens(&self) -> usize {
        match self {
            Self::Llava { model, views, .. } => views * model.vision.grid_side().pow(2),
            Self::Qwen(model) => PATCHES.n_tokens() / model.vision.merge().pow(2),
        }
    }

    /// Width of a token, and vectors in it.
    fn widths(&self) -> (usize, usize) {
        match self {
            Self::Llava { model, .. } => (model.vision.d_vision(), 1),
            Self::Qwen(model) => {
                let group = model.vision.merge().pow(2);
                let width = model.merger.ln_q.gamma.lazy_shape().dims::<1>()[0];
                (group * width, group)
            }
        }
    }

    fn kv_bytes_per_token(&self) -> u64 {
        match self {
            Self::Llava { model, .. } => model.language.kv_bytes_per_token(),
            Self::Qwen(model) => model.language.kv_bytes_per_token(),
        }
    }

    fn pixels(&self, device: &Device) -> Tensor<4> {
        let shape = match self {
            Self::Llava { views, side, .. } => [*views, 3, *side, *side],
            Self::Qwen(_) => [PATCHES.n_tokens(), 6, 14, 14],
        };
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
    }

    /// Ids with one placeholder in front of the text.
    fn prompt(&self, text: usize) -> Vec<u32> {
        let image = match self {
            Self::Llava { model, .. } => model.image_token_id(),
            Self::Qwen(model) => model.image_token_id(),
        };
        let mut ids: Vec<u32> = (0..text as u32).map(|i| 100 + i).collect();
        ids.insert(1, image);
        ids
    }

    fn encode(&self, pixels: Tensor<4>) -> Tensor<3> {
        let tokens = match self {
            Self::Llava { model, views, .. } => {
                let tokens = model.tokens(pixels);
                let [_, n, width] = tokens.dims();
                tokens.reshape([1, views * n, width])
            }
            Self::Qwen(model) => model.tokens(pixels, &[PATCHES]).0,
        };
        tokens.cast(DType::F32)
    }

    fn project(&self, tokens: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Llava { model, .. } => model.projector.forward(tokens),
            Self::Qwen(model) => model.merger.forward(tokens),
        }
    }

    fn visual(&self, features: Tensor<3>, keep: &[usize]) -> VisualInput {
        let sequence = match self {
            Self::Llava { .. } => VisualSequence::raster(keep, self.n_tokens(), PositionRule::Keep),
            Self::Qwen(model) => {
                let merge = model.vision.merge();
                let grid = Grid {
                    rows: PATCHES.rows / merge,
                    cols: PATCHES.cols / merge,
                };
                VisualSequence::cells(grid, keep, PositionRule::Keep)
            }
        };
        VisualInput {
            features,
            sequences: vec![sequence],
            separator: None,
        }
    }

    /// Seconds of the prefill and of the first step of decoding.
    fn answer(&self, prompt: &[u32], visual: &VisualInput) -> anyhow::Result<[f64; 2]> {
        let options = GenerateOptions {
            max_new_tokens: 2,
            ..GenerateOptions::default()
        };
        let start = Instant::now();
        let mut read = 0.0;
        let mut on_prefill = || read = start.elapsed().as_secs_f64();
        let mut hooks = Hooks {
            on_prefill: Some(&mut on_prefill),
            ..Hooks::default()
        };
        let prompts = [prompt.to_vec()];
        match self {
            Self::Llava { model, .. } => model.generate_with(&prompts, Some(visual), &options, &mut hooks)?,
            Self::Qwen(model) => model.generate_with(&prompts, Some(visual), &options, &mut hooks)?,
        };
        Ok([read, start.elapsed().as_secs_f64() - read])
    }
}

/// The process's peak memory as people read it.
fn memory() -> String {
    peak_memory().map_or("unknown".into(), arithmetic::bytes)
}
