//! The batch of the model for tests.

use std::sync::Arc;

use super::reading::{self, Reading, Taken};
use super::speaker::Speaker;
use super::{FakeVlm, tables};
use crate::{
    DecodeBatch, DecoderReport, JoinRequest, Joined, Prefix, PreparedImages, SequenceId, StepToken, Vlm,
    VlmError,
};

/// The beginning of a prompt, as it was read.
pub(super) struct FakePrefix {
    reading: Reading,
    taken: Taken,
    /// The model that read it: clones share this.
    model: FakeVlm,
}

/// Reads the beginning of a prompt.
pub(super) fn read_prefix(
    model: &FakeVlm,
    prompt: &[u32],
    images: &PreparedImages<'_>,
) -> Result<Option<Prefix>, VlmError> {
    let Some(end) = Prefix::end(prompt, FakeVlm::IMAGE_ID, images) else {
        return Ok(None);
    };
    let ids = &prompt[..end];
    model.images_of(&[ids.to_vec()], images.visual(), Taken::default())?;
    let reading = model.read(ids, images.visual(), 0);
    let taken = Taken::new(ids, images.visual(), FakeVlm::IMAGE_ID);
    let (len, bytes) = (taken.tokens, taken.tokens as u64 * model.kv_bytes_per_token());
    let model = model.clone();
    let content = FakePrefix {
        reading,
        taken,
        model,
    };
    Ok(Some(Prefix::new(ids, len, bytes, content)))
}

/// Sequences of the model for tests.
pub(super) struct FakeBatch {
    model: FakeVlm,
    table: Vec<Vec<f32>>,
    sequences: Vec<Sequence>,
    next: u64,
}

struct Sequence {
    id: SequenceId,
    speaker: Speaker,
    bytes: u64,
}

impl FakeBatch {
    pub(super) fn new(model: FakeVlm) -> Self {
        Self {
            table: tables::rows(model.table()),
            sequences: Vec::new(),
            next: 0,
            model,
        }
    }
}

impl DecodeBatch for FakeBatch {
    fn join(&mut self, request: JoinRequest<'_>) -> Result<Joined, VlmError> {
        let model = &self.model;
        let prefix = request.prefix_content::<FakePrefix>()?;
        if prefix.is_some_and(|prefix| !Arc::ptr_eq(&prefix.model.encoded, &model.encoded)) {
            return Err(VlmError::foreign_prefix());
        }
        let (prompt, options) = (request.prompt, request.options);
        let visual = request.images.visual();
        let before = prefix.map(|prefix| prefix.taken).unwrap_or_default();
        model.images_of(&[prompt.to_vec()], visual, before)?;
        let taken = Taken::new(prompt, visual, FakeVlm::IMAGE_ID);
        let n_tokens = before.tokens + taken.tokens;
        let mut reading = model.read(prompt, visual, 0);
        if let Some(prefix) = prefix {
            reading = prefix.reading.clone().followed_by(reading);
        }
        let mut report = None;
        if let Some(inside) = request.images.inside().filter(|_| options.max_new_tokens > 0) {
            let readings = std::slice::from_mut(&mut reading);
            report = Some(reading::prune(readings, &inside, model.n_layers)?);
        }
        let id = SequenceId::new(self.next);
        self.next += 1;
        self.sequences.push(Sequence {
            id,
            speaker: Speaker::new(model, reading, &request.all_ids(), 0, options),
            bytes: model.bytes_of(n_tokens, report.as_ref()),
        });
        Ok(Joined::new(id, n_tokens, report))
    }

    fn step(&mut self) -> Result<Vec<StepToken>, VlmError> {
        let token_bytes = self.model.kv_bytes_per_token();
        let mut told = Vec::with_capacity(self.sequences.len());
        for sequence in &mut self.sequences {
            let mut scores = sequence.speaker.scores(&self.table);
            let (token, finished) = sequence.speaker.next(&mut scores);
            sequence.bytes += token_bytes;
            told.push(StepToken::new(sequence.id, token, finished));
        }
        let mut ended = told.iter().map(|told| told.finished.is_some());
        self.sequences.retain(|_| !ended.next().unwrap_or_default());
        Ok(told)
    }

    fn leave(&mut self, id: SequenceId) {
        self.sequences.retain(|sequence| sequence.id != id);
    }

    fn len(&self) -> usize {
        self.sequences.len()
    }

    fn kv_bytes(&self) -> u64 {
        self.sequences.iter().map(|sequence| sequence.bytes).sum()
    }
}

impl FakeVlm {
    /// Bytes of a prompt of `n_tokens`, fewer where a method dropped some between the layers.
    fn bytes_of(&self, n_tokens: usize, report: Option<&DecoderReport>) -> u64 {
        let dropped = report.and_then(|report| report.sequences.first());
        match dropped {
            Some(sequence) => sequence.kv_lengths.iter().sum::<usize>() as u64 * self.layer_bytes(),
            None => n_tokens as u64 * self.kv_bytes_per_token(),
        }
    }
}
