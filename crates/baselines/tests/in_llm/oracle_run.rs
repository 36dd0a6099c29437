//! Whole prefills of the fixtures' language model through the real decoder.

use burn::tensor::Tensor;
use diffprune_baselines::{Dart, FastV, PivotOrder, PyramidDrop, Schedule, SparseVlm};
use diffprune_pruner::{Budget, DecoderContext, DecoderPruner};
use diffprune_vlm_adapters::{DecoderPruning, PrunedPass};

use crate::fixture::{Fixture, Run, close, fixtures, numbers, rows, values};
use crate::recorder::{Recorder, StageCall};

/// A run with a cache, which equals one without; what the method saw.
fn prefill<P: DecoderPruner>(run: &Run, method: P) -> (PrunedPass, Recorder<P>) {
    let method = Recorder::new(method);
    let pruning = DecoderPruning::new(&method, Budget::Tokens(1));
    let mut cache = run.language.cache(1, run.layout.total());
    let pass = run
        .language
        .forward_pruned(&run.spliced, &pruning, Some(&mut cache), None)
        .unwrap();
    let lengths: Vec<usize> = (0..run.language.layers.len())
        .map(|i| cache.layer(i).len())
        .collect();
    assert_eq!(lengths, pass.report.sequences[0].kv_lengths);
    let without = run
        .language
        .forward_pruned(
            &run.spliced,
            &DecoderPruning::new(&method.inner, Budget::Tokens(1)),
            None,
            None,
        )
        .unwrap();
    assert_eq!(without.report, pass.report);
    close(
        "without a cache",
        &values(without.hidden),
        &values(pass.hidden.clone()),
        1e-5,
    );
    (pass, method)
}

/// Kept visual tokens after each stage, by their number among those of the input; `None` for merged vectors.
fn kept(run: &Run, pass: &PrunedPass) -> Vec<Vec<Option<usize>>> {
    let mut current: Vec<Option<usize>> = (0..run.layout.visual).map(Some).collect();
    let stages = pass.report.sequences[0].stages.iter();
    let after = stages.map(|stage| {
        current = stage.keep.iter().map(|&i| current[i]).collect();
        current.extend(vec![None; stage.merged]);
        current.clone()
    });
    after.collect()
}

/// As [`kept`], where nothing is merged, as places of the sequence.
fn places(run: &Run, pass: &PrunedPass) -> Vec<Vec<usize>> {
    let plain = |kept: Vec<Option<usize>>| -> Vec<usize> { kept.into_iter().map(Option::unwrap).collect() };
    kept(run, pass)
        .into_iter()
        .map(|kept| run.layout.places(&plain(kept)))
        .collect()
}

fn check_output(fixture: &Fixture, name: &str, run: &Run, pass: &PrunedPass) {
    let hidden = run.language.normalize(pass.hidden.clone());
    let what = format!("{} {name}", fixture.stem);
    close(&what, &values(hidden), &fixture.floats(name), 2e-3);
}

/// The model itself, before anything is dropped.
#[test]
fn the_whole_model_computes_what_it_should() {
    for fixture in fixtures("tiny_llama", "") {
        let run = Run::new(&fixture);
        let states =
            run.language
                .hidden_states(run.spliced.embeds.clone(), run.spliced.position_ids.clone(), None);
        let last = run.language.normalize(states[states.len() - 1].clone());
        close(
            "vanilla",
            &values(last),
            &fixture.floats("vanilla.last_hidden_state"),
            2e-3,
        );
        // A budget of all drops nothing.
        let pass = run
            .language
            .forward_pruned(
                &run.spliced,
                &DecoderPruning::new(&FastV::default(), Budget::All),
                None,
                None,
            )
            .unwrap();
        check_output(&fixture, "vanilla.last_hidden_state", &run, &pass);
        assert!(pass.report.sequences[0].stages.is_empty());
    }
}

