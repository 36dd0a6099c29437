//! Pictures with one answer: the shape and the colour of the only large object, among small distractors.

use rand::RngExt;

use crate::world::{Background, place_in_order, scene_stream, split_seed};
use crate::{Colour, MiniError, Scene, Shape, Size, Split, WorldConfig};

/// Keeps these pictures apart from the scenes of the same seed and number.
const STREAM: u64 = 1 << 40;
/// Small objects beside the large one, at most.
const MAX_DISTRACTORS: u32 = 3;

/// A picture and its class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassScene {
    /// The scene that is drawn; the first object is the large one.
    pub scene: Scene,
    /// Place of the class in [`class_names`].
    pub class: usize,
}

/// Names of the 64 classes, shape by shape: `red circle`, `green circle`, …
pub fn class_names() -> Vec<String> {
    let of_shape = |shape: Shape| Colour::ALL.map(|colour| format!("{} {}", colour.word(), shape.word()));
    Shape::ALL.into_iter().flat_map(of_shape).collect()
}

/// Labelled pictures by number: nothing is stored, each is generated when asked for.
///
/// The objects have the sizes of the small world, so a model of that world knows them; the patches of the classifier are
/// smaller (12 pixels against 14), so the two grids differ as those of the papers do (24 x 24 against 14 x 14).
#[derive(Debug, Clone, PartialEq)]
pub struct ClassScenes {
    world: WorldConfig,
    seed: u64,
}

impl ClassScenes {
    /// Side of the classifier's patches in pixels: 14 x 14 of them make a picture of the small world.
    pub const PATCH: u32 = 12;

    /// The pictures of `seed` and `split`, with the sizes of objects and pictures that `world` has.
    ///
    /// # Errors
    /// [`MiniError::Config`] when no scene can be drawn.
    pub fn new(world: WorldConfig, seed: u64, split: Split) -> Result<Self, MiniError> {
        let world = WorldConfig {
            patch_size: Self::PATCH,
            sign_probability: 0.0,
            snap_letters: false,
            ..world
        };
        world.validate()?;
        Ok(Self {
            world,
            seed: split_seed(seed, split),
        })
    }

    /// Side of the square pictures in pixels.
    pub fn image_size(&self) -> u32 {
        self.world.image_size
    }

    /// Picture number `index`; every number has one, and every class is as frequent as any other.
    pub fn get(&self, index: u64) -> ClassScene {
        let mut rng = scene_stream(self.seed, index, STREAM);
        let class = rng.random_range(0..(Shape::ALL.len() * Colour::ALL.len()) as u32) as usize;
        let main = (
            Shape::ALL[class / Colour::ALL.len()],
            Colour::ALL[class % Colour::ALL.len()],
            Size::Large,
        );
        let mut kinds = vec![main];
        for _ in 0..rng.random_range(1..=MAX_DISTRACTORS) {
            let shape = Shape::ALL[rng.random_range(0..Shape::ALL.len() as u32) as usize];
            let colour = Colour::ALL[rng.random_range(0..Colour::ALL.len() as u32) as usize];
            kinds.push((shape, colour, Size::Small));
        }
        let objects = place_in_order(&self.world, &kinds, &mut rng);
        ClassScene {
            scene: Scene {
                image_size: self.world.image_size,
                patch_size: self.world.patch_size,
                background: Background::draw(&mut rng),
                objects,
                sign: None,
                blurred: false,
            },
            class,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_large_object_is_the_class_and_the_only_large_one() {
        let names = class_names();
        assert_eq!(names.len(), 64);
        let scenes = ClassScenes::new(WorldConfig::default(), 3, Split::Test).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for index in 0..400 {
            let ClassScene { scene, class } = scenes.get(index);
            let large: Vec<_> = scene.objects.iter().filter(|o| o.size == Size::Large).collect();
            assert_eq!(large.len(), 1, "picture {index}");
            assert_eq!(
                names[class],
                format!("{} {}", large[0].colour.word(), large[0].shape.word())
            );
            assert!(scene.objects.len() >= 2, "picture {index} has no distractor");
            seen.insert(class);
        }
        assert!(seen.len() > 55, "{} of 64 classes in 400 pictures", seen.len());
    }

    #[test]
    fn splits_and_numbers_differ_and_repeat() {
        let scenes = |split| ClassScenes::new(WorldConfig::default(), 3, split).unwrap();
        assert_eq!(scenes(Split::Val).get(7), scenes(Split::Val).get(7));
        assert_ne!(scenes(Split::Val).get(7), scenes(Split::Val).get(8));
        assert_ne!(scenes(Split::Val).get(7), scenes(Split::Test).get(7));
    }
}
