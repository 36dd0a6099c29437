//! Prompts and visual features become one sequence of embeddings.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use diffprune_pruner::PositionRule;

use crate::{Llama, VisualInput, VlmError};

/// The side on which shorter sequences of a batch are padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Before the sequence: the last tokens stand together, as decoding wants it. Needs a mask.
    Left,
    /// After the sequence: causality alone hides the padding.
    Right,
}

/// What stands at a place of a spliced sequence.
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
}

/// The places of one sequence, without padding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SplicePlan {
    /// What stands at each place.
    pub slots: Vec<Slot>,
    /// The position id of each place.
    pub positions: Vec<usize>,
    /// The position id of the first generated token.
    pub next_position: usize,
}

/// A batch of spliced sequences.
#[derive(Debug, Clone)]
pub struct Spliced {
    /// Embeddings, `[b, n, d_model]`.
    pub embeds: Tensor<3>,
    /// Position ids, `[b, n]`; 0 on padding.
    pub position_ids: Tensor<2, Int>,
    /// Real places, `[b, n]`, true = real; `None` when there is no padding.
    pub mask: Option<Tensor<2, Bool>>,
    /// The sequences, without padding.
    pub plans: Vec<SplicePlan>,
    /// Number of places, n.
    pub width: usize,
    padding: Padding,
}

