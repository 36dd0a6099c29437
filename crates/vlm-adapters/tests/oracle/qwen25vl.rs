//! Qwen2.5-VL against what `transformers` computes: every tensor of every case of every `qwen2_5_vl` checkpoint.

use burn::tensor::{Device, Int, Tensor, TensorData};
use diffprune_pruner::{Grid, PositionRule, Selection, Signals};
use diffprune_vlm_adapters::{
    Encoded, GenerateOptions, LoadOptions, Padding, Pixels, PruningSite, Qwen25Vl, QwenOptions, Slot,
    SplicePlan, Spliced, VisualInput, Vlm, next_token_nll,
};
use serde_json::Value;

use crate::cases::{LEAST_GAP, cases, check_answer, decides, ids, images, manifests};
use crate::fixture;
use crate::language::{check_language, check_spliced, logits, n_decided, targets};
use crate::tensors::{TOLERANCE, Tensors};

pub const FAMILY: &str = "qwen2_5_vl";

/// One checkpoint and one of its cases.
struct Case<'a> {
    qwen: &'a Qwen25Vl,
    json: &'a Value,
    tensors: &'a Tensors,
    prompt: Vec<u32>,
    grids: Vec<Grid>,
}

pub fn load(manifest: &Value, site: PruningSite) -> Qwen25Vl {
    let dir = fixture(manifest["checkpoint"].as_str().unwrap());
    let options = LoadOptions::f32().with_qwen(QwenOptions::default().with_site(site));
    Qwen25Vl::load(dir, &Device::flex(), options).unwrap()
}

fn indices(values: impl IntoIterator<Item = i64>) -> Tensor<1, Int> {
    let values: Vec<i64> = values.into_iter().collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), &Device::flex())
}

/// Pixels from the picture, after a check that they are the stored ones.
fn pixels(qwen: &Qwen25Vl, json: &Value, tensors: &Tensors) -> Pixels {
    let pixels = qwen.preprocess(&images(json)).unwrap();
    let [n_patches, channels, side, _] = pixels.values.dims();
    let flat = pixels.values.clone().reshape([n_patches, channels * side * side]);
    let shape: Vec<usize> = serde_json::from_value(json["pixel_values_shape"].clone()).unwrap();
    assert_eq!(flat.dims().to_vec(), shape);
    tensors.check("pixel_values", &flat);
    let places = indices(tensors.ints("pixel_sample_index").unwrap());
    tensors.check("pixel_sample_value", &flat.flatten::<1>(0, 1).select(0, places));
    let thw = pixels
        .images
        .iter()
        .map(|image| [1, image.grid.rows, image.grid.cols]);
    tensors.check_ints("image_grid_thw", thw.flatten().map(|n| n as i64));
    pixels
}

