//! Questions as the ten benchmarks ask them.

use super::claim::{MmeTask, claim};
use super::form::{ask_colour, ask_position, ask_reading, ask_shape, placed, reading};
use super::mention::{Mention, colours, pairs, pick, referents, shapes};
use super::options::{self, choice};
use super::question::{Question, QuestionKind, deck, question_of_kind, shuffle};
use super::style::{Prompts, Style};
use crate::world::{Scene, WorldConfig};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// What each round of questions holds beside POPE, GQA and TextVQA.
const OTHERS: [Style; 8] = [
    Style::VqaV2,
    Style::VizWiz,
    Style::Mme,
    Style::Mme,
    Style::MmBench,
    Style::MmBenchCn,
    Style::SeedBench,
    Style::ScienceQa,
];
/// Rounds of practice, one of them for a scene: the forms that small models learn last, many of a kind beside each other.
const PRACTICE: [&[Slot]; 5] = [
    &[Slot::Kind(QuestionKind::Relation)],
    &PLACES,
    &PLACES,
    &[
        Slot::Style(Style::MmBench),
        Slot::Style(Style::MmBenchCn),
        Slot::Style(Style::MmBenchCn),
        Slot::Style(Style::SeedBench),
        Slot::Style(Style::ScienceQa),
    ],
    &[
        Slot::Claim(MmeTask::Ocr),
        Slot::Claim(MmeTask::Position),
        Slot::Claim(MmeTask::Count),
    ],
];
const PLACES: [Slot; 4] = [
    Slot::Place(Style::MmBench),
    Slot::Place(Style::MmBenchCn),
    Slot::Place(Style::SeedBench),
    Slot::Claim(MmeTask::Position),
];
/// Of VizWiz's questions, one in so many is about what is not there.
const VIZWIZ_ABSENT: u32 = 3;

/// One question as a benchmark asks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Which benchmark asks.
    pub style: Style,
    /// What is asked; [`QuestionKind::Unanswerable`] where the answer is `unanswerable`.
    pub kind: QuestionKind,
    /// What is said before the question, without the benchmark's lead.
    pub hint: Option<String>,
    /// The question alone.
    pub question: String,
    /// Texts of the options, A first; empty where the answer is no letter.
    pub options: Vec<String>,
    /// The whole user text without image tag: hint, question, options, suffix.
    pub text: String,
    /// The answer that scores: lower-case words, a number, spaced capital letters of a sign, or the letter of an option.
    pub answer: String,
}

impl Turn {
    /// A question without hint and options.
    fn of(style: Style, prompts: Prompts, question: Question) -> Self {
        Self {
            style,
            kind: question.kind,
            hint: None,
            text: style.user_text(prompts, None, &question.text, &[]),
            question: question.text,
            options: Vec::new(),
            answer: question.answer,
        }
    }
}

/// A question in a benchmark's style, or `None` if the scene has nothing to ask for; another call may have.
///
/// Of a blurred scene everything is unanswerable, and only VizWiz asks about it.
pub(crate) fn turn(
    style: Style,
    scene: &Scene,
    config: &WorldConfig,
    prompts: Prompts,
    rng: &mut impl Rng,
) -> Option<Turn> {
    if scene.blurred && style != Style::VizWiz {
        return None;
    }
    let yes = rng.random_bool(0.5);
    let question = match style {
        Style::Pope => {
            let kinds = [
                QuestionKind::ExistenceRandom,
                QuestionKind::ExistencePopular,
                QuestionKind::ExistenceAdversarial,
            ];
            question_of_kind(scene, config, pick(&kinds, rng)?, rng)
        }
        Style::Gqa => {
            let form = pick(&QuestionKind::OPEN_FORMS, rng).filter(|form| *form != QuestionKind::Reading)?;
            question_of_kind(scene, config, form, rng)
        }
        Style::TextVqa => reading(scene, rng),
        Style::VqaV2 => match rng.random_range(0..3u32) {
            0 => question_of_kind(scene, config, QuestionKind::Colour, rng),
            1 => question_of_kind(scene, config, QuestionKind::Count, rng),
            _ => claim(scene, config, MmeTask::Colour, yes, rng),
        },
        Style::VizWiz => vizwiz(scene, config, rng),
        Style::Mme => claim(scene, config, pick(&MmeTask::ALL, rng)?, yes, rng),
        Style::MmBench | Style::MmBenchCn | Style::SeedBench | Style::ScienceQa => {
            let kind = pick(&options::KINDS, rng)?;
            return lettered(style, kind, scene, config, prompts, rng);
        }
    };
    Some(Turn::of(style, prompts, question?))
}

