//! One unit of work: some pictures, all their questions, every arm.

use std::collections::HashMap;

use diffprune_pruner::{PositionRule, Signals};
use diffprune_vlm::{DecoderPruning, Encoded, Hooks, PruneOptions, Turn, VisualInput, Vlm, VlmError, prune};
use image::{Rgb, RgbImage};

use super::arm::{Arm, ArmInput, Truth};
use super::batch::{Unit, sample_id};
use super::downsample::{downsampled, inputs};
use super::failures::{guarded, is_of_a_sample};
use super::record::Record;
use super::relevance::rows_of;
use super::runner::{Setting, Shared};
use super::yes_no::YesNoIds;
use crate::EvalError;
use crate::data::{Question, Reference};

/// Colour of blank pictures: the mean of CLIP's training pictures, as LLaVA pads with it.
const BLANK: Rgb<u8> = Rgb([122, 116, 104]);

/// A model at work on a unit.
pub(crate) struct Worker<'a> {
    pub(crate) vlm: &'a dyn Vlm,
    pub(crate) shared: &'a Shared<'a>,
    pub(crate) unit: &'a Unit<'a>,
}

/// The unit's prompts, and its pictures encoded when somebody first needs them.
pub(crate) struct Prepared {
    pictures: Option<Encoded>,
    /// Width and height of what the encoder looks at of each of [`Self::pictures`].
    inputs: Vec<[f64; 2]>,
    blanks: Option<Encoded>,
    /// What each token of a question's picture is worth to its answer, by position rule and place in the unit.
    pub(crate) importance: HashMap<(PositionRule, usize), Vec<f32>>,
    prompts: Option<Vec<Vec<u32>>>,
    bare_prompts: Option<Vec<Vec<u32>>>,
}

/// What the language model gets to see of the unit's pictures, one row each.
struct Seen {
    visual: VisualInput,
    counts: Vec<(usize, usize)>,
    /// Rows are questions of a batch instead of pictures of the unit.
    by_question: bool,
}

impl Seen {
    /// The row of a question: its place in the batch, or its picture.
    fn row(&self, place: usize, picture: usize) -> usize {
        if self.by_question { place } else { picture }
    }
}

