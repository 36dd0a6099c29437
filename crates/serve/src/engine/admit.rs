//! From a waiting request to a sequence of the batch.

use std::time::Instant;

use diffprune_pruner::Budget;
use diffprune_vlm::{
    DecodeBatch, GenerateOptions, JoinRequest, Joined, PreparedImages, Turn, prepare_encoded,
};

use super::inside::{DecisionKey, decide};
use super::job::ChatJob;
use super::methods::Offered;
use super::pictures::{Chosen, Wish};
use super::run::Engine;
use super::sequence::{Sequence, Start};
use super::timer::Timer;
use crate::api::{ImageUsage, Usage};
use crate::error::ApiError;
use crate::picture::Picture;

/// A prompt that was read.
struct Read {
    joined: Joined,
    /// Tokens of it that were read before.
    cached: usize,
    /// The budget of the method inside the language model, where there is one.
    budget: usize,
}

/// The pictures of a request, chosen from.
struct ChosenPictures<'m> {
    each: Vec<Chosen<'m>>,
    /// The method inside the language model, where there is one.
    inside: Option<&'m Offered>,
}

impl<'m> Engine<'m> {
    /// Encodes and prunes the pictures of a request, reads its prompt and adds it to the batch.
    pub(super) fn admit(
        &mut self,
        job: ChatJob,
        batch: &mut dyn DecodeBatch,
    ) -> Result<Sequence<'m>, ApiError> {
        let started = Instant::now();
        let mut timer = Timer::new(self.vlm);
        let mut warnings = job.warnings;
        let options = (job.wishes)(self.vlm.generate_options(), &mut warnings)?;
        let prompt = self.vlm.prompt_ids(&job.turns)?;
        let chosen = self.choose(&job.turns, &job.pictures, job.seed, &mut timer)?;
        warnings.extend(chosen.each.iter().filter_map(|chosen| chosen.warning.clone()));
        let read = match chosen.inside {
            None => self.read(&prompt, &chosen, &options, batch)?,
            Some(offered) => {
                let decided = job.pictures.last().map_or(0, |picture| picture.turn);
                let first = self.prompt_of_turn(&job.turns, decided)?;
                let pictures = Inside {
                    offered,
                    pictures: &job.pictures,
                    chosen: &chosen.each,
                    seed: job.seed,
                };
                self.read_inside(&prompt, first, pictures, &options, batch)?
            }
        };
        timer.read();
        timer.times.queue = 1e3 * started.duration_since(job.queued).as_secs_f64();
        let mut usage = self.usage(&read, &chosen.each);
        usage.time_ms = timer.times;
        usage.seed = seed_of(&options);
        warnings.extend(uneven(&usage, chosen.inside, read.budget));
        let start = Start {
            id: read.joined.id,
            events: job.events,
            stops: job.stops,
            usage,
            warnings,
            queued: job.queued,
            deadline: job.deadline,
        };
        Ok(Sequence::new(self.vlm, start))
    }

    /// The prompt as it stood when turn `turn` was asked.
    fn prompt_of_turn(&self, turns: &[Turn], turn: usize) -> Result<Vec<u32>, ApiError> {
        let mut turns = turns[..=turn.min(turns.len() - 1)].to_vec();
        if let Some(last) = turns.last_mut() {
            last.answer = None;
        }
        Ok(self.vlm.prompt_ids(&turns)?)
    }

    fn choose(
        &mut self,
        turns: &[Turn],
        pictures: &[Picture],
        seed: u64,
        timer: &mut Timer<'_>,
    ) -> Result<ChosenPictures<'m>, ApiError> {
        let methods = self.pictures.methods();
        let mut offered = Vec::with_capacity(pictures.len());
        for picture in pictures {
            offered.push(methods.find(picture.choice.pruner.as_deref())?);
        }
        let inside = offered.iter().copied().find(|offered| offered.is_inside());
        let other =
            inside.and_then(|inside| Some((inside, offered.iter().find(|other| other.name != inside.name)?)));
        if let Some((inside, other)) = other {
            let message = format!(
                "pruner: found `{}` and `{}`, expected one method for all pictures of a request where one of them acts inside \
                 the language model, as `{}` does",
                inside.name, other.name, inside.name
            );
            return Err(ApiError::unsupported("pruner", message));
        }
        let mut each = Vec::with_capacity(pictures.len());
        for (number, (picture, offered)) in pictures.iter().zip(offered).enumerate() {
            let question = turns.get(picture.turn).map_or("", |turn| turn.question.as_str());
            let wish = Wish {
                picture,
                number: number + 1,
                offered,
                seed,
                question,
            };
            each.push(self.pictures.choose(wish, timer)?);
        }
        Ok(ChosenPictures { each, inside })
    }

    /// Reads a prompt whose pictures are pruned, after what is known of its beginning.
    fn read(
        &mut self,
        prompt: &[u32],
        chosen: &ChosenPictures<'m>,
        options: &GenerateOptions,
        batch: &mut dyn DecodeBatch,
    ) -> Result<Read, ApiError> {
        let images = joined(chosen.each.iter().map(|chosen| chosen.images.clone()));
        let keys: Vec<_> = chosen.each.iter().map(|chosen| chosen.key.clone()).collect();
        let prefix = self.prefixes.of(self.vlm, prompt, &keys, &images)?;
        let Some((prefix, known)) = prefix else {
            let joined = batch.join(JoinRequest::new(prompt, &images, options))?;
            return Ok(Read {
                joined,
                cached: 0,
                budget: 0,
            });
        };
        let none = PreparedImages::none();
        let rest = JoinRequest::new(&prompt[prefix.n_ids()..], &none, options).with_prefix(&prefix);
        let joined = batch.join(rest)?;
        let cached = if known { prefix.len() } else { 0 };
        Ok(Read {
            joined,
            cached,
            budget: 0,
        })
    }

    /// Reads a prompt with a method inside the language model.
    fn read_inside(
        &mut self,
        prompt: &[u32],
        first: Vec<u32>,
        asked: Inside<'_, 'm>,
        options: &GenerateOptions,
        batch: &mut dyn DecodeBatch,
    ) -> Result<Read, ApiError> {
        let keys = asked.chosen.iter().map(|chosen| chosen.key.clone()).collect();
        let key = DecisionKey {
            pictures: keys,
            prompt: first,
        };
        let Some((once, is_known)) = self.decisions.of(&key, asked.offered) else {
            return Err(ApiError::internal(
                "a method inside the language model has no part inside it",
            ));
        };
        // Each picture has its share; inside the language model they are one budget.
        let share = asked.chosen.iter().map(|chosen| chosen.count).sum();
        let budget = Budget::Tokens(share);
        let mut each = Vec::new();
        for picture in asked.pictures {
            let wish = Wish {
                picture,
                number: 0,
                offered: asked.offered,
                seed: asked.seed,
                question: "",
            };
            let (encoded, _) = self.pictures.encoded(picture, asked.offered.pruner.signals())?;
            let options = self.pictures.options(&wish, budget)?;
            each.push(prepare_encoded(self.vlm, &encoded, &*once, &options)?);
        }
        let images = joined(each.into_iter());
        let is_later = prompt != key.prompt;
        let mut read = || -> Result<Joined, ApiError> {
            if is_later && !is_known {
                decide(self.vlm, &key.prompt, &images)?;
            }
            Ok(batch.join(JoinRequest::new(prompt, &images, options))?)
        };
        match read() {
            Ok(joined) => {
                drop(images);
                self.decisions.keep(key, once);
                Ok(Read {
                    joined,
                    cached: 0,
                    budget: share,
                })
            }
            Err(error) => {
                self.decisions.forget(&key);
                Err(error)
            }
        }
    }

    /// The counts of a prompt that was read.
    fn usage(&self, read: &Read, chosen: &[Chosen<'m>]) -> Usage {
        let mut images: Vec<ImageUsage> = chosen.iter().map(|chosen| chosen.usage.clone()).collect();
        let total: usize = images.iter().map(|image| image.total).sum();
        let entered: usize = images.iter().map(|image| image.kept).sum();
        let sequence = read
            .joined
            .report
            .as_ref()
            .and_then(|report| report.sequences.first());
        // A method inside the language model keeps another number in each layer: the average is told.
        let kept = sequence.map_or(entered, |sequence| sequence.processed_average().round() as usize);
        if let (Some(_), [image]) = (sequence, images.as_mut_slice()) {
            image.kept = kept;
        }
        let token_bytes = self.vlm.kv_bytes_per_token();
        let prompt_tokens = read.joined.prompt_tokens;
        Usage {
            prompt_tokens,
            prompt_tokens_details: crate::api::PromptDetails {
                cached_tokens: read.cached,
            },
            visual_tokens_total: total,
            visual_tokens_kept: kept,
            images,
            kv_bytes: token_bytes * (prompt_tokens + kept).saturating_sub(entered) as u64,
            kv_bytes_saved: token_bytes * total.saturating_sub(kept) as u64,
            ..Usage::default()
        }
    }
}

/// A request whose method acts inside the language model.
#[derive(Clone, Copy)]
struct Inside<'a, 'm> {
    offered: &'m Offered,
    pictures: &'a [Picture],
    chosen: &'a [Chosen<'m>],
    seed: u64,
}

/// What is to be told of a method inside the language model whose layers work on another number of tokens than the
/// budget: most of them see every token in the first layers, and some have shares of their own.
fn uneven(usage: &Usage, inside: Option<&Offered>, budget: usize) -> Option<String> {
    let name = &inside?.name;
    let kept = usage.visual_tokens_kept;
    (kept != budget).then(|| {
        format!(
            "{name} works on {kept} visual tokens on the average of the layers where {budget} were asked for"
        )
    })
}

fn joined<'p>(each: impl Iterator<Item = PreparedImages<'p>>) -> PreparedImages<'p> {
    each.fold(PreparedImages::none(), PreparedImages::and)
}

fn seed_of(options: &GenerateOptions) -> u64 {
    match options.sampling {
        diffprune_vlm::Sampling::Random { seed, .. } => seed,
        diffprune_vlm::Sampling::Greedy => 0,
    }
}
