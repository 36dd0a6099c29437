//! The contract of every registered method inside the language model.

use burn::tensor::{Device, Tensor};
use diffprune_baselines::find;
use diffprune_pruner::{
    Budget, DecoderContext, DecoderEmbeds, DecoderObserved, Grid, PruneError, PruningContext, Stage,
};
use diffprune_vlm::{DecoderPruning, VlmError};

use crate::setup::{language, methods, prompts, spliced, visual};

#[test]
fn everything_stays_before_the_language_model() {
    let tokens = Tensor::<3>::zeros([2, 12, 4], &Device::flex());
    let context = PruningContext::new(tokens, Grid { rows: 3, cols: 4 }, &Budget::Tokens(2)).unwrap();
    for method in methods() {
        let selection = method.select(&context).unwrap();
        assert!((0..2).all(|row| selection.keep_indices(row).iter().copied().eq(0..12)));
        assert!(!selection.is_merged());
        assert!(matches!(method.stage(), Stage::Decoder(_)), "{}", method.name());
        let found = find(method.name()).expect("found by its name");
        assert_eq!(
            found.decoder().expect("inside the language model").name(),
            method.name()
        );
    }
}

#[test]
fn budgets_of_all_have_no_stages_and_empty_ones_are_refused() {
    for method in methods() {
        let decoder = method.decoder().unwrap();
        for (n_layers, n_visual) in [(32, 576), (28, 300), (8, 20), (2, 4), (1, 4)] {
            for budget in [
                Budget::All,
                Budget::Tokens(n_visual),
                Budget::Tokens(n_visual + 9),
            ] {
                assert!(decoder.stages(n_layers, n_visual, &budget).unwrap().is_empty());
            }
            let error = decoder
                .stages(n_layers, n_visual, &Budget::Tokens(0))
                .unwrap_err();
            assert!(matches!(error, PruneError::EmptyBudget { .. }), "{error}");
        }
    }
}

/// Stages of any size: ascending layers, fewer and fewer tokens; or the error that says what can be reached.
#[test]
fn stages_shrink_or_say_what_can_be_reached() {
    for method in methods() {
        let decoder = method.decoder().unwrap();
        for n_layers in [1, 2, 3, 4, 8, 28, 32, 40] {
            for n_visual in [2, 5, 36, 144, 576, 2880] {
                for wanted in [1, n_visual / 9, n_visual / 3, n_visual - 1] {
                    let budget = Budget::Tokens(wanted.max(1));
                    let stages = match decoder.stages(n_layers, n_visual, &budget) {
                        Ok(stages) => stages,
                        Err(PruneError::UnreachableBudget { least, .. }) => {
                            assert!(least > wanted && least <= n_visual, "{}: {least}", method.name());
                            continue;
                        }
                        Err(error) => panic!("{}: {error}", method.name()),
                    };
                    assert!(
                        !stages.is_empty() || n_layers < 2,
                        "{} {n_layers} {n_visual}",
                        method.name()
                    );
                    let (mut layer, mut tokens) = (0, n_visual);
                    for stage in &stages {
                        assert!(stage.layer > layer || layer == 0 && stage.layer > 0);
                        assert!(stage.layer < n_layers);
                        assert!(stage.keep + stage.merged <= tokens && stage.keep + stage.merged > 0);
                        (layer, tokens) = (stage.layer, stage.keep + stage.merged);
                    }
                }
            }
        }
    }
}

#[test]
fn the_same_sequence_is_pruned_the_same() {
    let (language, visual) = (language(None), visual(1));
    let all = spliced(&language, &prompts(), Some(&visual));
    for method in methods() {
        let run = || {
            let pruning = DecoderPruning::of(method.as_ref(), Budget::rate(1, 2), None).unwrap();
            language.forward_pruned(&all, &pruning, None, Some(1)).unwrap()
        };
        let (first, second) = (run(), run());
        assert_eq!(first.report, second.report, "{}", method.name());
        first
            .hidden
            .into_data()
            .assert_eq(&second.hidden.into_data(), true);
    }
}

#[test]
fn numbers_that_are_not_finite_are_a_typed_error() {
    let language = language(None);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut visual = visual(1);
        visual.features = visual.features.slice_fill([1..2, 4..5, 0..32], bad);
        let all = spliced(&language, &prompts(), Some(&visual));
        for method in methods() {
            let pruning = DecoderPruning::of(method.as_ref(), Budget::rate(1, 2), None).unwrap();
            match language.forward_pruned(&all, &pruning, None, Some(1)) {
                Err(VlmError::Prune(PruneError::NotFinite { row, .. })) => assert_eq!(row, 1),
                Err(error) => panic!("{}: {error}", method.name()),
                Ok(_) => panic!("{} did not notice", method.name()),
            }
        }
    }
}

#[test]
fn missing_signals_are_named() {
    let context = DecoderContext {
        row: 0,
        n_tokens: 30,
        visual: (2..22).collect(),
        observed: DecoderObserved::default(),
    };
    for method in methods() {
        let decoder = method.decoder().unwrap();
        let stages = decoder.stages(8, 20, &Budget::rate(1, 2)).unwrap();
        let error = decoder.select_at(&stages[0], &context).unwrap_err();
        assert!(
            matches!(&error, PruneError::MissingSignal { method: name, .. } if name == method.name()),
            "{error}"
        );
    }
}

#[test]
fn raters_need_a_text_after_the_image() {
    let embeds = |n_text: usize| DecoderEmbeds {
        row: 0,
        visual: Tensor::ones([3, 4], &Device::flex()),
        text: Tensor::ones([n_text, 4], &Device::flex()),
    };
    let method = find("sparsevlm").unwrap();
    let decoder = method.decoder().unwrap();
    assert!(decoder.raters(&embeds(0)).unwrap().is_empty());
    assert_eq!(
        decoder.raters(&embeds(2)).unwrap(),
        [0, 1],
        "alike tokens all ask"
    );
}
