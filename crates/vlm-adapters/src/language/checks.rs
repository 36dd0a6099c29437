//! Checks that the tests of every backbone make.

use super::Reader;
use crate::{GenerateOptions, Hooks, Prompts, Sampling, VisualInput};

/// The scores of the first id are told once for each of two prompts, and as the model gave them.
///
/// # Panics
/// When they are not.
pub(crate) fn check_first_scores(reader: &Reader<'_>, prompts: &[Vec<u32>], visual: &VisualInput) {
    let told = |options: &GenerateOptions| {
        let mut seen = Vec::new();
        let mut on_scores = |row: usize, scores: &[f32]| seen.push((row, scores.to_vec()));
        let mut hooks = Hooks {
            on_scores: Some(&mut on_scores),
            ..Hooks::default()
        };
        let prompts = Prompts::new(prompts, Some(visual), options);
        let ids = reader.generate_with(prompts, &mut hooks);
        (ids.unwrap(), seen)
    };
    let mut options = GenerateOptions::default().with_max_new_tokens(3);
    let (ids, seen) = told(&options);
    assert_eq!(seen.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 1]);
    for (ids, (_, scores)) in ids.iter().zip(&seen) {
        let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(scores[ids[0] as usize], best);
    }
    // A penalty and a temperature change what is chosen, not what is told.
    options.repetition_penalty = 50.0;
    options.sampling = Sampling::Random {
        temperature: 9.0,
        top_p: 0.9,
        top_k: 5,
        seed: 3,
    };
    assert_eq!(told(&options).1, seen);
    assert!(told(&options.with_max_new_tokens(0)).1.is_empty());
}
