//! Batches of LLaVA families whose prompts and images differ in size.

use burn::tensor::Tensor;
use diffprune_pruner::{Layout, PositionRule, Selection, Signals};
use diffprune_vlm_adapters::{Encoded, GenerateOptions, LlavaModel, Padding, Pixels, VisualInput, Vlm};
use image::RgbImage;
use serde_json::Value;

use crate::cases::{cases, ids, images};
use crate::language::n_decided;

/// A part of a batch of encoded images, each with its own kept tokens.
struct Batch {
    tokens: Tensor<3>,
    layouts: Vec<Layout>,
    keep: Vec<Vec<usize>>,
}

impl Batch {
    fn new(encoded: Encoded) -> Self {
        let keep = encoded.counts().into_iter().enumerate();
        Self {
            keep: keep.map(|(i, n)| (0..n).step_by(i + 1).collect()).collect(),
            tokens: encoded.tokens,
            layouts: encoded.layouts,
        }
    }

    fn visual(&self, vlm: &dyn Vlm, range: std::ops::Range<usize>) -> VisualInput {
        let tokens = self.tokens.clone().narrow(0, range.start, range.len());
        let keep = self.keep[range.clone()].to_vec();
        let features = vlm.project(Selection::keep(keep.clone()).gather(tokens));
        vlm.visual_input(features, &self.layouts[range], &keep, PositionRule::Keep)
    }
}

/// Scores of the next token after each prompt.
fn next_scores(model: &LlavaModel, prompts: &[Vec<u32>], visual: &VisualInput) -> Tensor<2> {
    let spliced = model
        .reader()
        .splice(prompts, Some(visual), Padding::Left)
        .unwrap();
    let hidden = model
        .language
        .forward(spliced.embeds, spliced.position_ids, spliced.mask, None);
    let [batch, width, d_model] = hidden.dims();
    let last = hidden.narrow(1, width - 1, 1).reshape([batch, d_model]);
    model.language.logits(last)
}

fn farthest<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    (a - b).abs().max().into_scalar::<f32>()
}

/// All cases of a checkpoint in one ragged batch, each image pruned to another count, give what they give alone.
/// Returns the number of ids compared.
pub fn check_ragged(name: &str, manifest: &Value, vlm: &dyn Vlm, model: &LlavaModel) -> usize {
    let (mut prompts, mut pictures, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for case in cases(manifest) {
        prompts.push(ids(&case["prompt_ids_unexpanded"]));
        counts.push(case["images"].as_array().unwrap().len());
        pictures.extend(images(case));
    }
    let encode = |pictures: &[RgbImage]| {
        let pixels: Pixels = vlm.preprocess(pictures).unwrap();
        vlm.encode(pixels, Signals::default())
    };
    let together = Batch::new(encode(&pictures));
    let visual = together.visual(vlm, 0..pictures.len());
    let options = GenerateOptions::default().with_max_new_tokens(6);
    let answers = vlm.generate(&prompts, Some(&visual), &options).unwrap();
    let scores = next_scores(model, &prompts, &visual);
    let (mut first, mut n_compared) = (0, 0);
    for (i, prompt) in prompts.iter().enumerate() {
        let own = first..first + counts[i];
        let alone = encode(&pictures[own.clone()]);
        let n_tokens = alone.tokens.dims()[1];
        for (row, count) in alone.counts().into_iter().enumerate() {
            let part = |tokens: &Tensor<3>, row| tokens.clone().slice([row..row + 1, 0..count]);
            let off = farthest(part(&together.tokens, first + row), part(&alone.tokens, row));
            assert!(off < 1e-4, "{name}, prompt {i}: tokens off by {off}");
            assert!(count <= n_tokens);
        }
        let alone = Batch {
            keep: together.keep[own.clone()].to_vec(),
            ..Batch::new(alone)
        };
        let visual = alone.visual(vlm, 0..own.len());
        let prompt = std::slice::from_ref(prompt);
        let off = farthest(
            scores.clone().narrow(0, i, 1),
            next_scores(model, prompt, &visual),
        );
        assert!(off < 1e-4, "{name}, prompt {i}: scores off by {off}");
        let answer = vlm.generate(prompt, Some(&visual), &options).unwrap().remove(0);
        let n = n_decided(&model.reader(), &prompt[0], &visual, &answer, 1.0);
        if n < answer.len() {
            println!("{name}, prompt {i}: only the first {n} ids compared, then two scores are too close");
        }
        let reached = |ids: &[u32]| ids[..n.min(ids.len())].to_vec();
        assert_eq!(reached(&answers[i]), reached(&answer), "{name}, prompt {i}");
        n_compared += n;
        first += counts[i];
    }
    n_compared
}
