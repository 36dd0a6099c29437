//! One unit of work: some pictures, all their questions, every arm.

use burn::tensor::{Tensor, TensorData};
use diffprune_pruner::Signals;
use diffprune_vlm::{Encoded, PruneOptions, Turn, VisualInput, Vlm, VlmError, prune};
use image::{Rgb, RgbImage};

use super::arm::{Arm, ArmInput};
use super::batch::{Unit, sample_id};
use super::failures::{guarded, is_of_a_sample};
use super::record::Record;
use super::runner::{Setting, Shared};
use crate::EvalError;
use crate::data::Question;

/// Colour of blank pictures: the mean of CLIP's training pictures, as LLaVA pads with it.
const BLANK: Rgb<u8> = Rgb([122, 116, 104]);

/// A model at work on a unit.
pub(crate) struct Worker<'a> {
    pub(crate) vlm: &'a dyn Vlm,
    pub(crate) shared: &'a Shared<'a>,
    pub(crate) unit: &'a Unit<'a>,
}

/// The unit's prompts, and its pictures encoded when somebody first needs them.
struct Prepared {
    pictures: Option<Encoded>,
    blanks: Option<Encoded>,
    prompts: Option<Vec<Vec<u32>>>,
    bare_prompts: Option<Vec<Vec<u32>>>,
}

/// What the language model gets to see of the unit's pictures, one row each.
struct Seen {
    visual: VisualInput,
    counts: Vec<(usize, usize)>,
}

