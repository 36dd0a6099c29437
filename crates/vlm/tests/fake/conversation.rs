//! Several questions about the same images.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use diffprune_pruner::Budget;
use diffprune_vlm::{
    Conversation, FakeVlm, Hooks, PruneOptions, Question, Stage, TextStream, Turn, Vlm, VlmError, prepare,
};
use image::RgbImage;

use super::methods::{First, Fitting, Inside, fake, picture};

/// A model that repeats what it was asked, with the number of visual tokens that it read.
fn repeating() -> FakeVlm {
    fake().answering(|input| {
        let last = input.text.trim_end().lines().last().unwrap_or_default();
        format!("{last} {}", input.visual.len())
    })
}

fn ask(
    conversation: &mut Conversation<'_>,
    vlm: &dyn Vlm,
    text: &str,
    images: &[RgbImage],
) -> Result<String, VlmError> {
    let question = Question { text, images };
    let options = vlm.generate_options();
    let reply = conversation.ask(vlm, question, &options, &mut Hooks::default())?;
    Ok(reply.text)
}

#[test]
fn images_are_encoded_and_chosen_from_once() {
    let vlm = repeating();
    let first = First::default();
    let mut conversation = Conversation::new(&first, PruneOptions::new(Budget::Tokens(4)));
    assert_eq!(ask(&mut conversation, &vlm, "hello", &[]).unwrap(), "hello 0");
    assert!(conversation.images().is_empty());
    assert_eq!(
        ask(&mut conversation, &vlm, "this?", &[picture(&[3])]).unwrap(),
        "this? 4"
    );
    assert_eq!(ask(&mut conversation, &vlm, "why?", &[]).unwrap(), "why? 4");
    assert_eq!(vlm.images_encoded(), 1);
    let two = [picture(&[]), picture(&[2])];
    assert_eq!(
        ask(&mut conversation, &vlm, "and these?", &two).unwrap(),
        "and these? 12"
    );
    assert_eq!(
        (vlm.images_encoded(), first.images.load(Ordering::Relaxed)),
        (3, 3)
    );
    assert_eq!(conversation.turns().len(), 4);
    assert_eq!(conversation.turns()[1], Turn::ask("this?").with_answer("this? 4"));
}

#[test]
fn a_method_inside_the_language_model_decides_once() {
    let vlm = repeating();
    let inside = Inside::default();
    let mut conversation = Conversation::new(&inside, PruneOptions::new(Budget::Tokens(3)));
    assert_eq!(ask(&mut conversation, &vlm, "hello", &[]).unwrap(), "hello 0");
    for question in ["this?", "why?", "where?"] {
        let images = if question == "this?" {
            vec![picture(&[3, 8])]
        } else {
            Vec::new()
        };
        let told = ask(&mut conversation, &vlm, question, &images).unwrap();
        assert_eq!(told, format!("{question} 3"));
        assert_eq!(inside.calls.load(Ordering::Relaxed), 1);
    }
    // More images: another decision, remembered too.
    assert_eq!(
        ask(&mut conversation, &vlm, "and?", &[picture(&[1])]).unwrap(),
        "and? 3"
    );
    assert_eq!(ask(&mut conversation, &vlm, "so?", &[]).unwrap(), "so? 3");
    assert_eq!(inside.calls.load(Ordering::Relaxed), 2);
}

#[test]
fn a_turn_that_fails_changes_nothing() {
    let vlm = repeating().with_positions(40);
    let first = First::default();
    let mut conversation = Conversation::new(&first, PruneOptions::new(Budget::Tokens(4)));
    ask(&mut conversation, &vlm, "this?", &[picture(&[3])]).unwrap();
    let long = "a question that is longer than the positions that are left";
    let refused = ask(&mut conversation, &vlm, long, &[picture(&[])]);
    assert!(matches!(refused, Err(VlmError::ContextOverflow { .. })));
    assert_eq!((conversation.turns().len(), conversation.images().len()), (1, 1));
    let empty = ask(&mut conversation, &vlm, "x", &[RgbImage::new(0, 1)]);
    assert!(matches!(empty, Err(VlmError::Image { index: 0, .. })));
    assert_eq!(ask(&mut conversation, &vlm, "y", &[]).unwrap(), "y 4");
}

#[test]
fn a_turn_that_fails_inside_the_language_model_leaves_the_decision() {
    let vlm = repeating();
    let inside = Inside {
        fails_at: Some(1),
        ..Inside::default()
    };
    let mut conversation = Conversation::new(&inside, PruneOptions::new(Budget::Tokens(3)));
    ask(&mut conversation, &vlm, "this?", &[picture(&[3])]).unwrap();
    let refused = ask(&mut conversation, &vlm, "and?", &[picture(&[1])]);
    assert!(matches!(refused, Err(VlmError::Prune(_))));
    assert_eq!(ask(&mut conversation, &vlm, "why?", &[]).unwrap(), "why? 3");
    assert_eq!(
        inside.calls.load(Ordering::Relaxed),
        2,
        "the first decision is repeated"
    );
}

#[test]
fn methods_that_read_the_question_get_the_turn_that_brings_the_images() {
    let vlm = repeating();
    let images = [picture(&[2, 5]), picture(&[11])];
    let mut options = PruneOptions::new(Budget::Tokens(2));
    let mut conversation = Conversation::new(&Fitting, options.clone());
    ask(&mut conversation, &vlm, "what is red?", &images).unwrap();
    options.questions = Some(vec![vlm.text_ids("what is red?").unwrap(); 2]);
    let wanted = prepare(&vlm, &images, &Fitting, &options).unwrap();
    assert_eq!(conversation.images().keep(), wanted.keep());
}

#[test]
fn replies_are_told_as_they_come() {
    let vlm = repeating();
    let first = First::default();
    let mut conversation = Conversation::new(&first, PruneOptions::new(Budget::Tokens(4)));
    let (mut stages, mut pieces, mut read) = (Vec::new(), String::new(), 0);
    let mut stream = TextStream::new(&vlm);
    let mut on_stage = |stage: Stage| stages.push(stage);
    let mut on_prefill = || read += 1;
    let mut on_token = |_: usize, id: u32| {
        pieces.extend(stream.push(id));
        match pieces.ends_with('ö') {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let mut hooks = Hooks {
        on_stage: Some(&mut on_stage),
        on_prefill: Some(&mut on_prefill),
        on_token: Some(&mut on_token),
        ..Hooks::default()
    };
    let question = Question {
        text: "  schön ",
        images: &[picture(&[])],
    };
    let options = vlm.generate_options();
    let reply = conversation.ask(&vlm, question, &options, &mut hooks).unwrap();
    drop(hooks);
    assert_eq!(reply.text, "schö", "ended by the caller, in whole characters");
    assert_eq!((pieces.as_str(), stream.rest(&reply.text), read), ("schö", "", 1));
    assert_eq!(stages.last(), Some(&Stage::Projected));
}
