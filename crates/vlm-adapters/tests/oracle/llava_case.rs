//! Shared by the LLaVA families: cases of the oracle, and checks of texts, language model and answers.

use std::path::PathBuf;

use burn::tensor::{Int, Tensor, TensorData};
use diffprune_pruner::{PositionRule, Selection, Signals};
use diffprune_vlm_adapters::{
    Encoded, GenerateOptions, LlavaModel, Padding, Spliced, TextTokenizer, VisualInput, VisualSequence,
    VisualSource, Vlm, load_image, next_token_nll,
};
use image::RgbImage;
use serde_json::Value;

use crate::cases::{check_answer, decides, ids};
use crate::language::{check_language, check_spliced, logits, targets};
use crate::tensors::{TOLERANCE, Tensors};

/// The folder of the oracles.
pub fn root() -> PathBuf {
    crate::fixture("")
}

/// The stored 8-bit pixels of a case, cut into squares from top to bottom; `None` where floats are stored.
pub fn stored_views(case: &Value) -> Option<Vec<RgbImage>> {
    let png = case["pixel_values"].as_str().unwrap().strip_prefix("png ")?;
    let png = png.split(' ').next().unwrap();
    let stack = load_image(root().join("expected").join(png)).unwrap();
    let (side, height) = (stack.width(), stack.height());
    let tile = |i: u32| image::imageops::crop_imm(&stack, 0, i * side, side, side).to_image();
    Some((0..height / side).map(tile).collect())
}

/// A part of numbers with their own order, by index.
pub fn check_samples(tensors: &Tensors, values: &Tensor<1>) {
    let places = tensors.ints("pixel_sample_index").unwrap();
    let n = places.len();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [n]), &values.device());
    tensors.check("pixel_sample_value", &values.clone().select(0, places));
}

/// One checkpoint and one of its cases.
pub struct Case<'a> {
    pub vlm: &'a dyn Vlm,
    pub model: &'a LlavaModel,
    pub json: &'a Value,
    pub tensors: &'a Tensors,
    pub tokenizer: &'a TextTokenizer,
    pub prompt: Vec<u32>,
}

impl<'a> Case<'a> {
    pub fn new(
        vlm: &'a dyn Vlm,
        model: &'a LlavaModel,
        json: &'a Value,
        tensors: &'a Tensors,
        tokenizer: &'a TextTokenizer,
    ) -> Self {
        let prompt = ids(&json["prompt_ids_unexpanded"]);
        Self {
            vlm,
            model,
            json,
            tensors,
            tokenizer,
            prompt,
        }
    }

    /// The tower's hidden states; `pixels` are views of one image after the other.
    pub fn check_vision(&self, pixels: &Tensor<4>) {
        let vision = &self.model.vision;
        let states = vision.hidden_states(pixels.clone());
        for (i, state) in states.iter().enumerate() {
            self.tensors.check(&format!("vision_hidden_{i}"), state);
        }
        let signals = Signals {
            cls_attention: true,
            ..Signals::default()
        };
        let encoding = self.model.encode(pixels.clone(), signals);
        self.tensors.check("vision_selected_with_cls", &encoding.hidden);
        self.tensors
            .check("vision_cls_attention", &encoding.cls_attention.unwrap());
        let layer = vision.depth(-2) - 1;
        if self.tensors.has("vision_attention_layer_-2") {
            let n_keys = states[layer].dims()[1];
            let matrix = vision.layers[layer].attention_rows(states[layer].clone(), 0..n_keys);
            self.tensors.check("vision_attention_layer_-2", &matrix);
        }
        let features = self
            .model
            .projector
            .forward(self.model.select_tokens(encoding.hidden));
        self.tensors.check("projector_output", &features);
    }

    /// Every token of every image, projected.
    pub fn full(&self, encoded: &Encoded) -> VisualInput {
        let features = self.vlm.project(encoded.tokens.clone());
        self.input(features, encoded)
    }

    fn input(&self, features: Tensor<3>, encoded: &Encoded) -> VisualInput {
        let all = encoded.all_indices();
        self.vlm
            .visual_input(features, &encoded.layouts, &all, PositionRule::Keep)
    }

