//! The decoder's side of the seam, with every registered method: batches, caches, positions.

use burn::tensor::Tolerance;
use diffprune_baselines::{FastV, Schedule, registry};
use diffprune_pruner::{
    Budget, DecoderContext, DecoderEmbeds, DecoderPruner, DecoderSelection, DecoderStage, PositionRule,
    PruneError, PruneResult, Pruner, PruningContext, Selection, visual_tokens_per_layer,
};
use diffprune_vlm_adapters::{
    DecoderPruning, GenerateOptions, Hooks, Llama, Padding, PrunedPass, Spliced, VisualInput, decode,
    plan_splice, splice,
};

use crate::recorder::Recorder;
use crate::setup::{IMAGE, apart, language, methods, prompts, spliced, visual};

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
    let options = GenerateOptions::default().with_max_new_tokens(6);
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
                    let wanted = cached[row].get(step).copied();
                    assert_eq!(Some(id as u32), wanted, "{} row {row} step {step}", baseline.name);
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
    fn stages(&self, n_layers: usize, n_visual: usize, budget: &Budget) -> PruneResult<Vec<DecoderStage>> {
        self.decoding().stages(n_layers, n_visual, budget)
    }

    fn raters(&self, embeds: &DecoderEmbeds) -> Result<Vec<usize>, PruneError> {
        self.decoding().raters(embeds)
    }

    fn select_at(&self, stage: &DecoderStage, context: &DecoderContext) -> PruneResult<DecoderSelection> {
        self.decoding().select_at(stage, context)
    }
}

#[test]
fn a_budget_of_all_and_text_alone_change_nothing() {
    let (language, visual) = (language(None), visual(1));
    let options = GenerateOptions::default().with_max_new_tokens(5);
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

#[test]
fn stages_and_selections_that_do_not_fit_are_typed_errors() {
    let (language, visual) = (language(None), visual(1));
    let all = spliced(&language, &prompts(), Some(&visual));
    let fixed = |drops: Vec<(usize, usize)>| FastV {
        schedule: Schedule::Fixed(drops),
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
