//! Sequences join and leave at different steps.

use diffprune_pruner::PositionRule;
use diffprune_vlm_adapters::{Finish, SequenceId};

use super::cases::{BLUE, Case, GREEN, MODELS, RED, Spread, Told, fastv, model, picture};

#[test]
fn each_sequence_says_what_it_says_alone() {
    let (early, late) = (fastv(1), fastv(2));
    for name in MODELS {
        let vlm = model(name);
        let vlm = &*vlm;
        let red = picture(168, 168, RED);
        let (green, blue) = (picture(240, 120, GREEN), picture(112, 168, BLUE));
        let one = std::slice::from_ref::<image::RgbImage>;
        let colour = "what colour is the square?";
        let cases = [
            (0, Case::new(vlm, colour, one(&red), &Spread, 20)),
            (
                0,
                Case::new(vlm, "how many objects are there?", one(&green), &late, 9),
            ),
            (1, Case::new(vlm, colour, &[], &Spread, 1).drawn(3, 11)),
            (
                2,
                Case::new(vlm, colour, &[green.clone(), blue.clone()], &Spread, 12),
            ),
            (
                2,
                Case::at(vlm, colour, one(&blue), &early, 5, Some(PositionRule::Reindex)).drawn(4, 9),
            ),
            (
                5,
                Case::at(vlm, colour, one(&blue), &Spread, 7, Some(PositionRule::Reindex)).drawn(4, 6),
            ),
            (5, Case::new(vlm, colour, one(&green), &Spread, 0).drawn(5, 14)),
            (
                6,
                Case::new(vlm, "what is in the picture?", one(&red), &late, 3).drawn(6, 5),
            ),
            (6, Case::new(vlm, colour, one(&red), &Spread, 0)),
        ];
        let alone: Vec<_> = cases.iter().map(|(_, case)| case.alone(vlm)).collect();
        let mut batch = vlm.decode_batch();
        let mut told = Told::default();
        let mut step = 0;
        while told.ids.len() < cases.len() {
            for (_, case) in cases.iter().filter(|(at, _)| *at == step) {
                let report = told.join(&mut *batch, case.request());
                assert_eq!(
                    report,
                    alone[told.ids.len() - 1].1,
                    "{name}: the same tokens are dropped"
                );
            }
            told.step(&mut *batch);
            step += 1;
        }
        told.finish(&mut *batch);
        assert_eq!(batch.kv_bytes(), 0);
        for (i, ((_, case), (ids, _))) in cases.iter().zip(&alone).enumerate() {
            assert_eq!(&told.answers[i], ids, "{name}, case {i}");
            let wanted = match ids.len() < case.options.max_new_tokens {
                true => Finish::Stop,
                false => Finish::Length,
            };
            assert_eq!(told.finished[i], Some(wanted), "{name}, case {i}");
        }
        assert!(
            alone.iter().any(|(ids, _)| ids.len() > 5) && alone[0].0 != alone[3].0,
            "{name}: the answers differ: {alone:?}"
        );
    }
}

#[test]
fn a_seed_decides_whatever_the_place_in_the_batch() {
    let vlm = model(MODELS[0]);
    let red = [picture(168, 168, RED)];
    let case = |seed| Case::new(&*vlm, "what is this?", &red, &Spread, 9).drawn(seed, 12);
    let cases = [case(1), case(2), case(1)];
    let mut batch = vlm.decode_batch();
    let mut told = Told::default();
    for case in &cases {
        told.join(&mut *batch, case.request());
        told.step(&mut *batch);
    }
    told.finish(&mut *batch);
    assert_eq!(told.answers[0], told.answers[2]);
    assert_ne!(told.answers[0], told.answers[1]);
    assert_eq!(told.answers[1], cases[1].alone(&*vlm).0);
}

