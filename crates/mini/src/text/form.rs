//! One function per form of question that has an answer in the scene, and one that words it.

use super::mention::{Mention, colours, pick, referents, shapes};
use super::question::{Question, QuestionKind};
use crate::world::{Box2, Place, Scene, WorldConfig};
use rand::{Rng, RngExt};

/// `What color is the large star?`
pub(super) fn colour(scene: &Scene, rng: &mut impl Rng) -> Option<Question> {
    let (i, mention) = pick(&referents(scene, |o| Mention::shape(o.shape)), rng)?;
    Some(ask_colour(&mention, scene.objects[i].colour.word(), vec![i]))
}

pub(super) fn ask_colour(mention: &Mention, answer: &str, objects: Vec<usize>) -> Question {
    Question::new(
        QuestionKind::Colour,
        format!("What color is the {}?", mention.words()),
        answer,
        objects,
    )
}

/// `What shape is the red object?`
pub(super) fn shape(scene: &Scene, rng: &mut impl Rng) -> Option<Question> {
    let (i, mention) = pick(&referents(scene, |o| Mention::colour(o.colour)), rng)?;
    Some(ask_shape(&mention, scene.objects[i].shape.word(), vec![i]))
}

pub(super) fn ask_shape(mention: &Mention, answer: &str, objects: Vec<usize>) -> Question {
    Question::new(
        QuestionKind::Shape,
        format!("What shape is the {}?", mention.words()),
        answer,
        objects,
    )
}

/// `Where is the red circle?`, only about things that are clearly in one of the nine regions.
pub(super) fn position(scene: &Scene, config: &WorldConfig, rng: &mut impl Rng) -> Option<Question> {
    let (object, mention, place) = pick(&placed(scene, config), rng)?;
    let words = mention.map_or("sign".to_owned(), |mention| mention.words());
    let question = ask_position(&words, place.words(), object.into_iter().collect());
    Some(if object.is_none() {
        question.about_sign()
    } else {
        question
    })
}

/// What is clearly in one of the nine regions: objects with the phrase that means only them, and the sign.
pub(super) fn placed(scene: &Scene, config: &WorldConfig) -> Vec<(Option<usize>, Option<Mention>, Place)> {
    let is_clear = |bbox: &Box2| scene.is_clearly_placed(bbox, config.position_margin);
    let objects = referents(scene, |o| Mention::pair(o.shape, o.colour))
        .into_iter()
        .map(|(i, mention)| (Some(i), Some(mention), scene.objects[i].bbox));
    let sign = scene.sign.iter().map(|sign| (None, None, sign.bbox));
    objects
        .chain(sign)
        .filter(|(_, _, bbox)| is_clear(bbox))
        .map(|(object, mention, bbox)| (object, mention, scene.place(&bbox)))
        .collect()
}

pub(super) fn ask_position(words: &str, answer: &str, objects: Vec<usize>) -> Question {
    Question::new(
        QuestionKind::Position,
        format!("Where is the {words}?"),
        answer,
        objects,
    )
}

/// `How many objects are there?`, `How many stars are there?`; half of the latter about several, if there are.
pub(super) fn count(scene: &Scene, rng: &mut impl Rng) -> Option<Question> {
    let mention = counted(scene, rng)?;
    let objects = mention.objects(scene);
    Some(ask_count(&mention, &objects.len().to_string(), objects))
}

/// What to count.
pub(super) fn counted(scene: &Scene, rng: &mut impl Rng) -> Option<Mention> {
    let mut mentions = vec![Mention::default()];
    if rng.random_bool(0.5) {
        let present = scene
            .objects
            .iter()
            .flat_map(|o| [Mention::shape(o.shape), Mention::colour(o.colour)]);
        let present: Vec<Mention> = present.collect();
        let several: Vec<Mention> = present
            .iter()
            .filter(|m| m.objects(scene).len() > 1)
            .copied()
            .collect();
        let single: Vec<Mention> = present
            .iter()
            .filter(|m| m.objects(scene).len() == 1)
            .copied()
            .collect();
        let want_several = rng.random_bool(0.6);
        mentions = if single.is_empty() || (want_several && !several.is_empty()) {
            several
        } else {
            single
        };
    }
    pick(&mentions, rng)
}

pub(super) fn ask_count(mention: &Mention, answer: &str, objects: Vec<usize>) -> Question {
    Question::new(
        QuestionKind::Count,
        format!("How many {} are there?", mention.plural()),
        answer,
        objects,
    )
}

