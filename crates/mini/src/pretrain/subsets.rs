//! Random subsets of the visual tokens, so that fewer tokens mean less information and not a foreign input.

use rand::{Rng, RngExt};

/// What a subset may be drawn by, for one image.
pub struct SubsetSource<'a> {
    /// Row and column of each token on the image, from 0 to 1.
    pub places: &'a [(f32, f32)],
    /// Tokens of the frozen tower, `n * d_vision` numbers.
    pub tokens: &'a [f32],
    /// How much of each patch an object or a sign covers, `n` numbers.
    pub coverage: &'a [f32],
}

/// `k` ascending places of one image.
///
/// The score of a place mixes white noise, nearness to a few random centres, a random direction of the features and
/// the objects' coverage; the mix is drawn anew for each image, with either sign for the last two.
pub fn draw_subset(source: &SubsetSource, k: usize, rng: &mut impl Rng) -> Vec<usize> {
    let n_tokens = source.coverage.len();
    let mut scores: Vec<f32> = (0..n_tokens).map(|_| gaussian(rng)).collect();
    if rng.random_bool(0.5) {
        add(&mut scores, &nearness(source.places, rng), 2.5);
    }
    if rng.random_bool(0.4) {
        let sign = if rng.random_bool(0.5) { 2.0 } else { -2.0 };
        add(&mut scores, &random_direction(source.tokens, n_tokens, rng), sign);
    }
    if rng.random_bool(0.4) {
        let weight = if rng.random_bool(0.8) {
            rng.random_range(0.5..4.0)
        } else {
            -2.0
        };
        add(&mut scores, source.coverage, weight);
    }
    let mut places: Vec<usize> = (0..n_tokens).collect();
    places.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    places.truncate(k);
    places.sort_unstable();
    places
}

fn add(scores: &mut [f32], term: &[f32], weight: f32) {
    for (score, value) in scores.iter_mut().zip(term) {
        *score += weight * value;
    }
}

/// Minus the distance to the nearest of one to four random centres, in units of a third of the image.
fn nearness(places: &[(f32, f32)], rng: &mut impl Rng) -> Vec<f32> {
    let n_centres = rng.random_range(1..=4);
    let centres: Vec<(f32, f32)> = (0..n_centres)
        .map(|_| (rng.random_range(0.0..1.0), rng.random_range(0.0..1.0)))
        .collect();
    let distance = |&(row, col): &(f32, f32)| {
        let to = |&(r, c): &(f32, f32)| (row - r).hypot(col - c);
        centres.iter().map(to).fold(f32::INFINITY, f32::min)
    };
    places.iter().map(|place| -3.0 * distance(place)).collect()
}

/// The tokens along a random direction, standardised.
fn random_direction(tokens: &[f32], n_tokens: usize, rng: &mut impl Rng) -> Vec<f32> {
    let width = tokens.len() / n_tokens.max(1);
    let direction: Vec<f32> = (0..width).map(|_| gaussian(rng)).collect();
    let along = |token: &[f32]| token.iter().zip(&direction).map(|(x, w)| x * w).sum::<f32>();
    let mut values: Vec<f32> = tokens.chunks_exact(width.max(1)).map(along).collect();
    let mean = values.iter().sum::<f32>() / n_tokens as f32;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n_tokens as f32;
    values
        .iter_mut()
        .for_each(|v| *v = (*v - mean) / (variance + 1e-6).sqrt());
    values
}

/// A standard normal number (Box-Muller).
fn gaussian(rng: &mut impl Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
    radius * (std::f32::consts::TAU * rng.random::<f32>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn subsets_are_ascending_distinct_and_of_the_right_size() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let tokens: Vec<f32> = (0..144 * 4).map(|i| (i % 17) as f32).collect();
        let coverage: Vec<f32> = (0..144).map(|i| if i < 10 { 1.0 } else { 0.0 }).collect();
        let places: Vec<(f32, f32)> = (0..144)
            .map(|i| ((i / 12) as f32 / 12.0, (i % 12) as f32 / 12.0))
            .collect();
        let source = SubsetSource {
            places: &places,
            tokens: &tokens,
            coverage: &coverage,
        };
        let mut seen = [false; 144];
        for k in [1, 10, 57, 144].repeat(30) {
            let subset = draw_subset(&source, k, &mut rng);
            assert_eq!(subset.len(), k);
            assert!(subset.windows(2).all(|pair| pair[0] < pair[1]));
            subset.iter().for_each(|&place| seen[place] = true);
        }
        assert!(seen.iter().all(|&s| s));
    }
}
