//! Selection for the pictures of a unit, or for the questions of a batch.

use std::time::Instant;

use diffprune_vlm::{PreparedImages, PruneOptions, prepare_encoded, unpruned};

use super::arm::{ArmInput, Truth};
use super::batch::sample_id;
use super::prepared::Prepared;
use super::relevance::rows_of;
use super::runner::Setting;
use super::worker::Worker;
use crate::EvalError;

/// The unit's pictures as the language model gets them, one row each.
pub(super) struct Selected<'s> {
    pub(super) images: PreparedImages<'s>,
    /// Tokens of each row's picture before anything was left out, also where it was shrunk.
    pub(super) totals: Vec<usize>,
    /// Rows are questions of a batch instead of pictures of the unit.
    by_question: bool,
    /// Seconds of encoding and of selection for a picture, where they were measured.
    pub(super) encode_s: f64,
    pub(super) select_s: f64,
}

impl Selected<'_> {
    /// The row of a question: its place in the batch, or its picture.
    pub(super) fn row(&self, place: usize, picture: usize) -> usize {
        if self.by_question { place } else { picture }
    }
}

impl Worker<'_> {
    /// As [`Self::select`], with what it took.
    pub(super) fn select_timed<'s>(
        &self,
        setting: &Setting<'s>,
        prepared: &mut Prepared,
        questions: Option<&[usize]>,
    ) -> Result<Selected<'s>, EvalError> {
        let start = Instant::now();
        prepared.on_pictures_s = 0.0;
        let mut selected = self.select(setting, prepared, questions)?;
        self.wait();
        let selecting = (start.elapsed().as_secs_f64() - prepared.on_pictures_s).max(0.0);
        let encoding = prepared.encoding.of(setting.arm.input);
        selected.select_s = selecting / selected.totals.len().max(1) as f64;
        selected.encode_s = encoding / self.unit.pictures.len().max(1) as f64;
        Ok(selected)
    }

    /// Selects and projects for every picture of the unit, or for the questions at these places of the unit.
    fn select<'s>(
        &self,
        setting: &Setting<'s>,
        prepared: &mut Prepared,
        questions: Option<&[usize]>,
    ) -> Result<Selected<'s>, EvalError> {
        let importance = match (questions, setting.arm.truth) {
            (Some(places), Truth::LeaveOneOut) => Some(self.importance(setting, prepared, places)?),
            _ => None,
        };
        let small = match setting.arm.input {
            ArmInput::Downsampled => Some(self.downsampled(setting, prepared)?),
            _ => None,
        };
        let whole = self.encoded(setting.arm.input, prepared)?;
        let rows: Vec<usize> = match questions {
            Some(places) => places.iter().map(|&place| self.unit.questions[place].1).collect(),
            None => (0..self.unit.pictures.len()).collect(),
        };
        let totals: Vec<usize> = rows.iter().map(|&row| whole.layouts[row].n_tokens()).collect();
        let encoded = small.as_ref().unwrap_or(whole);
        let chosen = questions.map(|_| encoded.rows(&rows));
        let encoded = chosen.as_ref().unwrap_or(encoded);
        let selected = |images| Selected {
            images,
            totals,
            by_question: questions.is_some(),
            encode_s: 0.0,
            select_s: 0.0,
        };
        let Some(pruner) = setting.arm.pruner.as_deref() else {
            let rule = setting.arm.positions.unwrap_or_default();
            return Ok(selected(unpruned(self.vlm, encoded, rule)));
        };
        let sample_ids = rows.iter().map(|&picture| sample_id(self.unit.pictures[picture]));
        let relevance = match (importance, pruner.signals().relevance) {
            (_, false) => None,
            (Some(importance), true) => Some(rows_of(&importance, encoded)),
            (None, true) => self.relevance(encoded, &rows),
        };
        let options = PruneOptions::new(setting.budget)
            .with_positions(setting.arm.positions)
            .with_seed(setting.arm.seed)
            .with_sample_ids(sample_ids.collect::<Vec<u64>>())
            .with_relevance(relevance)
            .with_questions(questions.map(|places| self.question_ids(places)).transpose()?);
        let images = prepare_encoded(self.vlm, encoded, pruner, &options)?;
        Ok(selected(images))
    }

    /// The ids of the questions' words.
    fn question_ids(&self, places: &[usize]) -> Result<Vec<Vec<u32>>, EvalError> {
        let ids = places
            .iter()
            .map(|&place| self.vlm.text_ids(&self.unit.questions[place].0.text));
        Ok(ids.collect::<Result<_, _>>()?)
    }
}