/// A question of this kind with options.
fn lettered(
    style: Style,
    kind: QuestionKind,
    scene: &Scene,
    config: &WorldConfig,
    prompts: Prompts,
    rng: &mut impl Rng,
) -> Option<Turn> {
    let choice = choice(scene, config, style, kind, rng)?;
    Some(Turn {
        style,
        kind,
        text: style.user_text(prompts, choice.hint.as_deref(), &choice.question, &choice.options),
        hint: choice.hint,
        question: choice.question,
        options: choice.options,
        answer: ('A'..='Z').nth(choice.right)?.to_string(),
    })
}

/// Colour, shape, place or word; a third of the questions are about what is not there. The words do not tell which:
/// sizes, which only things that are there would have, are never named.
fn vizwiz(scene: &Scene, config: &WorldConfig, rng: &mut impl Rng) -> Option<Question> {
    let absent = rng.random_range(0..VIZWIZ_ABSENT) == 0;
    let missing = |mentions: Vec<Mention>| -> Vec<Mention> {
        let is_missing = |mention: &Mention| mention.objects(scene).is_empty();
        mentions.into_iter().filter(is_missing).collect()
    };
    let unsized_only = |found: Vec<(usize, Mention)>| -> Vec<(usize, Mention)> {
        found
            .into_iter()
            .filter(|(_, mention)| mention.size.is_none())
            .collect()
    };
    let question = match rng.random_range(0..4u32) {
        0 if absent => {
            let all = shapes(config).iter().copied().map(Mention::shape).collect();
            ask_colour(&pick(&missing(all), rng)?, "", Vec::new()).without_answer()
        }
        0 => {
            let found = unsized_only(referents(scene, |o| Mention::shape(o.shape)));
            let (i, mention) = pick(&found, rng)?;
            ask_colour(&mention, scene.objects[i].colour.word(), vec![i])
        }
        1 if absent => {
            let all = colours(config).iter().copied().map(Mention::colour).collect();
            ask_shape(&pick(&missing(all), rng)?, "", Vec::new()).without_answer()
        }
        1 => {
            let found = unsized_only(referents(scene, |o| Mention::colour(o.colour)));
            let (i, mention) = pick(&found, rng)?;
            ask_shape(&mention, scene.objects[i].shape.word(), vec![i])
        }
        2 if absent => {
            let mention = pick(&missing(pairs(config)), rng)?;
            ask_position(&mention.words(), "", Vec::new()).without_answer()
        }
        2 => {
            let objects = placed(scene, config)
                .into_iter()
                .filter_map(|(object, mention, place)| Some((object?, mention?, place)))
                .filter(|(_, mention, _)| mention.size.is_none());
            let (i, mention, place) = pick(&objects.collect::<Vec<_>>(), rng)?;
            ask_position(&mention.words(), place.words(), vec![i])
        }
        _ if scene.sign.is_some() => reading(scene, rng)?,
        // Half of the scenes have no sign: asked about every other one, a third of these questions has no answer.
        _ if rng.random_bool(0.5) => ask_reading("", rng).without_answer(),
        _ => return None,
    };
    Some(if scene.blurred {
        question.without_answer()
    } else {
        question
    })
}

