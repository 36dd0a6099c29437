//! Continuous batching: sequences that join and leave between steps.

use std::collections::BTreeSet;

use burn::tensor::Device;

use super::continuation::{Continuation, Prefilled, is_finite, last_scores, limit, prefill};
use super::prefix::LlamaPrefix;
use super::{KvCache, LayerRun, Llama};
use crate::splice::{Before, ints, plan_after};
use crate::{
    DecodeBatch, Finish, JoinRequest, Joined, Padding, SequenceId, Spliced, StepToken, VisualInput, VlmError,
    splice,
};

/// Slots that are set aside at once for the next tokens of a sequence.
const ROOM: usize = 64;
/// On the CPU so many sequences or fewer are fed one after the other: measured with `serve-load`, a step of two together took longer
/// than two steps of one, probably because a product with several rows packs the weights first.
const FEW: usize = 4;

/// Sequences that a language model continues together. Each has a cache of its own, in which every run of layers has its
/// own length; linear layers and scores are computed for all of them at once (on the CPU from [`FEW`] on), attention for each by itself.
#[derive(Debug)]
pub(super) struct LlamaBatch {
    language: Llama,
    image_token_id: u32,
    sequences: Vec<Sequence>,
    next: u64,
}

#[derive(Debug)]
struct Sequence {
    id: SequenceId,
    continuation: Continuation,
    cache: KvCache,
    runs: Vec<LayerRun>,
    /// Of the next id; `None` until its last id is fed.
    scores: Option<Vec<f32>>,
}

impl LlamaBatch {
    pub(super) fn new(language: Llama, image_token_id: u32) -> Self {
        Self {
            language,
            image_token_id,
            sequences: Vec::new(),
            next: 0,
        }
    }

    /// What follows `before`, as embeddings.
    fn splice(
        &self,
        prompt: &[u32],
        visual: Option<&VisualInput>,
        before: Before,
    ) -> Result<Spliced, VlmError> {
        let prompts = [prompt.to_vec()];
        let plans = plan_after(&prompts, visual, self.image_token_id, &self.language, before)?;
        Ok(splice(&prompts, visual, plans, Padding::Left, &self.language))
    }

    /// Feeds the last id of every sequence that has no scores.
    fn feed(&mut self) {
        let waits = |sequence: &&mut Sequence| sequence.scores.is_none() && !sequence.is_over();
        let mut fed: Vec<&mut Sequence> = self.sequences.iter_mut().filter(waits).collect();
        let at_once = match fed.len() <= FEW && self.language.device() == Device::flex() {
            true => 1,
            false => fed.len().max(1),
        };
        for part in fed.chunks_mut(at_once) {
            feed(&self.language, part);
        }
    }
}

/// Feeds the last ids of some sequences together.
fn feed(language: &Llama, fed: &mut [&mut Sequence]) {
    let (n, axes, device) = (fed.len(), language.position_axes(), language.device());
    for sequence in fed.iter_mut() {
        let left = sequence.continuation.left();
        sequence.cache.make_room(ROOM.min(left));
    }
    let ids = fed.iter().map(|sequence| sequence.continuation.last());
    let mut hidden = language.embed(ints(ids.collect(), [n, 1], &device));
    // Positions change where any of the sequences lost tokens.
    let runs = fed.iter().flat_map(|sequence| &sequence.runs);
    let mut cuts: BTreeSet<usize> = runs.map(|run| run.layers.start).collect();
    cuts.insert(language.layers.len());
    let cuts: Vec<usize> = cuts.into_iter().collect();
    for pair in cuts.windows(2) {
        let positions = fed.iter().map(|sequence| sequence.position(pair[0]) as i64);
        let positions = positions.collect::<Vec<_>>().repeat(axes);
        let rope = language.rope(ints(positions, [axes, n, 1], &device));
        for layer in pair[0]..pair[1] {
            let caches = fed.iter_mut().map(|sequence| sequence.cache.layer(layer));
            hidden = language.layers[layer].forward_each(hidden, &rope, caches);
        }
    }
    for (sequence, scores) in fed.iter_mut().zip(last_scores(language, hidden)) {
        sequence.scores = Some(scores);
    }
}

impl Sequence {
    /// The position id of the last id in this layer.
    fn position(&self, layer: usize) -> usize {
        let run = self.runs.iter().find(|run| run.layers.contains(&layer));
        run.map_or(0, |run| run.next_positions[0]) + self.continuation.fed()
    }

    fn is_over(&self) -> bool {
        self.continuation.finish().is_some()
    }

    /// The next id by the scores that are there, or the end.
    fn advance(&mut self) -> StepToken {
        let token = match self.scores.take() {
            Some(scores) if !is_finite(&scores) => {
                self.continuation.end(Finish::NotFinite);
                None
            }
            Some(mut scores) => self.continuation.advance(&mut scores),
            None => None,
        };
        StepToken::new(self.id, token, self.continuation.finish())
    }
}

impl DecodeBatch for LlamaBatch {
    fn join(&mut self, request: JoinRequest<'_>) -> Result<Joined, VlmError> {
        let language = &self.language;
        let (images, options) = (request.images, request.options);
        let prefix = LlamaPrefix::of(&request, language)?;
        let before = prefix.map(|prefix| prefix.before).unwrap_or_default();
        let spliced = self.splice(request.prompt, images.visual(), before)?;
        let limit = limit(language, spliced.plans[0].next_position, options);
        let mut cache = match prefix.filter(|_| limit > 0) {
            Some(prefix) => prefix.cache.clone(),
            None => language.cache(1, 0),
        };
        let mut read = Prefilled::default();
        if limit > 0 {
            // The last id is never fed.
            cache.make_room(spliced.width + ROOM.min(limit - 1));
            read = prefill(language, &spliced, &mut cache, images.inside().as_ref())?;
        }
        let id = SequenceId::new(self.next);
        self.next += 1;
        self.sequences.push(Sequence {
            id,
            continuation: Continuation::new(options, 0, &request.all_ids(), limit),
            cache,
            runs: read.runs,
            scores: read.scores.pop(),
        });
        Ok(Joined::new(id, before.tokens + spliced.width, read.report))
    }

    fn step(&mut self) -> Result<Vec<StepToken>, VlmError> {
        self.feed();
        let told = self.sequences.iter_mut().map(Sequence::advance).collect();
        self.sequences.retain(|sequence| !sequence.is_over());
        Ok(told)
    }

    fn leave(&mut self, id: SequenceId) {
        self.sequences.retain(|sequence| sequence.id != id);
    }

    fn len(&self) -> usize {
        self.sequences.len()
    }

    fn kv_bytes(&self) -> u64 {
        self.sequences.iter().map(|sequence| sequence.cache.bytes()).sum()
    }
}
