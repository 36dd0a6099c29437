//! Every stored input is read, and so are a few that a mutator makes of each, always the same ones.

use diffprune_fuzz_targets::{Bench, Mutator, TARGETS, inputs};

#[test]
fn every_stored_input_ends_with_a_value_or_an_error() {
    let bench = Bench::new().unwrap();
    for target in &TARGETS {
        let stored = inputs(target.name).unwrap();
        assert!(!stored.is_empty(), "{}: no inputs", target.name);
        let pool: Vec<Vec<u8>> = stored.iter().map(|(_, bytes)| bytes.clone()).collect();
        for (_, input) in &stored {
            (target.run)(&bench, input);
        }
        let mut mutator = Mutator::new(1);
        for _ in 0..20 {
            (target.run)(&bench, &mutator.next(&pool));
            if target.shaped {
                (target.run)(&bench, &mutator.choices(&pool));
            }
        }
    }
}

#[test]
fn a_seed_gives_the_same_inputs_again() {
    let pool = [b"{\"a\": [1, 2]}".to_vec(), b"P6 3 4 255".to_vec()];
    let drawn = |seed| {
        let mut mutator = Mutator::new(seed);
        (0..200).map(|_| mutator.next(&pool)).collect::<Vec<_>>()
    };
    assert_eq!(drawn(3), drawn(3));
    assert_ne!(drawn(3), drawn(4));
    assert!(drawn(3).iter().filter(|input| !pool.contains(input)).count() > 190);
}
