//! The signals that the decoder gives to a method.

use burn::tensor::Tensor;
use diffprune_pruner::{
    AttentionRows, Budget, DecoderContext, DecoderEmbeds, DecoderPruner, DecoderSelection, DecoderSignals,
    DecoderStage, PruneError, Pruner, PruningContext, Queries, RowsOf, Selection,
};
use diffprune_vlm_adapters::{DecoderPruning, Llama, Spliced};

use crate::fixture::values;
use crate::recorder::Recorder;
use crate::setup::{apart, language, prompts, spliced, visual};

/// Asks for everything at one layer and keeps all but the first visual token.
struct Spy(AttentionRows);

const LAYER: usize = 3;
const RATERS: [usize; 2] = [1, 3];

impl Pruner for Spy {
    fn name(&self) -> &str {
        "spy"
    }

    fn decoder(&self) -> Option<&dyn DecoderPruner> {
        Some(self)
    }

    fn select(&self, _: &PruningContext) -> Result<Selection, PruneError> {
        unreachable!("only the decoder's side is used")
    }
}

impl DecoderPruner for Spy {
    fn stages(&self, _: usize, n_visual: usize, _: &Budget) -> Result<Vec<DecoderStage>, PruneError> {
        Ok(vec![DecoderStage {
            layer: LAYER,
            keep: n_visual - 1,
            merged: 0,
            signals: DecoderSignals {
                attention: Some(self.0),
                keys: true,
                hidden: true,
                normed: true,
                rotary_bias: true,
            },
        }])
    }

    fn raters(&self, _: &DecoderEmbeds) -> Result<Vec<usize>, PruneError> {
        Ok(RATERS.to_vec())
    }

    fn select_at(&self, _: &DecoderStage, context: &DecoderContext) -> Result<DecoderSelection, PruneError> {
        Ok(DecoderSelection::keep((1..context.visual.len()).collect()))
    }
}

/// Signals of a padded batch against the plain pass over each prompt alone.
#[test]
fn signals_are_those_of_the_full_pass() {
    let (language, visual) = (language(Some([2, 1, 1])), visual(3));
    let all = spliced(&language, &prompts(), Some(&visual));
    for layer in [RowsOf::Previous, RowsOf::Next] {
        for queries in [Queries::Last, Queries::Raters] {
            let recorder = Recorder::new(Spy(AttentionRows { layer, queries }));
            let pruning = DecoderPruning::new(&recorder, Budget::All);
            language.forward_pruned(&all, &pruning, None, None).unwrap();
            let calls = recorder.calls();
            assert_eq!(calls.len(), 2, "the prompt without an image is not shown");
            for (call, (prompt, images)) in calls.iter().zip(apart()) {
                let one = spliced(
                    &language,
                    &[prompt],
                    images.map(|images| visual.rows(&images)).as_ref(),
                );
                check_signals(&language, &one, &call.context, layer, queries);
            }
        }
    }
}

fn check_signals(language: &Llama, one: &Spliced, context: &DecoderContext, layer: RowsOf, queries: Queries) {
    let states = language.hidden_states(one.embeds.clone(), one.position_ids.clone(), None);
    let rope = language.rope(one.position_ids.clone());
    let of = match layer {
        RowsOf::Previous => LAYER - 1,
        RowsOf::Next => LAYER,
    };
    let close = |found: Vec<f32>, wanted: Vec<f32>| {
        assert_eq!(found.len(), wanted.len());
        let same = found.iter().zip(&wanted).all(|(f, w)| (f - w).abs() < 1e-4);
        assert!(same, "{layer:?} {queries:?}: {found:?} is not {wanted:?}");
    };
    let n = one.width;
    let full = language.layers[of].attention_rows(states[of].clone(), &rope, None, n);
    let after = context.visual[context.visual.len() - 1] + 1;
    let places: Vec<usize> = match queries {
        Queries::Last => vec![n - 1],
        Queries::Raters => RATERS.iter().map(|rater| after + rater).collect(),
    };
    let rows = places
        .iter()
        .map(|&place| full.clone().narrow(2, place, 1))
        .collect();
    let observed = context.observed.clone();
    close(values(observed.attention.unwrap()), values(Tensor::cat(rows, 2)));
    close(values(observed.hidden.unwrap()), values(states[LAYER].clone()));
    close(
        values(observed.normed.unwrap()),
        values(language.normalize(states[LAYER].clone())),
    );
    assert_eq!(observed.keys.unwrap().dims(), [n, 2, 8]);

    // With one rotary axis per pair of numbers, the product of two turned vectors of ones is a sum of cosines.
    let [cos, sin] = [values(rope.cos), values(rope.sin)];
    let bias = |q: usize, k: usize| -> f32 {
        let pair = |j: usize| cos[q * 4 + j] * cos[k * 4 + j] + sin[q * 4 + j] * sin[k * 4 + j];
        2.0 * (0..4).map(pair).sum::<f32>() / 8f32.sqrt()
    };
    let wanted = places
        .iter()
        .flat_map(|&q| (0..n).map(move |k| bias(q, k)))
        .collect();
    close(values(observed.rotary_bias.unwrap()), wanted);
}