/// The four relations with the axis they are about and the sign of `first - second` along it when they hold.
pub(super) const RELATIONS: [(&str, usize, f32); 4] = [
    ("left of", 0, -1.0),
    ("right of", 0, 1.0),
    ("above", 1, -1.0),
    ("below", 1, 1.0),
];

/// `Is the red circle left of the blue star?`, only where the two are well apart along the axis.
pub(super) fn relation(
    scene: &Scene,
    config: &WorldConfig,
    yes: bool,
    rng: &mut impl Rng,
) -> Option<Question> {
    let named = referents(scene, |o| Mention::pair(o.shape, o.colour));
    let mut found = Vec::new();
    for first in &named {
        for second in named.iter().filter(|second| second.0 != first.0) {
            for (words, axis, sign) in RELATIONS {
                let [a, b] = [first.0, second.0].map(|i| scene.objects[i].centre[axis]);
                if (a - b).abs() >= config.relation_margin && ((a - b) * sign > 0.0) == yes {
                    found.push((first, words, second));
                }
            }
        }
    }
    let (first, words, second) = pick(&found, rng)?;
    let answer = if yes { "yes" } else { "no" };
    Some(ask_relation(
        &first.1,
        words,
        &second.1,
        answer,
        vec![first.0, second.0],
    ))
}

pub(super) fn ask_relation(
    a: &Mention,
    words: &str,
    b: &Mention,
    answer: &str,
    objects: Vec<usize>,
) -> Question {
    let text = format!("Is the {} {words} the {}?", a.words(), b.words());
    Question::new(QuestionKind::Relation, text, answer, objects)
}

/// `What does the sign say?`
pub(super) fn reading(scene: &Scene, rng: &mut impl Rng) -> Option<Question> {
    let sign = scene.sign.as_ref()?;
    Some(ask_reading(&sign.spelled(), rng))
}

pub(super) fn ask_reading(answer: &str, rng: &mut impl Rng) -> Question {
    let text =
        ["What does the sign say?", "What is written on the sign?"][rng.random_range(0..2u32) as usize];
    Question::new(QuestionKind::Reading, text.to_owned(), answer, Vec::new()).about_sign()
}

/// `Which color is the star? A red B blue C green D pink`, or the same for a shape.
pub(super) fn multiple_choice(scene: &Scene, config: &WorldConfig, rng: &mut impl Rng) -> Option<Question> {
    if rng.random_bool(0.5) {
        let (i, mention) = pick(&referents(scene, |o| Mention::shape(o.shape)), rng)?;
        let words: Vec<&str> = colours(config).iter().map(|c| c.word()).collect();
        Some(ask_choice(
            "color",
            &mention,
            scene.objects[i].colour.word(),
            &words,
            vec![i],
            rng,
        ))
    } else {
        let (i, mention) = pick(&referents(scene, |o| Mention::colour(o.colour)), rng)?;
        let words: Vec<&str> = shapes(config).iter().map(|s| s.word()).collect();
        Some(ask_choice(
            "shape",
            &mention,
            scene.objects[i].shape.word(),
            &words,
            vec![i],
            rng,
        ))
    }
}

/// Four options (fewer in a smaller world), the right one at a random place.
pub(super) fn ask_choice(
    what: &str,
    mention: &Mention,
    right: &str,
    words: &[&str],
    objects: Vec<usize>,
    rng: &mut impl Rng,
) -> Question {
    let mut wrong: Vec<&str> = words.iter().copied().filter(|word| *word != right).collect();
    let mut choices = Vec::new();
    while choices.len() < 3 && !wrong.is_empty() {
        choices.push(
            wrong
                .swap_remove(rng.random_range(0..wrong.len() as u32) as usize)
                .to_owned(),
        );
    }
    let place = rng.random_range(0..=choices.len() as u32) as usize;
    choices.insert(place, right.to_owned());
    let options: Vec<String> = ["A", "B", "C", "D"]
        .iter()
        .zip(&choices)
        .map(|(l, c)| format!("{l} {c}"))
        .collect();
    let text = format!("Which {what} is the {}? {}", mention.words(), options.join(" "));
    let answer = ["A", "B", "C", "D"][place];
    Question {
        choices,
        ..Question::new(QuestionKind::MultipleChoice, text, answer, objects)
    }
}
