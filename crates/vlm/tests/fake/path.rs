//! From images to answers.

use std::sync::atomic::Ordering;

use diffprune_pruner::{Budget, PositionRule, Pruner, Selection, Signals};
use diffprune_vlm::{
    DecoderPruning, FakeVlm, GenerateOptions, Hooks, PreparedImages, PruneOptions, Stage, TextBatch, Turn,
    Vlm, VlmError, answer, encode, loss, prepare, prepare_encoded, prepare_watched, respond, unpruned,
};

use super::methods::{First, Inside, fake, picture};

/// A model that says how many visual tokens it read, and how many of them are red.
fn counting() -> FakeVlm {
    fake().answering(|input| {
        let red = input.visual.iter().filter(|token| token[0] > 0.5).count();
        format!("{} tokens, {red} red", input.visual.len())
    })
}

fn prompt(vlm: &dyn Vlm, images: usize) -> Vec<u32> {
    vlm.prompt_ids(&[Turn::ask("what?").with_images(images)]).unwrap()
}

fn options(vlm: &dyn Vlm) -> GenerateOptions {
    vlm.generate_options()
}

/// The text of one answer about prepared images.
fn told(vlm: &dyn Vlm, images: &PreparedImages<'_>, hooks: &mut Hooks<'_>) -> String {
    let ids = respond(vlm, &[prompt(vlm, images.len())], images, &options(vlm), hooks).unwrap();
    vlm.text_of(&ids[0])
}

#[test]
fn the_language_model_reads_what_was_kept() {
    let vlm = counting();
    let first = First::default();
    let found = answer(
        &vlm,
        &[picture(&[0, 1, 9])],
        &[prompt(&vlm, 1)],
        &first,
        &PruneOptions::new(Budget::Tokens(5)),
        &options(&vlm),
    )
    .unwrap();
    assert_eq!(vlm.text_of(&found.ids[0]), "5 tokens, 2 red");
    assert_eq!(found.images.keep_indices(0), [0, 1, 2, 3, 4]);
    assert_eq!((found.images.kept(0), found.images.total(0)), (5, 16));
    assert!(found.report.is_none() && found.images.inside().is_none());
}

#[test]
fn a_method_inside_the_language_model_cannot_be_forgotten() {
    let vlm = counting();
    let inside = Inside::default();
    let three = PruneOptions::new(Budget::Tokens(3));
    let images = prepare(&vlm, &[picture(&[0, 7, 9])], &inside, &three).unwrap();
    assert_eq!(images.kept(0), 16, "all enter the language model");
    assert_eq!(inside.calls.load(Ordering::Relaxed), 0);

    // Nobody attaches a hook, and the method acts.
    let mut hooks = Hooks::default();
    assert_eq!(told(&vlm, &images, &mut hooks), "3 tokens, 3 red");
    let report = hooks.report.take().unwrap();
    assert_eq!(report.sequences[0].visual_tokens, [16, 16, 3, 3]);
    assert_eq!(report.sequences[0].stages[0].keep, [0, 7, 9]);
    assert!(hooks.decoder.is_none(), "the caller's hooks are as they were");

    // Nor can another one take its place.
    let other = Inside::default();
    let mut hooks = Hooks {
        decoder: Some(DecoderPruning::new(&other, Budget::Tokens(1))),
        ..Hooks::default()
    };
    assert_eq!(told(&vlm, &images, &mut hooks), "3 tokens, 3 red");
    assert_eq!(other.calls.load(Ordering::Relaxed), 0);

    // It stays with images that are chosen or joined.
    let both = images.rows(&[0, 0]);
    assert_eq!(both.len(), 2);
    assert_eq!(told(&vlm, &both, &mut Hooks::default()), "3 tokens, 3 red");
    let more = PreparedImages::none().and(images.clone());
    assert_eq!(told(&vlm, &more, &mut Hooks::default()), "3 tokens, 3 red");

    // And the path in one call has its report.
    let found = answer(
        &vlm,
        &[picture(&[0, 7, 9])],
        &[prompt(&vlm, 1)],
        &inside,
        &three,
        &options(&vlm),
    )
    .unwrap();
    assert_eq!(found.report, Some(report));
}

