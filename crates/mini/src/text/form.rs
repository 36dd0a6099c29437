//! One function per form of question.

use super::mention::{Mention, unique};
use super::question::{Question, QuestionKind};
use crate::world::{Colour, Place, Scene, Shape, WorldConfig, is_popular};
use rand::{Rng, RngExt};

/// A random element.
fn pick<T: Copy>(items: &[T], rng: &mut impl Rng) -> Option<T> {
    (!items.is_empty()).then(|| items[rng.random_range(0..items.len() as u32) as usize])
}

fn shapes(config: &WorldConfig) -> &'static [Shape] {
    &Shape::ALL[..config.n_shapes.min(Shape::ALL.len())]
}

fn colours(config: &WorldConfig) -> &'static [Colour] {
    &Colour::ALL[..config.n_colours.min(Colour::ALL.len())]
}

fn pairs(config: &WorldConfig) -> Vec<Mention> {
    shapes(config)
        .iter()
        .flat_map(|s| colours(config).iter().map(|c| Mention::pair(*s, *c)))
        .collect()
}

/// `Is there a red circle in the image?` The form of the noun phrase (pair, shape, colour) is drawn before and apart
/// from the answer, so that the form tells nothing.
pub(super) fn existence(
    scene: &Scene,
    config: &WorldConfig,
    kind: QuestionKind,
    yes: bool,
    rng: &mut impl Rng,
) -> Option<Question> {
    if !kind.is_existence() {
        return None;
    }
    let all: Vec<Mention> = match (kind, rng.random_range(0..3u32)) {
        (QuestionKind::ExistenceRandom, 0) => shapes(config).iter().copied().map(Mention::shape).collect(),
        (QuestionKind::ExistenceRandom, 1) => colours(config).iter().copied().map(Mention::colour).collect(),
        _ => pairs(config),
    };
    let candidates: Vec<Mention> = all
        .into_iter()
        .filter(|mention| mention.objects(scene).is_empty() != yes)
        .filter(|mention| yes || could_deceive(kind, mention, scene))
        .collect();
    let candidates = if yes {
        most_typical(kind, candidates)
    } else {
        hardest(kind, candidates, scene)
    };
    let mention = pick(&candidates, rng)?;
    let text = format!("Is there {} in the image?", mention.with_article());
    Some(Question::new(
        kind,
        text,
        if yes { "yes" } else { "no" },
        mention.objects(scene),
    ))
}

/// Whether an absent thing belongs to the kind's negatives.
fn could_deceive(kind: QuestionKind, mention: &Mention, scene: &Scene) -> bool {
    match (kind, mention.shape, mention.colour) {
        (QuestionKind::ExistenceRandom, ..) => true,
        (QuestionKind::ExistencePopular, Some(shape), Some(colour)) => is_popular(shape, colour),
        (QuestionKind::ExistenceAdversarial, Some(shape), Some(colour)) => scene
            .objects
            .iter()
            .any(|o| o.shape == shape || o.colour == colour),
        _ => false,
    }
}

/// For popular questions, present things are popular ones, too, if any: otherwise the words alone would tell the answer.
fn most_typical(kind: QuestionKind, candidates: Vec<Mention>) -> Vec<Mention> {
    let is_typical = |mention: &&Mention| matches!((mention.shape, mention.colour), (Some(s), Some(c)) if is_popular(s, c));
    let typical: Vec<Mention> = candidates.iter().filter(is_typical).copied().collect();
    if kind == QuestionKind::ExistencePopular && !typical.is_empty() {
        typical
    } else {
        candidates
    }
}

/// For adversarial negatives: those whose shape and colour are both there, on different objects, if any.
fn hardest(kind: QuestionKind, candidates: Vec<Mention>, scene: &Scene) -> Vec<Mention> {
    let is_recombined = |mention: &&Mention| {
        scene.objects.iter().any(|o| Some(o.shape) == mention.shape)
            && scene.objects.iter().any(|o| Some(o.colour) == mention.colour)
    };
    let recombined: Vec<Mention> = candidates.iter().filter(is_recombined).copied().collect();
    if kind == QuestionKind::ExistenceAdversarial && !recombined.is_empty() {
        recombined
    } else {
        candidates
    }
}

