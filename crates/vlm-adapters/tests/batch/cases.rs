//! Prompts with pictures, methods and options, and their answers.

use burn::tensor::Device;
use diffprune_baselines::{FastV, Schedule};
use diffprune_pruner::{Budget, PositionRule, PruneError, Pruner, PruningContext, Selection};
use diffprune_vlm_adapters::{
    DecodeBatch, DecoderReport, Finish, GenerateOptions, Hooks, JoinRequest, LoadOptions, PreparedImages,
    PruneOptions, Sampling, SequenceId, Turn, Vlm, load_vlm, prepare, respond,
};
use image::{Rgb, RgbImage};

/// The small models, one of each family.
pub const MODELS: [&str; 3] = ["mini-llava-1.5", "mini-llava-next", "mini-qwen2.5-vl"];

/// The best two scores of a greedy choice that is compared are at least this far apart.
const LEAST_GAP: f32 = 1e-3;

/// The folder of a small model.
pub fn folder(name: &str) -> String {
    format!("{}/../../assets/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A small model.
pub fn model(name: &str) -> Box<dyn Vlm> {
    load_vlm(folder(name), &Device::flex(), LoadOptions::f32()).unwrap()
}

/// A square of a colour on a plain ground.
pub fn picture(width: u32, height: u32, colour: [u8; 3]) -> RgbImage {
    let inside = |at: u32, side: u32| (side / 4..side / 2).contains(&at);
    RgbImage::from_fn(width, height, |x, y| {
        match inside(x, width) && inside(y, height) {
            true => Rgb(colour),
            false => Rgb([210, 210, 205]),
        }
    })
}

pub const RED: [u8; 3] = [210, 40, 40];
pub const GREEN: [u8; 3] = [30, 160, 60];
pub const BLUE: [u8; 3] = [40, 70, 200];

/// Keeps tokens at equal distances.
pub struct Spread;

impl Pruner for Spread {
    fn name(&self) -> &str {
        "spread"
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let keep = |row: usize| {
            let (n, k) = (context.n_tokens(row), context.budget(row));
            (0..k).map(|i| i * n / k).collect()
        };
        Ok(Selection::keep((0..context.batch()).map(keep).collect()))
    }
}

/// FastV before this layer.
pub fn fastv(layer: usize) -> FastV {
    let schedule = Schedule::Kept;
    FastV { layer, schedule }
}

/// A prompt with its images and options.
pub struct Case<'p> {
    pub prompt: Vec<u32>,
    pub images: PreparedImages<'p>,
    pub options: GenerateOptions,
}

impl<'p> Case<'p> {
    /// A question about pictures, of each of which `k` tokens are kept (all of them for 0).
    pub fn new(
        vlm: &dyn Vlm,
        question: &str,
        pictures: &[RgbImage],
        pruner: &'p dyn Pruner,
        k: usize,
    ) -> Self {
        Self::at(vlm, question, pictures, pruner, k, None)
    }

    /// The same with a position rule.
    pub fn at(
        vlm: &dyn Vlm,
        question: &str,
        pictures: &[RgbImage],
        pruner: &'p dyn Pruner,
        k: usize,
        rule: Option<PositionRule>,
    ) -> Self {
        let budget = match k {
            0 => Budget::All,
            _ => Budget::Tokens(k),
        };
        let prune = PruneOptions::new(budget).with_positions(rule);
        let turn = Turn::ask(question).with_images(pictures.len());
        Self {
            prompt: vlm.prompt_ids(&[turn]).unwrap(),
            images: prepare(vlm, pictures, pruner, &prune).unwrap(),
            options: vlm.generate_options().with_max_new_tokens(8),
        }
    }

    /// The same with drawn ids, as many as allowed.
    pub fn drawn(mut self, seed: u64, n: usize) -> Self {
        let sampling = Sampling::Random {
            temperature: 1.2,
            top_p: 0.9,
            top_k: 40,
            seed,
        };
        self.options = GenerateOptions::default()
            .with_sampling(sampling)
            .with_repetition_penalty(1.1)
            .with_max_new_tokens(n);
        self
    }

    pub fn request(&self) -> JoinRequest<'_> {
        JoinRequest::new(&self.prompt, &self.images, &self.options)
    }

    /// The answer of a batch of one.
    pub fn alone(&self, vlm: &dyn Vlm) -> (Vec<u32>, Option<DecoderReport>) {
        let mut hooks = Hooks::default();
        let prompts = [self.prompt.clone()];
        let mut answers = respond(vlm, &prompts, &self.images, &self.options, &mut hooks).unwrap();
        let ids = answers.remove(0);
        // What a method keeps inside the language model depends on the last id, so its choices are not checked.
        if self.options.sampling == Sampling::Greedy && self.images.inside().is_none() {
            self.check_gaps(vlm, &ids);
        }
        (ids, hooks.report)
    }

    /// Every choice of an answer is clear enough to be the same in any batch.
    fn check_gaps(&self, vlm: &dyn Vlm, ids: &[u32]) {
        let once = self.options.clone().with_max_new_tokens(1);
        for n in 0..ids.len() {
            let mut gap = f32::NAN;
            let mut on_scores = |_: usize, scores: &[f32]| {
                let mut scores = scores.to_vec();
                scores.sort_by(|a, b| b.total_cmp(a));
                gap = scores[0] - scores[1];
            };
            let mut hooks = Hooks {
                on_scores: Some(&mut on_scores),
                ..Hooks::default()
            };
            let prompts = [[&self.prompt, &ids[..n]].concat()];
            respond(vlm, &prompts, &self.images, &once, &mut hooks).unwrap();
            assert!(gap > LEAST_GAP, "choice {n}: best two scores {gap} apart");
        }
    }
}

/// What came of sequences.
#[derive(Default)]
pub struct Told {
    pub ids: Vec<SequenceId>,
    pub answers: Vec<Vec<u32>>,
    pub finished: Vec<Option<Finish>>,
}

impl Told {
    pub fn join(&mut self, batch: &mut dyn DecodeBatch, request: JoinRequest<'_>) -> Option<DecoderReport> {
        let joined = batch.join(request).unwrap();
        self.ids.push(joined.id);
        self.answers.push(Vec::new());
        self.finished.push(None);
        joined.report
    }

    pub fn step(&mut self, batch: &mut dyn DecodeBatch) {
        for new in batch.step().unwrap() {
            let i = self.ids.iter().position(|&id| id == new.id).unwrap();
            assert_eq!(self.finished[i], None, "nothing is told after the end");
            self.answers[i].extend(new.token);
            self.finished[i] = new.finished;
        }
    }

    pub fn finish(&mut self, batch: &mut dyn DecodeBatch) {
        while !batch.is_empty() {
            self.step(batch);
        }
    }
}