/// Up to `n` different questions about a scene, each as one of the ten benchmarks asks it, kinds and benchmarks as even
/// as the scene allows.
///
/// More than half are those of [`questions`](super::questions) in the styles of POPE, GQA and TextVQA. Of a blurred scene
/// there are at most a quarter as many, all in VizWiz's style and unanswerable.
pub fn turns(
    scene: &Scene,
    config: &WorldConfig,
    prompts: Prompts,
    rng: &mut impl Rng,
    n: usize,
) -> Vec<Turn> {
    in_rounds(scene, config, prompts, rng, n, round)
}

/// Up to `n` different questions in one of the forms that small models learn last: relations, places, yes and no about
/// places and signs, options with letters. Empty for a blurred scene, and where the scene has nothing of the form.
pub fn practice(
    scene: &Scene,
    config: &WorldConfig,
    prompts: Prompts,
    rng: &mut impl Rng,
    n: usize,
) -> Vec<Turn> {
    let theme = rng.random_range(0..PRACTICE.len() as u32) as usize;
    in_rounds(scene, config, prompts, rng, n, |scene, rng| {
        let mut slots = if scene.blurred {
            Vec::new()
        } else {
            PRACTICE[theme].to_vec()
        };
        shuffle(&mut slots, rng);
        slots
    })
}

fn in_rounds<R: Rng>(
    scene: &Scene,
    config: &WorldConfig,
    prompts: Prompts,
    rng: &mut R,
    n: usize,
    round: impl Fn(&Scene, &mut R) -> Vec<Slot>,
) -> Vec<Turn> {
    let wanted = if scene.blurred { n.div_ceil(4) } else { n };
    let mut chosen: Vec<Turn> = Vec::with_capacity(wanted);
    let mut slots: Vec<Slot> = Vec::new();
    for _ in 0..8 * n {
        if chosen.len() == wanted {
            break;
        }
        if slots.is_empty() {
            slots = round(scene, rng);
        }
        let Some(slot) = slots.pop() else { break };
        let new = slot.turn(scene, config, prompts, rng);
        chosen.extend(new.filter(|new| chosen.iter().all(|old| old.text != new.text)));
    }
    chosen
}

/// One place in a round of questions.
#[derive(Clone, Copy)]
enum Slot {
    /// A kind of POPE, GQA or TextVQA.
    Kind(QuestionKind),
    /// Another benchmark.
    Style(Style),
    /// A subtask of MME.
    Claim(MmeTask),
    /// A question with options about a place.
    Place(Style),
}

/// One round of kinds and styles in random order.
fn round(scene: &Scene, rng: &mut impl Rng) -> Vec<Slot> {
    if scene.blurred {
        return vec![Slot::Style(Style::VizWiz)];
    }
    let kinds = deck(scene, rng).into_iter().map(Slot::Kind);
    let mut slots: Vec<Slot> = kinds.chain(OTHERS.map(Slot::Style)).collect();
    shuffle(&mut slots, rng);
    slots
}

impl Slot {
    fn turn(self, scene: &Scene, config: &WorldConfig, prompts: Prompts, rng: &mut impl Rng) -> Option<Turn> {
        match self {
            Self::Kind(kind) => {
                let question = question_of_kind(scene, config, kind, rng)?;
                let style = match question.form {
                    form if form.is_existence() => Style::Pope,
                    QuestionKind::Reading => Style::TextVqa,
                    _ => Style::Gqa,
                };
                Some(Turn::of(style, prompts, question))
            }
            // A few attempts, because the first kind drawn may not fit the scene.
            Self::Style(style) => (0..4).find_map(|_| turn(style, scene, config, prompts, rng)),
            Self::Claim(task) => {
                let yes = rng.random_bool(0.5);
                Some(Turn::of(
                    Style::Mme,
                    prompts,
                    claim(scene, config, task, yes, rng)?,
                ))
            }
            Self::Place(style) => lettered(style, QuestionKind::Position, scene, config, prompts, rng),
        }
    }
}
