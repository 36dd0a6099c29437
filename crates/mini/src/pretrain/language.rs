//! Stage two: projector and language model on the frozen tower, with captions and questions.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use diffprune_kernels::cross_entropy;
use diffprune_vlm::{Llama, Projector};
use rand::{Rng, RngExt};
use tokenizers::Tokenizer;

use super::pixels::Pictures;
use super::subsets::{SubsetSource, draw_subset};
use crate::{
    MiniError, Question, QuestionKind, SUFFIX_SHORT, SceneDataset, caption, dense_labels, questions,
};

/// Weight of a caption's token beside a token of an answer: captions are long, answers decide.
const CAPTION_WEIGHT: f32 = 0.3;

/// The parts of the model that stage two teaches.
#[derive(Module, Debug)]
pub struct Reader {
    /// Visual tokens to the language model.
    pub projector: Projector,
    /// The language model.
    pub language: Llama,
}

/// One turn of a conversation as a stretch of targets.
struct Answer {
    kind: Option<QuestionKind>,
    /// Range of the target ids in the text after the image.
    range: std::ops::Range<usize>,
}

/// A conversation about one image: what follows the image, and which of it is answered.
pub struct Conversation {
    ids: Vec<u32>,
    answers: Vec<Answer>,
}

/// Ids before and after the image.
pub struct Words {
    tokenizer: Tokenizer,
    /// `<s> USER:`
    prefix: Vec<u32>,
    eos: u32,
    pad: u32,
}

impl Words {
    /// Words of the small world's tokenizer.
    ///
    /// # Errors
    /// When the tokenizer does not know its own words.
    pub fn new(tokenizer: Tokenizer, eos: u32, pad: u32) -> Result<Self, MiniError> {
        let mut words = Self {
            tokenizer,
            prefix: Vec::new(),
            eos,
            pad,
        };
        let encoding = words.tokenizer.encode("USER: ", true).map_err(failed)?;
        words.prefix = encoding.get_ids().to_vec();
        Ok(words)
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, MiniError> {
        Ok(self
            .tokenizer
            .encode(text, false)
            .map_err(failed)?
            .get_ids()
            .to_vec())
    }

    /// The question's turns, in the form that the chat template gives them.
    fn conversation(
        &self,
        turns: &[(Option<QuestionKind>, String, String)],
    ) -> Result<Conversation, MiniError> {
        let mut conversation = Conversation {
            ids: Vec::new(),
            answers: Vec::new(),
        };
        for (i, (kind, question, answer)) in turns.iter().enumerate() {
            let speaker = if i == 0 { "" } else { "USER: " };
            conversation
                .ids
                .extend(self.encode(&format!("{speaker}{question} ASSISTANT:"))?);
            let first = conversation.ids.len();
            conversation.ids.extend(self.encode(answer)?);
            conversation.ids.push(self.eos);
            conversation.answers.push(Answer {
                kind: *kind,
                range: first..conversation.ids.len(),
            });
        }
        Ok(conversation)
    }
}

fn failed(cause: tokenizers::Error) -> MiniError {
    MiniError::Tokenizer {
        reason: cause.to_string(),
    }
}

/// Questions about scene number `index` (and in half of the conversations its caption), in random order.
pub fn converse(
    words: &Words,
    dataset: &SceneDataset,
    index: u64,
    epoch: u64,
    n_turns: usize,
) -> Result<Conversation, MiniError> {
    let scene = dataset.get(index);
    let mut rng = dataset.text_rng(index, epoch);
    let asked: Vec<Question> = questions(&scene, dataset.config(), &mut rng, n_turns);
    let turn = |q: Question| (Some(q.kind), format!("{}\n{SUFFIX_SHORT}", q.text), q.answer);
    let mut turns: Vec<_> = asked.into_iter().map(turn).collect();
    if rng.random_bool(0.5) {
        let place = rng.random_range(0..=turns.len() as u32) as usize;
        turns.insert(
            place,
            (None, "Describe the image.".to_owned(), caption(&scene, &mut rng)),
        );
    }
    words.conversation(&turns)
}

/// Features, kept places and conversations of a few images, ready for [`Reader::forward`].
pub struct Lesson {
    /// Tokens of the frozen tower that are given, `[b, k, d_vision]`.
    tokens: Tensor<3>,
    /// Their places in the raster.
    keep: Vec<Vec<usize>>,
    n_full: usize,
    conversations: Vec<Conversation>,
}

/// What a lesson's answers came to.
pub struct LessonReport {
    /// Weighted mean negative log-likelihood, `[1]`.
    pub loss: Tensor<1>,
    /// For each answer, its kind (`None` = caption) and whether every token of it was the likeliest one.
    pub right: Vec<(Option<QuestionKind>, bool)>,
}

impl Lesson {
    /// A lesson on tokens `[b, n, d_vision]` of pictures; with `subset` each image is given `k` of its tokens.
    pub fn new(
        tokens: Tensor<3>,
        pictures: &Pictures,
        conversations: Vec<Conversation>,
        subset: Option<usize>,
        rng: &mut impl Rng,
    ) -> Self {
        let [batch, n_full, width] = tokens.dims();
        let all: Vec<usize> = (0..n_full).collect();
        let Some(k) = subset else {
            return Self {
                tokens,
                keep: vec![all; batch],
                n_full,
                conversations,
            };
        };
        let host: Vec<f32> = tokens.clone().into_data().iter::<f32>().collect();
        let side = dense_labels(&pictures.scenes[0]).grid;
        let keep: Vec<Vec<usize>> = (0..batch)
            .map(|row| {
                let coverage = dense_labels(&pictures.scenes[row]).relevance();
                let own = &host[row * n_full * width..(row + 1) * n_full * width];
                draw_subset(
                    &SubsetSource {
                        grid: (side, side),
                        tokens: own,
                        coverage: &coverage,
                    },
                    k,
                    rng,
                )
            })
            .collect();
        let places: Vec<i64> = keep.iter().flatten().map(|&place| place as i64).collect();
        let places = Tensor::<2, Int>::from_data(TensorData::new(places, [batch, k]), &tokens.device());
        let tokens = tokens.gather(1, places.unsqueeze_dim::<3>(2).expand([batch, k, width]));
        Self {
            tokens,
            keep,
            n_full,
            conversations,
        }
    }
}

impl Reader {
    /// Reads the lesson: prefix, image, conversation; scores the answers.
    pub fn forward(&self, lesson: &Lesson, words: &Words, device: &Device, count: bool) -> LessonReport {
        let [batch, k, _] = lesson.tokens.dims();
        let n_prefix = words.prefix.len();
        let n_text = lesson
            .conversations
            .iter()
            .map(|c| c.ids.len())
            .max()
            .unwrap_or(0);
        let ids =
            |rows: Vec<i64>, n: usize| Tensor::<2, Int>::from_data(TensorData::new(rows, [batch, n]), device);
        let prefix = words
            .prefix
            .iter()
            .map(|&id| i64::from(id))
            .collect::<Vec<_>>()
            .repeat(batch);
        let text = lesson
            .conversations
            .iter()
            .flat_map(|c| padded(&c.ids, n_text, words.pad))
            .collect();
        let embeds = Tensor::cat(
            vec![
                self.language.embed(ids(prefix, n_prefix)),
                self.projector.forward(lesson.tokens.clone()),
                self.language.embed(ids(text, n_text)),
            ],
            1,
        );
        let n = n_prefix + k + n_text;
        let positions = ids(
            lesson
                .keep
                .iter()
                .flat_map(|keep| positions(n_prefix, keep, lesson.n_full, n_text))
                .collect(),
            n,
        );
        let hidden = self
            .language
            .forward(embeds, positions.unsqueeze_dim(0), None, None);
        let d_model = hidden.dims()[2];
        let targets = Targets::of(&lesson.conversations, n_prefix + k, n);
        let n_rows = targets.rows.len();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(targets.rows, [n_rows]), device);
        let logits = self
            .language
            .logits(hidden.reshape([batch * n, d_model]).select(0, rows));
        let right = if count {
            targets.spans.right(logits.clone(), &targets.ids)
        } else {
            Vec::new()
        };
        let ids = Tensor::<1, Int>::from_data(TensorData::new(targets.ids, [n_rows]), device);
        let sum: f32 = targets.weights.iter().sum();
        let weights = Tensor::<1>::from_data(TensorData::new(targets.weights, [n_rows]), device);
        let loss = (cross_entropy(logits, ids) * weights).sum() / sum;
        LessonReport { loss, right }
    }
}

