//! Sequences that are continued together, of the model for tests and of backbones without a batch of their own.

use diffprune_pruner::{Budget, Pruner};
use diffprune_vlm::{
    DecodeBatch, FakeVlm, Finish, GenerateOptions, Hooks, JoinRequest, OneByOne, Prefix, PreparedImages,
    PruneOptions, Sampling, SequenceId, Turn, Vlm, VlmError, prepare, respond,
};

use super::methods::{First, Inside, fake, picture};

/// A prompt with its images and options.
pub struct Case<'p> {
    pub prompt: Vec<u32>,
    pub images: PreparedImages<'p>,
    pub options: GenerateOptions,
}

impl<'p> Case<'p> {
    /// A question about pictures with these red cells, `k` tokens of each kept.
    pub fn new(vlm: &FakeVlm, question: &str, red: &[&[usize]], pruner: &'p dyn Pruner, k: usize) -> Self {
        let pictures: Vec<_> = red.iter().map(|red| picture(red)).collect();
        let turn = Turn::ask(question).with_images(pictures.len());
        let budget = PruneOptions::new(Budget::Tokens(k));
        Self {
            prompt: vlm.prompt_ids(&[turn]).unwrap(),
            images: prepare(vlm, &pictures, pruner, &budget).unwrap(),
            options: vlm.generate_options().with_max_new_tokens(9),
        }
    }

    /// The same with drawn ids.
    pub fn drawn(mut self, seed: u64) -> Self {
        self.options = self.options.with_sampling(Sampling::Random {
            temperature: 1.5,
            top_p: 0.95,
            top_k: 0,
            seed,
        });
        self
    }

    /// The same with another limit.
    pub fn at_most(mut self, n: usize) -> Self {
        self.options = self.options.with_max_new_tokens(n);
        self
    }

    pub fn request(&self) -> JoinRequest<'_> {
        JoinRequest::new(&self.prompt, &self.images, &self.options)
    }

    /// The answer of a batch of one.
    pub fn alone(&self, vlm: &dyn Vlm) -> Vec<u32> {
        let prompts = [self.prompt.clone()];
        let mut answers = respond(vlm, &prompts, &self.images, &self.options, &mut Hooks::default()).unwrap();
        answers.remove(0)
    }
}

/// Steps until the batch is empty; the ids of each of these sequences, and why it ended.
fn finish(batch: &mut dyn DecodeBatch, ids: &[SequenceId]) -> Vec<(Vec<u32>, Option<Finish>)> {
    let mut answers = vec![(Vec::new(), None); ids.len()];
    while !batch.is_empty() {
        for new in batch.step().unwrap() {
            let Some(i) = ids.iter().position(|&id| id == new.id) else {
                continue;
            };
            answers[i].0.extend(new.token);
            answers[i].1 = answers[i].1.or(new.finished);
        }
    }
    answers
}

/// Both kinds of batch.
fn batches(vlm: &FakeVlm) -> Vec<Box<dyn DecodeBatch>> {
    vec![vlm.decode_batch(), Box::new(OneByOne::new(vlm.clone_box()))]
}

fn cases<'p>(vlm: &FakeVlm, first: &'p First, inside: &'p Inside) -> Vec<Case<'p>> {
    vec![
        Case::new(vlm, "what is this?", &[&[3]], first, 5),
        Case::new(vlm, "which of them?", &[&[0, 1], &[12]], inside, 6),
        Case::new(vlm, "hello", &[], first, 1).at_most(4),
        Case::new(vlm, "why?", &[&[7, 8, 9]], first, 16).drawn(7),
        Case::new(vlm, "nothing", &[&[2]], first, 2).at_most(0),
        Case::new(vlm, "and now?", &[&[5]], inside, 3).drawn(8),
    ]
}

#[test]
fn each_sequence_says_what_it_says_alone() {
    let (first, inside) = (First::default(), Inside::default());
    let scripted = fake().answering(|input| format!("{}{}", input.visual.len(), input.text));
    for vlm in [fake(), scripted] {
        let cases = cases(&vlm, &first, &inside);
        for mut batch in batches(&vlm) {
            let (mut ids, mut answers) = (Vec::new(), vec![Vec::new(); cases.len()]);
            for case in &cases {
                let joined = batch.join(case.request()).unwrap();
                assert_eq!(joined.report.is_some(), case.images.inside().is_some());
                ids.push(joined.id);
                for new in batch.step().unwrap() {
                    answers[ids.iter().position(|&id| id == new.id).unwrap()].extend(new.token);
                }
            }
            let rest = finish(&mut *batch, &ids);
            for (i, case) in cases.iter().enumerate() {
                answers[i].extend(&rest[i].0);
                assert_eq!(answers[i], case.alone(&vlm), "case {i}");
            }
        }
    }
}

