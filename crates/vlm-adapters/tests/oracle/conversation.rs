//! Several questions about the same images.

use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use diffprune_pruner::{Budget, PositionRule, PruneError, Pruner, PruningContext, Selection};
use diffprune_vlm::{
    Conversation, GenerateOptions, Hooks, LoadOptions, PruneOptions, Question, VisualInput, Vlm, VlmError,
    load_image, load_vlm,
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
        let vlm = load_vlm(dir, &Device::flex(), LoadOptions::default())?;
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
    let (pruner, mut conversation) = (Counting::default(), Conversation::new());
    let mut prune = PruneOptions::new(Budget::Tokens(6));
    prune.positions = Some(rule);
    let options = GenerateOptions::default().with_max_new_tokens(3);
    let ask = |conversation: &mut Conversation, text: &str, images: &[RgbImage]| {
        let question = Question { text, images };
        conversation.ask(vlm, question, &pruner, &prune, &options, &mut Hooks::default())
    };
    let asked = || pruner.images.load(Ordering::Relaxed);

    let reply = ask(&mut conversation, "What is this?", std::slice::from_ref(&one))?;
    assert_eq!(asked(), 1, "{name}");
    assert_eq!(reply.selection.ok_or("a selection")?.count(0), 6);
    let first = conversation.visual().ok_or("an image")?.clone();

    let reply = ask(&mut conversation, "And why?", &[])?;
    assert!(
        reply.selection.is_none() && asked() == 1,
        "{name}: nothing is chosen again"
    );
    let second = conversation.visual().ok_or("an image")?;
    assert_eq!(second.sequences, first.sequences, "{name}: the same places");
    assert_eq!(values(second, 1), values(&first, 1), "{name}: the same tokens");

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
            assert_eq!(
                conversation.visual().ok_or("an image")?.sequences.len(),
                1,
                "{name}"
            );
        }
        reply => {
            assert_eq!(reply?.selection.ok_or("a selection")?.batch(), 2, "{name}");
            let third = conversation.visual().ok_or("images")?;
            assert_eq!(third.sequences.len(), 3);
            assert_eq!(
                values(third, 1),
                values(&first, 1),
                "{name}: the first image as ever"
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
            LoadOptions::default(),
        )?;
        let pruner = Counting::default();
        let mut conversation = Conversation::new();
        let options = GenerateOptions::default().with_max_new_tokens(2);
        let question = Question {
            text: "Hello?",
            images: &[],
        };
        let prune = PruneOptions::new(Budget::All);
        let reply = conversation.ask(&*vlm, question, &pruner, &prune, &options, &mut Hooks::default())?;
        assert!(reply.selection.is_none() && conversation.visual().is_none());
        assert_eq!(pruner.images.load(Ordering::Relaxed), 0);
    }
    Ok(())
}
