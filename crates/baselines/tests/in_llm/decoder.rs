//! The decoder's side of the seam, with every registered method: batches, caches, positions, signals.

use burn::tensor::{Device, Distribution, Tensor, Tolerance};
use diffprune_baselines::registry;
use diffprune_pruner::{
    AttentionRows, Budget, DecoderContext, DecoderEmbeds, DecoderPruner, DecoderSelection, DecoderSignals,
    DecoderStage, PositionRule, PruneError, Pruner, PruningContext, Queries, RowsOf, Selection,
    visual_tokens_per_layer,
};
use diffprune_vlm::{
    DecoderPruning, GenerateOptions, Hooks, Llama, LlamaConfig, Padding, PrunedPass, Spliced, VisualInput,
    VisualSequence, VisualSlot, VisualSource, decode, plan_splice, splice,
};

use crate::fixture::values;
use crate::recorder::Recorder;

pub const IMAGE: u32 = 60;

/// Every registered method that acts inside the language model.
pub fn methods() -> Vec<Box<dyn Pruner>> {
    let methods = registry().iter().map(|baseline| (baseline.init)());
    let methods: Vec<_> = methods.filter(|method| method.decoder().is_some()).collect();
    assert!(methods.len() >= 6);
    methods
}

/// A random decoder with grouped keys and attention that prefers some tokens.
pub fn language(mrope_section: Option<[usize; 3]>) -> Llama {
    let device = Device::flex();
    device.seed(11);
    let config = LlamaConfig {
        num_hidden_layers: 8,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        hidden_size: 32,
        mrope_section,
        ..LlamaConfig::tiny()
    };
    let mut language = config.init(&device);
    for layer in &mut language.layers {
        let attention = &mut layer.self_attn;
        for linear in [
            &mut attention.q_proj,
            &mut attention.k_proj,
            &mut attention.v_proj,
        ] {
            linear.weight = linear.weight.clone().map(|weight| weight * 12.0);
        }
        attention.o_proj.weight = attention.o_proj.weight.clone().map(|weight| weight * 12.0);
    }
    language.embed_tokens.weight = language.embed_tokens.weight.clone().map(|weight| weight * 30.0);
    // A placeholder is never an answer.
    let image = IMAGE as usize;
    let head = language.lm_head.take().map(|mut head| {
        head.weight = head
            .weight
            .clone()
            .map(|weight| weight.slice_fill([0..32, image..image + 1], 0.0));
        head
    });
    language.lm_head = head;
    language
}

/// Prompts of different lengths: one image, two images, none.
pub fn prompts() -> Vec<Vec<u32>> {
    vec![
        vec![1, 2, IMAGE, 5, 6, 7, 8],
        vec![3, IMAGE, 4, IMAGE, 9, 10, 11, 12, 13],
        vec![14, 15, 16],
    ]
}

/// The images of [`prompts`], of 20, 15 and 18 tokens.
pub fn visual(axes: usize) -> VisualInput {
    let device = Device::flex();
    device.seed(12);
    let features = Tensor::random([3, 20, 32], Distribution::Normal(0.0, 1.0), &device);
    let sequence = |(rows, cols): (usize, usize)| match axes {
        1 => VisualSequence::raster(
            &(0..rows * cols).collect::<Vec<_>>(),
            rows * cols,
            PositionRule::Keep,
        ),
        _ => VisualSequence {
            slots: (0..rows * cols)
                .map(|i| VisualSlot {
                    source: VisualSource::Feature(i),
                    offset: [0, i / cols, i % cols],
                })
                .collect(),
            span: rows.max(cols),
        },
    };
    VisualInput {
        features,
        sequences: [(4, 5), (3, 5), (2, 9)].map(sequence).to_vec(),
        separator: None,
    }
}

pub fn spliced(language: &Llama, prompts: &[Vec<u32>], visual: Option<&VisualInput>) -> Spliced {
    let plans = plan_splice(prompts, visual, IMAGE, language).unwrap();
    splice(prompts, visual, plans, Padding::Left, language)
}

/// The prompts of [`prompts`] one by one, with their images.
fn apart() -> Vec<(Vec<u32>, Option<Vec<usize>>)> {
    let images = [Some(vec![0]), Some(vec![1, 2]), None];
    prompts().into_iter().zip(images).collect()
}

fn pass(language: &Llama, spliced: &Spliced, method: &dyn Pruner, budget: Budget) -> PrunedPass {
    let pruning = DecoderPruning::of(method, budget, None).unwrap();
    let mut cache = language.cache(spliced.plans.len(), spliced.width);
    language
        .forward_pruned(spliced, &pruning, Some(&mut cache), Some(1))
        .unwrap_or_else(|error| panic!("{}: {error}", method.name()))
}

