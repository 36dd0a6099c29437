//! Questions with lettered options, in English and Chinese.

use super::chinese;
use super::form::{counted, placed};
use super::mention::{Mention, colours, pick, referents, shapes};
use super::question::{QuestionKind, shuffle};
use super::style::Style;
use crate::world::{Colour, Place, Scene, Shape, WorldConfig};
use rand::{Rng, RngExt};

/// What is asked with options.
pub(super) const KINDS: [QuestionKind; 4] = [
    QuestionKind::Colour,
    QuestionKind::Shape,
    QuestionKind::Count,
    QuestionKind::Position,
];

/// A hint that tells nothing.
const PLAIN_HINT: &str = "There are objects in the image.";
/// Who may own an object.
const NAMES: [&str; 2] = ["Ann", "Ben"];
/// Counts offered at least.
const MAX_COUNT: usize = 5;

/// A question with options, in words.
pub(super) struct Choice {
    pub hint: Option<String>,
    pub question: String,
    pub options: Vec<String>,
    /// Place of the right option.
    pub right: usize,
}

/// What an option says.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Value {
    Colour(Colour),
    Shape(Shape),
    Count(usize),
    Place(Place),
}

impl Value {
    fn words(self, is_chinese: bool) -> String {
        match self {
            Self::Count(n) => n.to_string(),
            Self::Colour(colour) if is_chinese => chinese::colour(colour).to_owned(),
            Self::Shape(shape) if is_chinese => chinese::shape(shape).to_owned(),
            Self::Place(place) if is_chinese => chinese::place(place).to_owned(),
            Self::Colour(colour) => colour.word().to_owned(),
            Self::Shape(shape) => shape.word().to_owned(),
            Self::Place(place) => place.words().to_owned(),
        }
    }

    /// The other values of the same kind.
    fn others(self, config: &WorldConfig) -> Vec<Self> {
        let all: Vec<Self> = match self {
            Self::Colour(_) => colours(config).iter().copied().map(Self::Colour).collect(),
            Self::Shape(_) => shapes(config).iter().copied().map(Self::Shape).collect(),
            Self::Count(_) => (1..=config.max_objects.max(MAX_COUNT)).map(Self::Count).collect(),
            Self::Place(_) => Place::all().map(Self::Place).collect(),
        };
        all.into_iter().filter(|other| *other != self).collect()
    }
}

/// What a question is about, before it is put into words.
struct Topic {
    kind: QuestionKind,
    /// The phrase of what is asked about; `None` for the sign.
    mention: Option<Mention>,
    /// Another object's phrase of the same make, for contexts that name two.
    other: Option<Mention>,
    right: Value,
}

fn topic(scene: &Scene, config: &WorldConfig, kind: QuestionKind, rng: &mut impl Rng) -> Option<Topic> {
    if kind == QuestionKind::Count {
        let mention = counted(scene, rng)?;
        let right = Value::Count(mention.objects(scene).len());
        return Some(Topic {
            kind,
            mention: Some(mention),
            other: None,
            right,
        });
    }
    let objects = &scene.objects;
    let found: Vec<(Option<Mention>, Value)> = match kind {
        QuestionKind::Colour => referents(scene, |o| Mention::shape(o.shape))
            .into_iter()
            .map(|(i, mention)| (Some(mention), Value::Colour(objects[i].colour)))
            .collect(),
        QuestionKind::Shape => referents(scene, |o| Mention::colour(o.colour))
            .into_iter()
            .map(|(i, mention)| (Some(mention), Value::Shape(objects[i].shape)))
            .collect(),
        QuestionKind::Position => placed(scene, config)
            .into_iter()
            .map(|(_, mention, place)| (mention, Value::Place(place)))
            .collect(),
        _ => return None,
    };
    let (mention, right) = pick(&found, rng)?;
    let others: Vec<Mention> = found
        .iter()
        .filter_map(|(other, _)| *other)
        .filter(|other| Some(*other) != mention)
        .collect();
    Some(Topic {
        kind,
        mention,
        other: pick(&others, rng),
        right,
    })
}

/// A question of this kind with options as the benchmark has them, or `None` if the scene or the world has too little.
pub(super) fn choice(
    scene: &Scene,
    config: &WorldConfig,
    style: Style,
    kind: QuestionKind,
    rng: &mut impl Rng,
) -> Option<Choice> {
    let topic = topic(scene, config, kind, rng)?;
    let (least, most) = match style {
        Style::SeedBench => (4, 4),
        Style::ScienceQa => (2, 5),
        _ => (2, 4),
    };
    let mut wrong = topic.right.others(config);
    if wrong.len() + 1 < least {
        return None;
    }
    let n = rng.random_range(least as u32..=most.min(wrong.len() + 1) as u32) as usize;
    shuffle(&mut wrong, rng);
    let right = rng.random_range(0..n as u32) as usize;
    let mut values = wrong[..n - 1].to_vec();
    values.insert(right, topic.right);
    let is_chinese = style == Style::MmBenchCn;
    let (hint, question) = if is_chinese {
        let hint = rng.random_bool(0.25).then(|| chinese::PLAIN_HINT.to_owned());
        (hint, in_chinese(&topic))
    } else {
        in_english(&topic, style, rng)
    };
    Some(Choice {
        hint,
        question,
        options: values.into_iter().map(|value| value.words(is_chinese)).collect(),
        right,
    })
}

fn in_chinese(topic: &Topic) -> String {
    let mention = topic.mention.as_ref();
    match topic.kind {
        QuestionKind::Colour => chinese::ask_colour(mention),
        QuestionKind::Shape => chinese::ask_shape(mention),
        QuestionKind::Count => chinese::ask_count(mention),
        _ => chinese::ask_position(mention),
    }
}

/// Hint and question. A context may say who owns an object, and the question then ask about the owner's.
fn in_english(topic: &Topic, style: Style, rng: &mut impl Rng) -> (Option<String>, String) {
    let (plain, named) = match style {
        Style::MmBench => (0.25, 0.25),
        Style::ScienceQa => (0.25, 0.5),
        _ => (0.0, 0.0),
    };
    let draw: f64 = rng.random_range(0.0..1.0);
    if draw < named
        && topic.kind != QuestionKind::Count
        && let Some(mention) = &topic.mention
    {
        let (hint, name) = owners(mention, topic.other.as_ref(), rng);
        return (Some(hint), ask(topic.kind, &format!("object of {name}"), ""));
    }
    let (words, plural) = topic
        .mention
        .map_or(("sign".to_owned(), String::new()), |mention| {
            (mention.words(), mention.plural())
        });
    let hint = (draw < named + plain).then(|| PLAIN_HINT.to_owned());
    (hint, ask(topic.kind, &words, &plural))
}

/// `Ann has the star. Ben has the circle.` and who owns the first.
fn owners(mention: &Mention, other: Option<&Mention>, rng: &mut impl Rng) -> (String, &'static str) {
    let mut names = NAMES;
    shuffle(&mut names, rng);
    let has = |name: &str, mention: &Mention| format!("{name} has the {}.", mention.words());
    let mut said = vec![has(names[0], mention)];
    said.extend(other.map(|other| has(names[1], other)));
    shuffle(&mut said, rng);
    (said.join(" "), names[0])
}

fn ask(kind: QuestionKind, words: &str, plural: &str) -> String {
    match kind {
        QuestionKind::Colour => format!("What color is the {words}?"),
        QuestionKind::Shape => format!("What shape is the {words}?"),
        QuestionKind::Count => format!("How many {plural} are there?"),
        _ => format!("Where is the {words}?"),
    }
}
