//! The choice of the next token.

use std::collections::HashSet;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{GenerateOptions, Sampling};

/// Chooses the ids of one sequence, step by step.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    penalty: f32,
    seen: HashSet<u32>,
    rng: ChaCha8Rng,
}

impl Sampler {
    /// A sampler for prompt `index` of a batch.
    pub fn new(options: &GenerateOptions, index: usize, prompt: &[u32]) -> Self {
        let seed = match options.sampling {
            Sampling::Greedy => 0,
            Sampling::Random { seed, .. } => seed,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index as u64);
        let seen = prompt.iter().copied().collect();
        Self {
            sampling: options.sampling,
            penalty: options.repetition_penalty,
            seen,
            rng,
        }
    }

    /// The next id by its scores, one per id of the vocabulary.
    pub fn next(&mut self, scores: &mut [f32]) -> u32 {
        if self.penalty != 1.0 {
            self.penalise(scores);
        }
        let id = match self.sampling {
            Sampling::Random {
                temperature,
                top_p,
                top_k,
                ..
            } if temperature > 0.0 => self.draw(scores, temperature, top_p, top_k),
            _ => argmax(scores),
        };
        self.seen.insert(id);
        id
    }

    fn penalise(&self, scores: &mut [f32]) {
        for &id in &self.seen {
            if let Some(score) = scores.get_mut(id as usize) {
                *score = if *score > 0.0 {
                    *score / self.penalty
                } else {
                    *score * self.penalty
                };
            }
        }
    }

    fn draw(&mut self, scores: &[f32], temperature: f32, top_p: f32, top_k: usize) -> u32 {
        let mut ids: Vec<u32> = (0..scores.len() as u32).collect();
        ids.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
        if top_k > 0 {
            ids.truncate(top_k);
        }
        let best = ids.first().map_or(0.0, |&id| scores[id as usize]);
        let weights: Vec<f64> = ids
            .iter()
            .map(|&id| f64::from((scores[id as usize] - best) / temperature).exp())
            .collect();
        let kept = nucleus(&weights, f64::from(top_p));
        let mut left = self.rng.random::<f64>() * weights[..kept].iter().sum::<f64>();
        for (&id, weight) in ids.iter().zip(&weights[..kept]) {
            left -= weight;
            if left < 0.0 {
                return id;
            }
        }
        ids.get(kept.saturating_sub(1)).copied().unwrap_or(0)
    }
}

/// The length of the shortest prefix of descending weights that holds a share `top_p` of their sum; at least one.
fn nucleus(weights: &[f64], top_p: f64) -> usize {
    if top_p >= 1.0 {
        return weights.len();
    }
    let wanted = top_p * weights.iter().sum::<f64>();
    let mut mass = 0.0;
    for (i, weight) in weights.iter().enumerate() {
        mass += weight;
        if mass >= wanted {
            return i + 1;
        }
    }
    weights.len()
}

fn argmax(scores: &[f32]) -> u32 {
    let mut best = 0;
    for (id, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = id;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(top_p: f32, top_k: usize, seed: u64) -> GenerateOptions {
        let sampling = Sampling::Random {
            temperature: 1.0,
            top_p,
            top_k,
            seed,
        };
        GenerateOptions {
            sampling,
            ..Default::default()
        }
    }

    fn draws(options: &GenerateOptions, index: usize, scores: &[f32], n: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(options, index, &[]);
        (0..n).map(|_| sampler.next(&mut scores.to_vec())).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_equals() {
        assert_eq!(
            draws(&GenerateOptions::default(), 0, &[0.0, 2.0, 2.0, 1.0], 1),
            [1]
        );
    }

    #[test]
    fn penalty_covers_the_prompt_and_both_signs() {
        let options = GenerateOptions {
            repetition_penalty: 2.0,
            ..Default::default()
        };
        let mut sampler = Sampler::new(&options, 0, &[0]);
        let mut scores = [3.0, 2.0, -1.0];
        assert_eq!(sampler.next(&mut scores), 1);
        assert_eq!(scores, [1.5, 2.0, -1.0]);
        let mut scores = [-1.0, -1.0, -1.9];
        assert_eq!(sampler.next(&mut scores), 2);
    }

    #[test]
    fn limits_cut_the_tail() {
        let scores = [0.0, 1.0, 2.0, 3.0];
        assert!(
            draws(&random(1.0, 2, 7), 0, &scores, 200)
                .iter()
                .all(|&id| id >= 2)
        );
        // The most likely id alone has 64 % of the mass.
        assert!(
            draws(&random(0.6, 0, 7), 0, &scores, 200)
                .iter()
                .all(|&id| id == 3)
        );
        assert!(
            draws(&random(0.7, 0, 7), 0, &scores, 200)
                .iter()
                .all(|&id| id >= 2)
        );
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let ids = draws(&random(1.0, 0, 1), 0, &[0.0, 1.0], 4000);
        let share = ids.iter().filter(|&&id| id == 1).count() as f64 / 4000.0;
        assert!((share - 0.731).abs() < 0.03, "{share}");
    }

    #[test]
    fn seeds_repeat_and_streams_differ() {
        let scores = [0.0; 50];
        let options = random(1.0, 0, 3);
        assert_eq!(draws(&options, 0, &scores, 20), draws(&options, 0, &scores, 20));
        assert_ne!(draws(&options, 0, &scores, 20), draws(&options, 1, &scores, 20));
        assert_ne!(
            draws(&options, 0, &scores, 20),
            draws(&random(1.0, 0, 4), 0, &scores, 20)
        );
    }
}
