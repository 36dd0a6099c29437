//! Selection steps alone, at the size of LLaVA-1.5.

use burn::tensor::Tensor;
use diffprune_baselines::{Dart, FastV, PivotOrder, Schedule, SparseVlm};
use diffprune_pruner::{Budget, DecoderEmbeds, DecoderObserved, DecoderPruner};

use crate::fixture::{Fixture, Layout, close, fixtures, values};

/// The numbers at the end of names that begin so.
fn suffixes(fixture: &Fixture, prefix: &str, suffix: &str) -> Vec<usize> {
    let number = |name: String| name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok();
    let found: Vec<usize> = fixture.names().into_iter().filter_map(number).collect();
    assert!(!found.is_empty(), "{}: no {prefix}*{suffix}", fixture.stem);
    found
}

/// The only stage of a method that keeps `count` tokens.
fn stage(method: &dyn DecoderPruner, layout: &Layout) -> diffprune_pruner::DecoderStage {
    let stages = method.stages(32, layout.visual, &Budget::Tokens(1)).unwrap();
    assert_eq!(stages.len(), 1);
    stages[0]
}

#[test]
fn fastv_keeps_what_the_last_token_sees() {
    for fixture in fixtures("fastv", "_select") {
        let layout = fixture.layout();
        let attention = fixture.tensor::<2>("attention_last_row").unsqueeze_dim::<3>(1);
        let context = layout.context(DecoderObserved {
            attention: Some(attention),
            ..Default::default()
        });
        for count in suffixes(&fixture, "keep_", "") {
            let method = FastV {
                schedule: Schedule::Fixed(vec![(2, count)]),
                ..FastV::default()
            };
            let selection = method.select_at(&stage(&method, &layout), &context).unwrap();
            let found: Vec<usize> = selection.keep.iter().map(|i| i + layout.system).collect();
            assert_eq!(found, fixture.indices(&format!("keep_{count}")), "{count}");
        }
    }
}

#[test]
fn dart_keeps_pivots_and_what_is_unlike_them() {
    for fixture in fixtures("dart", "_select") {
        let layout = fixture.layout();
        let context = layout.context(DecoderObserved {
            keys: Some(
                fixture
                    .tensor::<4>("key_states")
                    .squeeze_dim::<3>(0)
                    .swap_dims(0, 1),
            ),
            normed: Some(fixture.tensor::<3>("last_layer_state").squeeze_dim(0)),
            ..Default::default()
        });
        for setting in suffixes(&fixture, "max", ".retained") {
            let method = Dart {
                schedule: Schedule::Fixed(vec![(2, setting)]),
                order: PivotOrder::Places(fixture.indices("pivot_iteration_order")),
                ..Dart::default()
            };
            let [image, text] = method.pivots(&context).unwrap();
            assert_eq!(image, fixture.indices("image_pivots"));
            assert_eq!(text, fixture.indices("text_pivots"));
            let stage = stage(&method, &layout);
            let selection = method.select_at(&stage, &context).unwrap();
            assert_eq!(selection.keep.len(), stage.keep);
            let found: Vec<usize> = selection.keep.iter().map(|i| i + layout.system).collect();
            assert_eq!(
                found,
                fixture.indices(&format!("max{setting}.retained")),
                "{setting}"
            );
        }
    }
}

#[test]
fn sparsevlm_finds_raters_ranks_and_recycles() {
    for fixture in fixtures("sparsevlm", "_select") {
        let layout = fixture.layout();
        let embeds = DecoderEmbeds {
            row: 0,
            visual: fixture.tensor::<3>("visual_embeds").squeeze_dim(0),
            text: fixture.tensor::<3>("text_embeds").squeeze_dim(0),
        };
        let plain = SparseVlm::default();
        close(
            "rater scores",
            &plain.rater_scores(&embeds).unwrap(),
            &fixture.floats("text_rater_scores"),
            1e-5,
        );
        assert_eq!(
            plain.raters(&embeds).unwrap(),
            fixture.indices("text_rater_indices")
        );

        let visual = fixture
            .tensor::<3>("visual_hidden_after_layer")
            .squeeze_dim::<2>(0);
        let [_, width] = visual.dims();
        let around = |n: usize| Tensor::<2>::zeros([n, width], &visual.device());
        let hidden = Tensor::cat(
            vec![around(layout.system), visual.clone(), around(layout.text)],
            0,
        );
        let context = layout.context(DecoderObserved {
            attention: Some(fixture.tensor::<2>("rater_attention_rows").unsqueeze_dim::<3>(0)),
            hidden: Some(hidden),
            ..Default::default()
        });
        let scores = plain.scores(&context).unwrap();
        close("scores", &scores, &fixture.floats("visual_score"), 1e-5);
        for budget in suffixes(&fixture, "budget", ".keep_mask") {
            let count = fixture.number(&format!("/first_stage_keep/{budget}"));
            let fixed = SparseVlm {
                schedule: Schedule::Fixed(vec![(3, count)]),
                ..SparseVlm::default()
            };
            let stage = stage(&fixed, &layout);
            let selection = fixed.select_at(&stage, &context).unwrap();
            let name = |part: &str| format!("budget{budget}.{part}");
            assert_eq!(selection.keep, fixture.set(&name("keep_mask")));
            assert_eq!(
                fixed.recycled(&scores, &selection.keep),
                fixture.indices(&name("recycled_source"))
            );
            assert_eq!(selection.n_merged(), stage.merged);
            close(
                &name("merged"),
                &values(selection.merged.unwrap()),
                &fixture.floats(&name("merged")),
                1e-5,
            );
            // The published schedule acts with the same count.
            let stages = plain.stages(32, layout.visual, &Budget::Tokens(budget)).unwrap();
            assert_eq!((stages[0].keep, stages[0].merged), (count, stage.merged));
        }
    }
}
