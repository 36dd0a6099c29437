//! Yes/no questions whose answer is chosen first, in the subtasks of MME.

use super::existence::existence;
use super::form::{self, placed};
use super::mention::{Mention, colours, pick, referents, shapes};
use super::question::{Question, QuestionKind};
use crate::world::{Colour, LETTERS, Place, Scene, Shape, WorldConfig, is_popular};
use rand::{Rng, RngExt};

/// The numbers that are spelt out.
const NUMBERS: [&str; 4] = ["one", "two", "three", "four"];

/// The subtasks of MME that have something to ask in this world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MmeTask {
    Existence,
    Count,
    Position,
    Colour,
    Ocr,
}

impl MmeTask {
    pub const ALL: [Self; 5] = [
        Self::Existence,
        Self::Count,
        Self::Position,
        Self::Colour,
        Self::Ocr,
    ];

    /// The name of MME's folder.
    pub fn folder(self) -> &'static str {
        ["existence", "count", "position", "color", "OCR"][self as usize]
    }
}

/// A question of the subtask with the given answer, or `None` if the scene has none.
pub(crate) fn claim(
    scene: &Scene,
    config: &WorldConfig,
    task: MmeTask,
    yes: bool,
    rng: &mut impl Rng,
) -> Option<Question> {
    match task {
        MmeTask::Existence => {
            let mut question = existence(scene, config, QuestionKind::ExistenceRandom, yes, rng)?;
            question.text = question.text.replace("the image?", "this image?");
            Some(question)
        }
        MmeTask::Count => count(scene, config, yes, rng),
        MmeTask::Position if rng.random_bool(0.5) => form::relation(scene, config, yes, rng),
        MmeTask::Position => position(scene, config, yes, rng),
        MmeTask::Colour => colour(scene, config, yes, rng),
        MmeTask::Ocr => word(scene, config, yes, rng),
    }
}

/// `Are there two stars in this image?` The number is chosen before the answer, so that it tells nothing.
fn count(scene: &Scene, config: &WorldConfig, yes: bool, rng: &mut impl Rng) -> Option<Question> {
    let of_shape = shapes(config).iter().copied().map(Mention::shape);
    let all: Vec<(Mention, usize)> = of_shape
        .chain(colours(config).iter().copied().map(Mention::colour))
        .map(|mention| (mention, mention.objects(scene).len()))
        .collect();
    let possible: Vec<usize> = (1..=NUMBERS.len())
        .filter(|n| all.iter().any(|(_, count)| count == n))
        .collect();
    let claimed = pick(&possible, rng)?;
    let fits = |least: usize| -> Vec<(Mention, usize)> {
        let counts = all.iter().filter(|(_, count)| *count >= least);
        counts
            .filter(|(_, count)| (*count == claimed) == yes)
            .copied()
            .collect()
    };
    let (mention, _) = pick(&fits(1), rng).or_else(|| pick(&fits(0), rng))?;
    let number = NUMBERS[claimed - 1];
    let text = match claimed {
        1 => format!("Is there one {} in this image?", mention.words()),
        _ => format!("Are there {number} {} in this image?", mention.plural()),
    };
    Some(Question::new(
        QuestionKind::Count,
        text,
        answer(yes),
        mention.objects(scene),
    ))
}

/// `Is the red star at the top left of the image?`
fn position(scene: &Scene, config: &WorldConfig, yes: bool, rng: &mut impl Rng) -> Option<Question> {
    let (object, mention, place) = pick(&placed(scene, config), rng)?;
    let others: Vec<Place> = Place::all().filter(|other| *other != place).collect();
    let claimed = if yes { place } else { pick(&others, rng)? };
    let words = mention.map_or("sign".to_owned(), |mention| mention.words());
    let text = format!("Is the {words} {} of the image?", claimed.phrase());
    let question = Question::new(
        QuestionKind::Position,
        text,
        answer(yes),
        object.into_iter().collect(),
    );
    Some(if object.is_none() {
        question.about_sign()
    } else {
        question
    })
}

/// `Is the star red?` Wrong colours are as frequent for the shape as right ones.
fn colour(scene: &Scene, config: &WorldConfig, yes: bool, rng: &mut impl Rng) -> Option<Question> {
    let (i, mention) = pick(&referents(scene, |o| Mention::shape(o.shape)), rng)?;
    let object = &scene.objects[i];
    let claimed = if yes {
        object.colour
    } else {
        other_colour(config, object.shape, object.colour, rng)?
    };
    let text = format!("Is the {} {}?", mention.words(), claimed.word());
    Some(Question::new(QuestionKind::Colour, text, answer(yes), vec![i]))
}

fn other_colour(config: &WorldConfig, shape: Shape, own: Colour, rng: &mut impl Rng) -> Option<Colour> {
    let others: Vec<Colour> = colours(config)
        .iter()
        .copied()
        .filter(|colour| *colour != own)
        .collect();
    loop {
        let colour = pick(&others, rng)?;
        if is_popular(shape, colour) || rng.random_bool(1.0 / config.popular_weight) {
            return Some(colour);
        }
    }
}

/// `Is the word on the sign "H K T"?` A wrong word differs in one letter or in all.
fn word(scene: &Scene, config: &WorldConfig, yes: bool, rng: &mut impl Rng) -> Option<Question> {
    let sign = scene.sign.as_ref()?;
    let mut letters: Vec<char> = sign.text.chars().collect();
    if !yes {
        let all = rng.random_bool(0.5);
        let place = rng.random_range(0..letters.len() as u32) as usize;
        for (i, letter) in letters.iter_mut().enumerate() {
            if all || i == place {
                let known = LETTERS.iter().take(config.n_letters);
                let others: Vec<char> = known.copied().filter(|other| other != letter).collect();
                *letter = pick(&others, rng)?;
            }
        }
    }
    let spelled: Vec<String> = letters.into_iter().map(String::from).collect();
    let text = format!("Is the word on the sign \"{}\"?", spelled.join(" "));
    Some(Question::new(QuestionKind::Reading, text, answer(yes), Vec::new()).about_sign())
}

fn answer(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}
