//! Answers of a batch, and their records.

use std::time::Instant;

use diffprune_vlm::{Hooks, PreparedImages, VlmError, respond};

use super::record::Record;
use super::runner::Setting;
use super::selecting::Selected;
use super::times::Laps;
use super::worker::Worker;
use super::yes_no::YesNoIds;
use crate::data::{Protocol, Question, Reference};

/// An answer.
pub(super) struct Answer {
    text: String,
    /// The visual tokens that entered each layer, and their average, for a method inside the language model.
    inside: Option<(Vec<usize>, usize)>,
    /// The probability of yes among yes and no as the answer's first word, for a yes/no question.
    yes: Option<f64>,
}

impl Worker<'_> {
    /// The longest answer that some questions allow, in new tokens.
    pub(crate) fn longest(&self, questions: &[(&Question, usize)]) -> usize {
        let run = &self.shared.run.options;
        let longest = questions
            .iter()
            .map(|(question, _)| {
                question
                    .benchmark
                    .max_new_tokens(run.protocols.of(question.benchmark))
            })
            .max();
        run.max_new_tokens.or(longest).unwrap_or(1)
    }

    /// The model's trimmed answers, and the times of the batch.
    pub(super) fn answer(
        &self,
        questions: &[(&Question, usize)],
        prompts: &[Vec<u32>],
        selected: Option<&Selected<'_>>,
    ) -> Result<(Vec<Answer>, Laps), VlmError> {
        let options = self
            .vlm
            .generate_options()
            .with_max_new_tokens(self.longest(questions));
        let images = selected.map_or_else(PreparedImages::none, |selected| {
            let places = questions.iter().enumerate();
            let rows: Vec<usize> = places
                .map(|(place, &(_, picture))| selected.row(place, picture))
                .collect();
            selected.images.rows(&rows)
        });
        let mut yes = vec![None; questions.len()];
        let mut on_scores = |row: usize, scores: &[f32]| {
            if let (Some((question, _)), Some(yes)) = (questions.get(row), yes.get_mut(row))
                && matches!(question.reference, Reference::YesNo(_))
            {
                let words = || YesNoIds::of(scores.len(), |id| self.vlm.text_of(&[id]));
                let ids = self.shared.yes_no.get_or_init(words);
                *yes = ids.probability_of_yes(scores);
            }
        };
        let start = Instant::now();
        let mut read_at = None;
        let mut on_prefill = || read_at = Some(start.elapsed().as_secs_f64());
        let mut hooks = Hooks {
            on_prefill: Some(&mut on_prefill),
            on_scores: Some(&mut on_scores),
            ..Hooks::default()
        };
        let answers = respond(self.vlm, prompts, &images, &options, &mut hooks)?;
        let report = hooks.report.take().unwrap_or_default();
        drop(hooks);
        let whole = start.elapsed().as_secs_f64();
        let per_prompt = |seconds: f64| seconds / questions.len().max(1) as f64;
        let laps = Laps {
            prompts: questions.len(),
            encode: selected.map(|selected| selected.encode_s),
            select: selected.map(|selected| selected.select_s),
            prefill: per_prompt(read_at.unwrap_or(whole)),
            decode: per_prompt(read_at.map_or(0.0, |read| whole - read)),
        };
        let answer = |(place, ids): (usize, &Vec<u32>)| Answer {
            text: self.vlm.text_of(ids).trim().to_string(),
            inside: report.sequences.get(place).map(|sequence| {
                let average = sequence.processed_average().round() as usize;
                (sequence.visual_tokens.clone(), average)
            }),
            yes: yes.get(place).copied().flatten(),
        };
        Ok((answers.iter().enumerate().map(answer).collect(), laps))
    }

    /// The records of a batch's answers.
    pub(super) fn records(
        &self,
        setting: &Setting<'_>,
        questions: &[(&Question, usize)],
        answers: Vec<Answer>,
        selected: Option<&Selected<'_>>,
    ) -> Vec<Record> {
        let protocols = &self.shared.run.options.protocols;
        let record = |(place, (&(question, picture), answer)): (usize, (&(&Question, usize), Answer))| {
            let (kept, total) = selected.map_or((0, 0), |selected| {
                let row = selected.row(place, picture);
                (selected.images.kept(row), selected.totals[row])
            });
            let Answer {
                text: answer,
                inside,
                yes,
            } = answer;
            let (layers, kept) = match inside {
                Some((layers, average)) => (Some(runs_of(&layers)), average),
                None => (None, kept),
            };
            let protocol = protocols.of(question.benchmark);
            let said = question.benchmark.spec().yes_or_no(&answer, protocol);
            let of_said = |(yes, said): (f64, bool)| if said { yes } else { 1.0 - yes };
            Record {
                arm: setting.arm.name.clone(),
                budget: setting.budget.to_string(),
                seed: setting.arm.seed,
                question: question.id.clone(),
                benchmark: question.benchmark,
                subset: question.subset.clone(),
                kind: question.kind.clone(),
                group: question.group.clone(),
                image: question.image_name(),
                kept,
                total,
                score: question.score(&answer, protocol),
                label: question.label(),
                said: matches!(question.reference, Reference::YesNo(_)).then(|| said.into()),
                options: question.reference.n_answers(),
                lmms: (question.benchmark.spec().scored_by_both_protocols() && protocol == Protocol::Llava)
                    .then(|| question.score(&answer, Protocol::LmmsEval)),
                layers,
                answer,
                probability: yes.zip(said).map(of_said),
            }
        };
        questions.iter().zip(answers).enumerate().map(record).collect()
    }
}

/// Layers with equal counts, as (layers, tokens).
fn runs_of(layers: &[usize]) -> Vec<(usize, usize)> {
    let run = |run: &[usize]| (run.len(), run[0]);
    layers.chunk_by(|a, b| a == b).map(run).collect()
}
