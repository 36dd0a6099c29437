//! The contract of every registered method inside the language model.

use burn::tensor::{Device, Tensor, Tolerance};
use diffprune_baselines::{Dart, FastV, Fidelity, Schedule, Shuffled, find, registry};
use diffprune_pruner::{
    Budget, DecoderContext, DecoderEmbeds, DecoderObserved, Grid, PerView, PruneError, Pruner,
    PruningContext, visual_tokens_per_layer,
};
use diffprune_vlm_adapters::{DecoderPruning, Llama, PrunedPass, Spliced, VisualInput, VlmError};

use crate::recorder::Recorder;
use crate::setup::{IMAGE, apart, language, methods, prompts, spliced, visual};

fn run(language: &Llama, all: &Spliced, method: &dyn Pruner, budget: Budget) -> Result<PrunedPass, VlmError> {
    let pruning = DecoderPruning::of(method, budget, None).expect("inside the language model");
    language.forward_pruned(all, &pruning, None, Some(1))
}

/// Every sequence holds what the stages promise, and the answer is finite.
fn check_pass(pass: &PrunedPass, method: &dyn Pruner, budget: Budget, n_visual: &[usize]) {
    let decoder = method.decoder().unwrap();
    let name = method.name();
    for (report, &n_visual) in pass.report.sequences.iter().zip(n_visual) {
        let stages = match n_visual {
            0 => Vec::new(),
            _ => decoder.stages(8, n_visual, &budget).unwrap(),
        };
        let wanted = visual_tokens_per_layer(8, n_visual, &stages);
        assert_eq!(report.visual_tokens, wanted, "{name} {budget}");
    }
    let finite = pass.hidden.clone().into_data().iter::<f32>().all(f32::is_finite);
    assert!(finite, "{name} {budget}");
}