impl Worker<'_> {
    /// Answers what is not yet answered. Gives back the settings that failed on some sample, unless every failure ends
    /// the run.
    pub(crate) fn run<'s>(
        &self,
        settings: &[Setting<'s>],
    ) -> Result<Vec<(Setting<'s>, EvalError)>, EvalError> {
        let mut prepared = Prepared {
            pictures: None,
            blanks: None,
            prompts: None,
            bare_prompts: None,
        };
        let mut failed = Vec::new();
        for setting in settings {
            match guarded(|| self.run_setting(setting, &mut prepared)) {
                Ok(()) => {}
                Err(error) if self.shared.run.options.strict || !is_of_a_sample(&error) => return Err(error),
                Err(error) => failed.push((*setting, error)),
            }
        }
        Ok(failed)
    }

    fn run_setting(&self, setting: &Setting<'_>, prepared: &mut Prepared) -> Result<(), EvalError> {
        let n_prompts = self.shared.run.options.prompts_per_batch.max(1);
        let mut seen = None;
        for (batch, questions) in self.unit.questions.chunks(n_prompts).enumerate() {
            if self.shared.is_done(setting, questions) {
                continue;
            }
            if seen.is_none() && setting.arm.input != ArmInput::TextOnly {
                seen = Some(self.see(setting, prepared)?);
            }
            let prompts = self.prompts(setting.arm.input, prepared)?;
            let first = batch * n_prompts;
            let answers = self.answer(questions, &prompts[first..first + questions.len()], seen.as_ref())?;
            self.shared
                .record(self.records(setting, questions, answers, seen.as_ref()))?;
        }
        Ok(())
    }

    /// Selects and projects for every picture of the unit.
    fn see(&self, setting: &Setting<'_>, prepared: &mut Prepared) -> Result<Seen, EvalError> {
        let encoded = self.encoded(setting.arm.input, prepared)?;
        let totals = encoded.counts();
        let Some(pruner) = &setting.arm.pruner else {
            let features = self.vlm.project(encoded.tokens.clone());
            let rule = setting.arm.positions.unwrap_or_default();
            let visual = self
                .vlm
                .visual_input(features, &encoded.layouts, &encoded.all_indices(), rule);
            return Ok(Seen {
                visual,
                counts: totals.iter().map(|&total| (total, total)).collect(),
            });
        };
        let options = PruneOptions {
            budget: setting.budget,
            positions: setting.arm.positions,
            seed: setting.arm.seed,
            sample_ids: Some(
                self.unit
                    .pictures
                    .iter()
                    .map(|question| sample_id(question))
                    .collect(),
            ),
            relevance: if pruner.signals().relevance {
                self.relevance(encoded)
            } else {
                None
            },
            questions: None,
        };
        let (visual, selection) = prune(self.vlm, encoded, pruner.as_ref(), &options)
            .map_err(|error| EvalError::Model(error.into()))?;
        let counts = totals
            .iter()
            .enumerate()
            .map(|(row, &total)| (selection.count(row), total))
            .collect();
        Ok(Seen { visual, counts })
    }

    /// The annotated relevance of the unit's pictures, `[b, n]`; `None` when one picture has none.
    fn relevance(&self, encoded: &Encoded) -> Option<Tensor<2>> {
        let annotations = self.shared.run.annotations?;
        let [batch, n_tokens, _] = encoded.tokens.dims();
        let mut values = vec![0f32; batch * n_tokens];
        for (row, question) in self.unit.pictures.iter().enumerate() {
            let relevance = annotations.relevance(&question.image, &encoded.layouts[row])?;
            values[row * n_tokens..]
                .iter_mut()
                .zip(relevance)
                .for_each(|(place, value)| *place = value);
        }
        Some(Tensor::from_data(
            TensorData::new(values, [batch, n_tokens]),
            &encoded.tokens.device(),
        ))
    }

    /// The unit's pictures (or blanks of their sizes), encoded once with the signals of every arm.
    fn encoded<'p>(&self, input: ArmInput, prepared: &'p mut Prepared) -> Result<&'p Encoded, EvalError> {
        let blank = input == ArmInput::BlankImage;
        let slot = if blank {
            &mut prepared.blanks
        } else {
            &mut prepared.pictures
        };
        if let Some(encoded) = slot {
            return Ok(encoded);
        }
        let load = |question: &&Question| question.load_image().map_err(EvalError::from);
        let mut pictures: Vec<RgbImage> = self.unit.pictures.iter().map(load).collect::<Result<_, _>>()?;
        if blank {
            pictures.iter_mut().for_each(|picture| {
                *picture = RgbImage::from_pixel(picture.width(), picture.height(), BLANK);
            });
        }
        let signals = self
            .shared
            .settings
            .iter()
            .map(|setting| Arm::signals(setting.arm));
        let signals = signals.fold(Signals::default(), Signals::union);
        let pixels = self.vlm.preprocess(&pictures)?;
        let encoded = self.vlm.encode(pixels, signals);
        Ok(slot.insert(encoded))
    }

    /// The prompts of all questions of the unit.
    fn prompts<'p>(&self, input: ArmInput, prepared: &'p mut Prepared) -> Result<&'p [Vec<u32>], EvalError> {
        let bare = input == ArmInput::TextOnly;
        let slot = if bare {
            &mut prepared.bare_prompts
        } else {
            &mut prepared.prompts
        };
        if let Some(prompts) = slot {
            return Ok(prompts);
        }
        let prompt = |(question, _): &(&Question, usize)| {
            self.vlm
                .prompt_ids(&[Turn::ask(question.text.clone()).with_images(usize::from(!bare))])
        };
        let prompts = self
            .unit
            .questions
            .iter()
            .map(prompt)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(slot.insert(prompts))
    }

    /// The model's trimmed answers.
    fn answer(
        &self,
        questions: &[(&Question, usize)],
        prompts: &[Vec<u32>],
        seen: Option<&Seen>,
    ) -> Result<Vec<String>, VlmError> {
        let run = &self.shared.run.options;
        let longest = questions
            .iter()
            .map(|(question, _)| question.benchmark.max_new_tokens(run.protocol))
            .max();
        let limit = run.max_new_tokens.or(longest).unwrap_or(1);
        let options = self.vlm.generate_options().with_max_new_tokens(limit);
        let pictures: Vec<usize> = questions.iter().map(|&(_, picture)| picture).collect();
        let visual = seen.map(|seen| seen.visual.rows(&pictures));
        let answers = self.vlm.generate(prompts, visual.as_ref(), &options)?;
        let tokenizer = self.vlm.tokenizer();
        Ok(answers
            .iter()
            .map(|ids| tokenizer.decode(ids, true).trim().to_string())
            .collect())
    }

    fn records(
        &self,
        setting: &Setting<'_>,
        questions: &[(&Question, usize)],
        answers: Vec<String>,
        seen: Option<&Seen>,
    ) -> Vec<Record> {
        let protocol = self.shared.run.options.protocol;
        let record = |(&(question, picture), answer): (&(&Question, usize), String)| {
            let (kept, total) = seen.map_or((0, 0), |seen| seen.counts[picture]);
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
                answer,
                probability: None,
            }
        };
        questions.iter().zip(answers).map(record).collect()
    }
}
