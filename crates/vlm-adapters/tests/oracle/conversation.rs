//! Several questions about the same images.

use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Device, Tensor};
use diffprune_pruner::{
    Budget, DecoderContext, DecoderPruner, DecoderSelection, DecoderSignals, DecoderStage, PositionRule,
    PruneError, PruneResult, Pruner, PruningContext, Queries, RowsOf, Selection, Signals,
};
use diffprune_vlm_adapters::{
    Conversation, DecideOnce, DecoderPruning, DecoderReport, GenerateOptions, Hooks, LoadOptions, Prompts,
    PruneOptions, Question, Turn, VisualInput, Vlm, VlmError, load_image, load_vlm, prepare_encoded,
};

use image::RgbImage;

use crate::llava_case::root;
use crate::{Outcome, entries, fixture};

/// Keeps every other token, and counts the images that it was asked about.
#[derive(Default)]
struct Counting {
    images: AtomicUsize,
}

impl Pruner for Counting {
    fn name(&self) -> &str {
        "counting"
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        self.images.fetch_add(context.batch(), Ordering::Relaxed);
        let keep = |row| {
            (0..context.n_tokens(row))
                .step_by(2)
                .take(context.budget(row))
                .collect()
        };
        Ok(Selection::keep((0..context.batch()).map(keep).collect()))
    }
}

/// The first numbers of an input, to tell whether it changed.
fn values(visual: &VisualInput, images: usize) -> Vec<f32> {
    let k = visual.sequences[..images]
        .iter()
        .map(|sequence| sequence.n_features())
        .min()
        .unwrap();
    let part = visual.features.clone().slice([0..images, 0..k]);
    part.into_data().convert::<f32>().try_to_vec().unwrap()
}

#[test]
fn an_image_is_chosen_from_once_and_read_in_every_turn() -> Outcome {
    for name in entries("checkpoints", |_| true)? {
        let dir = fixture("checkpoints").join(&name);
        let vlm = load_vlm(dir, &Device::flex(), LoadOptions::f32())?;
        for rule in [PositionRule::Keep, PositionRule::Reindex] {
            check(&name, &*vlm, rule)?;
        }
    }
    Ok(())
}

fn check(name: &str, vlm: &dyn Vlm, rule: PositionRule) -> Outcome {
    let picture = |file: &str| load_image(root().join("images").join(file));
    let all = entries("images", |name| name.ends_with(".png"))?;
    let (one, other) = (picture(&all[0])?, picture(&all[all.len() - 1])?);
    let pruner = Counting::default();
    let mut prune = PruneOptions::new(Budget::Tokens(6));
    prune.positions = Some(rule);
    let mut conversation = Conversation::new(&pruner, prune);
    let options = GenerateOptions::default().with_max_new_tokens(3);
    let ask = |conversation: &mut Conversation<'_>, text: &str, images: &[RgbImage]| {
        let question = Question { text, images };
        conversation.ask(vlm, question, &options, &mut Hooks::default())
    };
    let asked = || pruner.images.load(Ordering::Relaxed);

    ask(&mut conversation, "What is this?", std::slice::from_ref(&one))?;
    assert_eq!(asked(), 1, "{name}");
    assert_eq!(conversation.images().kept(0), 6);
    let visual = |conversation: &Conversation<'_>| conversation.images().visual().cloned();
    let first = visual(&conversation).ok_or("an image")?;

    let reply = ask(&mut conversation, "And why?", &[])?;
    assert_eq!(asked(), 1, "{name}: nothing is chosen again");
    let second = visual(&conversation).ok_or("an image")?;
    assert_eq!(second.sequences, first.sequences, "{name}: the same places");
    assert_eq!(values(&second, 1), values(&first, 1), "{name}: the same tokens");

    // The answer is that of the whole text with the tokens of the first turn.
    let mut turns = conversation.turns().to_vec();
    turns.last_mut().ok_or("a turn")?.answer = None;
    let prompt = vlm.prompt_ids(&turns)?;
    assert_eq!(
        vlm.generate(&[prompt], Some(&first), &options)?,
        [reply.ids],
        "{name}"
    );

    let mut n_turns = 3;
    match ask(&mut conversation, "And these?", &[other, one]) {
        // With the positions of full sequences a few large images are all that a model can take.
        Err(VlmError::ContextOverflow { .. }) if rule == PositionRule::Keep => {
            n_turns = 2;
            assert_eq!(conversation.images().len(), 1, "{name}");
        }
        reply => {
            reply?;
            let third = visual(&conversation).ok_or("images")?;
            assert_eq!(third.sequences.len(), 3);
            assert_eq!(
                values(&third, 1),
                values(&first, 1),
                "{name}: the first image as before"
            );
        }
    }
    assert_eq!((asked(), conversation.turns().len()), (3, n_turns), "{name}");

    // A question that cannot be asked changes nothing.
    let refused = ask(&mut conversation, "<image> <|image_pad|>", &[]);
    assert!(refused.is_err(), "{name}");
    assert_eq!(conversation.turns().len(), n_turns);
    Ok(())
}