#[test]
fn a_long_answer_outgrows_its_room() {
    let inside = fastv(2);
    for name in MODELS {
        let vlm = model(name);
        let red = [picture(168, 168, RED)];
        let cases = [
            Case::new(&*vlm, "what is this?", &red, &inside, 9).drawn(1, 150),
            Case::new(&*vlm, "what is this?", &red, &Spread, 9).drawn(2, 70),
        ];
        let mut batch = vlm.decode_batch();
        let mut told = Told::default();
        for case in &cases {
            told.join(&mut *batch, case.request());
        }
        let before = batch.kv_bytes();
        for _ in 0..66 {
            told.step(&mut *batch);
        }
        assert!(batch.kv_bytes() > before, "{name}");
        told.finish(&mut *batch);
        for (case, found) in cases.iter().zip(&told.answers) {
            assert_eq!(found, &case.alone(&*vlm).0, "{name}");
        }
    }
}

#[test]
fn an_answer_ends_with_the_positions_of_the_model() {
    let vlm = model(MODELS[0]);
    let prompt = vlm.text_ids("square").unwrap().repeat(1020);
    let mut case = Case::new(&*vlm, "?", &[], &Spread, 1).drawn(1, 50);
    case.prompt = prompt[..1020].to_vec();
    let mut batch = vlm.decode_batch();
    let mut told = Told::default();
    told.join(&mut *batch, case.request());
    told.finish(&mut *batch);
    assert_eq!(told.answers[0], case.alone(&*vlm).0);
    assert_eq!(
        (told.answers[0].len(), told.finished[0]),
        (4, Some(Finish::Length))
    );
}

#[test]
fn who_leaves_frees_its_bytes_and_disturbs_nobody() {
    let inside = fastv(2);
    for name in MODELS {
        let vlm = model(name);
        let blue = [picture(168, 168, BLUE)];
        let stays = Case::new(&*vlm, "what is this?", &blue, &Spread, 9).drawn(1, 12);
        let goes = Case::new(&*vlm, "what is this?", &blue, &inside, 9).drawn(2, 12);
        let mut batch = vlm.decode_batch();
        assert_eq!(batch.kv_bytes(), 0);
        let first = batch.join(stays.request()).unwrap();
        let held = batch.kv_bytes();
        let room = stays.options.max_new_tokens - 1;
        let slots = (first.prompt_tokens + room) as u64;
        assert_eq!(held, slots * vlm.kv_bytes_per_token(), "{name}");
        let second = batch.join(goes.request()).unwrap();
        let lengths = &second.report.as_ref().unwrap().sequences[0].kv_lengths;
        assert!(lengths[3] < lengths[0], "{name}: {lengths:?}");
        let slots: usize = lengths.iter().map(|length| length + room).sum();
        let own = slots as u64 * vlm.kv_bytes_per_token() / lengths.len() as u64;
        assert_eq!(
            batch.kv_bytes(),
            held + own,
            "{name}: each run of layers has its own length"
        );
        let mut ids: Vec<u32> = Vec::new();
        let mut take = |batch: &mut dyn diffprune_vlm_adapters::DecodeBatch| {
            let own = batch.step().unwrap().into_iter();
            ids.extend(own.filter(|new| new.id == first.id).filter_map(|new| new.token));
        };
        take(&mut *batch);
        take(&mut *batch);
        batch.leave(second.id);
        batch.leave(SequenceId::new(77));
        assert_eq!((batch.len(), batch.kv_bytes()), (1, held), "{name}");
        while !batch.is_empty() {
            take(&mut *batch);
        }
        assert_eq!(ids, stays.alone(&*vlm).0, "{name}");
        assert_eq!(batch.kv_bytes(), 0, "{name}");
    }
}

#[test]
fn an_empty_batch_steps_to_nothing() {
    for name in MODELS {
        let mut batch = model(name).decode_batch();
        assert_eq!(batch.step().unwrap(), [], "{name}");
        assert!(batch.is_empty(), "{name}");
    }
}

#[test]
fn no_token_may_come_of_it() {
    let vlm = model(MODELS[0]);
    let mut case = Case::new(&*vlm, "what is this?", &[picture(168, 168, RED)], &Spread, 9);
    case.options = case.options.with_max_new_tokens(0);
    let mut batch = vlm.decode_batch();
    let mut told = Told::default();
    told.join(&mut *batch, case.request());
    assert_eq!((batch.len(), batch.kv_bytes()), (1, 0));
    told.step(&mut *batch);
    assert_eq!(
        (told.answers[0].len(), told.finished[0]),
        (0, Some(Finish::Length))
    );
    assert!(batch.is_empty());
}
