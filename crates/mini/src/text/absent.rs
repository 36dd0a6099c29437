//! Questions about what is not there.

use super::form::{
    RELATIONS, ask_choice, ask_colour, ask_count, ask_position, ask_reading, ask_relation, ask_shape,
};
use super::mention::{Mention, colours, pairs, pick, referents, shapes};
use super::question::{Question, QuestionKind};
use crate::world::{Scene, WorldConfig};
use rand::{Rng, RngExt};

/// A question of the given form about something absent; its answer has no meaning and is replaced by the caller.
pub(super) fn absent(
    scene: &Scene,
    config: &WorldConfig,
    form: QuestionKind,
    rng: &mut impl Rng,
) -> Option<Question> {
    let is_absent = |mention: &Mention| mention.objects(scene).is_empty();
    let of_shape = || {
        shapes(config)
            .iter()
            .copied()
            .map(Mention::shape)
            .filter(is_absent)
            .collect::<Vec<_>>()
    };
    let of_colour = || {
        colours(config)
            .iter()
            .copied()
            .map(Mention::colour)
            .filter(is_absent)
            .collect::<Vec<_>>()
    };
    let of_pair = || pairs(config).into_iter().filter(is_absent).collect::<Vec<_>>();
    Some(match form {
        QuestionKind::Colour => ask_colour(&pick(&of_shape(), rng)?, "", Vec::new()),
        QuestionKind::Shape => ask_shape(&pick(&of_colour(), rng)?, "", Vec::new()),
        QuestionKind::Position => ask_position(&pick(&of_pair(), rng)?.words(), "", Vec::new()),
        QuestionKind::Count => {
            let mentions = if rng.random_bool(0.5) {
                of_shape()
            } else {
                of_colour()
            };
            ask_count(&pick(&mentions, rng)?, "", Vec::new())
        }
        QuestionKind::Relation => absent_relation(scene, &of_pair(), rng)?,
        QuestionKind::Reading if scene.sign.is_none() => ask_reading("", rng),
        QuestionKind::MultipleChoice if rng.random_bool(0.5) => {
            let words: Vec<&str> = colours(config).iter().map(|c| c.word()).collect();
            let right = pick(&words, rng)?;
            ask_choice("color", &pick(&of_shape(), rng)?, right, &words, Vec::new(), rng)
        }
        QuestionKind::MultipleChoice => {
            let words: Vec<&str> = shapes(config).iter().map(|s| s.word()).collect();
            let right = pick(&words, rng)?;
            ask_choice("shape", &pick(&of_colour(), rng)?, right, &words, Vec::new(), rng)
        }
        _ => return None,
    })
}

/// One side of the relation is there, the other is not.
fn absent_relation(scene: &Scene, absent: &[Mention], rng: &mut impl Rng) -> Option<Question> {
    let (i, present) = pick(&referents(scene, |o| Mention::pair(o.shape, o.colour)), rng)?;
    let absent = pick(absent, rng)?;
    let (words, ..) = pick(&RELATIONS, rng)?;
    let (a, b) = if rng.random_bool(0.5) {
        (present, absent)
    } else {
        (absent, present)
    };
    Some(ask_relation(&a, words, &b, "", vec![i]))
}