#[test]
fn ends_are_told_once_and_with_their_reason() {
    let first = First::default();
    let vlm = fake().answering(|_| "four".into());
    for mut batch in batches(&vlm) {
        let case = |n| Case::new(&vlm, "?", &[&[1]], &first, 4).at_most(n);
        let cases = [case(0), case(3), case(4), case(9)];
        let ids: Vec<SequenceId> = cases
            .iter()
            .map(|case| batch.join(case.request()).unwrap().id)
            .collect();
        let mut told = vec![Vec::new(); cases.len()];
        while !batch.is_empty() {
            for new in batch.step().unwrap() {
                told[ids.iter().position(|&id| id == new.id).unwrap()]
                    .push((new.token.is_some(), new.finished));
            }
        }
        let (going, length, stop) = ((true, None), Some(Finish::Length), Some(Finish::Stop));
        assert_eq!(told[0], [(false, length)]);
        assert_eq!(told[1], [going, going, (true, length)]);
        assert_eq!(told[2], [going, going, going, (true, length)]);
        assert_eq!(told[3], [going, going, going, going, (false, stop)]);
    }
}

#[test]
fn an_empty_batch_steps_to_nothing() {
    for mut batch in batches(&fake()) {
        assert!(batch.is_empty());
        assert_eq!(batch.step().unwrap(), []);
        batch.leave(SequenceId::new(3));
        assert_eq!((batch.len(), batch.kv_bytes()), (0, 0));
    }
}

#[test]
fn who_leaves_frees_its_bytes_and_disturbs_nobody() {
    let (first, inside) = (First::default(), Inside::default());
    let vlm = fake();
    let cases = cases(&vlm, &first, &inside);
    let mut batch = vlm.decode_batch();
    let plain = batch.join(cases[0].request()).unwrap();
    assert_eq!(plain.prompt_tokens, cases[0].prompt.len() - 1 + 5);
    let held = plain.prompt_tokens as u64 * vlm.kv_bytes_per_token();
    assert_eq!(batch.kv_bytes(), held);
    let pruned = batch.join(cases[1].request()).unwrap();
    let lengths = &pruned.report.unwrap().sequences[0].kv_lengths;
    assert!(lengths[3] < lengths[0]);
    let of_layers = lengths.iter().sum::<usize>() as u64 * vlm.kv_bytes_per_token() / lengths.len() as u64;
    assert_eq!(batch.kv_bytes(), held + of_layers);
    let one = batch.step().unwrap();
    batch.leave(pruned.id);
    assert_eq!(batch.len(), 1);
    assert_eq!(batch.kv_bytes(), held + vlm.kv_bytes_per_token());
    let mut ids: Vec<u32> = one[0].token.into_iter().collect();
    ids.extend(&finish(&mut *batch, &[plain.id])[0].0);
    assert_eq!(ids, cases[0].alone(&vlm));
    assert_eq!(batch.kv_bytes(), 0);
}

#[test]
fn a_prompt_that_cannot_join_leaves_the_batch_as_it_was() {
    let (first, inside) = (First::default(), Inside::default());
    let stubborn = Inside {
        fails_at: Some(0),
        ..Inside::default()
    };
    let vlm = fake().with_positions(60);
    let cases = cases(&vlm, &first, &inside);
    for mut batch in batches(&vlm) {
        let stays = batch.join(cases[0].request()).unwrap();
        let held = batch.kv_bytes();
        let (images, options) = (&cases[0].images, &cases[0].options);
        let mut refuse = |prompt: &[u32], images: &PreparedImages<'_>| {
            let error = batch.join(JoinRequest::new(prompt, images, options)).unwrap_err();
            assert_eq!((batch.len(), batch.kv_bytes()), (1, held));
            error
        };
        let two = vlm.prompt_ids(&[Turn::ask("?").with_images(2)]).unwrap();
        let found = refuse(&two, images);
        assert!(matches!(found, VlmError::Placeholders { found: 2, wanted: 1 }));
        let long = vlm.prompt_ids(&[Turn::ask("?".repeat(60))]).unwrap();
        assert!(matches!(refuse(&long, images), VlmError::ContextOverflow { .. }));
        assert!(matches!(refuse(&[], images), VlmError::Prompt { .. }));
        let failing = Case::new(&vlm, "?", &[&[1]], &stubborn, 3);
        let found = refuse(&failing.prompt, &failing.images);
        stubborn.calls.store(0, std::sync::atomic::Ordering::Relaxed);
        assert!(matches!(found, VlmError::Prune(_)));
        assert_eq!(
            finish(&mut *batch, &[stays.id])[0].0,
            cases[0].alone(&vlm),
            "goes on undisturbed"
        );
    }
}