impl Case<'_> {
    fn group(&self) -> usize {
        self.qwen.parts().config.vision.group()
    }

    /// Rows of patches in raster order of cells, in the order in which the reference implementation keeps them.
    fn window_order(&self, x: Tensor<2>) -> Tensor<2> {
        let [n_patches, width] = x.dims();
        let order = self.qwen.model().vision.plan(&self.grids).window_index();
        x.reshape([n_patches / self.group(), self.group() * width])
            .select(0, indices(order.into_iter().map(|cell| cell as i64)))
            .reshape([n_patches, width])
    }

    fn check_plan(&self) {
        let plan = self.qwen.model().vision.plan(&self.grids);
        let order = plan.window_index();
        self.tensors
            .check_ints("window_index", order.iter().map(|&cell| cell as i64));
        let place = |cell: usize| order.iter().position(|&other| other == cell).unwrap() as i64;
        self.tensors
            .check_ints("window_reverse_index", (0..order.len()).map(place));
        let mut ends = vec![0];
        for window in &plan.windows {
            ends.push(ends[ends.len() - 1] + (window.len() * self.group()) as i64);
        }
        self.tensors.check_ints("cu_window_seqlens", ends);
        let places = self.qwen.model().vision.places(&self.grids);
        let places = places.into_iter().flat_map(|(row, col)| [row as i64, col as i64]);
        self.tensors.check_ints("vision_hw_position_ids", places);
    }

    fn check_vision(&self, pixels: Pixels) -> Encoded {
        let vision = &self.qwen.model().vision;
        let states = vision.hidden_states(pixels.values.clone(), &self.grids);
        for (i, state) in states.iter().enumerate() {
            let name = format!("vision_hidden_{i}_window_order");
            self.tensors.check(&name, &self.window_order(state.clone()));
        }
        let encoding = vision.encode(pixels.values.clone(), &self.grids, true);
        self.tensors.check(
            "vision_last_hidden_window_order",
            &self.window_order(encoding.hidden),
        );
        let received = encoding
            .received
            .expect("a block over whole images")
            .unsqueeze_dim(1);
        let received: Tensor<2> = self.window_order(received);
        self.tensors
            .check("vision_attn_received_last_full_window_order", &received);
        self.check_maps(&states);
        let signals = Signals {
            received_attention: true,
            ..Signals::default()
        };
        let encoded = self.qwen.encode(pixels, signals);
        assert!(encoded.observed.cls_attention.is_none() && encoded.observed.keys.is_none());
        self.check_received(&encoded, received);
        let counts: Vec<usize> = serde_json::from_value(self.json["image_token_counts"].clone()).unwrap();
        assert_eq!(encoded.counts(), counts);
        encoded
    }

    /// The attention of whole images in the last block that has it.
    fn check_maps(&self, states: &[Tensor<2>]) {
        let vision = &self.qwen.model().vision;
        let last = *vision.full_blocks().last().expect("a block over whole images");
        let mut first = 0;
        for (i, grid) in self.grids.iter().enumerate() {
            let name = format!("vision_attn_last_full_img{i}_window_order");
            let n = grid.n_tokens();
            if self.tensors.has(&name) {
                let map = vision.attention_map(states[last].clone().narrow(0, first, n), *grid, last);
                let order = vision.plan(&[*grid]).window_index().into_iter();
                let patches = order.flat_map(|cell| cell * self.group()..(cell + 1) * self.group());
                let patches = indices(patches.map(|patch| patch as i64));
                let map = map.select(2, patches.clone()).select(3, patches);
                self.tensors.check(&name, &map);
            }
            first += n;
        }
    }

    /// The signal of a cell is the mean of its patches, in raster order.
    fn check_received(&self, encoded: &Encoded, by_patch: Tensor<2>) {
        let signal = encoded.observed.received_attention.clone().expect("asked for");
        let found = flat(signal.unsqueeze_dim(2), &encoded.counts());
        let cells = by_patch.reshape([-1, self.group() as i64]).mean_dim(1);
        let plan = self.qwen.model().vision.plan(&self.grids);
        let order = plan.window_index();
        let place = |cell: usize| order.iter().position(|&other| other == cell).unwrap() as i64;
        let wanted = cells.select(0, indices((0..order.len()).map(place)));
        assert_close(&found, &wanted, 1e-6, "received attention");
        assert_close(
            &found.sum().reshape([1, 1]),
            &Tensor::full(
                [1, 1],
                self.grids.len() as f32 / self.group() as f32,
                &Device::flex(),
            ),
            1e-5,
            "sum of the received attention",
        );
    }

    fn check_splice(&self, visual: &VisualInput) -> Spliced {
        let spliced = check_spliced(
            self.json,
            self.tensors,
            self.qwen.tokenizer(),
            &self.qwen.model().reader(),
            &self.prompt,
            visual,
        );
        let plan = &spliced.plans[0];
        let kind = |slot: &Slot| i64::from(!matches!(slot, Slot::Text(_)));
        self.tensors
            .check_ints("mm_token_type_ids", plan.slots.iter().map(kind));
        self.tensors.check_ints("position_ids", by_axis(plan));
        let delta = plan.next_position as i64 - plan.slots.len() as i64;
        self.tensors.check_ints("rope_deltas", [delta]);
        spliced
    }

    fn splice(&self, visual: &VisualInput) -> Spliced {
        let prompts = std::slice::from_ref(&self.prompt);
        self.qwen
            .model()
            .reader()
            .splice(prompts, Some(visual), Padding::Right)
            .unwrap()
    }

    /// The loss and its gradients through frozen weights.
    fn check_loss(&self, encoded: &Encoded) {
        let Some(labels) = self.tensors.ints("labels") else {
            return;
        };
        let qwen = self.qwen;
        let tokens = encoded.tokens.clone().autodiff().require_grad();
        let visual = self.visual(encoded, qwen.project(tokens.clone()), encoded.all_indices());
        let batch = targets(&self.prompt, &labels, &self.splice(&visual));
        let loss = qwen.loss(&batch, Some(&visual)).unwrap();
        self.tensors.check("loss", &loss.clone().without_autodiff());
        let grad = tokens.grad(&loss.backward()).expect("a gradient of the tokens");
        let [_, _, wide] = grad.dims();
        let grad = flat(grad, &encoded.counts()).reshape([-1, (wide / self.group()) as i64]);
        self.tensors
            .check("grad_vision_last_hidden_window_order", &self.window_order(grad));

        let features = qwen.project(encoded.tokens.clone());
        let mut spliced = self.splice(&self.visual(encoded, features, encoded.all_indices()));
        spliced.embeds = spliced.embeds.autodiff().require_grad();
        let loss = next_token_nll(&qwen.model().language, &spliced, &batch).unwrap();
        self.tensors.check(
            "grad_inputs_embeds",
            &spliced.embeds.grad(&loss.backward()).expect("a gradient"),
        );
    }

    fn visual(&self, encoded: &Encoded, features: Tensor<3>, keep: Vec<Vec<usize>>) -> VisualInput {
        let (layouts, rule) = (&encoded.layouts, PositionRule::Keep);
        self.qwen.visual_input(features, layouts, &keep, rule)
    }

    fn check_pruned(&self, encoded: &Encoded, full: &SplicePlan) {
        let Some(keep) = self.keep(encoded) else { return };
        let selection = Selection::keep(keep.clone());
        let features = self.qwen.project(selection.gather(encoded.tokens.clone()));
        let input = |rule| {
            self.qwen
                .visual_input(features.clone(), &encoded.layouts, &keep, rule)
        };
        let visual = input(PositionRule::Keep);
        let plan = &self.splice(&visual).plans[0];
        self.tensors.check_ints("prune_position_ids", by_axis(plan));
        self.tensors
            .check_ints("prune_keep_sequence_index", places_in(full, plan, &keep));
        assert_eq!(
            plan.next_position as u64,
            self.json["prune_next_position"].as_u64().unwrap()
        );
        let kept = self.spliced_logits(&visual);
        self.tensors
            .check_rows("prune_logits", "prune_logit_rows", "prune_logits_at_rows", &kept);

        let visual_again = input(PositionRule::Reindex);
        let plan = &self.splice(&visual_again).plans[0];
        let counted = (0..plan.slots.len()).map(|i| [i; 3]);
        assert!(
            plan.positions.iter().copied().eq(counted),
            "renumbered on all axes"
        );
        assert_eq!(plan.next_position, plan.slots.len());
        let reindexed = self.spliced_logits(&visual_again);
        let last = |logits: Tensor<3>| logits.clone().narrow(1, logits.dims()[1] - 1, 1);
        self.tensors
            .check("prune_logits_last_reindexed_positions", &last(reindexed.clone()));
        // With few tokens gone, the two rules hardly differ; with none, they still differ here (three axes).
        let contrast = (last(kept) - last(reindexed)).abs().max().into_scalar::<f32>();
        assert!(
            contrast > 10.0 * TOLERANCE,
            "positions make no difference: {contrast}"
        );
        let wanted = ids(&self.json["prune_greedy_new_tokens"]);
        if decides(self.json, "prune_greedy") {
            let options = plain(wanted.len());
            assert_eq!(self.generate(&visual, &options), wanted, "prune_greedy");
            if !keep.iter().any(Vec::is_empty) {
                check_answer(self.qwen, self.json, &self.prompt, &keep, &wanted);
            }
        }
    }

    /// The kept cells of each image.
    fn keep(&self, encoded: &Encoded) -> Option<Vec<Vec<usize>>> {
        let keep = self.tensors.ints("prune_keep_visual_index")?;
        let (mut rows, mut first) = (Vec::new(), 0);
        for count in encoded.counts() {
            let own = first as i64..(first + count) as i64;
            let own = keep.iter().filter(|&place| own.contains(place));
            rows.push(own.map(|&place| place as usize - first).collect());
            first += count;
        }
        assert_eq!(rows.iter().map(Vec::len).sum::<usize>(), keep.len());
        Some(rows)
    }

    fn spliced_logits(&self, visual: &VisualInput) -> Tensor<3> {
        let spliced = self.splice(visual);
        let language = &self.qwen.model().language;
        let hidden = language.forward(spliced.embeds, spliced.position_ids, None, None);
        logits(language, hidden)
    }

    fn generate(&self, visual: &VisualInput, options: &GenerateOptions) -> Vec<u32> {
        let prompts = std::slice::from_ref(&self.prompt);
        self.qwen
            .generate(prompts, Some(visual), options)
            .unwrap()
            .remove(0)
    }

    /// Greedy decoding, plain and as `generation_config.json` wants it: with stop ids and a repetition penalty.
    /// Returns how many of the penalised ids are decided by more than rounding.
    fn check_generation(&self, visual: &VisualInput) -> usize {
        let wanted = ids(&self.json["greedy_new_tokens"]);
        if decides(self.json, "greedy") {
            assert_eq!(self.generate(visual, &plain(wanted.len())), wanted, "greedy");
        }
        let mut options = self.qwen.generate_options();
        let penalty = self.qwen.parts().generation.repetition_penalty;
        assert_eq!(options.repetition_penalty, penalty);
        options.max_new_tokens = wanted.len();
        let found = self.generate(visual, &options);
        let mut wanted = ids(&self.json["generate_with_generation_config_file"]);
        let stop = wanted.iter().position(|id| options.stop_ids.contains(id));
        wanted.truncate(stop.unwrap_or(wanted.len()));
        let n = n_decided(
            &self.qwen.model().reader(),
            &self.prompt,
            visual,
            &wanted,
            options.repetition_penalty,
        );
        assert_eq!(found[..n.min(found.len())], wanted[..n], "generation_config.json");
        n
    }
}

