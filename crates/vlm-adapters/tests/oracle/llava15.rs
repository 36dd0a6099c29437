//! LLaVA-1.5 against what `transformers` computes: every tensor of every case of every `llava` checkpoint.

use std::path::PathBuf;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use diffprune_pruner::{Budget, PositionRule, PruneError, Pruner, PruningContext, Selection, Signals};
use diffprune_vlm::{
    Encoded, GenerateOptions, ImageMode, Llava, LlavaConfig, LoadOptions, Padding, Pixels, PruneOptions,
    Slot, Spliced, TextBatch, VisualInput, Vlm, WeightFiles, answer, load_image, next_token_nll,
    save_safetensors,
};
use serde_json::Value;

use crate::tensors::{TOLERANCE, Tensors};

/// Greedy ids mean something only where the best two scores are further apart than the tolerance allows to swap.
const LEAST_GAP: f64 = 4.0 * TOLERANCE as f64;

fn root() -> PathBuf {
    crate::fixture("")
}

/// One checkpoint and one of its cases.
struct Case<'a> {
    llava: &'a Llava,
    json: &'a Value,
    tensors: &'a Tensors,
    prompt: Vec<u32>,
}

fn ids(json: &Value) -> Vec<u32> {
    json.as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

/// The json files of `expected/`, split by family.
fn manifests() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join("expected")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            match manifest["family"].as_str().unwrap() {
                "llava" => found.push((name, manifest)),
                other => println!("skipped {name}: family {other} is not implemented"),
            }
        }
    }
    assert!(!found.is_empty(), "no llava manifest in {}", root().display());
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn load(manifest: &Value) -> Llava {
    let dir = root().join(manifest["checkpoint"].as_str().unwrap());
    let options = LoadOptions {
        image_mode: ImageMode::CenterCrop,
        ..LoadOptions::default()
    };
    Llava::load_with(dir, &Device::flex(), options).unwrap()
}

fn images(case: &Value) -> Vec<image::RgbImage> {
    let name = |image: &Value| format!("{}.png", image.as_str().unwrap());
    let names = case["images"].as_array().unwrap().iter().map(name);
    names
        .map(|name| load_image(root().join("images").join(name)).unwrap())
        .collect()
}

/// Pixels as stored, and a check that our own preprocessing gives the same.
fn pixels(llava: &Llava, json: &Value, tensors: &Tensors) -> Pixels {
    let pixels = llava.preprocess(&images(json)).unwrap();
    let ours = pixels.values.clone();
    tensors.check("pixel_values", &ours);
    let source = json["pixel_values"].as_str().unwrap();
    if let Some(png) = source
        .strip_prefix("png ")
        .and_then(|rest| rest.split(' ').next())
    {
        let stack = load_image(root().join("expected").join(png)).unwrap();
        let (side, height) = (stack.width(), stack.height());
        let tile = |i: u32| image::imageops::crop_imm(&stack, 0, i * side, side, side).to_image();
        let tiles: Vec<_> = (0..height / side).map(tile).collect();
        let stored = llava.preprocess(&tiles).unwrap().values;
        assert_eq!(
            stored.clone().into_data(),
            ours.clone().into_data(),
            "pixels of {png}"
        );
    }
    let places = tensors.ints("pixel_sample_index").unwrap();
    let n = places.len();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [n]), &ours.device());
    tensors.check("pixel_sample_value", &ours.flatten::<1>(0, 3).select(0, places));
    pixels
}