#[test]
fn a_loss_inside_the_language_model_is_refused() {
    let vlm = fake();
    let ids = vlm.prompt_ids(&[Turn::ask("what?").with_answer("red")]).unwrap();
    let targets = (0..ids.len()).map(|i| i + 4 >= ids.len()).collect();
    let batch = TextBatch {
        ids: vec![ids],
        targets: vec![targets],
    };
    let four = PruneOptions::new(Budget::Tokens(4));
    let (first, inside) = (First::default(), Inside::default());
    let images = prepare(&vlm, &[picture(&[0])], &first, &four).unwrap();
    let number = |x: burn::tensor::Tensor<1>| x.into_scalar::<f32>();
    let found = number(loss(&vlm, &batch, &images).unwrap());
    assert_eq!(found, number(vlm.loss(&batch, images.visual()).unwrap()));
    let images = prepare(&vlm, &[picture(&[0])], &inside, &four).unwrap();
    let refused = loss(&vlm, &batch, &images);
    assert!(matches!(refused, Err(VlmError::InsideOnly { method }) if method == "inside"));
}

#[test]
fn stages_come_in_order_and_not_without_images() {
    let vlm = fake();
    let first = First::default();
    let stages = |images: &[image::RgbImage]| {
        let mut stages = Vec::new();
        let options = PruneOptions::new(Budget::All);
        prepare_watched(&vlm, images, &first, &options, &mut |stage| stages.push(stage)).unwrap();
        stages
    };
    let all = [
        Stage::Preprocessed,
        Stage::Encoded,
        Stage::Selected,
        Stage::Projected,
    ];
    assert_eq!(stages(&[picture(&[]), picture(&[1])]), all);
    assert!(stages(&[]).is_empty());
    assert_eq!(vlm.images_encoded(), 2);
    assert!(
        prepare(&vlm, &[], &first, &PruneOptions::new(Budget::All))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn an_encoding_can_be_kept_for_several_methods() {
    let vlm = counting();
    let pictures = [picture(&[0, 9]), picture(&[15])];
    let encoded = encode(&vlm, &pictures, Signals::default()).unwrap();
    let (first, inside) = (First::default(), Inside::default());
    let methods: [&dyn Pruner; 2] = [&first, &inside];
    for pruner in methods {
        let options = PruneOptions::new(Budget::Tokens(2));
        let kept = prepare_encoded(&vlm, &encoded, pruner, &options).unwrap();
        let fresh = prepare(&vlm, &pictures, pruner, &options).unwrap();
        assert_eq!(kept.keep(), fresh.keep());
        assert_eq!(
            told(&vlm, &kept, &mut Hooks::default()),
            told(&vlm, &fresh, &mut Hooks::default())
        );
    }
    let whole = unpruned(&vlm, &encoded, PositionRule::Keep);
    assert_eq!(told(&vlm, &whole, &mut Hooks::default()), "32 tokens, 3 red");
    assert_eq!(
        told(&vlm, &whole.rows(&[1]), &mut Hooks::default()),
        "16 tokens, 1 red"
    );
}

/// Makes one token of each image, the mean of all.
struct Mean;

impl Pruner for Mean {
    fn name(&self) -> &str {
        "mean"
    }

    fn select(
        &self,
        context: &diffprune_pruner::PruningContext,
    ) -> Result<Selection, diffprune_pruner::PruneError> {
        let keep = vec![vec![0]; context.batch()];
        Ok(Selection::merge(keep, context.tokens.clone().mean_dim(1)))
    }
}

#[test]
fn merged_tokens_go_through_the_projector() {
    let vlm = fake();
    let images = prepare(
        &vlm,
        &[picture(&[0, 1, 2, 3])],
        &Mean,
        &PruneOptions::new(Budget::All),
    )
    .unwrap();
    let features = images.visual().unwrap().features.clone();
    assert_eq!(features.dims(), [1, 1, vlm.d_model()]);
    let red: f32 = features.slice([0..1, 0..1, 0..1]).into_scalar();
    assert!((red - 0.25).abs() < 1e-6, "{red}");
}

#[test]
fn prompts_of_text_alone_need_no_images() {
    let vlm = counting();
    assert_eq!(
        told(&vlm, &PreparedImages::none(), &mut Hooks::default()),
        "0 tokens, 0 red"
    );
}