    fn splice(&self, visual: &VisualInput) -> Spliced {
        let prompts = std::slice::from_ref(&self.prompt);
        self.model
            .reader()
            .splice(prompts, Some(visual), Padding::Right)
            .unwrap()
    }

    pub fn check_splice(&self, visual: &VisualInput) -> Spliced {
        let spliced = check_spliced(
            self.json,
            self.tensors,
            self.tokenizer,
            &self.model.reader(),
            &self.prompt,
            visual,
        );
        let positions = &spliced.plans[0].positions;
        self.tensors
            .check_ints("position_ids", positions.iter().map(|p| p[0] as i64));
        let counts = visual
            .sequences
            .iter()
            .map(|sequence| sequence.slots.len() as u32);
        assert_eq!(counts.collect::<Vec<_>>(), ids(&self.json["image_token_counts"]));
        spliced
    }

    pub fn check_language(&self, spliced: &Spliced) {
        check_language(&self.model.language, self.tensors, spliced);
    }

    /// The loss and its gradients through frozen weights; returns that of the tokens.
    pub fn check_loss(&self, encoded: &Encoded) -> Option<Tensor<3>> {
        let labels = self.tensors.ints("labels")?;
        let tokens = encoded.tokens.clone().autodiff().require_grad();
        let visual = self.input(self.vlm.project(tokens.clone()), encoded);
        let batch = targets(&self.prompt, &labels, &self.splice(&visual));
        let loss = self.vlm.loss(&batch, Some(&visual)).unwrap();
        self.tensors.check("loss", &loss.clone().without_autodiff());
        let grad = tokens.grad(&loss.backward()).expect("a gradient of the tokens");

        let mut spliced = self.splice(&self.full(encoded));
        spliced.embeds = spliced.embeds.autodiff().require_grad();
        let loss = next_token_nll(&self.model.language, &spliced, &batch).unwrap();
        let embeds = spliced.embeds.grad(&loss.backward()).expect("a gradient");
        self.tensors.check("grad_inputs_embeds", &embeds);
        Some(grad)
    }

    /// Logits and greedy ids of the places that the oracle kept, with both position rules; returns the kept tokens.
    pub fn check_pruned(&self, encoded: &Encoded) -> Option<Vec<Vec<usize>>> {
        let (keep, sequences) = self.kept(encoded)?;
        let features = Selection::keep(keep.clone()).gather(encoded.tokens.clone());
        let visual = VisualInput {
            features: self.vlm.project(features),
            sequences,
            separator: self.vlm.separator(),
        };
        let mut reindexed = visual.clone();
        for sequence in &mut reindexed.sequences {
            *sequence = sequence.clone().reindexed();
        }
        let kept = self.pruned_logits(&visual, true);
        self.tensors
            .check_rows("prune_logits", "prune_logit_rows", "prune_logits_at_rows", &kept);
        let again = self.pruned_logits(&reindexed, false);
        let last = |logits: Tensor<3>| logits.clone().narrow(1, logits.dims()[1] - 1, 1);
        self.tensors
            .check("prune_logits_last_reindexed_positions", &last(again.clone()));
        // With few tokens gone, the two rules hardly differ; with none, they agree.
        let n_kept: usize = keep.iter().map(Vec::len).sum();
        if 2 * n_kept <= encoded.counts().iter().sum() {
            let contrast = (last(kept) - last(again)).abs().max().into_scalar::<f32>();
            assert!(
                contrast > 10.0 * TOLERANCE,
                "positions make no difference: {contrast}"
            );
        }
        self.check_greedy(
            "prune_greedy",
            &self.generate(&visual, "prune_greedy_new_tokens", &[]),
        );
        Some(keep)
    }