pub fn plain(max_new_tokens: usize) -> GenerateOptions {
    GenerateOptions::default().with_max_new_tokens(max_new_tokens)
}

/// The position ids of a plan, axis after axis.
fn by_axis(plan: &SplicePlan) -> Vec<i64> {
    let axis = |axis: usize| plan.positions.iter().map(move |position| position[axis] as i64);
    (0..3).flat_map(axis).collect()
}

/// The places of the slots of a pruned plan in the full one.
fn places_in(full: &SplicePlan, pruned: &SplicePlan, keep: &[Vec<usize>]) -> Vec<i64> {
    let original = |slot: &Slot| match *slot {
        Slot::Visual { image, row } => Slot::Visual {
            image,
            row: keep[image][row],
        },
        other => other,
    };
    let place = |slot: Slot| full.slots.iter().position(|&other| other == slot).unwrap();
    let slots = pruned.slots.iter().map(original);
    slots.map(|slot| place(slot) as i64).collect()
}

/// The real rows of `[b, n, d]`, `[rows, d]`.
fn flat(x: Tensor<3>, counts: &[usize]) -> Tensor<2> {
    let rows = counts.iter().enumerate().map(|(i, &count)| {
        let row: Tensor<2> = x.clone().narrow(0, i, 1).squeeze_dim(0);
        row.narrow(0, 0, count)
    });
    Tensor::cat(rows.collect(), 0)
}