fn generate(
    language: &Llama,
    prompts: &[Vec<u32>],
    visual: Option<&VisualInput>,
    method: &dyn Pruner,
) -> Vec<Vec<u32>> {
    let options = GenerateOptions {
        max_new_tokens: 6,
        ..Default::default()
    };
    let mut hooks = Hooks {
        decoder: DecoderPruning::of(method, Budget::rate(1, 2), None),
        ..Default::default()
    };
    let spliced = spliced(language, prompts, visual);
    let ids = decode(language, prompts, &spliced, &options, &mut hooks).unwrap();
    assert_eq!(hooks.report.unwrap().sequences.len(), prompts.len());
    ids
}

#[test]
fn a_batch_is_as_many_batches_of_one() {
    for (section, axes) in [(None, 1), (Some([2, 1, 1]), 3)] {
        let (language, visual) = (language(section), visual(axes));
        for method in methods() {
            let all = spliced(&language, &prompts(), Some(&visual));
            let together = pass(&language, &all, method.as_ref(), Budget::rate(1, 2));
            let ids = generate(&language, &prompts(), Some(&visual), method.as_ref());
            for (row, (prompt, images)) in apart().into_iter().enumerate() {
                let own = images.map(|images| visual.rows(&images));
                let one = spliced(&language, std::slice::from_ref(&prompt), own.as_ref());
                let alone = pass(&language, &one, method.as_ref(), Budget::rate(1, 2));
                assert_eq!(
                    alone.report.sequences[0],
                    together.report.sequences[row],
                    "{} row {row}",
                    method.name()
                );
                let of_batch = together.hidden.clone().narrow(0, row, 1);
                let tolerance = Tolerance::<f32>::absolute(1e-4);
                of_batch
                    .into_data()
                    .assert_approx_eq(&alone.hidden.into_data(), tolerance);
                let own_ids = generate(&language, &[prompt], own.as_ref(), method.as_ref());
                assert_eq!(own_ids[0], ids[row], "{} row {row}", method.name());
            }
        }
    }
}

#[test]
fn reports_say_what_the_stages_promise_and_text_is_never_dropped() {
    let (language, visual) = (language(None), visual(1));
    let spliced = spliced(&language, &prompts(), Some(&visual));
    for method in methods() {
        let budget = Budget::rate(1, 2);
        let report = pass(&language, &spliced, method.as_ref(), budget).report;
        let decoder = method.decoder().unwrap();
        for (row, (n_visual, n_text)) in [(20, 6), (33, 7), (0, 3)].into_iter().enumerate() {
            let sequence = &report.sequences[row];
            let stages = match n_visual {
                0 => Vec::new(),
                _ => decoder.stages(8, n_visual, &budget).unwrap(),
            };
            assert_eq!(
                sequence.visual_tokens,
                visual_tokens_per_layer(8, n_visual, &stages),
                "{}",
                method.name()
            );
            let with_text = sequence.visual_tokens.iter().map(|visual| visual + n_text);
            assert!(with_text.eq(sequence.kv_lengths.iter().copied()));
            assert_eq!(sequence.stages.is_empty(), n_visual == 0);
            let layers = sequence.stages.iter().map(|stage| stage.layer);
            assert!(layers.eq(stages.iter().map(|stage| stage.layer)));
        }
    }
}

/// What was dropped while the prompt was read stays dropped: answers equal those of a decoder that has no cache and reads
/// everything again for each token.
#[test]
fn cached_answers_are_those_without_a_cache() {
    for (section, axes) in [(None, 1), (Some([2, 1, 1]), 3)] {
        let (language, visual) = (language(section), visual(axes));
        for baseline in registry()
            .iter()
            .filter(|baseline| (baseline.init)().decoder().is_some())
        {
            let mut recorder = Recorder::new(Registered((baseline.init)()));
            let cached = generate(&language, &prompts(), Some(&visual), &recorder);
            recorder.replay = true;
            let pruning = DecoderPruning::new(&recorder, Budget::rate(1, 2));
            let mut sequences = prompts();
            for step in 0..cached[0].len() {
                let spliced = spliced(&language, &sequences, Some(&visual));
                let hidden = language
                    .forward_pruned(&spliced, &pruning, None, Some(1))
                    .unwrap()
                    .hidden
                    .squeeze_dim::<2>(1);
                let logits = language.logits(language.normalize(hidden));
                let ids: Vec<i64> = logits
                    .argmax(1)
                    .into_data()
                    .convert::<i64>()
                    .try_to_vec()
                    .unwrap();
                for (row, id) in ids.into_iter().enumerate() {
                    assert_eq!(
                        id as u32, cached[row][step],
                        "{} row {row} step {step}",
                        baseline.name
                    );
                    sequences[row].push(id as u32);
                }
            }
            assert!(cached.iter().any(|ids| ids.iter().any(|id| *id != ids[0])));
        }
    }
}

/// A boxed method of the registry as a type of its own.
struct Registered(Box<dyn Pruner>);

impl Registered {
    fn decoding(&self) -> &dyn DecoderPruner {
        self.0.decoder().expect("a method inside the language model")
    }
}

impl Pruner for Registered {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn positions(&self) -> PositionRule {
        self.0.positions()
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        self.0.select(context)
    }
}