/// An answer.
struct Answer {
    text: String,
    /// The average of visual tokens over the layers, for a method inside the language model.
    kept: Option<usize>,
    /// The probability of yes among yes and no as the answer's first word, for a yes/no question.
    yes: Option<f64>,
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
            inputs: Vec::new(),
            blanks: None,
            importance: HashMap::new(),
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
        let asked = |place: &usize| self.shared.asks(setting, self.unit.questions[*place].0);
        let asked: Vec<usize> = (0..self.unit.questions.len()).filter(asked).collect();
        let mut seen = None;
        for places in asked.chunks(n_prompts) {
            let questions: Vec<(&Question, usize)> =
                places.iter().map(|&place| self.unit.questions[place]).collect();
            if self.shared.is_done(setting, &questions) {
                continue;
            }
            if setting.arm.reads_the_question() {
                // What stays depends on the question, so each of them selects for itself.
                seen = Some(self.see(setting, prepared, Some(places))?);
            } else if seen.is_none() && setting.arm.input != ArmInput::TextOnly {
                seen = Some(self.see(setting, prepared, None)?);
            }
            let prompts = self.prompts(setting.arm.input, prepared)?;
            let prompts: Vec<Vec<u32>> = places.iter().map(|&place| prompts[place].clone()).collect();
            let answers = self.answer(setting, &questions, &prompts, seen.as_ref())?;
            self.shared
                .record(self.records(setting, &questions, answers, seen.as_ref()))?;
        }
        Ok(())
    }

    /// Selects and projects for every picture of the unit, or for the questions at these places of the unit.
    fn see(
        &self,
        setting: &Setting<'_>,
        prepared: &mut Prepared,
        questions: Option<&[usize]>,
    ) -> Result<Seen, EvalError> {
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
        let Some(pruner) = &setting.arm.pruner else {
            let features = self.vlm.project(encoded.tokens.clone());
            let rule = setting.arm.positions.unwrap_or_default();
            let visual = self
                .vlm
                .visual_input(features, &encoded.layouts, &encoded.all_indices(), rule);
            return Ok(Seen {
                visual,
                counts: encoded.counts().into_iter().zip(totals).collect(),
                by_question: questions.is_some(),
            });
        };
        let options = PruneOptions {
            budget: setting.budget,
            positions: setting.arm.positions,
            seed: setting.arm.seed,
            sample_ids: Some(
                rows.iter()
                    .map(|&picture| sample_id(self.unit.pictures[picture]))
                    .collect(),
            ),
            relevance: match (importance, pruner.signals().relevance) {
                (_, false) => None,
                (Some(importance), true) => Some(rows_of(&importance, encoded)),
                (None, true) => self.relevance(encoded, &rows),
            },
            questions: questions.map(|places| self.question_ids(places)).transpose()?,
        };
        let (visual, selection) = prune(self.vlm, encoded, pruner.as_ref(), &options)
            .map_err(|error| EvalError::Model(error.into()))?;
        let counts = totals
            .iter()
            .enumerate()
            .map(|(row, &total)| (selection.count(row), total))
            .collect();
        Ok(Seen {
            visual,
            counts,
            by_question: questions.is_some(),
        })
    }

    /// The ids of the questions' words.
    fn question_ids(&self, places: &[usize]) -> Result<Vec<Vec<u32>>, EvalError> {
        let tokenizer = self.vlm.tokenizer();
        let ids = places
            .iter()
            .map(|&place| tokenizer.encode(&self.unit.questions[place].0.text, false));
        Ok(ids.collect::<Result<_, _>>()?)
    }

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

    /// The unit's pictures (or blanks of their sizes), encoded once with the signals of every arm.
    pub(crate) fn encoded<'p>(
        &self,
        input: ArmInput,
        prepared: &'p mut Prepared,
    ) -> Result<&'p Encoded, EvalError> {
        let blank = input == ArmInput::BlankImage;
        let slot = if blank {
            &mut prepared.blanks
        } else {
            &mut prepared.pictures
        };
        if let Some(encoded) = slot {
            return Ok(encoded);
        }
        let mut pictures = self.load()?;
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
        if !blank {
            prepared.inputs = inputs(&pixels);
        }
        let encoded = self.vlm.encode(pixels, signals);
        Ok(slot.insert(encoded))
    }

    /// The unit's pictures, each shrunk until it is worth the setting's budget.
    fn downsampled(&self, setting: &Setting<'_>, prepared: &mut Prepared) -> Result<Encoded, EvalError> {
        let totals = self.encoded(setting.arm.input, prepared)?.counts();
        let shrunk = |(place, image): (usize, RgbImage)| {
            let total = totals[place];
            let kept = setting
                .budget
                .resolve(total)
                .map_err(|error| EvalError::Model(error.into()))?;
            Ok(downsampled(&image, prepared.inputs[place], kept, total))
        };
        let pictures: Vec<RgbImage> = self
            .load()?
            .into_iter()
            .enumerate()
            .map(shrunk)
            .collect::<Result<_, EvalError>>()?;
        let pixels = self.vlm.preprocess(&pictures)?;
        Ok(self.vlm.encode(pixels, setting.arm.signals()))
    }

    /// The unit's pictures, read from their files.
    fn load(&self) -> Result<Vec<RgbImage>, EvalError> {
        let load = |question: &&Question| question.load_image().map_err(EvalError::from);
        self.unit.pictures.iter().map(load).collect()
    }

    /// The prompts of all questions of the unit.
    pub(crate) fn prompts<'p>(
        &self,
        input: ArmInput,
        prepared: &'p mut Prepared,
    ) -> Result<&'p [Vec<u32>], EvalError> {
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
        setting: &Setting<'_>,
        questions: &[(&Question, usize)],
        prompts: &[Vec<u32>],
        seen: Option<&Seen>,
    ) -> Result<Vec<Answer>, VlmError> {
        let options = self
            .vlm
            .generate_options()
            .with_max_new_tokens(self.longest(questions));
        let visual = seen.map(|seen| {
            let places = questions.iter().enumerate();
            let rows: Vec<usize> = places
                .map(|(place, &(_, picture))| seen.row(place, picture))
                .collect();
            seen.visual.rows(&rows)
        });
        let pruner = setting.arm.pruner.as_deref();
        let tokenizer = self.vlm.tokenizer();
        let mut yes = vec![None; questions.len()];
        let mut on_scores = |row: usize, scores: &[f32]| {
            if let (Some((question, _)), Some(yes)) = (questions.get(row), yes.get_mut(row))
                && matches!(question.reference, Reference::YesNo(_))
            {
                let ids = self.shared.yes_no.get_or_init(|| YesNoIds::of(tokenizer));
                *yes = ids.probability_of_yes(scores);
            }
        };
        let mut hooks = Hooks {
            on_scores: Some(&mut on_scores),
            decoder: pruner
                .and_then(|pruner| DecoderPruning::of(pruner, setting.budget, setting.arm.positions)),
            ..Hooks::default()
        };
        let answers = self
            .vlm
            .generate_with(prompts, visual.as_ref(), &options, &mut hooks)?;
        let report = hooks.report.unwrap_or_default();
        let answer = |(place, ids): (usize, &Vec<u32>)| Answer {
            text: tokenizer.decode(ids, true).trim().to_string(),
            kept: report
                .sequences
                .get(place)
                .map(|sequence| sequence.processed_average().round() as usize),
            yes: yes.get(place).copied().flatten(),
        };
        Ok(answers.iter().enumerate().map(answer).collect())
    }

    fn records(
        &self,
        setting: &Setting<'_>,
        questions: &[(&Question, usize)],
        answers: Vec<Answer>,
        seen: Option<&Seen>,
    ) -> Vec<Record> {
        let protocols = &self.shared.run.options.protocols;
        let record = |(place, (&(question, picture), answer)): (usize, (&(&Question, usize), Answer))| {
            let (kept, total) = seen.map_or((0, 0), |seen| seen.counts[seen.row(place, picture)]);
            let Answer {
                text: answer,
                kept: inside,
                yes,
            } = answer;
            let kept = inside.unwrap_or(kept);
            let protocol = protocols.of(question.benchmark);
            let said = question.benchmark.yes_or_no(&answer, protocol);
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
                answer,
                probability: yes.zip(said).map(of_said),
            }
        };
        questions.iter().zip(answers).enumerate().map(record).collect()
    }
}