#[test]
fn fastv_runs_as_its_authors_code() {
    for fixture in fixtures("fastv", "_e2e") {
        let run = fixture.run();
        let settings = fixture.json["settings"].as_array().unwrap();
        assert!(!settings.is_empty());
        for setting in settings {
            let [layer, count] = ["K", "kept_visual"].map(|name| setting[name].as_u64().unwrap() as usize);
            let method = FastV {
                layer,
                schedule: Schedule::Fixed(vec![(layer, count)]),
            };
            let (pass, method) = prefill(&run, method);
            let name = |part: &str| format!("K{layer}_R{count}.{part}");
            let scores = method.inner.scores(&method.calls()[0].context).unwrap();
            close(
                &name("scores"),
                &scores,
                &fixture.floats(&name("image_score")),
                1e-5,
            );
            assert_eq!(places(&run, &pass), [fixture.indices(&name("keep_indices"))]);
            check_output(&fixture, &name("last_hidden_state"), &run, &pass);
            assert_eq!(pass.runs[1].next_positions, [run.layout.total()]);
        }
    }
}

#[test]
fn pyramiddrop_runs_as_its_authors_code() {
    for fixture in fixtures("pdrop", "_e2e") {
        let run = fixture.run();
        let settings = &fixture.json["settings"];
        let shares = settings["image_token_ratio_list"].as_array().unwrap();
        let count = |share: &serde_json::Value| (run.layout.visual as f64 * share.as_f64().unwrap()) as usize;
        let drops: Vec<(usize, usize)> = numbers(&settings["layer_list"])
            .into_iter()
            .zip(shares.iter().map(count))
            .collect();
        let n_stages = drops.len();
        let (pass, method) = prefill(
            &run,
            PyramidDrop {
                schedule: Schedule::Fixed(drops),
            },
        );
        let calls = method.calls();
        assert_eq!(calls.len(), n_stages);
        for (i, (call, places)) in calls.iter().zip(places(&run, &pass)).enumerate() {
            let scores = method.inner.scores(&call.context).unwrap();
            let name = |part: &str| format!("stage{i}.{part}");
            close(
                &name("scores"),
                &scores,
                &fixture.floats(&name("visual_score")),
                1e-5,
            );
            assert_eq!(places, fixture.indices(&name("keep_indices")), "stage {i}");
        }
        check_output(&fixture, "last_hidden_state", &run, &pass);
        let report = &pass.report.sequences[0];
        assert_eq!(report.kv_lengths, fixture.indices("kv_length_per_layer"));
        // Positions count from 0 in the shortened sequence, and the next token follows.
        let pruning = DecoderPruning::new(&method.inner, Budget::Tokens(1));
        let mut cache = run.language.cache(1, run.layout.total());
        run.language
            .forward_pruned(&run.spliced, &pruning, Some(&mut cache), Some(1))
            .unwrap();
        for (i, &length) in report.kv_lengths.iter().enumerate() {
            let keys = cache.layer(i).keys().unwrap();
            let sums = values(keys.sum_dim(3).sum_dim(2));
            let name = format!("kv.{i}.key_checksum");
            close(&name, &sums, &fixture.floats(&name), 2e-3);
            let run = pass.runs.iter().find(|run| run.layers.contains(&i)).unwrap();
            assert_eq!(run.next_positions, [length]);
        }
    }
}

#[test]
fn dart_runs_as_its_authors_code() {
    for fixture in fixtures("dart", "_e2e") {
        let run = fixture.run();
        let setting = |name: &str| fixture.number(&format!("/settings/{name}"));
        let layer = setting("K");
        let method = Dart {
            layer,
            image_pivots: setting("pivot_image_token"),
            text_pivots: setting("pivot_text_token"),
            schedule: Schedule::Fixed(vec![(layer, setting("max_num_trunction"))]),
            order: PivotOrder::Places(fixture.indices("pivot_iteration_order")),
            ..Dart::default()
        };
        let (pass, method) = prefill(&run, method);
        let StageCall { context, .. } = &method.calls()[0];
        let normed = values(context.observed.normed.clone().unwrap());
        close("normed", &normed, &fixture.floats("last_layer_state"), 1e-4);
        let keys = context.observed.keys.clone().unwrap().swap_dims(0, 1);
        close("keys", &values(keys), &fixture.floats("key_states"), 1e-4);
        let [image, text] = method.inner.pivots(context).unwrap();
        assert_eq!(image, fixture.indices("image_pivots"));
        assert_eq!(text, fixture.indices("text_pivots"));
        let wanted: Vec<usize> = fixture
            .indices("retained_visual_indices")
            .iter()
            .map(|place| place - run.layout.system)
            .collect();
        assert_eq!(places(&run, &pass), [run.layout.places(&wanted)]);
        check_output(&fixture, "last_hidden_state", &run, &pass);
    }
}

