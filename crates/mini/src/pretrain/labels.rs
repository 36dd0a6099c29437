//! What a tower is asked about a scene: seven questions per token, a list of facts per `[CLS]`.

use crate::{DenseLabels, ImageLabels, Scene, dense_labels, image_labels};

/// What each token is asked, with its number of classes (class 0 is "none").
pub const QUESTIONS: [(&str, usize); 7] = [
    ("shape", 9),
    ("colour", 9),
    ("size", 3),
    ("row", 4),
    ("column", 4),
    ("letter", 13),
    ("letter place", 4),
];
/// Outputs of a head that answers every question.
pub const N_ANSWERS: usize = 46;
/// Label of a token that a question is not put to.
pub const NOT_ASKED: u8 = u8::MAX;
/// The questions that ask for the place on the whole image.
const PLACES: [usize; 2] = [3, 4];
/// Where the counts of objects stand among the facts.
const COUNTS: std::ops::Range<usize> = 80..89;

/// Right answers about one scene, tokens in the order in which the model reads them.
#[derive(Debug, Clone, Default)]
pub struct SceneLabels {
    /// For each question, the class of each token.
    pub tokens: [Vec<u8>; 7],
    /// How much of each token objects and sign cover, from 0 to 1.
    pub relevance: Vec<f32>,
    /// For each `[CLS]` its facts, 0 or 1, and whether each of them is asked.
    pub facts: Vec<(Vec<f32>, Vec<bool>)>,
}

impl SceneLabels {
    /// One raster of the world's own patches, seen at once.
    pub fn whole(scene: &Scene) -> Self {
        let mut labels = Self::default();
        labels.raster(&dense_labels(scene), true);
        labels.facts.push(all_facts(scene));
        labels
    }

    /// A small view of the whole image in which a token covers `tiles` by `tiles` patches, then the raster of the
    /// world's own patches, which `tiles` by `tiles` further views make up. A tile does not know where it lies, so
    /// its tokens are not asked for places, and its `[CLS]` is not asked for the number of objects.
    pub fn tiled(scene: &Scene, tiles: usize) -> Self {
        let small = Scene {
            patch_size: scene.patch_size * tiles as u32,
            ..scene.clone()
        };
        let (small, fine) = (dense_labels(&small), dense_labels(scene));
        let mut labels = Self::default();
        labels.raster(&small, true);
        labels.raster(&fine, false);
        labels.facts.push(all_facts(scene));
        let side = fine.grid / tiles;
        for tile in 0..tiles * tiles {
            let (top, left) = (tile / tiles * side, tile % tiles * side);
            let cells = (0..side * side).map(|cell| (top + cell / side) * fine.grid + left + cell % side);
            labels.facts.push(tile_facts(&fine, cells));
        }
        labels
    }

    /// The answers about the chosen tokens alone, without facts about `[CLS]`.
    pub fn of_tokens(&self, tokens: &[usize]) -> Self {
        let chosen = |answers: &Vec<u8>| tokens.iter().map(|&token| answers[token]).collect();
        Self {
            tokens: std::array::from_fn(|question| chosen(&self.tokens[question])),
            relevance: tokens.iter().map(|&token| self.relevance[token]).collect(),
            facts: Vec::new(),
        }
    }

    fn raster(&mut self, labels: &DenseLabels, with_places: bool) {
        for (question, all) in self.tokens.iter_mut().enumerate() {
            let own = answers(labels, question);
            match with_places || !PLACES.contains(&question) {
                true => all.extend(own),
                false => all.extend(own.iter().map(|_| NOT_ASKED)),
            }
        }
        self.relevance.extend(labels.relevance());
    }
}

fn answers(labels: &DenseLabels, question: usize) -> &[u8] {
    match question {
        0 => &labels.shape,
        1 => &labels.colour,
        2 => &labels.size,
        3 => &labels.row_third,
        4 => &labels.column_third,
        5 => &labels.letter,
        _ => &labels.letter_place,
    }
}

fn all_facts(scene: &Scene) -> (Vec<f32>, Vec<bool>) {
    (
        image_labels(scene).presence().to_vec(),
        vec![true; ImageLabels::LEN],
    )
}

/// The facts of [`ImageLabels::presence`] about some cells of a raster.
fn tile_facts(labels: &DenseLabels, cells: impl Iterator<Item = usize>) -> (Vec<f32>, Vec<bool>) {
    let mut facts = vec![0.0; ImageLabels::LEN];
    for cell in cells {
        let class = |labels: &[u8]| usize::from(labels[cell]).checked_sub(1);
        if let (Some(shape), Some(colour)) = (class(&labels.shape), class(&labels.colour)) {
            facts[shape] = 1.0;
            facts[8 + colour] = 1.0;
            facts[16 + 8 * shape + colour] = 1.0;
        }
        if let Some(letter) = class(&labels.letter) {
            facts[COUNTS.end + letter] = 1.0;
        }
        if labels.sign[cell] == 1 {
            facts[ImageLabels::LEN - 1] = 1.0;
        }
    }
    let asked = (0..ImageLabels::LEN)
        .map(|fact| !COUNTS.contains(&fact))
        .collect();
    (facts, asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SceneDataset, Split, WorldConfig};

    #[test]
    fn tiles_together_know_what_the_whole_image_knows() {
        let scenes = SceneDataset::new(WorldConfig::default(), 3, Split::Val).unwrap();
        for index in 0..40 {
            let scene = scenes.get(index);
            let labels = SceneLabels::tiled(&scene, 2);
            let whole = SceneLabels::whole(&scene);
            assert_eq!(labels.relevance.len(), 36 + 144);
            assert_eq!(labels.tokens[0][36..], whole.tokens[0]);
            assert!(labels.tokens[3][36..].iter().all(|&class| class == NOT_ASKED));
            assert_eq!(labels.facts.len(), 5);
            for fact in (0..ImageLabels::LEN).filter(|fact| !COUNTS.contains(fact)) {
                let in_a_tile = labels.facts[1..].iter().any(|(facts, _)| facts[fact] == 1.0);
                // Two things may share their patches; then the smaller share has no label.
                if in_a_tile {
                    assert_eq!(whole.facts[0].0[fact], 1.0, "scene {index}, fact {fact}");
                }
            }
            let counts = COUNTS.map(|fact| whole.facts[0].0[fact]).sum::<f32>();
            assert_eq!(counts, 1.0, "the counts stand where they are expected");
        }
    }
}