/// `What color is the large star?`
pub(super) fn colour(scene: &Scene, rng: &mut impl Rng) -> Option<Question> {
    let (i, mention) = pick(&referents(scene, |o| Mention::shape(o.shape)), rng)?;
    Some(ask_colour(&mention, scene.objects[i].colour.word(), vec![i]))
}

fn ask_colour(mention: &Mention, answer: &str, objects: Vec<usize>) -> Question {
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

fn ask_shape(mention: &Mention, answer: &str, objects: Vec<usize>) -> Question {
    Question::new(
        QuestionKind::Shape,
        format!("What shape is the {}?", mention.words()),
        answer,
        objects,
    )
}

/// Each object with the phrase that means only it, where there is one.
fn referents(scene: &Scene, plain: impl Fn(&crate::world::Object) -> Mention) -> Vec<(usize, Mention)> {
    let objects = scene.objects.iter().enumerate();
    objects
        .filter_map(|(i, object)| Some((i, unique(scene, i, plain(object))?)))
        .collect()
}

/// `Where is the red circle?`, only about things that are clearly in one of the nine regions.
pub(super) fn position(scene: &Scene, config: &WorldConfig, rng: &mut impl Rng) -> Option<Question> {
    let margin = config.position_margin;
    let mut things: Vec<(Option<usize>, String, Place)> =
        referents(scene, |o| Mention::pair(o.shape, o.colour))
            .into_iter()
            .map(|(i, mention)| (i, mention, scene.objects[i].bbox))
            .filter(|(_, _, bbox)| scene.is_clearly_placed(bbox, margin))
            .map(|(i, mention, bbox)| (Some(i), mention.words(), scene.place(&bbox)))
            .collect();
    let sign = scene
        .sign
        .iter()
        .filter(|sign| scene.is_clearly_placed(&sign.bbox, margin));
    things.extend(sign.map(|sign| (None, "sign".to_owned(), scene.place(&sign.bbox))));
    let at = rng.random_range(0..things.len().max(1) as u32) as usize;
    let (object, words, place) = things.get(at)?;
    let question = ask_position(words, place.words(), object.iter().copied().collect());
    Some(if object.is_none() {
        question.about_sign()
    } else {
        question
    })
}

fn ask_position(words: &str, answer: &str, objects: Vec<usize>) -> Question {
    Question::new(
        QuestionKind::Position,
        format!("Where is the {words}?"),
        answer,
        objects,
    )
}

/// `How many objects are there?`, `How many stars are there?`; half of the latter about several, if there are.
pub(super) fn count(scene: &Scene, rng: &mut impl Rng) -> Option<Question> {
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
    let mention = pick(&mentions, rng)?;
    let objects = mention.objects(scene);
    Some(ask_count(&mention, &objects.len().to_string(), objects))
}

fn ask_count(mention: &Mention, answer: &str, objects: Vec<usize>) -> Question {
    Question::new(
        QuestionKind::Count,
        format!("How many {} are there?", mention.plural()),
        answer,
        objects,
    )
}

/// The four relations with the axis they are about and the sign of `first - second` along it when they hold.
const RELATIONS: [(&str, usize, f32); 4] = [
    ("left of", 0, -1.0),
    ("right of", 0, 1.0),
    ("above", 1, -1.0),
    ("below", 1, 1.0),
];

/// `Is the red circle left of the blue star?`, only where the two are well apart along the axis.
pub(super) fn relation(scene: &Scene, config: &WorldConfig, rng: &mut impl Rng) -> Option<Question> {
    let named = referents(scene, |o| Mention::pair(o.shape, o.colour));
    let yes = rng.random_bool(0.5);
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

fn ask_relation(a: &Mention, words: &str, b: &Mention, answer: &str, objects: Vec<usize>) -> Question {
    let text = format!("Is the {} {words} the {}?", a.words(), b.words());
    Question::new(QuestionKind::Relation, text, answer, objects)
}

/// `What does the sign say?`
pub(super) fn reading(scene: &Scene, rng: &mut impl Rng) -> Option<Question> {
    let sign = scene.sign.as_ref()?;
    Some(ask_reading(&sign.spelled(), rng))
}

fn ask_reading(answer: &str, rng: &mut impl Rng) -> Question {
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
fn ask_choice(
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