#[test]
fn a_conversation_may_begin_without_an_image() -> Outcome {
    for name in entries("checkpoints", |_| true)? {
        let vlm = load_vlm(
            fixture("checkpoints").join(&name),
            &Device::flex(),
            LoadOptions::f32(),
        )?;
        let pruner = Counting::default();
        let mut conversation = Conversation::new(&pruner, PruneOptions::new(Budget::All));
        let options = GenerateOptions::default().with_max_new_tokens(2);
        let question = Question {
            text: "Hello?",
            images: &[],
        };
        conversation.ask(&*vlm, question, &options, &mut Hooks::default())?;
        assert!(conversation.images().is_empty());
        assert_eq!(pruner.images.load(Ordering::Relaxed), 0);
    }
    Ok(())
}

/// Keeps, before the second layer, tokens that depend on how often it was asked, and appends the mean of all; counts its
/// calls.
#[derive(Default)]
struct Fickle {
    calls: AtomicUsize,
}

impl Pruner for Fickle {
    fn name(&self) -> &str {
        "fickle"
    }

    fn decoder(&self) -> Option<&dyn DecoderPruner> {
        Some(self)
    }
}

impl DecoderPruner for Fickle {
    fn stages(&self, _: usize, n_visual: usize, budget: &Budget) -> PruneResult<Vec<DecoderStage>> {
        let signals = DecoderSignals {
            hidden: true,
            ..DecoderSignals::rows(RowsOf::Previous, Queries::Last)
        };
        let stage = DecoderStage {
            layer: 1,
            keep: budget.resolve(n_visual)?,
            merged: 1,
            signals,
        };
        Ok(vec![stage])
    }

    fn select_at(&self, stage: &DecoderStage, context: &DecoderContext) -> PruneResult<DecoderSelection> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let observed = &context.observed;
        assert!(
            observed.attention.is_some(),
            "signals are there when the method is asked"
        );
        let hidden = observed
            .hidden
            .clone()
            .ok_or_else(|| PruneError::missing("fickle", "states"))?;
        let visual = hidden.narrow(0, context.visual[0], context.visual.len());
        let merged: Tensor<2> = visual.mean_dim(0);
        Ok(DecoderSelection::keep((call..call + stage.keep).collect()).with_merged(merged))
    }
}

/// Ids and report of an answer with a method inside the language model.
fn inside(
    vlm: &dyn Vlm,
    conversation: &mut Conversation<'_>,
    question: Question<'_>,
) -> Result<(Vec<u32>, DecoderReport), Box<dyn std::error::Error>> {
    let mut hooks = Hooks::default();
    let options = GenerateOptions::default().with_max_new_tokens(3);
    let reply = conversation.ask(vlm, question, &options, &mut hooks)?;
    Ok((reply.ids, hooks.report.ok_or("a report")?))
}

/// The kept tokens of a turn's only sequence.
fn kept(report: &DecoderReport) -> Vec<Vec<usize>> {
    let stages = report.sequences[0].stages.iter();
    stages.map(|stage| stage.keep.clone()).collect()
}