#[test]
fn everything_stays_before_the_language_model() {
    let tokens = Tensor::<3>::zeros([2, 12, 4], &Device::flex());
    let context = PruningContext::new(tokens, Grid { rows: 3, cols: 4 }, &Budget::Tokens(2)).unwrap();
    for method in methods() {
        let selection = method.select(&context).unwrap();
        assert!((0..2).all(|row| selection.keep_indices(row).iter().copied().eq(0..12)));
        assert!(!selection.is_merged());
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
fn tokens_that_are_all_alike_are_counted_as_ever() {
    let (language, mut visual) = (language(None), visual(1));
    visual.features = visual.features.ones_like();
    let all = spliced(&language, &prompts(), Some(&visual));
    let budget = Budget::rate(1, 2);
    for method in methods() {
        let pass = run(&language, &all, method.as_ref(), budget).unwrap();
        check_pass(&pass, method.as_ref(), budget, &[20, 33, 0]);
    }
}

#[test]
fn a_budget_of_one_is_met_or_named_unreachable_with_one_that_is_not() {
    let (language, visual) = (language(None), visual(1));
    let one = spliced(&language, &prompts()[..1], Some(&visual.rows(&[0])));
    for method in methods() {
        let check = |budget| {
            let pass = run(&language, &one, method.as_ref(), budget)?;
            check_pass(&pass, method.as_ref(), budget, &[20]);
            Ok(())
        };
        match check(Budget::Tokens(1)) {
            Ok(()) => {}
            Err(VlmError::Prune(PruneError::UnreachableBudget { least, .. })) => {
                assert!((2..20).contains(&least), "{}: {least}", method.name());
                check(Budget::Tokens(least)).unwrap();
            }
            Err(error) => panic!("{}: {error}", method.name()),
        }
    }
}

#[test]
fn one_visual_token_is_always_kept() {
    let language = language(None);
    let features = visual(1).features.narrow(0, 0, 1).narrow(1, 0, 1);
    let mut one = visual(1).rows(&[0]);
    one = VisualInput { features, ..one };
    one.sequences[0].slots.truncate(1);
    one.sequences[0].span = 1;
    let all = spliced(&language, &[vec![1, IMAGE, 5, 6]], Some(&one));
    for method in methods() {
        for budget in [Budget::Tokens(1), Budget::rate(1, 9), Budget::All] {
            let pass = run(&language, &all, method.as_ref(), budget).unwrap();
            check_pass(&pass, method.as_ref(), budget, &[1]);
            assert!(pass.report.sequences[0].stages.is_empty(), "{}", method.name());
        }
    }
}

#[test]
fn a_permuted_batch_is_pruned_the_same() {
    for (section, axes) in [(None, 1), (Some([2, 1, 1]), 3)] {
        let (language, visual) = (language(section), visual(axes));
        let all = spliced(&language, &prompts(), Some(&visual));
        for order in [[2, 0, 1], [1, 2, 0]] {
            let prompts: Vec<Vec<u32>> = order.iter().map(|&row| prompts()[row].clone()).collect();
            let images: Vec<usize> = order
                .iter()
                .flat_map(|&row| apart()[row].1.clone().unwrap_or_default())
                .collect();
            let permuted = spliced(&language, &prompts, Some(&visual.rows(&images)));
            for method in methods() {
                let run = |all| run(&language, all, method.as_ref(), Budget::rate(1, 2)).unwrap();
                let (plain, permuted) = (run(&all), run(&permuted));
                for (place, &row) in order.iter().enumerate() {
                    assert_eq!(
                        permuted.report.sequences[place],
                        plain.report.sequences[row],
                        "{} row {row}",
                        method.name()
                    );
                    let found = permuted.hidden.clone().narrow(0, place, 1).into_data();
                    let wanted = plain.hidden.clone().narrow(0, row, 1).into_data();
                    found.assert_approx_eq(&wanted, Tolerance::<f32>::absolute(1e-4));
                }
            }
        }
    }
}

#[test]
fn published_defaults_stand_beside_average_budgets() {
    let drops = |name: &str, budget| {
        let method = find(name).unwrap();
        let stages = method.decoder().unwrap().stages(32, 576, &Budget::Tokens(budget));
        let drops = stages.unwrap().into_iter().map(|stage| (stage.layer, stage.keep));
        drops.collect::<Vec<_>>()
    };
    for budget in [64, 192] {
        assert_eq!(drops("fastv-published", budget), [(2, 288)]);
    }
    assert_eq!(drops("fastv", 64), [(2, 30)]);
    assert_eq!(drops("fastv-k3", 64), [(3, 11)]);
    assert_eq!(drops("dart", 64), [(2, 68)]);
    assert_eq!(drops("dart-corrected", 64), [(2, 64)]);
}

#[test]
fn methods_that_follow_the_paper_are_registered_by_name() {
    for baseline in registry() {
        let Some(differs) = baseline.differs else {
            continue;
        };
        let follows_paper = |other: &&diffprune_baselines::Baseline| {
            other.differs.is_some_and(|others| {
                others.corrected == differs.corrected && others.follows == Fidelity::Corrected
            }) && other.paper.map(|paper| paper.arxiv) == baseline.paper.map(|paper| paper.arxiv)
        };
        let offered = !differs.corrected.ends_with("(not here)");
        assert_eq!(
            registry().iter().any(|other| follows_paper(&other)),
            offered,
            "{}",
            baseline.name
        );
    }
}

/// The kept tokens of the first stage of each sequence.
fn first_stages(pass: &PrunedPass) -> Vec<Vec<usize>> {
    let sequences = pass.report.sequences.iter();
    let stages = sequences.filter_map(|sequence| sequence.stages.first());
    stages.map(|stage| stage.keep.clone()).collect()
}

#[test]
fn shuffled_scores_are_shuffled_inside_the_language_model_too() {
    fn check<P: Pruner + Clone>(method: P) {
        let (language, visual) = (language(None), visual(1));
        let all = spliced(&language, &prompts(), Some(&visual));
        let budget = Budget::rate(1, 2);
        let control = Shuffled::new(method.clone());
        assert_eq!(control.name(), format!("{}-shuffled", method.name()));
        let plain = run(&language, &all, &method, budget).unwrap();
        let found = run(&language, &all, &control, budget).unwrap();
        check_pass(&found, &method, budget, &[20, 33, 0]);
        assert_ne!(first_stages(&plain), first_stages(&found), "{}", control.name());
        let other = run(&language, &all, &control.clone().with_seed(1), budget).unwrap();
        assert_ne!(first_stages(&other), first_stages(&found), "{}", control.name());
        // A sequence alone is shuffled as in its batch.
        let (prompt, images) = apart().remove(1);
        let images = images.map(|images| visual.rows(&images));
        let alone = spliced(&language, &[prompt], images.as_ref());
        let alone = run(&language, &alone, &control, budget).unwrap();
        assert_eq!(alone.report.sequences[0], found.report.sequences[1]);
    }
    check(FastV::default());
    check(Dart::default());
    check(diffprune_baselines::PyramidDrop::default());
    check(diffprune_baselines::SparseVlm::default());
    check(diffprune_baselines::SparseVlm::v2());
    assert!(Shuffled::new(diffprune_baselines::FirstK).decoder().is_none());
}

#[test]
fn shuffled_scores_are_the_same_scores_of_other_tokens() {
    let (language, visual) = (language(None), visual(1));
    let all = spliced(&language, &prompts(), Some(&visual));
    let method = FastV {
        schedule: Schedule::Kept,
        ..FastV::default()
    };
    // The method inside the control sees what the one without it sees, in another order.
    let plain = Recorder::new(method.clone());
    run(&language, &all, &plain, Budget::rate(1, 2)).unwrap();
    let control = Shuffled::new(Recorder::new(method.clone()));
    run(&language, &all, &control, Budget::rate(1, 2)).unwrap();
    for (plain, moved) in plain.calls().iter().zip(control.inner().calls()) {
        let mut scores = [&plain.context, &moved.context].map(|context| method.scores(context).unwrap());
        assert_ne!(scores[0], scores[1]);
        scores
            .iter_mut()
            .for_each(|scores| scores.sort_by(f32::total_cmp));
        assert_eq!(scores[0], scores[1]);
    }
}

#[test]
fn views_are_refused_inside_the_language_model() {
    let tokens = Tensor::<3>::zeros([1, 12, 4], &Device::flex());
    let context = PruningContext::new(tokens, Grid { rows: 3, cols: 4 }, &Budget::Tokens(2)).unwrap();
    for method in methods() {
        let name = method.name().to_string();
        let error = PerView::from(method).select(&context).unwrap_err();
        assert!(
            matches!(&error, PruneError::InsideModel { inner, .. } if *inner == name),
            "{error}"
        );
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
