//! Prompts and visual features become one sequence of embeddings.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::{Llama, VisualInput, VisualSource, VlmError};

/// The side on which shorter sequences of a batch are padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Before the sequence: the last tokens stand together, as decoding wants it. Needs a mask.
    Left,
    /// After the sequence: causality alone hides the padding.
    Right,
}

/// The content of a place of a spliced sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The `i`-th id of the prompt.
    Text(usize),
    /// Row `row` of the features of image `image`.
    Visual {
        /// Image, counted over the whole batch.
        image: usize,
        /// Row of its features.
        row: usize,
    },
    /// The separator vector of an image.
    Separator,
}

/// The places of one sequence, without padding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SplicePlan {
    /// The content of each place.
    pub slots: Vec<Slot>,
    /// The position id of each place on three axes; the same number three times for text.
    pub positions: Vec<[usize; 3]>,
    /// The position id of the first generated token.
    pub next_position: usize,
}

/// A batch of spliced sequences.
#[derive(Debug, Clone)]
pub struct Spliced {
    /// Embeddings, `[b, n, d_model]`.
    pub embeds: Tensor<3>,
    /// Position ids, `[axes, b, n]` with as many axes as the language model has; 0 on padding.
    pub position_ids: Tensor<3, Int>,
    /// Real places, `[b, n]`, true = real; `None` when there is no padding.
    pub mask: Option<Tensor<2, Bool>>,
    /// The sequences, without padding.
    pub plans: Vec<SplicePlan>,
    /// Number of places, n.
    pub width: usize,
    padding: Padding,
}

impl Spliced {
    /// The index of place `slot` of sequence `row` among the `b * n` places of the batch.
    pub fn flat_index(&self, row: usize, slot: usize) -> usize {
        let pad = match self.padding {
            Padding::Left => self.width - self.plans[row].slots.len(),
            Padding::Right => 0,
        };
        row * self.width + pad + slot
    }

    /// The first sequence that has padding before it.
    pub(crate) fn padded_on_the_left(&self) -> Option<usize> {
        let short = || self.plans.iter().position(|plan| plan.slots.len() < self.width);
        match self.padding {
            Padding::Left => short(),
            Padding::Right => None,
        }
    }

    /// The first sequence that has padding after it.
    pub(crate) fn padded_on_the_right(&self) -> Option<usize> {
        let short = || self.plans.iter().position(|plan| plan.slots.len() < self.width);
        match self.padding {
            Padding::Left => None,
            Padding::Right => short(),
        }
    }
}

/// Plans the sequences of a batch. Placeholders take the images in order; without images they are dropped.
///
/// # Errors
/// When a prompt is empty, an id is outside the vocabulary, placeholders and images differ in number, or a sequence
/// ends beyond the model's positions.
pub fn plan_splice(
    prompts: &[Vec<u32>],
    visual: Option<&VisualInput>,
    image_token_id: u32,
    language: &Llama,
) -> Result<Vec<SplicePlan>, VlmError> {
    plan_after(prompts, visual, image_token_id, language, Before::default())
}

/// What was read of a sequence before: nothing, by default.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Before {
    /// Its tokens.
    pub(crate) tokens: usize,
    n_text: usize,
    /// The position id of the text that follows it.
    position: usize,
}

impl Before {
    /// All of a planned sequence.
    pub(crate) fn of(plan: &SplicePlan) -> Self {
        Self {
            tokens: plan.slots.len(),
            n_text: plan.n_text(),
            position: plan.next_position,
        }
    }
}

impl SplicePlan {
    fn n_text(&self) -> usize {
        let is_text = |slot: &&Slot| matches!(slot, Slot::Text(_));
        self.slots.iter().filter(is_text).count()
    }
}

/// As [`plan_splice`], of prompts that follow what was read before.
pub(crate) fn plan_after(
    prompts: &[Vec<u32>],
    visual: Option<&VisualInput>,
    image_token_id: u32,
    language: &Llama,
    before: Before,
) -> Result<Vec<SplicePlan>, VlmError> {
    if let Some(visual) = visual {
        let found = prompts
            .iter()
            .flatten()
            .filter(|&&id| id == image_token_id)
            .count();
        let wanted = visual.sequences.len();
        if found != wanted {
            return Err(VlmError::Placeholders { found, wanted });
        }
        check_visual(visual)?;
    }
    let mut image = 0;
    let mut plans = Vec::with_capacity(prompts.len());
    for (index, prompt) in prompts.iter().enumerate() {
        let plan = plan_one(prompt, visual, image_token_id, &mut image, before.position);
        check_prompt(index, prompt, &plan, language, before)?;
        plans.push(plan);
    }
    Ok(plans)
}

