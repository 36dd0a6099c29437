//! Reading prompts while a method drops visual tokens between the layers.

use std::collections::BTreeSet;
use std::ops::Range;

use burn::tensor::Tensor;
use diffprune_pruner::{DecoderEmbeds, DecoderPruner, DecoderSelection, DecoderStage, PruneError, Queries};

use super::rows::Cut;
use super::stream::Stream;
use super::{KvCache, Llama};
use crate::{DecoderPruning, DecoderReport, SequenceReport, Spliced, StageReport, VlmError};

/// A run of layers that see the same tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRun {
    /// The layers.
    pub layers: Range<usize>,
    /// The position id of the first new token of each sequence in these layers.
    pub next_positions: Vec<usize>,
}

/// A pass over prompts in which visual tokens were dropped.
#[derive(Debug, Clone)]
pub struct PrunedPass {
    /// Output of the last layer for what is left of the sequences, before the last norm, `[b, n, d_model]` (or the last
    /// rows asked for); shorter sequences are padded on the left.
    pub hidden: Tensor<3>,
    /// The layers by the tokens that they saw.
    pub runs: Vec<LayerRun>,
    /// The tokens that were dropped.
    pub report: DecoderReport,
}

impl Llama {
    /// Runs all layers over spliced prompts (padded on the left) while a method drops visual tokens. With `n_rows` only
    /// the last tokens' output is computed.
    ///
    /// # Errors
    /// When the prompts are padded on the right, or the method cannot choose.
    pub fn forward_pruned(
        &self,
        spliced: &Spliced,
        pruning: &DecoderPruning<'_>,
        mut cache: Option<&mut KvCache>,
        n_rows: Option<usize>,
    ) -> Result<PrunedPass, VlmError> {
        if let Some(index) = spliced.padded_on_the_right() {
            let problem =
                "found padding on the right, expected it on the left; splice with Padding::Left".into();
            return Err(VlmError::Prompt { index, problem });
        }
        let mut stream = Stream::new(spliced);
        let schedule = Schedule::new(self, pruning, &stream)?;
        let mut report = vec![SequenceReport::default(); stream.rows.len()];
        let mut runs: Vec<LayerRun> = Vec::new();
        let mut rope = self.rope(stream.position_ids(self.position_axes()));
        let mut query_keys = None;
        for layers in schedule.runs() {
            let due = schedule.due(layers.start);
            if due.iter().any(Option::is_some) {
                let cut = Cut {
                    language: self,
                    stream: &stream,
                    layer: layers.start,
                    rope: &rope,
                    query_keys: query_keys.as_ref(),
                    raters: &schedule.raters,
                };
                let selections = select(&cut, pruning.pruner, &due)?;
                drop(query_keys.take());
                let width = stream.width();
                stream.apply(&selections, pruning.rule());
                if let Some(cache) = cache.as_deref_mut() {
                    cache.shrink(layers.start, width - stream.width());
                }
                rope = self.rope(stream.position_ids(self.position_axes()));
                note(&mut report, layers.start, selections);
            }
            for (row, report) in report.iter_mut().enumerate() {
                report
                    .visual_tokens
                    .extend(layers.clone().map(|_| stream.n_visual(row)));
                report
                    .kv_lengths
                    .extend(layers.clone().map(|_| stream.rows[row].len()));
            }
            let tail = n_rows.unwrap_or(stream.width());
            let (hidden, mask) = (stream.hidden.clone(), stream.mask());
            let (hidden, of_last) = self.run(layers.clone(), hidden, &rope, mask, cache.as_deref_mut(), tail);
            (stream.hidden, query_keys) = (hidden, of_last);
            runs.push(LayerRun {
                layers,
                next_positions: stream.next_positions.clone(),
            });
        }
        Ok(PrunedPass {
            hidden: stream.hidden,
            runs,
            report: DecoderReport { sequences: report },
        })
    }
}

/// The layers at which the method acts on each sequence, and the raters.
struct Schedule {
    n_layers: usize,
    stages: Vec<Vec<DecoderStage>>,
    raters: Vec<Vec<usize>>,
}

