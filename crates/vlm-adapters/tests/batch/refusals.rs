//! What cannot join leaves the batch as it was, and a sequence that cannot go on ends alone.

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use diffprune_pruner::{
    Budget, DecoderContext, DecoderPruner, DecoderSelection, DecoderStage, PruneError, PruneResult, Pruner,
};
use diffprune_vlm_adapters::{
    DecodeBatch, Finish, JoinRequest, Llava, LoadOptions, PreparedImages, Vlm, VlmError,
};

use super::cases::{Case, GREEN, MODELS, RED, Spread, Told, folder, model, picture};

/// Cannot choose, inside the language model.
struct Undecided;

impl Pruner for Undecided {
    fn name(&self) -> &str {
        "undecided"
    }

    fn decoder(&self) -> Option<&dyn DecoderPruner> {
        Some(self)
    }
}

impl DecoderPruner for Undecided {
    fn stages(&self, _: usize, n_visual: usize, budget: &Budget) -> PruneResult<Vec<DecoderStage>> {
        Ok(vec![DecoderStage {
            layer: 2,
            keep: budget.resolve(n_visual)?,
            merged: 0,
            signals: Default::default(),
        }])
    }

    fn select_at(&self, _: &DecoderStage, _: &DecoderContext) -> PruneResult<DecoderSelection> {
        Err(PruneError::missing("undecided", "a reason"))
    }
}

#[test]
fn what_cannot_join_leaves_the_batch_as_it_was() {
    for name in MODELS {
        let vlm = model(name);
        let red = [picture(168, 168, RED)];
        let stays = Case::new(&*vlm, "what is this?", &red, &Spread, 9).drawn(1, 12);
        let mut batch = vlm.decode_batch();
        let mut told = Told::default();
        told.join(&mut *batch, stays.request());
        told.step(&mut *batch);
        let held = batch.kv_bytes();
        let mut refuse = |prompt: &[u32], images: &PreparedImages<'_>| {
            let found = batch.join(JoinRequest::new(prompt, images, &stays.options));
            assert_eq!((batch.len(), batch.kv_bytes()), (1, held), "{name}");
            found.unwrap_err()
        };
        let twice = stays.prompt.repeat(2);
        let found = refuse(&twice, &stays.images);
        assert!(
            matches!(found, VlmError::Placeholders { found: 2, wanted: 1 }),
            "{name}"
        );
        let long = [&stays.prompt[..], &stays.prompt[..1].repeat(1024)].concat();
        let found = refuse(&long, &stays.images);
        assert!(
            matches!(found, VlmError::ContextOverflow { wanted: 1024, .. }),
            "{name}"
        );
        let none = PreparedImages::none();
        assert!(
            matches!(refuse(&[], &none), VlmError::Prompt { index: 0, .. }),
            "{name}"
        );
        let found = refuse(&[u32::MAX], &none);
        assert!(matches!(found, VlmError::Prompt { index: 0, .. }), "{name}");
        let failing = Case::new(&*vlm, "what is this?", &red, &Undecided, 9);
        let found = refuse(&failing.prompt, &failing.images);
        assert!(matches!(found, VlmError::Prune(_)), "{name}");
        told.finish(&mut *batch);
        assert_eq!(told.answers[0], stays.alone(&*vlm).0, "{name}");
    }
}

/// The small LLaVA-1.5 whose embedding of `id` is damaged.
fn damaged(id: usize) -> Llava {
    let whole = Llava::load(folder(MODELS[0]), &Device::flex(), LoadOptions::f32()).unwrap();
    let mut parts = whole.parts().clone();
    let table = parts.model.language.embed_tokens.weight.val();
    let [_, width] = table.dims();
    let row = Tensor::full([1, width], f32::NAN, &table.device());
    let table = table.slice_assign([id..id + 1, 0..width], row);
    parts.model.language.embed_tokens.weight = Param::from_tensor(table);
    Llava::from_parts(parts).unwrap()
}

#[test]
fn scores_that_are_not_finite_end_one_sequence() {
    let vlm = model(MODELS[0]);
    let case = |question| Case::new(&*vlm, question, &[picture(168, 168, GREEN)], &Spread, 20);
    let cases = [
        case("what colour is the square?"),
        case("how many objects are there?"),
    ];
    let alone: Vec<Vec<u32>> = cases.iter().map(|case| case.alone(&*vlm).0).collect();
    // The first word of the first answer cannot be fed; the other sequence never meets it.
    let bad = alone[0][0];
    assert!(!alone[1].contains(&bad) && cases.iter().all(|case| !case.prompt.contains(&bad)));
    let broken = damaged(bad as usize);
    let mut batch = broken.decode_batch();
    let mut told = Told::default();
    for case in &cases {
        told.join(&mut *batch, case.request());
    }
    told.step(&mut *batch);
    told.step(&mut *batch);
    assert_eq!(
        (&told.answers[0][..], told.finished[0]),
        (&[bad][..], Some(Finish::NotFinite))
    );
    told.finish(&mut *batch);
    assert_eq!(told.answers[1], alone[1]);
    assert_ne!(told.finished[1], Some(Finish::NotFinite));
    // In a prompt it is an error.
    let prompt = [&cases[1].prompt[..], &[bad]].concat();
    let request = JoinRequest::new(&prompt, &cases[1].images, &cases[1].options);
    let found = batch.join(request).unwrap_err().to_string();
    assert!(found.contains("not finite") && batch.is_empty(), "{found}");
}

#[test]
fn a_batch_can_be_given_to_a_thread_and_outlives_its_model() {
    let vlm = model(MODELS[0]);
    let case = Case::new(
        &*vlm,
        "what colour is the square?",
        &[picture(168, 168, RED)],
        &Spread,
        9,
    );
    let alone = case.alone(&*vlm).0;
    let mut batch: Box<dyn DecodeBatch> = vlm.decode_batch();
    let prefix = vlm.read_prefix(&case.prompt, &case.images).unwrap().unwrap();
    drop(vlm);
    let (rest, options) = (case.prompt[prefix.n_ids()..].to_vec(), case.options.clone());
    let answer = std::thread::spawn(move || {
        let none = PreparedImages::none();
        let mut told = Told::default();
        let request = JoinRequest::new(&rest, &none, &options).with_prefix(&prefix);
        told.join(&mut *batch, request);
        told.finish(&mut *batch);
        told.answers.remove(0)
    });
    assert_eq!(answer.join().unwrap(), alone);
}
