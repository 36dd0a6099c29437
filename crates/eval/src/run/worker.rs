//! One unit of work: some pictures, all their questions, every arm.

use std::collections::HashMap;
use std::time::Instant;

use diffprune_pruner::{PositionRule, Signals};
use diffprune_vlm::{
    Encoded, Hooks, PreparedImages, PruneOptions, Turn, Vlm, VlmError, prepare_encoded, respond, unpruned,
};
use image::{Rgb, RgbImage};

use super::arm::{Arm, ArmInput, Truth};
use super::batch::{Unit, sample_id};
use super::downsample::{downsampled, inputs};
use super::failures::{guarded, is_of_a_sample};
use super::record::Record;
use super::relevance::rows_of;
use super::runner::{Setting, Shared};
use super::times::Laps;
use super::yes_no::YesNoIds;
use crate::EvalError;
use crate::data::{Protocol, Question, Reference};

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
    /// Seconds that the vision tower took for the unit's pictures, blanks and, of the last setting that shrinks them, small
    /// pictures.
    encode_s: [f64; 3],
    /// Seconds spent on pictures since the last selection began, reading and preparing included.
    on_pictures_s: f64,
}

/// Places in [`Prepared::encode_s`].
const PICTURES: usize = 0;
const BLANKS: usize = 1;
const SMALL: usize = 2;

/// The unit's pictures as the language model gets them, one row each.
struct Selected<'s> {
    images: PreparedImages<'s>,
    /// Tokens of each row's picture before anything was left out, also where it was shrunk.
    totals: Vec<usize>,
    /// Rows are questions of a batch instead of pictures of the unit.
    by_question: bool,
    /// Seconds of encoding and of selection for a picture, where they were measured.
    encode_s: f64,
    select_s: f64,
}

impl Selected<'_> {
    /// The row of a question: its place in the batch, or its picture.
    fn row(&self, place: usize, picture: usize) -> usize {
        if self.by_question { place } else { picture }
    }
}

/// An answer.
struct Answer {
    text: String,
    /// The visual tokens that entered each layer, and their average, for a method inside the language model.
    inside: Option<(Vec<usize>, usize)>,
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
            encode_s: [0.0; 3],
            on_pictures_s: 0.0,
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
        let mut selected = None;
        for places in asked.chunks(n_prompts) {
            let questions: Vec<(&Question, usize)> =
                places.iter().map(|&place| self.unit.questions[place]).collect();
            if self.shared.is_done(setting, &questions) {
                continue;
            }
            if setting.arm.reads_the_question() {
                // What stays depends on the question, so each of them selects for itself.
                selected = Some(self.select_timed(setting, prepared, Some(places))?);
            } else if selected.is_none() && setting.arm.input != ArmInput::TextOnly {
                selected = Some(self.select_timed(setting, prepared, None)?);
            }
            let prompts = self.prompts(setting.arm.input, prepared)?;
            let prompts: Vec<Vec<u32>> = places.iter().map(|&place| prompts[place].clone()).collect();
            let (answers, laps) = self.answer(&questions, &prompts, selected.as_ref())?;
            if let Some(times) = &self.shared.run.options.times {
                times.add(&setting.arm.name, setting.budget, laps);
            }
            self.shared
                .record(self.records(setting, &questions, answers, selected.as_ref()))?;
        }
        Ok(())
    }

    /// As [`Self::select`], with what it took.
    fn select_timed<'s>(
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
        let encoding = match setting.arm.input {
            ArmInput::Downsampled => prepared.encode_s[SMALL],
            ArmInput::BlankImage => prepared.encode_s[BLANKS],
            ArmInput::Image | ArmInput::TextOnly => prepared.encode_s[PICTURES],
        };
        selected.select_s = selecting / selected.totals.len().max(1) as f64;
        selected.encode_s = encoding / self.unit.pictures.len().max(1) as f64;
        Ok(selected)
    }

    /// Waits until the device has nothing left to do, where somebody asks for times.
    fn wait(&self) {
        if self.shared.run.options.times.is_some() {
            // A device that fails here fails again where the result is needed.
            let _ = self.vlm.device().sync();
        }
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
        let start = Instant::now();
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
        let encoding = Instant::now();
        let encoded = self.vlm.encode(pixels, signals);
        self.wait();
        prepared.encode_s[usize::from(blank)] = encoding.elapsed().as_secs_f64();
        prepared.on_pictures_s += start.elapsed().as_secs_f64();
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
        let start = Instant::now();
        let pictures: Vec<RgbImage> = self
            .load()?
            .into_iter()
            .enumerate()
            .map(shrunk)
            .collect::<Result<_, EvalError>>()?;
        let pixels = self.vlm.preprocess(&pictures)?;
        let encoding = Instant::now();
        let encoded = self.vlm.encode(pixels, setting.arm.signals());
        self.wait();
        prepared.encode_s[SMALL] = encoding.elapsed().as_secs_f64();
        prepared.on_pictures_s += start.elapsed().as_secs_f64();
        Ok(encoded)
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

    /// The model's trimmed answers, and the times of the batch.
    fn answer(
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

    fn records(
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
