//! Conversations about scenes as token ids.

use diffprune_vlm::{Family, TextBatch};
use rand::{Rng, RngExt};
use tokenizers::Tokenizer;

use super::family::prompts_of;
use crate::{
    MiniError, PretrainConfig, ProcessorIds, QuestionKind, SceneDataset, Style, Turn, build_tokenizer,
    caption, plainly, practice, turns,
};

/// How and what was asked; `None` for a caption.
pub type Asked = Option<(Style, QuestionKind)>;

/// One turn of a conversation as a stretch of targets.
pub struct Answer {
    /// How and what was asked; `None` is a caption.
    pub kind: Asked,
    /// Range of the target ids.
    pub range: std::ops::Range<usize>,
}

/// A conversation about one image: its ids with the image's placeholder, and which of it is answered.
pub struct Conversation {
    /// The ids.
    pub ids: Vec<u32>,
    /// The answers, each with the id that ends it.
    pub answers: Vec<Answer>,
}

/// The words around questions and answers, as the chat template of the family has them.
struct Chat {
    /// Before the image.
    opening: &'static str,
    /// Between image and first question.
    seen: &'static str,
    /// Before each later question.
    again: &'static str,
    /// Between question and answer.
    reply: &'static str,
}

impl Chat {
    fn of(family: Family) -> Self {
        match family {
            Family::Qwen25Vl => Self {
                opening: "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>",
                seen: "<|vision_end|>",
                again: "\n<|im_start|>user\n",
                reply: "<|im_end|>\n<|im_start|>assistant\n",
            },
            _ => Self {
                opening: "USER: ",
                seen: "\n",
                again: "USER: ",
                reply: " ASSISTANT:",
            },
        }
    }
}

/// Writes conversations in a family's words.
pub struct Words {
    family: Family,
    tokenizer: Tokenizer,
    ids: ProcessorIds,
    /// Ids up to the first question, the placeholder among them.
    opening: Vec<u32>,
    /// Questions per conversation, at most.
    turns: usize,
    drill: f64,
    practice: f64,
    plain: f64,
}

impl Words {
    /// The words of the recipe's family, in the recipe's shares.
    ///
    /// # Errors
    /// When the tokenizer does not know its own words.
    pub fn new(config: &PretrainConfig) -> Result<Self, MiniError> {
        let family = config.family;
        let (ids, chat) = (ProcessorIds::of(family), Chat::of(family));
        let mut words = Self {
            family,
            tokenizer: build_tokenizer(family)?,
            ids,
            opening: Vec::new(),
            turns: config.turns,
            drill: config.drill,
            practice: config.practice,
            plain: config.plain,
        };
        let opening = words.tokenizer.encode(chat.opening, true).map_err(failed)?;
        words.opening = opening.get_ids().to_vec();
        words.opening.push(ids.image);
        words.opening.extend(words.encode(chat.seen)?);
        Ok(words)
    }

    /// The id that stands for an image.
    pub fn image(&self) -> u32 {
        self.ids.image
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, MiniError> {
        let encoding = self.tokenizer.encode(text, false).map_err(failed)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Turns in the form that the chat template gives them.
    fn conversation(&self, turns: &[(Asked, String, String)]) -> Result<Conversation, MiniError> {
        let chat = Chat::of(self.family);
        let mut ids = self.opening.clone();
        let mut answers = Vec::with_capacity(turns.len());
        for (i, (kind, question, answer)) in turns.iter().enumerate() {
            let again = if i == 0 { "" } else { chat.again };
            ids.extend(self.encode(&format!("{again}{question}{}", chat.reply))?);
            let first = ids.len();
            ids.extend(self.encode(answer)?);
            ids.push(self.ids.eos);
            answers.push(Answer {
                kind: *kind,
                range: first..ids.len(),
            });
        }
        Ok(Conversation { ids, answers })
    }

    /// Questions about scene number `index` (and in half of the conversations its caption), in random order.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn converse(
        &self,
        dataset: &SceneDataset,
        index: u64,
        epoch: u64,
    ) -> Result<Conversation, MiniError> {
        let scene = dataset.get_or_blur(index);
        let mut rng = dataset.text_rng(index, epoch);
        let (world, prompts, n) = (dataset.config(), prompts_of(self.family), self.turns);
        let mut asked = if chance(self.practice, &mut rng) {
            practice(&scene, world, prompts, &mut rng, n)
        } else {
            Vec::new()
        };
        if asked.is_empty() {
            asked = turns(&scene, world, prompts, &mut rng, n);
        }
        let reads = |turn: &Turn| turn.kind == QuestionKind::Reading;
        if asked.iter().any(reads) && chance(self.drill, &mut rng) {
            asked.retain(reads);
        }
        for turn in &mut asked {
            let is_open = turn.options.is_empty() && turn.hint.is_none() && turn.style != Style::VizWiz;
            if is_open && chance(self.plain, &mut rng) {
                turn.text = plainly(&turn.question, &mut rng);
            }
        }
        let parts = |turn: Turn| (Some((turn.style, turn.kind)), turn.text, turn.answer);
        let mut turns: Vec<_> = asked.into_iter().map(parts).collect();
        if rng.random_bool(0.5) {
            let place = rng.random_range(0..=turns.len() as u32) as usize;
            turns.insert(
                place,
                (None, "Describe the image.".to_owned(), caption(&scene, &mut rng)),
            );
        }
        self.conversation(&turns)
    }
}

/// The ids of conversations; every answer is a target.
pub fn text_batch(conversations: &[Conversation]) -> TextBatch {
    let targets = |conversation: &Conversation| {
        let mut targets = vec![false; conversation.ids.len()];
        for answer in &conversation.answers {
            targets[answer.range.clone()].fill(true);
        }
        targets
    };
    TextBatch {
        ids: conversations.iter().map(|c| c.ids.clone()).collect(),
        targets: conversations.iter().map(targets).collect(),
    }
}

/// `true` in that share of the cases. Nothing is drawn where there is no choice.
fn chance(share: f64, rng: &mut impl Rng) -> bool {
    share > 0.0 && rng.random_bool(share)
}

fn failed(cause: tokenizers::Error) -> MiniError {
    MiniError::Tokenizer {
        reason: cause.to_string(),
    }
}
