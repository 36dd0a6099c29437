//! Prompts as the model for tests reads them, and the layers between which methods act.

use burn::tensor::{Device, Tensor, activation};
use diffprune_pruner::{
    DecoderContext, DecoderEmbeds, DecoderObserved, DecoderPruner, DecoderStage, PruneError, Queries,
    visual_tokens_per_layer,
};

use super::tables;
use crate::{
    DecoderPruning, DecoderReport, SequenceReport, StageReport, TextBatch, VisualInput, VisualSequence,
    VisualSource, VlmError,
};

/// The vectors of one prompt.
#[derive(Clone)]
pub(super) struct Reading {
    device: Device,
    vectors: Vec<Vec<f32>>,
    is_visual: Vec<bool>,
}

impl Reading {
    /// A prompt with the features of its images, the first of which is `first`.
    pub(super) fn new(
        prompt: &[u32],
        visual: Option<&VisualInput>,
        first: usize,
        image_id: u32,
        table: &[Vec<f32>],
        device: &Device,
    ) -> Self {
        let (mut vectors, mut is_visual) = (Vec::new(), Vec::new());
        let mut image = first;
        for &id in prompt {
            if id != image_id {
                vectors.push(table[id as usize].clone());
                is_visual.push(false);
                continue;
            }
            let Some(visual) = visual else { continue };
            let [_, k_max, width] = visual.features.dims();
            let own = visual.features.clone().narrow(0, image, 1);
            let rows = tables::rows(own.reshape([k_max, width]));
            for slot in &visual.sequences[image].slots {
                if let VisualSource::Feature(row) = slot.source {
                    vectors.push(rows[row].clone());
                    is_visual.push(true);
                }
            }
            image += 1;
        }
        Self {
            device: device.clone(),
            vectors,
            is_visual,
        }
    }

    /// What was read first, with this after it.
    pub(super) fn followed_by(mut self, rest: Self) -> Self {
        self.vectors.extend(rest.vectors);
        self.is_visual.extend(rest.is_visual);
        self
    }

    /// Number of vectors.
    pub(super) fn len(&self) -> usize {
        self.vectors.len()
    }

    /// The visual vectors.
    pub(super) fn visual(&self) -> Vec<Vec<f32>> {
        self.places()
            .iter()
            .map(|&place| self.vectors[place].clone())
            .collect()
    }

    /// Scores of the next id after `last`: its embedding and the mean of the visual vectors, against every embedding.
    pub(super) fn scores(&self, last: u32, table: &[Vec<f32>]) -> Vec<f32> {
        let visual = self.visual();
        let mut hidden = table[last as usize].clone();
        for vector in &visual {
            for (sum, value) in hidden.iter_mut().zip(vector) {
                *sum += value / visual.len() as f32;
            }
        }
        let score = |row: &Vec<f32>| row.iter().zip(&hidden).map(|(a, b)| a * b).sum();
        table.iter().map(score).collect()
    }

    fn places(&self) -> Vec<usize> {
        (0..self.vectors.len())
            .filter(|&place| self.is_visual[place])
            .collect()
    }

    fn width(&self) -> usize {
        self.vectors.first().map_or(0, Vec::len)
    }

    /// The context of a method at a stage.
    fn context(&self, row: usize, stage: &DecoderStage, n_raters: usize) -> DecoderContext {
        let (n, width, signals) = (self.vectors.len(), self.width(), stage.signals);
        let states = || tables::tensor(&self.vectors, width, &self.device);
        let queries = signals.attention.map(|rows| match rows.queries {
            Queries::Last => 1,
            Queries::Raters => n_raters,
        });
        let attention = |queries: usize| -> Tensor<3> {
            let red = states().narrow(1, 0, 1).reshape([1, 1, n]);
            activation::softmax(red, 2).expand([1, queries, n])
        };
        // Methods divide by it.
        let ones = |queries: usize| Tensor::ones([queries, n], &self.device);
        DecoderContext {
            row,
            n_tokens: n,
            visual: self.places(),
            observed: DecoderObserved {
                attention: queries.map(attention),
                keys: signals.keys.then(|| states().unsqueeze_dim(1)),
                hidden: signals.hidden.then(states),
                normed: signals.normed.then(states),
                rotary_bias: queries.filter(|_| signals.rotary_bias).map(ones),
            },
        }
    }

    /// The tokens that ask, as the method names them.
    fn raters(&self, row: usize, pruner: &dyn DecoderPruner) -> Result<Vec<usize>, PruneError> {
        let last = self.places().last().map_or(0, |place| place + 1);
        pruner.raters(&DecoderEmbeds {
            row,
            visual: tables::tensor(&self.visual(), self.width(), &self.device),
            text: tables::tensor(&self.vectors[last..], self.width(), &self.device),
        })
    }

    /// Lets the method choose at a stage.
    fn apply(
        &mut self,
        row: usize,
        stage: &DecoderStage,
        pruner: &dyn DecoderPruner,
        n_raters: usize,
    ) -> Result<StageReport, PruneError> {
        let context = self.context(row, stage, n_raters);
        let selection = pruner.select_at(stage, &context)?;
        selection.check(context.visual.len(), self.width())?;
        let merged = selection.n_merged();
        let kept: Vec<usize> = selection.keep.iter().map(|&i| context.visual[i]).collect();
        // Merged vectors stand after the last visual token.
        let end = context.visual.last().map_or(0, |place| place + 1);
        let mut left = Self {
            device: self.device.clone(),
            vectors: Vec::new(),
            is_visual: Vec::new(),
        };
        for place in 0..=self.vectors.len() {
            if place == end {
                let rows = selection.merged.clone().map(tables::rows).unwrap_or_default();
                left.is_visual.extend(vec![true; rows.len()]);
                left.vectors.extend(rows);
            }
            if place < self.vectors.len() && (!self.is_visual[place] || kept.contains(&place)) {
                left.vectors.push(self.vectors[place].clone());
                left.is_visual.push(self.is_visual[place]);
            }
        }
        *self = left;
        Ok(StageReport {
            layer: stage.layer,
            keep: selection.keep,
            merged,
        })
    }
}