    /// The kept tokens of each image, and where they (and kept separators) stand.
    fn kept(&self, encoded: &Encoded) -> Option<(Vec<Vec<usize>>, Vec<VisualSequence>)> {
        let places = self.tensors.ints("prune_keep_visual_index")?;
        let (mut keep, mut sequences, mut first) = (Vec::new(), Vec::new(), 0);
        for (layout, all) in encoded.layouts.iter().zip(encoded.all_indices()) {
            let full = self.vlm.sequence(layout, &all, PositionRule::Keep);
            let range = first..first + full.slots.len();
            let mut tokens = Vec::new();
            let own = places.iter().map(|&place| place as usize);
            let slots = own.filter(|place| range.contains(place)).map(|place| {
                let mut slot = full.slots[place - first];
                if let VisualSource::Feature(token) = slot.source {
                    slot.source = VisualSource::Feature(tokens.len());
                    tokens.push(token);
                }
                slot
            });
            let slots = slots.collect();
            sequences.push(VisualSequence {
                slots,
                span: full.span,
            });
            first = range.end;
            keep.push(tokens);
        }
        Some((keep, sequences))
    }

    fn pruned_logits(&self, visual: &VisualInput, original: bool) -> Tensor<3> {
        let spliced = self.splice(visual);
        let plan = &spliced.plans[0];
        let positions = || plan.positions.iter().map(|p| p[0] as i64);
        if original {
            self.tensors.check_ints("prune_position_ids", positions());
            self.tensors.check_ints("prune_keep_sequence_index", positions());
            assert_eq!(
                plan.next_position as u64,
                self.json["prune_next_position"].as_u64().unwrap()
            );
        } else {
            assert!(positions().eq(0..plan.slots.len() as i64));
        }
        let language = &self.model.language;
        logits(
            &self.model.language,
            language.forward(spliced.embeds, spliced.position_ids, None, None),
        )
    }

    pub fn generate(&self, visual: &VisualInput, key: &str, stop_ids: &[u32]) -> Vec<u32> {
        let options = GenerateOptions::default()
            .with_max_new_tokens(ids(&self.json[key]).len())
            .with_stop_ids(stop_ids.to_vec());
        self.continued(visual, &options)
    }

    fn continued(&self, visual: &VisualInput, options: &GenerateOptions) -> Vec<u32> {
        let prompts = std::slice::from_ref(&self.prompt);
        self.vlm
            .generate(prompts, Some(visual), options)
            .unwrap()
            .remove(0)
    }

    pub fn check_greedy(&self, key: &str, found: &[u32]) {
        if decides(self.json, key) {
            assert_eq!(found, ids(&self.json[&format!("{key}_new_tokens")]), "{key}");
        }
    }

    /// Greedy decoding, plain and as `generation_config.json` wants it.
    pub fn check_generation(&self, visual: &VisualInput) {
        self.check_greedy("greedy", &self.generate(visual, "greedy_new_tokens", &[]));
        let mut options = self.vlm.generate_options();
        options.max_new_tokens = ids(&self.json["greedy_new_tokens"]).len();
        let found = self.continued(visual, &options);
        let mut wanted = ids(&self.json["generate_with_generation_config_file"]);
        wanted.truncate(
            wanted
                .iter()
                .position(|id| options.stop_ids.contains(id))
                .unwrap_or(wanted.len()),
        );
        if decides(self.json, "greedy") {
            assert_eq!(found, wanted, "generation_config.json");
            // A stop id ends the answer and is not part of it.
            let Some(&stop) = found.get(found.len() / 2) else {
                return;
            };
            let first = found.iter().position(|&id| id == stop).unwrap();
            assert_eq!(
                self.generate(visual, "greedy_new_tokens", &[stop]),
                found[..first]
            );
        }
    }

    /// The whole path from the picture's pixels to the answer `key`, with a method that keeps given tokens.
    pub fn check_answer(&self, keep: &[Vec<usize>], key: &str) {
        if keep.iter().any(Vec::is_empty) || !decides(self.json, key) {
            return;
        }
        let wanted = ids(&self.json[&format!("{key}_new_tokens")]);
        check_answer(self.vlm, self.json, &self.prompt, keep, &wanted);
    }
}

/// The name that the newer module tree has for a tensor of the hub's older one.
pub fn newer_name(name: &str) -> String {
    match name.strip_prefix("language_model.model.") {
        Some(rest) => format!("model.language_model.{rest}"),
        None if name.starts_with("language_model.lm_head.") => name.replace("language_model.", ""),
        None => format!("model.{name}"),
    }
}