#[test]
fn a_prefix_is_read_once_and_changes_nothing() {
    let first = First::default();
    let vlm = fake().answering(|input| format!("{}:{}", input.visual.len(), input.text));
    let cases: Vec<Case<'_>> = ["what?", "why not?"]
        .iter()
        .map(|question| Case::new(&vlm, question, &[&[1], &[2, 3]], &first, 5))
        .collect();
    let prefix = vlm
        .read_prefix(&cases[0].prompt, &cases[0].images)
        .unwrap()
        .unwrap();
    assert_eq!((prefix.n_ids(), prefix.len()), (2, 10));
    assert_eq!(prefix.bytes(), 10 * vlm.kv_bytes_per_token());
    assert_eq!(vlm.tokens_read(), 10);
    let none = PreparedImages::none();
    let mut batch = vlm.decode_batch();
    let mut ids = Vec::new();
    for case in &cases {
        let rest = &case.prompt[prefix.n_ids()..];
        let request = JoinRequest::new(rest, &none, &case.options).with_prefix(&prefix);
        assert_eq!(request.all_ids(), case.prompt);
        let joined = batch.join(request).unwrap();
        assert_eq!(joined.prompt_tokens, 10 + rest.len());
        ids.push(joined.id);
    }
    assert_eq!(vlm.tokens_read(), 10 + 6 + 9, "the rest alone");
    // A later turn brings another picture.
    let third = Case::new(&vlm, "and this?", &[&[5]], &first, 4);
    let whole = Case {
        prompt: [&cases[0].prompt[..], &third.prompt].concat(),
        images: cases[0].images.clone().and(third.images.clone()),
        options: third.options.clone(),
    };
    let rest = &whole.prompt[prefix.n_ids()..];
    let request = JoinRequest::new(rest, &third.images, &whole.options).with_prefix(&prefix);
    ids.push(batch.join(request).unwrap().id);
    let answers = finish(&mut *batch, &ids);
    for (i, case) in cases.iter().chain([&whole]).enumerate() {
        assert_eq!(answers[i].0, case.alone(&vlm), "case {i}");
    }
}

#[test]
fn a_prefix_that_does_not_fit_is_refused() {
    let (first, inside) = (First::default(), Inside::default());
    let vlm = fake().with_positions(60);
    let case = Case::new(&vlm, "what?", &[&[1]], &first, 5);
    let prefix = vlm.read_prefix(&case.prompt, &case.images).unwrap().unwrap();
    let within = Case::new(&vlm, "what?", &[&[1]], &inside, 5);
    let none = |case: &Case<'_>| vlm.read_prefix(&case.prompt, &case.images).unwrap().is_none();
    assert!(none(&within), "a method inside the language model");
    assert!(none(&Case::new(&vlm, "what?", &[], &first, 5)), "no image");
    assert!(
        vlm.read_prefix(&case.prompt[..1], &case.images)
            .unwrap()
            .is_none()
    );
    let mismatch = vlm.read_prefix(&[&[FakeVlm::IMAGE_ID], &case.prompt[..]].concat(), &case.images);
    assert!(matches!(
        mismatch,
        Err(VlmError::Placeholders { found: 2, wanted: 1 })
    ));

    let (rest, nothing) = (&case.prompt[1..], PreparedImages::none());
    let try_with = |batch: &mut dyn DecodeBatch, prompt: &[u32], images, prefix: &Prefix| {
        let request = JoinRequest::new(prompt, images, &case.options).with_prefix(prefix);
        let found = batch.join(request).map(|joined| joined.id);
        assert_eq!(batch.len(), usize::from(found.is_ok()));
        found
    };
    let foreign = Prefix::new(prefix.ids(), prefix.len(), 0, "another model's");
    let mut batch = vlm.decode_batch();
    let refused = |found| matches!(found, Err(VlmError::Prefix { .. }));
    assert!(refused(try_with(&mut *batch, rest, &nothing, &foreign)));
    assert!(refused(try_with(
        &mut *batch,
        &within.prompt,
        &within.images,
        &prefix
    )));
    assert!(refused(try_with(
        &mut *fake().decode_batch(),
        rest,
        &nothing,
        &prefix
    )));
    let mut plain = OneByOne::new(vlm.clone_box());
    assert!(refused(try_with(&mut plain, rest, &nothing, &prefix)));
    let long = [rest, &[5; 50]].concat();
    let found = try_with(&mut *batch, &long, &nothing, &prefix);
    assert!(matches!(
        found,
        Err(VlmError::ContextOverflow {
            found: 72,
            wanted: 60,
            ..
        })
    ));
    let found = try_with(&mut *batch, &[], &nothing, &prefix);
    assert!(matches!(found, Err(VlmError::Prompt { .. })));
    assert!(try_with(&mut *batch, rest, &nothing, &prefix).is_ok());
}