/// Embeds planned prompts: the text once, then one gather over text and features for the whole batch.
///
/// # Shapes
/// - output: see [`Spliced`]
pub fn splice(
    prompts: &[Vec<u32>],
    visual: Option<&VisualInput>,
    plans: Vec<SplicePlan>,
    padding: Padding,
    language: &Llama,
) -> Spliced {
    let device = language.device();
    let text: Vec<i64> = prompts.iter().flatten().map(|&id| i64::from(id)).collect();
    let n_text = text.len();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(text, [1, n_text]), &device);
    let d_model = language.d_model();
    let mut rows = language.embed(ids).reshape([n_text, d_model]);
    let mut sources = Sources {
        n_text,
        ..Sources::default()
    };
    if let Some(visual) = visual {
        let [images, k_max, _] = visual.features.dims();
        sources.stride = k_max;
        sources.separator = n_text + images * k_max;
        let features = visual
            .features
            .clone()
            .cast(rows.dtype())
            .reshape([images * k_max, d_model]);
        let mut parts = vec![rows.clone(), features];
        if let Some(separator) = &visual.separator {
            parts.push(separator.clone().cast(rows.dtype()).reshape([1, d_model]));
        }
        rows = Tensor::cat(parts, 0);
    }
    let width = plans.iter().map(|plan| plan.slots.len()).max().unwrap_or(0);
    let axes = language.position_axes();
    let table = Table::new(prompts, &plans, &sources, axes, width, padding);
    let batch = plans.len();
    let index = Tensor::<1, Int>::from_data(TensorData::new(table.index, [batch * width]), &device);
    Spliced {
        embeds: rows.select(0, index).reshape([batch, width, d_model]),
        position_ids: ints(table.positions, [axes, batch, width], &device),
        mask: table
            .mask
            .map(|mask| Tensor::from_data(TensorData::new(mask, [batch, width]), &device)),
        plans,
        width,
        padding,
    }
}

/// Whole numbers on a device.
pub(crate) fn ints<const D: usize>(values: Vec<i64>, shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The first rows of the parts of the gather's table: text, then features, then the separator.
#[derive(Default)]
struct Sources {
    n_text: usize,
    stride: usize,
    separator: usize,
}

/// The host's side of the gather.
struct Table {
    index: Vec<i64>,
    positions: Vec<i64>,
    mask: Option<Vec<bool>>,
}

impl Table {
    fn new(
        prompts: &[Vec<u32>],
        plans: &[SplicePlan],
        sources: &Sources,
        axes: usize,
        width: usize,
        padding: Padding,
    ) -> Self {
        let mut index = vec![0; plans.len() * width];
        let mut positions = vec![0; axes * plans.len() * width];
        let mut mask = vec![false; plans.len() * width];
        let mut first_text = 0;
        for (row, (prompt, plan)) in prompts.iter().zip(plans).enumerate() {
            let pad = match padding {
                Padding::Left => width - plan.slots.len(),
                Padding::Right => 0,
            };
            for (i, (slot, position)) in plan.slots.iter().zip(&plan.positions).enumerate() {
                let place = row * width + pad + i;
                mask[place] = true;
                index[place] = match *slot {
                    Slot::Text(i) => first_text + i,
                    Slot::Visual { image, row } => sources.n_text + image * sources.stride + row,
                    Slot::Separator => sources.separator,
                } as i64;
                for axis in 0..axes {
                    positions[axis * plans.len() * width + place] = position[axis] as i64;
                }
            }
            first_text += prompt.len();
        }
        let padded = mask.contains(&false);
        Self {
            index,
            positions,
            mask: padded.then_some(mask),
        }
    }
}

/// The places of one prompt and their positions from `next` on: Eq. (13) of `docs/method.md`.
///
/// The places of an image and the text after it stand where its [`VisualSequence`](crate::VisualSequence) says.
fn plan_one(
    prompt: &[u32],
    visual: Option<&VisualInput>,
    image_token_id: u32,
    image: &mut usize,
    mut next: usize,
) -> SplicePlan {
    let mut plan = SplicePlan::default();
    for (i, &id) in prompt.iter().enumerate() {
        if id != image_token_id {
            plan.slots.push(Slot::Text(i));
            plan.positions.push([next; 3]);
            next += 1;
            continue;
        }
        let Some(visual) = visual else { continue };
        let sequence = &visual.sequences[*image];
        for slot in &sequence.slots {
            plan.slots.push(match slot.source {
                VisualSource::Feature(row) => Slot::Visual { image: *image, row },
                VisualSource::Separator => Slot::Separator,
            });
            plan.positions.push(slot.offset.map(|offset| next + offset));
        }
        next += sequence.span;
        *image += 1;
    }
    plan.next_position = next;
    plan
}

fn check_prompt(
    index: usize,
    prompt: &[u32],
    plan: &SplicePlan,
    language: &Llama,
    before: Before,
) -> Result<(), VlmError> {
    let problem = |problem: String| Err(VlmError::Prompt { index, problem });
    if plan.slots.is_empty() {
        return problem("found no token, expected at least one".into());
    }
    let vocab = language.vocab_size();
    if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocab) {
        return problem(format!(
            "found id {id}, expected ids below {vocab}; use the checkpoint's own tokenizer"
        ));
    }
    check_length(
        plan.next_position,
        before.tokens + plan.slots.len(),
        before.n_text + plan.n_text(),
        language.max_positions(),
    )
}

