//! Questions with their answers, by kind.

use super::existence::existence;
use super::{absent, form};
use crate::world::{Scene, WorldConfig};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// What a question asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionKind {
    /// Is there such a thing? Absent things are drawn from all.
    ExistenceRandom,
    /// Is there such a thing? Absent things are drawn from the frequent shape-colour pairs.
    ExistencePopular,
    /// Is there such a thing? Absent things share their shape or colour (or both, from two objects) with present ones.
    ExistenceAdversarial,
    /// What colour has it?
    Colour,
    /// What shape has it?
    Shape,
    /// In which of nine regions is it?
    Position,
    /// How many are there?
    Count,
    /// Is one left of, right of, above, below the other?
    Relation,
    /// What does the sign say?
    Reading,
    /// Which of four options?
    MultipleChoice,
    /// Any of the forms from colour to multiple choice, about something that is not there.
    Unanswerable,
}

impl QuestionKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::ExistenceRandom,
        Self::ExistencePopular,
        Self::ExistenceAdversarial,
        Self::Colour,
        Self::Shape,
        Self::Position,
        Self::Count,
        Self::Relation,
        Self::Reading,
        Self::MultipleChoice,
        Self::Unanswerable,
    ];

    /// The kinds that can also be asked about something that is not there.
    pub const OPEN_FORMS: [Self; 7] = [
        Self::Colour,
        Self::Shape,
        Self::Position,
        Self::Count,
        Self::Relation,
        Self::Reading,
        Self::MultipleChoice,
    ];

    /// The kind's name in files and tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::ExistenceRandom => "existence_random",
            Self::ExistencePopular => "existence_popular",
            Self::ExistenceAdversarial => "existence_adversarial",
            Self::Colour => "colour",
            Self::Shape => "shape",
            Self::Position => "position",
            Self::Count => "count",
            Self::Relation => "relation",
            Self::Reading => "reading",
            Self::MultipleChoice => "multiple_choice",
            Self::Unanswerable => "unanswerable",
        }
    }

    /// Whether the kind is one of the three of existence.
    pub fn is_existence(self) -> bool {
        matches!(
            self,
            Self::ExistenceRandom | Self::ExistencePopular | Self::ExistenceAdversarial
        )
    }
}

/// One question about one scene.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What is asked.
    pub kind: QuestionKind,
    /// The same, but for unanswerable questions the kind that they look like.
    pub form: QuestionKind,
    /// The question in its natural form: `Is there a red circle in the image?`.
    pub text: String,
    /// The answer: lower-case words, a number, spaced capital letters of a sign, or the letter of a choice.
    pub answer: String,
    /// The options of a multiple-choice question, A first; else empty.
    pub choices: Vec<String>,
    /// Objects that one has to see, by their place in the scene.
    pub objects: Vec<usize>,
    /// Whether one has to see the sign.
    pub needs_sign: bool,
}

/// The answer to questions about what is not there.
pub const UNANSWERABLE: &str = "unanswerable";

impl Question {
    pub(super) fn new(
        kind: QuestionKind,
        text: String,
        answer: impl Into<String>,
        objects: Vec<usize>,
    ) -> Self {
        Self {
            kind,
            form: kind,
            text,
            answer: answer.into(),
            choices: Vec::new(),
            objects,
            needs_sign: false,
        }
    }

    pub(super) fn about_sign(mut self) -> Self {
        self.needs_sign = true;
        self
    }

    /// The same text as a question without an answer.
    pub(super) fn without_answer(mut self) -> Self {
        self.kind = QuestionKind::Unanswerable;
        self.answer = UNANSWERABLE.to_owned();
        self
    }
}

/// A question of this kind about the scene, or `None` if the scene has nothing to ask for.
///
/// The answer to existence and relation questions is a fair coin.
pub fn question_of_kind(
    scene: &Scene,
    config: &WorldConfig,
    kind: QuestionKind,
    rng: &mut impl Rng,
) -> Option<Question> {
    match kind {
        QuestionKind::ExistenceRandom
        | QuestionKind::ExistencePopular
        | QuestionKind::ExistenceAdversarial => {
            let yes = rng.random_bool(0.5);
            existence(scene, config, kind, yes, rng)
        }
        QuestionKind::Colour => form::colour(scene, rng),
        QuestionKind::Shape => form::shape(scene, rng),
        QuestionKind::Position => form::position(scene, config, rng),
        QuestionKind::Count => form::count(scene, rng),
        QuestionKind::Relation => {
            let yes = rng.random_bool(0.5);
            form::relation(scene, config, yes, rng)
        }
        QuestionKind::Reading => form::reading(scene, rng),
        QuestionKind::MultipleChoice => form::multiple_choice(scene, config, rng),
        QuestionKind::Unanswerable => {
            let form = QuestionKind::OPEN_FORMS[rng.random_range(0..7u32) as usize];
            unanswerable(scene, config, form, rng)
        }
    }
}

/// A question of the given form about something that is not there. `None` if everything is there, or if the form
/// always has an answer (existence).
pub fn unanswerable(
    scene: &Scene,
    config: &WorldConfig,
    form: QuestionKind,
    rng: &mut impl Rng,
) -> Option<Question> {
    absent::absent(scene, config, form, rng).map(Question::without_answer)
}

/// Up to `n` different questions about the scene, kinds as even as the scene allows.
///
/// Reading is asked twice as often when there is a sign, and relation more often when there are two objects, because
/// other scenes have no such question. About one question in ten is unanswerable, in any of seven forms.
pub fn questions(scene: &Scene, config: &WorldConfig, rng: &mut impl Rng, n: usize) -> Vec<Question> {
    let mut chosen: Vec<Question> = Vec::with_capacity(n);
    let mut kinds: Vec<QuestionKind> = Vec::new();
    for _ in 0..8 * n {
        if chosen.len() == n {
            break;
        }
        if kinds.is_empty() {
            kinds = deck(scene, rng);
        }
        let Some(kind) = kinds.pop() else { break };
        let question = question_of_kind(scene, config, kind, rng);
        chosen.extend(question.filter(|new| chosen.iter().all(|old| old.text != new.text)));
    }
    chosen
}

/// One round of kinds in random order.
pub(super) fn deck(scene: &Scene, rng: &mut impl Rng) -> Vec<QuestionKind> {
    let mut deck: Vec<QuestionKind> = QuestionKind::ALL.to_vec();
    if scene.sign.is_some() {
        deck.push(QuestionKind::Reading);
    }
    shuffle(&mut deck, rng);
    deck
}

/// Puts the items in random order.
pub(super) fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, rng.random_range(0..=i as u32) as usize);
    }
}