fn padded(ids: &[u32], n: usize, pad: u32) -> impl Iterator<Item = i64> {
    ids.iter()
        .copied()
        .chain(std::iter::repeat(pad))
        .take(n)
        .map(i64::from)
}

/// Places in the full sequence: prefix, kept tokens, text after the whole image.
fn positions(n_prefix: usize, keep: &[usize], n_full: usize, n_text: usize) -> Vec<i64> {
    let prefix = 0..n_prefix;
    let image = keep.iter().map(|place| n_prefix + place);
    let text = n_prefix + n_full..n_prefix + n_full + n_text;
    prefix
        .chain(image)
        .chain(text)
        .map(|position| position as i64)
        .collect()
}

/// Rows of the flattened hidden states that predict an answer's token, and those tokens.
struct Targets {
    rows: Vec<i64>,
    ids: Vec<i64>,
    weights: Vec<f32>,
    spans: Spans,
}

/// Where each answer lies among the targets.
struct Spans(Vec<(Option<QuestionKind>, std::ops::Range<usize>)>);

impl Targets {
    fn of(conversations: &[Conversation], n_before: usize, n: usize) -> Self {
        let mut targets = Self {
            rows: Vec::new(),
            ids: Vec::new(),
            weights: Vec::new(),
            spans: Spans(Vec::new()),
        };
        for (row, conversation) in conversations.iter().enumerate() {
            for answer in &conversation.answers {
                let first = targets.ids.len();
                for place in answer.range.clone() {
                    targets.rows.push((row * n + n_before + place - 1) as i64);
                    targets.ids.push(i64::from(conversation.ids[place]));
                    targets.weights.push(if answer.kind.is_some() {
                        1.0
                    } else {
                        CAPTION_WEIGHT
                    });
                }
                targets.spans.0.push((answer.kind, first..targets.ids.len()));
            }
        }
        targets
    }
}

impl Spans {
    fn right(&self, logits: Tensor<2>, ids: &[i64]) -> Vec<(Option<QuestionKind>, bool)> {
        let best: Vec<i64> = logits.argmax(1).into_data().iter::<i64>().collect();
        self.0
            .iter()
            .map(|(kind, range)| (*kind, best[range.clone()] == ids[range.clone()]))
            .collect()
    }
}
