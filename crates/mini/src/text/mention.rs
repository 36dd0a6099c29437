//! Noun phrases and the objects that they mean.

use crate::world::{Colour, Object, Scene, Shape, Size, WorldConfig};
use rand::{Rng, RngExt};

/// A noun phrase about objects: any of size, colour and shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mention {
    pub size: Option<Size>,
    pub colour: Option<Colour>,
    pub shape: Option<Shape>,
}

impl Mention {
    pub fn shape(shape: Shape) -> Self {
        Self {
            shape: Some(shape),
            ..Self::default()
        }
    }

    pub fn colour(colour: Colour) -> Self {
        Self {
            colour: Some(colour),
            ..Self::default()
        }
    }

    pub fn pair(shape: Shape, colour: Colour) -> Self {
        Self {
            shape: Some(shape),
            colour: Some(colour),
            size: None,
        }
    }

    /// Whether the phrase is true of the object.
    pub fn fits(&self, object: &Object) -> bool {
        self.size.is_none_or(|size| size == object.size)
            && self.colour.is_none_or(|colour| colour == object.colour)
            && self.shape.is_none_or(|shape| shape == object.shape)
    }

    /// The objects of which the phrase is true, by their place in the scene.
    pub fn objects(&self, scene: &Scene) -> Vec<usize> {
        (0..scene.objects.len())
            .filter(|i| self.fits(&scene.objects[*i]))
            .collect()
    }

    /// The only object of which the phrase is true, if there is exactly one.
    pub fn the_one(&self, scene: &Scene) -> Option<usize> {
        match self.objects(scene)[..] {
            [one] => Some(one),
            _ => None,
        }
    }

    /// `large red circle`, `red object`, `star`.
    pub fn words(&self) -> String {
        self.phrase(self.shape.map_or("object", Shape::word))
    }

    /// `red circles`, `red objects`, `stars`.
    pub fn plural(&self) -> String {
        self.phrase(self.shape.map_or("objects", Shape::plural))
    }

    /// `a red circle`, `an orange star`.
    pub fn with_article(&self) -> String {
        let words = self.words();
        let article = if words.starts_with(['a', 'e', 'i', 'o', 'u']) {
            "an"
        } else {
            "a"
        };
        format!("{article} {words}")
    }

    fn phrase(&self, noun: &str) -> String {
        let size = self.size.map(Size::word);
        let colour = self.colour.map(Colour::word);
        let words: Vec<&str> = size.into_iter().chain(colour).chain([noun]).collect();
        words.join(" ")
    }
}

/// The shortest of `plain`, else `plain` with the size, that means only object `i`.
fn unique(scene: &Scene, i: usize, plain: Mention) -> Option<Mention> {
    let sized = Mention {
        size: Some(scene.objects[i].size),
        ..plain
    };
    [plain, sized]
        .into_iter()
        .find(|mention| mention.the_one(scene) == Some(i))
}

/// Each object with the phrase that means only it, where there is one.
pub(super) fn referents(scene: &Scene, plain: impl Fn(&Object) -> Mention) -> Vec<(usize, Mention)> {
    let objects = scene.objects.iter().enumerate();
    objects
        .filter_map(|(i, object)| Some((i, unique(scene, i, plain(object))?)))
        .collect()
}

/// The shapes of this world.
pub(super) fn shapes(config: &WorldConfig) -> &'static [Shape] {
    &Shape::ALL[..config.n_shapes.min(Shape::ALL.len())]
}

/// The colours of this world.
pub(super) fn colours(config: &WorldConfig) -> &'static [Colour] {
    &Colour::ALL[..config.n_colours.min(Colour::ALL.len())]
}

/// Every pair of the two.
pub(super) fn pairs(config: &WorldConfig) -> Vec<Mention> {
    shapes(config)
        .iter()
        .flat_map(|s| colours(config).iter().map(|c| Mention::pair(*s, *c)))
        .collect()
}

/// A random element.
pub(super) fn pick<T: Copy>(items: &[T], rng: &mut impl Rng) -> Option<T> {
    (!items.is_empty()).then(|| items[rng.random_range(0..items.len() as u32) as usize])
}