/// Refuses sequences of `tokens` places, `n_text` of them text, that span more positions than a model has.
pub(crate) fn check_length(
    found: usize,
    tokens: usize,
    n_text: usize,
    wanted: usize,
) -> Result<(), VlmError> {
    if found <= wanted {
        return Ok(());
    }
    let remedy = if n_text > wanted {
        "shorten the text"
    } else if tokens <= wanted {
        "number the kept tokens anew (`--positions reindex`, PositionRule::Reindex) or shorten the text: under kept \
         positions a dropped token still takes its place"
    } else {
        "keep fewer visual tokens in front of the language model and number them anew (`--positions reindex`, \
         PositionRule::Reindex), or shorten the text"
    };
    Err(VlmError::ContextOverflow {
        found,
        wanted,
        tokens,
        remedy,
    })
}

/// Sequences that fit the features.
fn check_visual(visual: &VisualInput) -> Result<(), VlmError> {
    let [images, k_max, _] = visual.features.dims();
    let wanted = visual.sequences.len();
    if images != wanted {
        return Err(shape("images with features", images, wanted));
    }
    for slot in visual.sequences.iter().flat_map(|sequence| &sequence.slots) {
        match slot.source {
            VisualSource::Feature(row) if row >= k_max => {
                return Err(shape("rows of features", k_max, row + 1));
            }
            VisualSource::Separator if visual.separator.is_none() => {
                return Err(shape("separator vectors", 0, 1));
            }
            _ => {}
        }
    }
    Ok(())
}