#[test]
fn sparsevlm_runs_as_its_authors_code() {
    for (prefix, plain) in [
        ("sparsevlm_v1", SparseVlm::default()),
        ("sparsevlm_v2", SparseVlm::v2()),
    ] {
        for fixture in fixtures(prefix, "_e2e") {
            let run = fixture.run();
            let settings = &fixture.json["settings"];
            let after = numbers(&settings["pruning_layers_0based"]);
            let drops = after
                .iter()
                .map(|layer| layer + 1)
                .zip(numbers(&settings["keep_per_stage"]));
            let method = SparseVlm {
                schedule: Schedule::Fixed(drops.collect()),
                kept_heads: fixture.number("/settings/kept_heads"),
                ..plain.clone()
            };
            let (pass, method) = prefill(&run, method);
            let embeds = method.embeds.lock().unwrap()[0].clone();
            let raters = method.inner.raters(&embeds).unwrap();
            assert_eq!(raters, fixture.indices("text_rater_indices"));
            let scores = method.inner.rater_scores(&embeds).unwrap();
            close(
                "rater scores",
                &scores,
                &fixture.floats("text_rater_scores"),
                1e-5,
            );
            let calls = method.calls();
            assert_eq!(calls.len(), after.len());
            for (i, call) in calls.iter().enumerate() {
                check_stage(&fixture, i, &method.inner, call);
            }
            check_output(&fixture, "last_hidden_state", &run, &pass);
        }
    }
}

/// The size of the terms of each score, and what rounding of a divisor makes of them.
///
/// Release 2.0 divides attention by a rotary bias that changes sign and may be close to 0: the terms of a score can be far
/// larger than their mean, and a bias `b` with a rounding error of its own changes a term `t` by that error times `t / b`.
fn sizes(context: &DecoderContext) -> Vec<f32> {
    let attention = context.observed.attention.clone().unwrap().abs();
    let terms = match &context.observed.rotary_bias {
        Some(bias) => {
            let bias: Tensor<3> = bias.clone().abs().unsqueeze_dim(0);
            attention / bias.clone() * (bias.recip() + 1.0)
        }
        None => attention,
    };
    let sizes = values(terms.max_dim(0).mean_dim(1));
    context.visual.iter().map(|&place| sizes[place]).collect()
}

fn check_stage(fixture: &Fixture, i: usize, method: &SparseVlm, call: &StageCall) {
    let name = |part: &str| format!("stage{i}.{part}");
    let scores = method.scores(&call.context).unwrap();
    let wanted = fixture.floats(&name("visual_score"));
    assert_eq!(scores.len(), wanted.len(), "stage {i}");
    for (j, size) in sizes(&call.context).into_iter().enumerate() {
        let (found, wanted) = (scores[j], wanted[j]);
        assert!(
            (found - wanted).abs() <= 1e-5 * size.max(1.0),
            "stage {i}, score {j}: found {found}, expected {wanted}, its terms {size}"
        );
    }
    assert_eq!(
        call.selection.keep,
        fixture.set(&name("visual_keep_mask")),
        "stage {i}"
    );
    let Some(merged) = &call.selection.merged else {
        assert!(!fixture.names().contains(&name("merge_output")));
        return;
    };
    let recycled: Vec<usize> = method
        .recycled(&scores, &call.selection.keep)
        .into_iter()
        .map(|i| call.context.visual[i])
        .collect();
    let hidden = call.context.observed.hidden.clone().unwrap();
    let input = values(rows(&hidden, &recycled));
    close(
        &name("merge input"),
        &input,
        &fixture.floats(&name("merge_input")),
        2e-3,
    );
    close(
        &name("merge output"),
        &values(merged.clone()),
        &fixture.floats(&name("merge_output")),
        2e-3,
    );
}