impl Schedule {
    fn new(language: &Llama, pruning: &DecoderPruning<'_>, stream: &Stream) -> Result<Self, PruneError> {
        let n_layers = language.layers.len();
        let (mut stages, mut raters) = (Vec::new(), Vec::new());
        for row in 0..stream.rows.len() {
            let of_row = match stream.n_visual(row) {
                0 => Vec::new(),
                n_visual => pruning.pruner.stages(n_layers, n_visual, &pruning.budget)?,
            };
            check_stages(&of_row, n_layers)?;
            let rated = of_row
                .iter()
                .filter_map(|stage| stage.signals.attention)
                .any(|rows| rows.queries == Queries::Raters);
            raters.push(if rated {
                find_raters(pruning.pruner, stream, row)?
            } else {
                Vec::new()
            });
            stages.push(of_row);
        }
        Ok(Self {
            n_layers,
            stages,
            raters,
        })
    }

    /// The stage of each sequence before this layer.
    fn due(&self, layer: usize) -> Vec<Option<DecoderStage>> {
        let stage = |stages: &Vec<DecoderStage>| stages.iter().find(|stage| stage.layer == layer).copied();
        self.stages.iter().map(stage).collect()
    }

    /// The layers, cut wherever a sequence has a stage.
    fn runs(&self) -> Vec<Range<usize>> {
        let mut cuts: BTreeSet<usize> = self.stages.iter().flatten().map(|stage| stage.layer).collect();
        cuts.extend([0, self.n_layers]);
        let cuts: Vec<usize> = cuts.into_iter().collect();
        cuts.windows(2).map(|pair| pair[0]..pair[1]).collect()
    }
}

/// Stages ascend and lie before a layer.
fn check_stages(stages: &[DecoderStage], n_layers: usize) -> Result<(), PruneError> {
    let mut wanted = 0;
    for stage in stages {
        let found = stage.layer;
        if found >= n_layers || found < wanted {
            let what = "layer of a stage (ascending, below the number of layers)";
            let wanted = wanted.min(n_layers.saturating_sub(1));
            return Err(PruneError::Shape { what, found, wanted });
        }
        wanted = found + 1;
    }
    Ok(())
}

/// Asks the method who asks.
fn find_raters(pruner: &dyn DecoderPruner, stream: &Stream, row: usize) -> Result<Vec<usize>, PruneError> {
    let embeds = stream.of_row(row);
    let (len, n_text) = (embeds.dims()[0], stream.n_text_after(row));
    let visual: Vec<i64> = stream.visual(row).iter().map(|&place| place as i64).collect();
    let n_visual = visual.len();
    let visual = crate::splice::ints(visual, [n_visual], &stream.device());
    let raters = pruner.raters(&DecoderEmbeds {
        row,
        visual: embeds.clone().select(0, visual),
        text: embeds.narrow(0, len - n_text, n_text),
    })?;
    match raters.iter().find(|&&rater| rater >= n_text) {
        Some(&found) => Err(PruneError::Shape {
            what: "index of a rater (at most)",
            found,
            wanted: n_text - 1,
        }),
        None if raters.is_empty() => Err(PruneError::missing(
            pruner.name(),
            "a text token after the image that asks",
        )),
        None => Ok(raters),
    }
}

/// Lets the method choose for every sequence that is due.
fn select(
    cut: &Cut<'_>,
    pruner: &dyn DecoderPruner,
    due: &[Option<DecoderStage>],
) -> Result<Vec<Option<DecoderSelection>>, PruneError> {
    let d_model = cut.language.d_model();
    let mut selections = Vec::with_capacity(due.len());
    for (stage, context) in due.iter().zip(cut.contexts(due)) {
        selections.push(match (stage, context) {
            (Some(stage), Some(context)) => {
                let selection = pruner.select_at(stage, &context)?;
                selection.check(context.visual.len(), d_model)?;
                Some(selection)
            }
            _ => None,
        });
    }
    Ok(selections)
}

fn note(report: &mut [SequenceReport], layer: usize, selections: Vec<Option<DecoderSelection>>) {
    for (report, selection) in report.iter_mut().zip(selections) {
        if let Some(selection) = selection {
            report.stages.push(StageReport {
                layer,
                merged: selection.n_merged(),
                keep: selection.keep,
            });
        }
    }
}