#[test]
fn a_method_inside_the_model_decides_once_for_a_conversation() -> Outcome {
    for name in entries("checkpoints", |name| name.ends_with("tiny"))? {
        let dir = fixture("checkpoints").join(&name);
        let vlm = load_vlm(dir, &Device::flex(), LoadOptions::f32())?;
        let all = entries("images", |name| name.ends_with(".png"))?;
        let image = load_image(root().join("images").join(&all[0]))?;
        let images = std::slice::from_ref(&image);
        let (first, second) = (
            Question {
                text: "What is this?",
                images,
            },
            Question {
                text: "And why?",
                images: &[],
            },
        );

        let fickle = Fickle::default();
        let mut conversation = Conversation::new(&fickle, PruneOptions::new(Budget::Tokens(4)));
        let (_, one) = inside(&*vlm, &mut conversation, first)?;
        assert_eq!(kept(&one), [[0, 1, 2, 3]], "{name}");
        let (ids, two) = inside(&*vlm, &mut conversation, second)?;
        assert_eq!(kept(&two), kept(&one), "{name}: the same tokens");
        assert_eq!(
            two.sequences[0].visual_tokens, one.sequences[0].visual_tokens,
            "{name}"
        );
        assert_eq!(
            fickle.calls.load(Ordering::Relaxed),
            1,
            "{name}: nothing is scored again"
        );

        // The visual tokens are in the second turn what they were in the first: a method that chooses anew, and the
        // same, gives the same answer.
        let anew = Fickle::default();
        let mut turns = conversation.turns().to_vec();
        turns.last_mut().ok_or("a turn")?.answer = None;
        let mut hooks = Hooks {
            decoder: Some(DecoderPruning::new(&anew, Budget::Tokens(4))),
            ..Hooks::default()
        };
        let options = GenerateOptions::default().with_max_new_tokens(3);
        let prompt = [vlm.prompt_ids(&turns)?];
        let prompts = Prompts::new(&prompt, conversation.images().visual(), &options);
        let again = vlm.generate_with(prompts, &mut hooks)?;
        assert_eq!(kept(&hooks.report.ok_or("a report")?), kept(&two), "{name}");
        assert_eq!(again, [ids], "{name}");

        // More images, another decision; and it is remembered too.
        let third = Question {
            text: "And this?",
            images,
        };
        match inside(&*vlm, &mut conversation, third) {
            Ok((_, three)) => {
                assert_eq!(fickle.calls.load(Ordering::Relaxed), 2, "{name}");
                let (_, four) = inside(&*vlm, &mut conversation, second)?;
                assert_eq!(kept(&four), kept(&three), "{name}");
                assert_eq!(fickle.calls.load(Ordering::Relaxed), 2, "{name}");
            }
            // Two images are more than this model takes.
            Err(error) => assert!(error.to_string().contains("positions"), "{name}: {error}"),
        }
    }
    Ok(())
}

/// The kept tokens of each sequence of a batch, with a method of one stage.
fn kept_together(
    vlm: &dyn Vlm,
    prompts: &[Vec<u32>],
    visual: &VisualInput,
    pruner: &dyn DecoderPruner,
) -> Result<Vec<Vec<usize>>, VlmError> {
    let mut hooks = Hooks {
        decoder: Some(DecoderPruning::new(pruner, Budget::Tokens(4))),
        ..Hooks::default()
    };
    let options = GenerateOptions::default().with_max_new_tokens(1);
    let prompts = Prompts::new(prompts, Some(visual), &options);
    vlm.generate_with(prompts, &mut hooks)?;
    let report = hooks.report.unwrap_or_default();
    let stages = report.sequences.into_iter().flat_map(|sequence| sequence.stages);
    Ok(stages.map(|stage| stage.keep).collect())
}

#[test]
fn in_a_batch_the_method_chooses_for_each_sequence_every_time() -> Outcome {
    for name in entries("checkpoints", |name| name.ends_with("tiny"))? {
        let dir = fixture("checkpoints").join(&name);
        let vlm = load_vlm(dir, &Device::flex(), LoadOptions::f32())?;
        let all = entries("images", |name| name.ends_with(".png"))?;
        let image = load_image(root().join("images").join(&all[0]))?;
        let (plain, fickle) = (Fickle::default(), Fickle::default());
        let once = DecideOnce::new(&fickle);
        let encoded = vlm.encode(vlm.preprocess(&[image.clone(), image])?, Signals::default());
        let images = prepare_encoded(&*vlm, &encoded, &plain, &PruneOptions::new(Budget::All))?;
        let both = images.visual().ok_or("images")?;
        let prompts = vec![vlm.prompt_ids(&[Turn::ask("What is this?")])?; 2];
        let own = |pruner: &dyn DecoderPruner| kept_together(&*vlm, &prompts, both, pruner);
        let first = both.rows(&[0]);
        let alone = |pruner: &dyn DecoderPruner| kept_together(&*vlm, &prompts[..1], &first, pruner);

        for _ in 0..2 {
            let kept = own(&once)?;
            assert_eq!(kept, own(&plain)?, "{name}");
            assert!(kept.len() == 2 && kept[0] != kept[1], "{name}: {kept:?}");
        }

        // Nothing of a batch is repeated for one sequence, whose own choice is.
        let kept = alone(&once)?;
        assert_eq!(kept, alone(&plain)?, "{name}");
        assert_eq!(alone(&once)?, kept, "{name}");

        // The first sequence of a batch may not be taken for the next turn.
        let refused = own(&once);
        assert!(
            matches!(refused, Err(VlmError::Prune(PruneError::Shape { found: 2, .. }))),
            "{name}: {refused:?}"
        );
        assert_eq!(own(&once)?, own(&plain)?, "{name}");
    }
    Ok(())
}