impl Spliced {
    /// Where place `slot` of sequence `row` stands among the `b * n` places of the batch.
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
    if let Some(visual) = visual {
        let found = prompts
            .iter()
            .flatten()
            .filter(|&&id| id == image_token_id)
            .count();
        let wanted = visual.keep_indices.len();
        if found != wanted {
            return Err(VlmError::Placeholders { found, wanted });
        }
        check_visual(visual)?;
    }
    let mut image = 0;
    let mut plans = Vec::with_capacity(prompts.len());
    for (index, prompt) in prompts.iter().enumerate() {
        let plan = plan_one(prompt, visual, image_token_id, &mut image);
        check_prompt(index, prompt, &plan, language)?;
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
    let mut stride = 0;
    if let Some(visual) = visual {
        let [images, k_max, _] = visual.features.dims();
        stride = k_max;
        let features = visual
            .features
            .clone()
            .cast(rows.dtype())
            .reshape([images * k_max, d_model]);
        rows = Tensor::cat(vec![rows, features], 0);
    }
    let width = plans.iter().map(|plan| plan.slots.len()).max().unwrap_or(0);
    let table = Table::new(prompts, &plans, stride, n_text, width, padding);
    let batch = plans.len();
    let index = Tensor::<1, Int>::from_data(TensorData::new(table.index, [batch * width]), &device);
    Spliced {
        embeds: rows.select(0, index).reshape([batch, width, d_model]),
        position_ids: ints(table.positions, [batch, width], &device),
        mask: table
            .mask
            .map(|mask| Tensor::from_data(TensorData::new(mask, [batch, width]), &device)),
        plans,
        width,
        padding,
    }
}

/// Position ids `[b, n]` on a device.
pub(crate) fn ints(values: Vec<i64>, shape: [usize; 2], device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(values, shape), device)
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
        stride: usize,
        n_text: usize,
        width: usize,
        padding: Padding,
    ) -> Self {
        let (mut index, mut positions, mut mask) = (Vec::new(), Vec::new(), Vec::new());
        let mut first_text = 0;
        for (prompt, plan) in prompts.iter().zip(plans) {
            let n_pad = width - plan.slots.len();
            let pad = |index: &mut Vec<i64>, positions: &mut Vec<i64>, mask: &mut Vec<bool>| {
                index.resize(index.len() + n_pad, 0);
                positions.resize(positions.len() + n_pad, 0);
                mask.resize(mask.len() + n_pad, false);
            };
            if padding == Padding::Left {
                pad(&mut index, &mut positions, &mut mask);
            }
            index.extend(plan.slots.iter().map(|slot| match *slot {
                Slot::Text(i) => (first_text + i) as i64,
                Slot::Visual { image, row } => (n_text + image * stride + row) as i64,
            }));
            positions.extend(plan.positions.iter().map(|&position| position as i64));
            mask.resize(mask.len() + plan.slots.len(), true);
            if padding == Padding::Right {
                pad(&mut index, &mut positions, &mut mask);
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

/// The places of one prompt and their positions: Eq. (13) of `docs/method.md`.
///
/// A kept token stays at the position of its index in the full raster, and the text after an image at the position it
/// has after the whole raster; under [`PositionRule::Reindex`] all places are renumbered from 0.
fn plan_one(
    prompt: &[u32],
    visual: Option<&VisualInput>,
    image_token_id: u32,
    image: &mut usize,
) -> SplicePlan {
    let mut plan = SplicePlan::default();
    let mut next = 0;
    for (i, &id) in prompt.iter().enumerate() {
        if id != image_token_id {
            plan.slots.push(Slot::Text(i));
            plan.positions.push(next);
            next += 1;
            continue;
        }
        let Some(visual) = visual else { continue };
        let kept = &visual.keep_indices[*image];
        plan.slots
            .extend((0..kept.len()).map(|row| Slot::Visual { image: *image, row }));
        match visual.positions {
            PositionRule::Keep => {
                plan.positions.extend(kept.iter().map(|&place| next + place));
                next += visual.n_full[*image];
            }
            PositionRule::Reindex => {
                plan.positions.extend(next..next + kept.len());
                next += kept.len();
            }
        }
        *image += 1;
    }
    plan.next_position = next;
    plan
}

fn check_prompt(index: usize, prompt: &[u32], plan: &SplicePlan, language: &Llama) -> Result<(), VlmError> {
    let problem = |problem: String| Err(VlmError::Prompt { index, problem });
    if plan.slots.is_empty() {
        return problem("found no token, wanted at least one".into());
    }
    let vocab = language.vocab_size();
    if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocab) {
        return problem(format!(
            "found id {id}, wanted ids below {vocab}; use the checkpoint's own tokenizer"
        ));
    }
    let wanted = language.max_positions();
    if plan.next_position > wanted {
        return Err(VlmError::ContextOverflow {
            found: plan.next_position,
            wanted,
        });
    }
    Ok(())
}

/// Lists of kept tokens that fit the features.
fn check_visual(visual: &VisualInput) -> Result<(), VlmError> {
    let [images, k_max, _] = visual.features.dims();
    let wanted = visual.keep_indices.len();
    if images != wanted || visual.n_full.len() != wanted {
        return Err(shape(
            "images with features",
            images.min(visual.n_full.len()),
            wanted,
        ));
    }
    for (kept, &n_full) in visual.keep_indices.iter().zip(&visual.n_full) {
        if kept.len() > k_max {
            return Err(shape("rows of features", k_max, kept.len()));
        }
        if let Some(&place) = kept.iter().find(|&&place| place >= n_full) {
            return Err(shape(
                "place of a kept token (below the number of tokens)",
                place,
                n_full,
            ));
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
    use crate::{LlamaConfig, VisualInput};

    const IMAGE: u32 = 60;

    fn visual(keep: &[&[usize]], n_full: usize, positions: PositionRule) -> VisualInput {
        let k_max = keep.iter().map(|row| row.len()).max().unwrap();
        let numbers = Tensor::<1, Int>::arange(0..(keep.len() * k_max) as i64, &Device::flex()).float();
        let features = numbers
            .reshape([keep.len(), k_max, 1])
            .expand([keep.len(), k_max, 16]);
        VisualInput {
            features,
            keep_indices: keep.iter().map(|row| row.to_vec()).collect(),
            n_full: vec![n_full; keep.len()],
            positions,
        }
    }

    fn planned(prompts: &[Vec<u32>], visual: Option<&VisualInput>) -> Result<Vec<SplicePlan>, VlmError> {
        plan_splice(prompts, visual, IMAGE, &LlamaConfig::tiny().init(&Device::flex()))
    }

    #[test]
    fn kept_tokens_keep_their_places_and_text_resumes_after_the_raster() {
        let visual = visual(&[&[1, 3], &[0]], 4, PositionRule::Keep);
        let plans = planned(&[vec![1, IMAGE, 2, IMAGE, 3]], Some(&visual)).unwrap();
        assert_eq!(plans[0].positions, [0, 2, 4, 5, 6, 10]);
        assert_eq!(plans[0].next_position, 11);
    }

    #[test]
    fn reindexed_positions_count_from_zero() {
        let visual = visual(&[&[1, 3], &[0]], 4, PositionRule::Reindex);
        let plans = planned(&[vec![1, IMAGE, 2, IMAGE, 3]], Some(&visual)).unwrap();
        assert_eq!(plans[0].positions, [0, 1, 2, 3, 4, 5]);
        assert_eq!(plans[0].next_position, 6);
    }

    #[test]
    fn text_only_drops_placeholders() {
        let plans = planned(&[vec![1, IMAGE, 2]], None).unwrap();
        assert_eq!(plans[0].slots, [Slot::Text(0), Slot::Text(2)]);
        assert_eq!(plans[0].positions, [0, 1]);
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
        let far = visual(&[&[4]], 4, PositionRule::Keep);
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
        assert!(matches!(
            run(vec![IMAGE], Some(&long)),
            VlmError::ContextOverflow {
                found: 300,
                wanted: 256
            }
        ));
    }
}