fn shape(what: &'static str, found: usize, wanted: usize) -> VlmError {
    diffprune_pruner::PruneError::Shape { what, found, wanted }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LlamaConfig, VisualInput, VisualSequence, VisualSlot};
    use diffprune_pruner::PositionRule;

    const IMAGE: u32 = 60;

    fn visual(keep: &[&[usize]], n_full: usize, positions: PositionRule) -> VisualInput {
        let k_max = keep.iter().map(|row| row.len()).max().unwrap();
        let numbers = Tensor::<1, Int>::arange(0..(keep.len() * k_max) as i64, &Device::flex()).float();
        let features = numbers
            .reshape([keep.len(), k_max, 1])
            .expand([keep.len(), k_max, 16]);
        let keep: Vec<Vec<usize>> = keep.iter().map(|row| row.to_vec()).collect();
        VisualInput::raster(features, &keep, n_full, positions)
    }

    fn planned(prompts: &[Vec<u32>], visual: Option<&VisualInput>) -> Result<Vec<SplicePlan>, VlmError> {
        plan_splice(prompts, visual, IMAGE, &LlamaConfig::tiny().init(&Device::flex()))
    }

    #[test]
    fn kept_tokens_keep_their_places_and_text_resumes_after_the_raster() {
        let visual = visual(&[&[1, 3], &[0]], 4, PositionRule::Keep);
        let plans = planned(&[vec![1, IMAGE, 2, IMAGE, 3]], Some(&visual)).unwrap();
        assert_eq!(plans[0].positions, [0, 2, 4, 5, 6, 10].map(|p| [p; 3]));
        assert_eq!(plans[0].next_position, 11);
    }

    #[test]
    fn reindexed_positions_count_from_zero() {
        let visual = visual(&[&[1, 3], &[0]], 4, PositionRule::Reindex);
        let plans = planned(&[vec![1, IMAGE, 2, IMAGE, 3]], Some(&visual)).unwrap();
        assert_eq!(plans[0].positions, [0, 1, 2, 3, 4, 5].map(|p| [p; 3]));
        assert_eq!(plans[0].next_position, 6);
    }

    #[test]
    fn text_only_drops_placeholders() {
        let plans = planned(&[vec![1, IMAGE, 2]], None).unwrap();
        assert_eq!(plans[0].slots, [Slot::Text(0), Slot::Text(2)]);
        assert_eq!(plans[0].positions, [[0; 3], [1; 3]]);
    }

    #[test]
    fn rows_land_where_the_plan_says_on_either_side() {
        let language = LlamaConfig::tiny().init(&Device::flex());
        let visual = visual(&[&[0, 1], &[2]], 4, PositionRule::Keep);
        let prompts = [vec![5, IMAGE, 6], vec![IMAGE]];
        for padding in [Padding::Left, Padding::Right] {
            let plans = plan_splice(&prompts, Some(&visual), IMAGE, &language).unwrap();
            let spliced = splice(&prompts, Some(&visual), plans, padding, &language);
            assert_eq!(spliced.embeds.dims(), [2, 4, 16]);
            let first: Vec<f32> = spliced
                .embeds
                .clone()
                .narrow(2, 0, 1)
                .into_data()
                .try_to_vec()
                .unwrap();
            assert_eq!(first[1..3], [0.0, 1.0], "{padding:?}");
            assert_eq!(first[spliced.flat_index(1, 0)], 2.0, "{padding:?}");
            let mask: Vec<bool> = spliced.mask.clone().unwrap().into_data().try_to_vec().unwrap();
            assert_eq!(mask.iter().filter(|&&real| real).count(), 5);
            assert!(mask[spliced.flat_index(1, 0)]);
        }
    }

    #[test]
    fn wrong_inputs_are_typed_errors() {
        let one = visual(&[&[0]], 4, PositionRule::Keep);
        let slot = |source| VisualSlot {
            source,
            offset: [0; 3],
        };
        let with = |source| VisualInput {
            sequences: vec![VisualSequence {
                slots: vec![slot(source)],
                span: 4,
            }],
            ..one.clone()
        };
        let far = with(VisualSource::Feature(1));
        let unseparated = with(VisualSource::Separator);
        let long = visual(&[&[0]], 300, PositionRule::Keep);
        let run = |prompt: Vec<u32>, visual| planned(&[prompt], visual).unwrap_err();
        assert!(matches!(
            run(vec![1, 2], Some(&one)),
            VlmError::Placeholders { found: 0, wanted: 1 }
        ));
        assert!(matches!(
            run(vec![IMAGE, IMAGE], Some(&one)),
            VlmError::Placeholders { found: 2, wanted: 1 }
        ));
        assert!(matches!(
            run(vec![IMAGE], None),
            VlmError::Prompt { index: 0, .. }
        ));
        assert!(matches!(run(vec![64], None), VlmError::Prompt { index: 0, .. }));
        assert!(matches!(run(vec![IMAGE], Some(&far)), VlmError::Prune(_)));
        assert!(matches!(run(vec![IMAGE], Some(&unseparated)), VlmError::Prune(_)));
        assert!(matches!(
            run(vec![IMAGE], Some(&long)),
            VlmError::ContextOverflow {
                found: 300,
                wanted: 256,
                ..
            }
        ));
    }

    #[test]
    fn the_remedy_of_an_overflow_is_one_that_helps() {
        let told = |keep: usize, text: usize, rule| {
            let keep: Vec<usize> = (0..keep).collect();
            let visual = visual(&[&keep], 300, rule);
            let prompt = [vec![IMAGE], vec![1; text]].concat();
            planned(&[prompt], Some(&visual)).map_err(|error| error.to_string())
        };
        // One token of 300 is kept, and yet all positions are taken: fewer tokens would not help, other numbers do.
        let kept = told(1, 2, PositionRule::Keep).unwrap_err();
        assert!(
            kept.starts_with("sequence of 3 tokens over 302 positions, expected at most 256; "),
            "{kept}"
        );
        assert!(
            kept.contains("`--positions reindex`") && !kept.contains("keep fewer"),
            "{kept}"
        );
        assert!(told(1, 2, PositionRule::Reindex).is_ok());
        let many = told(280, 2, PositionRule::Keep).unwrap_err();
        assert!(
            many.contains("keep fewer") && many.contains("`--positions reindex`"),
            "{many}"
        );
        let reindexed = told(280, 2, PositionRule::Reindex).unwrap_err();
        assert!(reindexed.contains("keep fewer"), "{reindexed}");
        let long = told(1, 257, PositionRule::Reindex).unwrap_err();
        assert!(long.ends_with("; shorten the text"), "{long}");
    }
}