/// Runs a method inside the language model over all prompts, and reports what it dropped.
pub(super) fn prune(
    readings: &mut [Reading],
    pruning: &DecoderPruning<'_>,
    n_layers: usize,
) -> Result<DecoderReport, PruneError> {
    // A pass names all its sequences before any layer runs.
    let mut planned = Vec::new();
    for (row, reading) in readings.iter().enumerate() {
        let n_visual = reading.places().len();
        let stages = match n_visual {
            0 => Vec::new(),
            _ => pruning.pruner.stages(n_layers, n_visual, &pruning.budget)?,
        };
        let rated = stages.iter().filter_map(|stage| stage.signals.attention);
        let n_raters = match rated.into_iter().any(|rows| rows.queries == Queries::Raters) {
            true => reading.raters(row, pruning.pruner)?.len(),
            false => 0,
        };
        planned.push((stages, n_raters));
    }
    let mut report = DecoderReport::default();
    for (row, (reading, (stages, n_raters))) in readings.iter_mut().zip(planned).enumerate() {
        let n_visual = reading.places().len();
        let n_text = reading.vectors.len() - n_visual;
        let visual_tokens = visual_tokens_per_layer(n_layers, n_visual, &stages);
        let drops = stages
            .iter()
            .map(|stage| reading.apply(row, stage, pruning.pruner, n_raters));
        let stages = drops.collect::<Result<Vec<_>, _>>()?;
        report.sequences.push(SequenceReport {
            kv_lengths: visual_tokens.iter().map(|visual| n_text + visual).collect(),
            visual_tokens,
            stages,
        });
    }
    Ok(report)
}

/// What prompts may hold.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) image_id: u32,
    pub(super) vocab: usize,
    pub(super) max_positions: usize,
}

/// The part of a sequence that a prompt takes.
#[derive(Clone, Copy, Default)]
pub(super) struct Taken {
    pub(super) tokens: usize,
    pub(super) positions: usize,
}

impl Taken {
    /// Of a prompt whose placeholders take all of these images.
    pub(super) fn new(prompt: &[u32], visual: Option<&VisualInput>, image_id: u32) -> Self {
        let n_text = prompt.iter().filter(|&&id| id != image_id).count();
        Self::of(n_text, visual.map_or(&[], |visual| &visual.sequences))
    }

    fn of(n_text: usize, images: &[VisualSequence]) -> Self {
        Self {
            tokens: n_text + images.iter().map(|image| image.slots.len()).sum::<usize>(),
            positions: n_text + images.iter().map(|image| image.span).sum::<usize>(),
        }
    }
}

/// Checks that prompts fit images, vocabulary and, after what is taken of them, positions; gives the images of each
/// prompt: the first, and how many.
pub(super) fn images_of(
    prompts: &[Vec<u32>],
    visual: Option<&VisualInput>,
    limits: Limits,
    taken: Taken,
) -> Result<Vec<(usize, usize)>, VlmError> {
    let Limits {
        image_id,
        vocab,
        max_positions,
    } = limits;
    let mut images = Vec::new();
    let mut first = 0;
    for (index, prompt) in prompts.iter().enumerate() {
        if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocab) {
            let problem = format!("found the id {id}, expected one below {vocab}");
            return Err(VlmError::Prompt { index, problem });
        }
        if prompt.is_empty() {
            let problem = "found no ids, expected at least one".into();
            return Err(VlmError::Prompt { index, problem });
        }
        let n = prompt.iter().filter(|&&id| id == image_id).count();
        images.push((first, n));
        first += n;
    }
    if let Some(visual) = visual
        && first != visual.sequences.len()
    {
        return Err(VlmError::Placeholders {
            found: first,
            wanted: visual.sequences.len(),
        });
    }
    for (prompt, (first, n)) in prompts.iter().zip(&mut images) {
        let own = match visual {
            Some(visual) => &visual.sequences[*first..*first + *n],
            None => &[],
        };
        let own = Taken::of(prompt.len() - *n, own);
        let found = taken.positions + own.positions;
        if found > max_positions {
            return Err(VlmError::ContextOverflow {
                found,
                wanted: max_positions,
                tokens: taken.tokens + own.tokens,
                remedy: "keep fewer tokens and number their positions from 0, or ask a shorter question",
            });
        }
        if visual.is_none() {
            (*first, *n) = (0, 0);
        }
    }
    Ok(images)
}

/// Checks that there is a flag for each id.
pub(super) fn check_flags(batch: &TextBatch) -> Result<(), VlmError> {
    let lengths = |rows: &[Vec<bool>]| rows.iter().map(Vec::len).collect::<Vec<_>>();
    let found = lengths(&batch.targets);
    let wanted: Vec<usize> = batch.ids.iter().map(Vec::len).collect();
    match found == wanted {
        true => Ok(()),
        false => Err(VlmError::Prompt {
            index: 0,
            problem: format!("found target flags of lengths {found:?}, expected {wanted:?}"),
        }),
    }
}