pub fn assert_close<const D: usize>(found: &Tensor<D>, wanted: &Tensor<D>, tolerance: f32, what: &str) {
    assert_eq!(found.dims(), wanted.dims(), "{what}");
    let worst = (found.clone() - wanted.clone()).abs().max().into_scalar::<f32>();
    assert!(worst <= tolerance, "{what}: off by {worst}");
}

#[test]
fn every_tensor_agrees() {
    let mut n_penalised = 0;
    for (name, manifest) in manifests(FAMILY) {
        let before = load(&manifest, PruningSite::BeforeMerger);
        let after = load(&manifest, PruningSite::AfterMerger);
        for json in cases(&manifest) {
            let tensors = Tensors::open(&fixture(json["file"].as_str().unwrap()));
            let pixels = pixels(&before, json, &tensors);
            let case = Case {
                qwen: &before,
                json,
                tensors: &tensors,
                prompt: ids(&json["prompt_ids_unexpanded"]),
                grids: pixels.images.iter().map(|image| image.grid).collect(),
            };
            case.check_plan();
            let encoded = case.check_vision(pixels.clone());
            let features = before.project(encoded.tokens.clone());
            tensors.check(
                "vision_features_merged",
                &flat(features.clone(), &encoded.counts()),
            );
            let visual = case.visual(&encoded, features, encoded.all_indices());
            let spliced = case.check_splice(&visual);
            check_language(&case.qwen.model().language, &tensors, &spliced);
            case.check_loss(&encoded);
            case.check_pruned(&encoded, &spliced.plans[0]);
            n_penalised += case.check_generation(&visual);

            // Choosing after the merger sees the features themselves, and changes nothing of what follows.
            let case = Case { qwen: &after, ..case };
            let encoded = after.encode(pixels, Signals::default());
            assert!(encoded.observed.received_attention.is_none(), "nobody asked");
            tensors.check(
                "vision_features_merged",
                &flat(encoded.tokens.clone(), &encoded.counts()),
            );
            assert_eq!((after.group(), after.d_vision()), (1, after.d_model()));
            case.check_pruned(&encoded, &spliced.plans[0]);
            tensors.finish(&format!("{name}/{}", json["id"].as_str().unwrap()));
        }
    }
    assert!(
        n_penalised > 0,
        "no penalised id is decided by more than {LEAST_GAP}"
    );
}