impl DecoderPruner for Registered {
    fn stages(
        &self,
        n_layers: usize,
        n_visual: usize,
        budget: &Budget,
    ) -> Result<Vec<DecoderStage>, PruneError> {
        self.decoding().stages(n_layers, n_visual, budget)
    }

    fn raters(&self, embeds: &DecoderEmbeds) -> Result<Vec<usize>, PruneError> {
        self.decoding().raters(embeds)
    }

    fn select_at(
        &self,
        stage: &DecoderStage,
        context: &DecoderContext,
    ) -> Result<DecoderSelection, PruneError> {
        self.decoding().select_at(stage, context)
    }
}

#[test]
fn a_budget_of_all_and_text_alone_change_nothing() {
    let (language, visual) = (language(None), visual(1));
    let options = GenerateOptions {
        max_new_tokens: 5,
        ..Default::default()
    };
    let text = vec![vec![1, 2, 3], vec![4, 5, 6, 7]];
    for method in methods() {
        for (prompts, visual, budget) in [
            (prompts(), Some(&visual), Budget::All),
            (prompts(), Some(&visual), Budget::Tokens(33)),
            (text.clone(), None, Budget::Tokens(1)),
        ] {
            let spliced = spliced(&language, &prompts, visual);
            let run = |hooks: &mut Hooks<'_>| decode(&language, &prompts, &spliced, &options, hooks).unwrap();
            let mut hooks = Hooks {
                decoder: DecoderPruning::of(method.as_ref(), budget, None),
                ..Default::default()
            };
            assert_eq!(run(&mut hooks), run(&mut Hooks::default()), "{}", method.name());
            assert!(
                hooks
                    .report
                    .unwrap()
                    .sequences
                    .iter()
                    .all(|report| report.stages.is_empty())
            );
        }
    }
}

#[test]
fn the_position_rule_can_be_overruled() {
    let (language, visual) = (language(None), visual(1));
    let prompts = &prompts()[..1];
    let spliced = spliced(&language, prompts, Some(&visual.rows(&[0])));
    for method in methods() {
        let next = |positions| {
            let pruning = DecoderPruning::of(method.as_ref(), Budget::rate(1, 2), positions).unwrap();
            let pass = language
                .forward_pruned(&spliced, &pruning, None, Some(1))
                .unwrap();
            let last = pass.report.sequences[0].kv_lengths[7];
            (pass.runs[pass.runs.len() - 1].next_positions[0], last)
        };
        let (kept, _) = next(Some(PositionRule::Keep));
        let (reindexed, length) = next(Some(PositionRule::Reindex));
        assert_eq!((kept, reindexed), (26, length), "{}", method.name());
        let own = match method.positions() {
            PositionRule::Keep => kept,
            PositionRule::Reindex => reindexed,
        };
        assert_eq!(next(None).0, own);
    }
}

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
            let seen = recorder.seen();
            assert_eq!(seen.len(), 2, "the prompt without an image is not shown");
            for (seen, (prompt, images)) in seen.iter().zip(apart()) {
                let one = spliced(
                    &language,
                    &[prompt],
                    images.map(|images| visual.rows(&images)).as_ref(),
                );
                check_signals(&language, &one, &seen.context, layer, queries);
            }
        }
    }
}

fn check_signals(language: &Llama, one: &Spliced, seen: &DecoderContext, layer: RowsOf, queries: Queries) {
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
    let after = seen.visual[seen.visual.len() - 1] + 1;
    let places: Vec<usize> = match queries {
        Queries::Last => vec![n - 1],
        Queries::Raters => RATERS.iter().map(|rater| after + rater).collect(),
    };
    let rows = places
        .iter()
        .map(|&place| full.clone().narrow(2, place, 1))
        .collect();
    let observed = seen.observed.clone();
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

#[test]
fn stages_and_selections_that_do_not_fit_are_typed_errors() {
    let (language, visual) = (language(None), visual(1));
    let all = spliced(&language, &prompts(), Some(&visual));
    let fixed = |drops: Vec<(usize, usize)>| diffprune_baselines::FastV {
        schedule: diffprune_baselines::Schedule::Fixed(drops),
        ..Default::default()
    };
    for drops in [vec![(8, 1)], vec![(3, 4), (3, 2)], vec![(0, 2)]] {
        let method = fixed(drops.clone());
        let pruning = DecoderPruning::new(&method, Budget::Tokens(1));
        let error = language.forward_pruned(&all, &pruning, None, None).unwrap_err();
        let wanted = match drops[0].0 {
            0 => "attention",
            _ => "layer of a stage",
        };
        assert!(error.to_string().contains(wanted), "{error}");
    }
    let plans = plan_splice(&prompts(), Some(&visual), IMAGE, &language).unwrap();
    let right = splice(&prompts(), Some(&visual), plans, Padding::Right, &language);
    let method = fixed(vec![(2, 1)]);
    let error = language
        .forward_pruned(
            &right,
            &DecoderPruning::new(&method, Budget::Tokens(1)),
            None,
            None,
        )
        .unwrap_err();
    assert!(error.to_string().contains("Padding::Left"), "{error}");
}
