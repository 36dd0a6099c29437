//! Stage two: bridge and language model on the frozen tower, with captions and questions.

use burn::tensor::{Int, Tensor, TensorData};
use diffprune_kernels::cross_entropy;
use diffprune_pruner::{Layout, Segment};
use diffprune_vlm_adapters::{Padding, Slot, Spliced, VisualInput, plan_splice, splice};
use rand::Rng;

use super::body::Body;
use super::parts::Reader;
use super::pixels::Pictures;
use super::subsets::{SubsetSource, draw_subset};
use super::words::{Asked, Conversation, text_batch};
use crate::MiniError;

/// Weight of a caption's token beside a token of an answer: captions are long, answers decide.
const CAPTION_WEIGHT: f32 = 0.3;

/// Features, kept places and conversations of a few images, ready for [`Reader::study`].
pub struct Lesson<'a> {
    /// Tokens of the frozen tower that are given, `[b, k, d_vision]`.
    tokens: Tensor<3>,
    /// Which of the tokens they are.
    keep: Vec<Vec<usize>>,
    conversations: &'a [Conversation],
}

/// What a lesson's answers came to.
pub struct LessonReport {
    /// Weighted mean negative log-likelihood, `[1]`.
    pub loss: Tensor<1>,
    /// For each answer, how and what was asked (`None` = caption) and whether every token of it was the likeliest one.
    pub right: Vec<(Asked, bool)>,
}

impl<'a> Lesson<'a> {
    /// A lesson on tokens `[b, n, d_vision]` of pictures; with `subset` each image is given so many of its tokens.
    pub fn new(
        tokens: Tensor<3>,
        layout: &Layout,
        pictures: &Pictures,
        conversations: &'a [Conversation],
        subset: Option<usize>,
        rng: &mut impl Rng,
    ) -> Self {
        let [batch, n_full, width] = tokens.dims();
        let Some(k) = subset else {
            return Self {
                tokens,
                keep: vec![(0..n_full).collect(); batch],
                conversations,
            };
        };
        let host: Vec<f32> = tokens.clone().into_data().iter::<f32>().collect();
        let places = places(layout);
        let keep: Vec<Vec<usize>> = (0..batch)
            .map(|row| {
                let source = SubsetSource {
                    places: &places,
                    tokens: &host[row * n_full * width..(row + 1) * n_full * width],
                    coverage: &pictures.labels[row].relevance,
                };
                draw_subset(&source, k, rng)
            })
            .collect();
        let kept: Vec<i64> = keep.iter().flatten().map(|&place| place as i64).collect();
        let kept = Tensor::<2, Int>::from_data(TensorData::new(kept, [batch, k]), &tokens.device());
        let tokens = tokens.gather(1, kept.unsqueeze_dim::<3>(2).expand([batch, k, width]));
        Self {
            tokens,
            keep,
            conversations,
        }
    }
}

/// Row and column of the centre of each token on the image, from 0 to 1.
fn places(layout: &Layout) -> Vec<(f32, f32)> {
    let of = |segment: &Segment| {
        let Segment { grid, area } = *segment;
        (0..grid.n_tokens()).map(move |cell| {
            let cell = area.cell(grid, cell / grid.cols, cell % grid.cols);
            (
                (cell.top + cell.bottom) as f32 / 2.0,
                (cell.left + cell.right) as f32 / 2.0,
            )
        })
    };
    layout.segments.iter().flat_map(of).collect()
}

impl Reader {
    /// Reads the lesson: words, image, conversation; scores the answers.
    ///
    /// # Errors
    /// When a conversation is longer than the model allows.
    pub fn study(
        &self,
        lesson: &Lesson<'_>,
        body: &Body,
        layout: &Layout,
        image: u32,
        count: bool,
    ) -> Result<LessonReport, MiniError> {
        let visual = VisualInput {
            features: self.bridge.forward(lesson.tokens.clone()),
            sequences: lesson
                .keep
                .iter()
                .map(|keep| body.sequence(layout, keep))
                .collect(),
            separator: self.bridge.separator(),
        };
        let ids = text_batch(lesson.conversations).ids;
        let plans = plan_splice(&ids, Some(&visual), image, &self.language)?;
        let spliced = splice(&ids, Some(&visual), plans, Padding::Right, &self.language);
        let targets = Targets::of(lesson.conversations, &spliced);
        let hidden = self
            .language
            .forward(spliced.embeds, spliced.position_ids, None, None);
        let [batch, n, d_model] = hidden.dims();
        let device = hidden.device();
        let n_rows = targets.rows.len();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(targets.rows, [n_rows]), &device);
        let logits = self
            .language
            .logits(hidden.reshape([batch * n, d_model]).select(0, rows));
        let right = if count {
            targets.spans.right(logits.clone(), &targets.ids)
        } else {
            Vec::new()
        };
        let ids = Tensor::<1, Int>::from_data(TensorData::new(targets.ids, [n_rows]), &device);
        let sum: f32 = targets.weights.iter().sum();
        let weights = Tensor::<1>::from_data(TensorData::new(targets.weights, [n_rows]), &device);
        let loss = (cross_entropy(logits, ids) * weights).sum() / sum;
        Ok(LessonReport { loss, right })
    }
}

/// Rows of the flattened hidden states that predict an answer's token, and those tokens.
struct Targets {
    rows: Vec<i64>,
    ids: Vec<i64>,
    weights: Vec<f32>,
    spans: Spans,
}

/// Where each answer lies among the targets.
struct Spans(Vec<(Asked, std::ops::Range<usize>)>);

impl Targets {
    fn of(conversations: &[Conversation], spliced: &Spliced) -> Self {
        let mut targets = Self {
            rows: Vec::new(),
            ids: Vec::new(),
            weights: Vec::new(),
            spans: Spans(Vec::new()),
        };
        for (row, conversation) in conversations.iter().enumerate() {
            let mut places = vec![0; conversation.ids.len()];
            for (place, slot) in spliced.plans[row].slots.iter().enumerate() {
                if let Slot::Text(i) = *slot {
                    places[i] = place;
                }
            }
            for answer in &conversation.answers {
                let first = targets.ids.len();
                for i in answer.range.clone() {
                    targets.rows.push(spliced.flat_index(row, places[i] - 1) as i64);
                    targets.ids.push(i64::from(conversation.ids[i]));
                    targets.weights.push(match answer.kind {
                        Some(_) => 1.0,
                        None => CAPTION_WEIGHT,
                    });
                }
                targets.spans.0.push((answer.kind, first..targets.ids.len()));
            }
        }
        targets
    }
}

impl Spans {
    fn right(&self, logits: Tensor<2>, ids: &[i64]) -> Vec<(Asked, bool)> {
        let best: Vec<i64> = logits.argmax(1).into_data().iter::<i64>().collect();
        self.0
            .iter()
            .map(|(kind, range)| (*kind, best[range.clone()] == ids[range.clone()]))
            .collect()
    }
}
