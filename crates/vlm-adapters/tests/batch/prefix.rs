//! The beginning of a prompt is read once, and the rest for each question.

use diffprune_pruner::Pruner;
use diffprune_vlm_adapters::{JoinRequest, PreparedImages, VlmError};

use super::cases::{BLUE, Case, GREEN, MODELS, RED, Spread, Told, fastv, model, picture};

#[test]
fn a_prefix_and_the_rest_say_what_the_whole_says() {
    let none = PreparedImages::none();
    for name in MODELS {
        let vlm = model(name);
        let pictures = [picture(168, 168, RED), picture(120, 200, BLUE)];
        let case = |question| Case::new(&*vlm, question, &pictures, &Spread, 14);
        let cases = [
            case("what colour is the square?"),
            case("how many objects are there?").drawn(3, 10),
            case("what is in the picture?").drawn(4, 70),
        ];
        let prefix = vlm
            .read_prefix(&cases[0].prompt, &cases[0].images)
            .unwrap()
            .unwrap();
        let visual = cases[0].images.visual().unwrap();
        let n_slots: usize = visual.sequences.iter().map(|sequence| sequence.slots.len()).sum();
        assert_eq!(prefix.len(), prefix.n_ids() - 2 + n_slots, "{name}");
        assert_eq!(
            prefix.bytes(),
            prefix.len() as u64 * vlm.kv_bytes_per_token(),
            "{name}"
        );
        let mut batch = vlm.clone_box().decode_batch();
        let mut told = Told::default();
        for case in &cases {
            let rest = &case.prompt[prefix.n_ids()..];
            assert!(case.prompt.starts_with(prefix.ids()), "{name}");
            let request = JoinRequest::new(rest, &none, &case.options).with_prefix(&prefix);
            let joined = batch.join(request).unwrap();
            assert_eq!(joined.prompt_tokens, prefix.len() + rest.len(), "{name}");
            batch.leave(joined.id);
            told.join(&mut *batch, request);
            told.step(&mut *batch);
        }
        // A later turn brings another picture.
        let other = Case::new(
            &*vlm,
            "what colour is it?",
            &[picture(168, 112, GREEN)],
            &Spread,
            6,
        );
        let later = Case {
            prompt: [&cases[0].prompt[..], &other.prompt].concat(),
            images: cases[0].images.clone().and(other.images.clone()),
            options: other.options.clone(),
        }
        .drawn(5, 12);
        let request = JoinRequest::new(&later.prompt[prefix.n_ids()..], &other.images, &later.options);
        told.join(&mut *batch, request.with_prefix(&prefix));
        told.finish(&mut *batch);
        for (i, case) in cases.iter().chain([&later]).enumerate() {
            assert_eq!(told.answers[i], case.alone(&*vlm).0, "{name}, case {i}");
        }
        assert_eq!(batch.kv_bytes(), 0, "{name}");
    }
}

#[test]
fn there_is_a_prefix_only_where_something_can_be_shared() {
    let vlm = model(MODELS[2]);
    let inside = fastv(2);
    let red = [picture(168, 168, RED)];
    let read = |prompt: &[u32], images: &PreparedImages<'_>| vlm.read_prefix(prompt, images);
    let case = |pictures, pruner: &'static dyn Pruner| Case::new(&*vlm, "what is this?", pictures, pruner, 5);
    let plain = case(&red, &Spread);
    let prefix = read(&plain.prompt, &plain.images).unwrap().unwrap();
    assert!(
        read(prefix.ids(), &plain.images).unwrap().is_none(),
        "nothing follows"
    );
    let text = case(&[], &Spread);
    assert!(read(&text.prompt, &text.images).unwrap().is_none(), "no image");
    let within = Case::new(&*vlm, "what is this?", &red, &inside, 5);
    assert!(
        read(&within.prompt, &within.images).unwrap().is_none(),
        "a method inside"
    );
    let twice = [prefix.ids(), &plain.prompt].concat();
    let found = read(&twice, &plain.images);
    assert!(matches!(
        found,
        Err(VlmError::Placeholders { found: 2, wanted: 1 })
    ));
}

#[test]
fn a_prefix_that_does_not_fit_is_refused() {
    let vlm = model(MODELS[0]);
    let inside = fastv(2);
    let red = [picture(168, 168, RED)];
    let case = Case::new(&*vlm, "what is this?", &red, &Spread, 5);
    let within = Case::new(&*vlm, "what is this?", &red, &inside, 5);
    let prefix = vlm.read_prefix(&case.prompt, &case.images).unwrap().unwrap();
    let none = PreparedImages::none();
    let rest = &case.prompt[prefix.n_ids()..];
    let request = |prompt, images| JoinRequest::new(prompt, images, &case.options).with_prefix(&prefix);

    // The same files read again are another model: what it holds is not compared.
    let mut foreign = model(MODELS[0]).decode_batch();
    let found = foreign.join(request(rest, &none));
    assert!(matches!(found, Err(VlmError::Prefix { .. })));
    let mut batch = vlm.decode_batch();
    let found = batch.join(request(&within.prompt, &within.images));
    assert!(matches!(found, Err(VlmError::Prefix { .. })));
    let found = batch.join(request(&[], &none));
    assert!(matches!(found, Err(VlmError::Prompt { .. })));
    let found = batch.join(request(rest, &case.images));
    assert!(matches!(
        found,
        Err(VlmError::Placeholders { found: 0, wanted: 1 })
    ));
    // 144 positions of the picture, and what stands before it.
    let long = rest[..1].repeat(1024 - 144 - prefix.n_ids() + 2);
    let found = batch.join(request(&long, &none));
    let Err(VlmError::ContextOverflow { found, tokens, .. }) = found else {
        panic!("{found:?}");
    };
    assert_eq!((found, tokens), (1025, prefix.len() + long.len()));
    assert_eq!((batch.len(), batch.kv_bytes()), (0, 0));
    assert!(batch.join(request(rest, &none)).is_ok());
}

#[test]
fn ids_of_a_prefix_count_as_seen() {
    let none = PreparedImages::none();
    for name in MODELS {
        let vlm = model(name);
        let red = [picture(168, 168, RED)];
        let mut case = Case::new(&*vlm, "what colour is the square?", &red, &Spread, 12);
        let (answer, _) = case.alone(&*vlm);
        // What it would say stands before the picture, and is not to be said again.
        case.prompt = [&answer[..], &case.prompt].concat();
        case = case.drawn(1, 6);
        case.options = case.options.with_repetition_penalty(50.0);
        let alone = case.alone(&*vlm).0;
        assert!(answer.iter().all(|id| !alone.contains(id)), "{name}");
        let prefix = vlm.read_prefix(&case.prompt, &case.images).unwrap().unwrap();
        let request = JoinRequest::new(&case.prompt[prefix.n_ids()..], &none, &case.options);
        let mut batch = vlm.decode_batch();
        let mut told = Told::default();
        told.join(&mut *batch, request.with_prefix(&prefix));
        told.finish(&mut *batch);
        assert_eq!(told.answers[0], alone, "{name}");
    }
}