impl Case<'_> {
    fn check_vision(&self, pixels: Pixels) -> Encoded {
        let vision = &self.llava.model().vision;
        let states = vision.hidden_states(pixels.values.clone());
        for (i, state) in states.iter().enumerate() {
            self.tensors.check(&format!("vision_hidden_{i}"), state);
        }
        let encoding = self.llava.model().encode(pixels.values.clone(), true);
        self.tensors.check("vision_selected_with_cls", &encoding.hidden);
        self.tensors
            .check("vision_cls_attention", &encoding.cls_attention.unwrap());
        let layer = vision.depth(-2) - 1;
        let n_keys = states[layer].dims()[1];
        let matrix = vision.layers[layer].attention_rows(states[layer].clone(), 0..n_keys);
        self.tensors.check("vision_attention_layer_-2", &matrix);
        self.llava.encode(
            pixels,
            Signals {
                cls_attention: true,
                ..Signals::default()
            },
        )
    }

    fn check_splice(&self, visual: &VisualInput) -> Spliced {
        let llava = self.llava;
        let text = self.json["prompt"].as_str().unwrap();
        assert_eq!(
            llava.tokenizer().encode(text, true).unwrap(),
            self.prompt,
            "prompt"
        );
        self.tensors
            .check_ints("prompt_ids", self.prompt.iter().map(|&id| id.into()));
        let prompts = std::slice::from_ref(&self.prompt);
        let spliced = llava
            .model()
            .splice(prompts, Some(visual), Padding::Right)
            .unwrap();
        let plan = &spliced.plans[0];
        let id = |slot: &Slot| match *slot {
            Slot::Text(i) => i64::from(self.prompt[i]),
            _ => i64::from(llava.model().image_token_id()),
        };
        self.tensors.check_ints("input_ids", plan.slots.iter().map(id));
        self.tensors
            .check_ints("position_ids", plan.positions.iter().map(|p| p[0] as i64));
        assert!(spliced.mask.is_none(), "one sequence needs no padding");
        self.tensors.check_ints("attention_mask", vec![1; spliced.width]);
        assert_eq!(spliced.width as u64, self.json["seq_len"].as_u64().unwrap());
        self.tensors.check_rows(
            "inputs_embeds",
            "inputs_embeds_rows",
            "inputs_embeds_at_rows",
            &spliced.embeds,
        );
        spliced
    }

    fn check_language(&self, spliced: &Spliced) {
        let language = &self.llava.model().language;
        let (embeds, positions) = (spliced.embeds.clone(), spliced.position_ids.clone());
        let states = language.hidden_states(embeds.clone(), positions.clone(), None);
        let rope = language.rope(positions.clone());
        for (i, layer) in language.layers.iter().enumerate() {
            self.tensors.check(&format!("llm_layer_input_{i}"), &states[i]);
            let name = format!("llm_attention_{i}");
            if self.tensors.has(&name) {
                let rows = layer.attention_rows(states[i].clone(), &rope, None, spliced.width);
                self.tensors.check(&name, &rows);
            }
        }
        let hidden = language.forward(embeds, positions, None, None);
        self.tensors.check("llm_final_norm", &hidden);
        self.tensors
            .check_rows("logits", "logit_rows", "logits_at_rows", &self.logits(hidden));
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [batch, n, width] = hidden.dims();
        let logits = self
            .llava
            .model()
            .language
            .logits(hidden.reshape([batch * n, width]));
        logits.unsqueeze_dim(0)
    }

    /// The loss and its gradients through frozen weights.
    fn check_loss(&self, tokens: Tensor<3>) {
        let Some(labels) = self.tensors.ints("labels") else {
            return;
        };
        let (llava, device) = (self.llava, tokens.device());
        let tokens = tokens.autodiff().require_grad();
        let visual = VisualInput::full(llava.project(tokens.clone()));
        let batch = self.targets(&labels, &visual);
        let loss = llava.loss(&batch, Some(&visual)).unwrap();
        self.tensors.check("loss", &loss.clone().without_autodiff());
        let grad = tokens.grad(&loss.backward()).expect("a gradient of the tokens");
        self.tensors.check("grad_vision_selected_without_cls", &grad);

        let plain = VisualInput::full(llava.project(tokens.without_autodiff().to_device(&device)));
        let mut spliced = llava
            .model()
            .splice(&batch.ids, Some(&plain), Padding::Right)
            .unwrap();
        spliced.embeds = spliced.embeds.autodiff().require_grad();
        let loss = next_token_nll(&llava.model().language, &spliced, &batch).unwrap();
        self.tensors.check(
            "grad_inputs_embeds",
            &spliced.embeds.grad(&loss.backward()).expect("a gradient"),
        );
    }

    /// The flags of the labels that are not -100, back on the prompt's own ids.
    fn targets(&self, labels: &[i64], visual: &VisualInput) -> TextBatch {
        let prompts = std::slice::from_ref(&self.prompt);
        let spliced = self
            .llava
            .model()
            .splice(prompts, Some(visual), Padding::Right)
            .unwrap();
        let mut targets = vec![false; self.prompt.len()];
        for (slot, &label) in spliced.plans[0].slots.iter().zip(labels) {
            match *slot {
                Slot::Text(i) if label >= 0 => {
                    assert_eq!(label, i64::from(self.prompt[i]));
                    targets[i] = true;
                }
                _ => assert_eq!(label, -100, "an image token is a target"),
            }
        }
        TextBatch {
            ids: vec![self.prompt.clone()],
            targets: vec![targets],
        }
    }

    fn check_pruned(&self, encoded: &Encoded) {
        let Some(keep) = self.keep(encoded) else { return };
        let selection = Selection::keep(keep.clone());
        let features = self.llava.project(selection.gather(encoded.tokens.clone()));
        let input = |rule| {
            self.llava
                .visual_input(features.clone(), &encoded.layouts, &keep, rule)
        };
        let visual = input(PositionRule::Keep);
        let reindexed = input(PositionRule::Reindex);
        let kept = self.pruned_logits(&visual, true);
        self.tensors
            .check_rows("prune_logits", "prune_logit_rows", "prune_logits_at_rows", &kept);
        let reindexed = self.pruned_logits(&reindexed, false);
        let last = |logits: Tensor<3>| logits.clone().narrow(1, logits.dims()[1] - 1, 1);
        self.tensors
            .check("prune_logits_last_reindexed_positions", &last(reindexed.clone()));
        // With few tokens gone, the two rules hardly differ; with none, they agree.
        let n_kept: usize = keep.iter().map(Vec::len).sum();
        if 2 * n_kept <= encoded.counts().iter().sum() {
            let contrast = (last(kept) - last(reindexed)).abs().max().into_scalar::<f32>();
            assert!(
                contrast > 10.0 * TOLERANCE,
                "positions make no difference: {contrast}"
            );
        }
        self.check_greedy(
            "prune_greedy",
            &self.generate(&visual, "prune_greedy_new_tokens", &[]),
        );
        self.check_answer(&keep);
    }

    /// The kept places of each image.
    fn keep(&self, encoded: &Encoded) -> Option<Vec<Vec<usize>>> {
        let keep = self.tensors.ints("prune_keep_visual_index")?;
        let mut rows = vec![Vec::new(); encoded.layouts.len()];
        let n_tokens = encoded.counts()[0];
        keep.iter()
            .for_each(|&place| rows[place as usize / n_tokens].push(place as usize % n_tokens));
        Some(rows)
    }

    fn pruned_logits(&self, visual: &VisualInput, original: bool) -> Tensor<3> {
        let prompts = std::slice::from_ref(&self.prompt);
        let spliced = self
            .llava
            .model()
            .splice(prompts, Some(visual), Padding::Right)
            .unwrap();
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
        let language = &self.llava.model().language;
        self.logits(language.forward(spliced.embeds, spliced.position_ids, None, None))
    }

    fn generate(&self, visual: &VisualInput, key: &str, stop_ids: &[u32]) -> Vec<u32> {
        let max_new_tokens = ids(&self.json[key]).len();
        let options = GenerateOptions {
            max_new_tokens,
            stop_ids: stop_ids.to_vec(),
            ..Default::default()
        };
        let prompts = std::slice::from_ref(&self.prompt);
        self.llava
            .generate(prompts, Some(visual), &options)
            .unwrap()
            .remove(0)
    }

    fn check_greedy(&self, key: &str, found: &[u32]) {
        if self.decides(key) {
            assert_eq!(found, ids(&self.json[&format!("{key}_new_tokens")]), "{key}");
        }
    }

    fn decides(&self, key: &str) -> bool {
        let gap = self.json[&format!("{key}_min_top2_gap")].as_f64().unwrap();
        if gap < LEAST_GAP {
            println!(
                "{key} of {} not compared: best two scores only {gap} apart",
                self.json["id"]
            );
        }
        gap >= LEAST_GAP
    }

    /// Greedy decoding, plain and as `generation_config.json` wants it.
    fn check_generation(&self, visual: &VisualInput) {
        self.check_greedy("greedy", &self.generate(visual, "greedy_new_tokens", &[]));
        let mut options = self.llava.generate_options();
        options.max_new_tokens = ids(&self.json["greedy_new_tokens"]).len();
        let prompts = std::slice::from_ref(&self.prompt);
        let found = self
            .llava
            .generate(prompts, Some(visual), &options)
            .unwrap()
            .remove(0);
        let mut wanted = ids(&self.json["generate_with_generation_config_file"]);
        wanted.truncate(
            wanted
                .iter()
                .position(|id| options.stop_ids.contains(id))
                .unwrap_or(wanted.len()),
        );
        if self.decides("greedy") {
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

    /// The whole path from the picture's pixels to the answer, with a method that keeps what the oracle kept.
    fn check_answer(&self, keep: &[Vec<usize>]) {
        if keep.iter().any(Vec::is_empty) || !self.decides("prune_greedy") {
            return;
        }
        let wanted = ids(&self.json["prune_greedy_new_tokens"]);
        let options = GenerateOptions {
            max_new_tokens: wanted.len(),
            ..Default::default()
        };
        let pruner = Fixed(keep.to_vec());
        let prompts = std::slice::from_ref(&self.prompt);
        let prune = PruneOptions::new(Budget::All);
        let (found, _) = answer(self.llava, &images(self.json), prompts, &pruner, &prune, &options).unwrap();
        assert_eq!(found, [wanted]);
    }
}

/// Keeps given tokens.
struct Fixed(Vec<Vec<usize>>);

impl Pruner for Fixed {
    fn name(&self) -> &str {
        "fixed"
    }

    fn select(&self, _: &PruningContext) -> Result<Selection, PruneError> {
        Ok(Selection::keep(self.0.clone()))
    }
}

#[test]
fn every_tensor_agrees() {
    for (name, manifest) in manifests() {
        let llava = load(&manifest);
        let cases = manifest["cases"].as_array().unwrap();
        assert!(!cases.is_empty(), "{name} has no cases");
        for json in cases {
            let tensors = Tensors::open(&root().join(json["file"].as_str().unwrap()));
            let prompt = ids(&json["prompt_ids_unexpanded"]);
            let case = Case {
                llava: &llava,
                json,
                tensors: &tensors,
                prompt,
            };
            let pixels = pixels(&llava, json, &tensors);
            let encoded = case.check_vision(pixels);
            let features = llava.project(encoded.tokens.clone());
            tensors.check("projector_output", &features);
            let visual = VisualInput::full(features);
            let spliced = case.check_splice(&visual);
            case.check_language(&spliced);
            case.check_loss(encoded.tokens.clone());
            case.check_pruned(&encoded);
            case.check_generation(&visual);
            tensors.finish(&format!("{name}/{}", json["id"].as_str().unwrap()));
        }
    }
}

/// All cases of a checkpoint in one ragged batch, each image pruned to another count, give what they give alone.
#[test]
fn a_ragged_batch_answers_as_its_prompts_alone() {
    let mut n_compared = 0;
    for (name, manifest) in manifests() {
        let llava = load(&manifest);
        let (mut prompts, mut pictures, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for case in manifest["cases"].as_array().unwrap() {
            prompts.push(ids(&case["prompt_ids_unexpanded"]));
            counts.push(case["images"].as_array().unwrap().len());
            pictures.extend(images(case));
        }
        let encoded = llava.encode(llava.preprocess(&pictures).unwrap(), Signals::default());
        let n_full = encoded.counts()[0];
        let keep: Vec<Vec<usize>> = (0..pictures.len())
            .map(|i| (0..n_full).step_by(i + 1).collect())
            .collect();
        let visual = |range: std::ops::Range<usize>| {
            let tokens = encoded.tokens.clone().narrow(0, range.start, range.len());
            let keep = keep[range.clone()].to_vec();
            let features = llava.project(Selection::keep(keep.clone()).gather(tokens));
            llava.visual_input(features, &encoded.layouts[range], &keep, PositionRule::Keep)
        };
        let options = GenerateOptions {
            max_new_tokens: 6,
            ..Default::default()
        };
        let together = llava
            .generate(&prompts, Some(&visual(0..pictures.len())), &options)
            .unwrap();
        let mut first = 0;
        for (i, prompt) in prompts.iter().enumerate() {
            let own = visual(first..first + counts[i]);
            let alone = llava
                .generate(std::slice::from_ref(prompt), Some(&own), &options)
                .unwrap();
            let n = n_decided(&llava, prompt, &own, &alone[0]);
            if n < alone[0].len() {
                println!(
                    "{name}, prompt {i}: only the first {n} ids compared, then two scores are too close"
                );
            }
            let reached = |ids: &[u32]| ids[..n.min(ids.len())].to_vec();
            assert_eq!(reached(&together[i]), reached(&alone[0]), "{name}, prompt {i}");
            n_compared += n;
            first += counts[i];
        }
    }
    assert!(n_compared > 0, "no answer is decided by more than {LEAST_GAP}");
}

/// How many ids of an answer come before the first whose best two scores are too close to tell.
fn n_decided(llava: &Llava, prompt: &[u32], visual: &VisualInput, answer: &[u32]) -> usize {
    let model = llava.model();
    // An answer that holds the placeholder itself cannot be spliced beyond it.
    let image = answer.iter().position(|&id| id == model.image_token_id());
    let n = image.map_or(answer.len(), |place| place + 1);
    if n == 0 {
        return 0;
    }
    let ids = [prompt, &answer[..n - 1]].concat();
    let spliced = model.splice(&[ids], Some(visual), Padding::Right).unwrap();
    let hidden = model
        .language
        .forward(spliced.embeds, spliced.position_ids, None, None);
    let [_, width, d_model] = hidden.dims();
    let rows = hidden.narrow(1, width - n, n).reshape([n, d_model]);
    let best = model.language.logits(rows).topk(2, 1);
    let gaps: Vec<f32> = (best.clone().narrow(1, 0, 1) - best.narrow(1, 1, 1))
        .into_data()
        .try_to_vec()
        .unwrap();
    gaps.iter()
        .take_while(|&&gap| f64::from(gap) >= LEAST_GAP)
        .count()
}

/// The names of the newer module tree load to the same weights, and what we save others would read back.
#[test]
fn newer_names_and_saved_files_load_to_the_same_weights() {
    for (name, manifest) in manifests() {
        let dir = root().join(manifest["checkpoint"].as_str().unwrap());
        let config = LlavaConfig::from_dir(&dir).unwrap();
        let files = WeightFiles::open(&dir).unwrap();
        let renamed = tempfile::tempdir().unwrap();
        let tensor = |name: &str| {
            let newer = match name.strip_prefix("language_model.model.") {
                Some(rest) => format!("model.language_model.{rest}"),
                None if name.starts_with("language_model.lm_head.") => name.replace("language_model.", ""),
                None => format!("model.{name}"),
            };
            (newer, files.tensor_data(name, DType::F32).unwrap())
        };
        let tensors: Vec<_> = files.names().map(tensor).collect();
        save_safetensors(renamed.path().join("model.safetensors"), tensors, DType::F32).unwrap();
        let device = Device::flex();
        let model = config.load_weights(renamed.path(), DType::F32, &device).unwrap();
        let saved = tempfile::tempdir().unwrap();
        model.save_pretrained(&config, saved.path(), DType::F32).unwrap();
        assert_eq!(LlavaConfig::from_dir(saved.path()).unwrap(), config, "{name}");
        let again = WeightFiles::open(saved.path()).unwrap();
        assert!(files.names().eq(again.names()), "{name}: names changed");
        for tensor in files.names() {
            assert_eq!(
                again.tensor_f32(tensor).unwrap(),
                files.tensor_f32(tensor).unwrap(),
                "{name}: {tensor}"
            );
        }
    }
}
