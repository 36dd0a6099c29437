//! The loop of a model's thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diffprune_vlm::{DecodeBatch, Finish, StepToken, Vlm};

use super::inside::Decisions;
use super::job::{ChatJob, Event, Job, SelectJob};
use super::pictures::Pictures;
use super::prefixes::Prefixes;
use super::queue::Queue;
use super::sequence::Sequence;
use crate::error::ApiError;
use crate::metrics::ModelMetrics;

/// How busy a model is, for whoever looks from outside its thread.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub running: AtomicUsize,
    pub kv_bytes: AtomicU64,
}

/// What lives on a model's thread.
pub(super) struct Engine<'m> {
    pub vlm: &'m dyn Vlm,
    pub pictures: Pictures<'m>,
    pub prefixes: Prefixes,
    pub decisions: Decisions<'m>,
    pub metrics: ModelMetrics,
    pub load: Arc<Load>,
    /// Most sequences at a time.
    pub most: usize,
    /// Most requests that join between two steps.
    pub joins: usize,
    /// Time after which no further one joins before the next step.
    pub join_time: Duration,
}

impl<'m> Engine<'m> {
    /// Works until the queue is closed and the running answers are complete.
    ///
    /// A few requests join between two steps, in the order in which they came: nobody is overtaken, and a crowd is let in
    /// quickly. They delay the answers that are being made by a bounded time: that in which several may join, and the reading
    /// of one prompt, which is not interrupted.
    pub fn run(&mut self, queue: &Arc<Queue<Job>>) {
        let mut batch = self.vlm.decode_batch();
        let mut running: Vec<Sequence<'m>> = Vec::new();
        loop {
            let first = match running.is_empty() {
                true => match queue.pop() {
                    Some(job) => Some(job),
                    None => return,
                },
                false => None,
            };
            let start = Instant::now();
            let mut joined = 0;
            let mut next = first.or_else(|| self.next(queue, running.len()));
            while let Some(job) = next {
                self.begin(job, &mut batch, &mut running);
                joined += 1;
                let is_over = joined >= self.joins || start.elapsed() >= self.join_time;
                next = if is_over {
                    None
                } else {
                    self.next(queue, running.len())
                };
            }
            self.tell_load(batch.as_ref(), running.len());
            if !running.is_empty() {
                self.step(&mut batch, &mut running);
                self.tell_load(batch.as_ref(), running.len());
            }
        }
    }

    /// The next waiting request, if there is room for it beside as many sequences.
    fn next(&self, queue: &Queue<Job>, running: usize) -> Option<Job> {
        (running < self.most).then(|| queue.try_pop()).flatten()
    }

    fn begin(&mut self, job: Job, batch: &mut Box<dyn DecodeBatch>, running: &mut Vec<Sequence<'m>>) {
        match job {
            Job::Chat(job) => self.take(*job, batch, running),
            Job::Select(job) => self.answer_selection(*job),
        }
    }

    fn tell_load(&self, batch: &dyn DecodeBatch, running: usize) {
        self.load.running.store(running, Ordering::Relaxed);
        self.load.kv_bytes.store(batch.kv_bytes(), Ordering::Relaxed);
    }

    /// Adds a request to the batch.
    fn take(&mut self, job: ChatJob, batch: &mut Box<dyn DecodeBatch>, running: &mut Vec<Sequence<'m>>) {
        if job.events.is_closed() {
            self.metrics.cancelled();
            return;
        }
        let events = job.events.clone();
        let admitted = catch_unwind(AssertUnwindSafe(|| self.admit(job, batch.as_mut())));
        // Whoever went away is noticed after the next step.
        let _ = match admitted {
            Ok(Ok(sequence)) => {
                running.push(sequence);
                events.send(Event::Read)
            }
            Ok(Err(error)) => events.send(Event::Failed(error)),
            Err(_) => {
                let error = ApiError::internal("the model failed on this request");
                self.fail_all(&error, batch, running);
                events.send(Event::Failed(error))
            }
        };
    }

    /// One token for every sequence.
    fn step(&mut self, batch: &mut Box<dyn DecodeBatch>, running: &mut Vec<Sequence<'m>>) {
        let told = match catch_unwind(AssertUnwindSafe(|| batch.step())) {
            Ok(Ok(told)) => told,
            Ok(Err(error)) => return self.fail_all(&error.into(), batch, running),
            Err(_) => {
                let error = ApiError::internal("the model failed while it answered");
                return self.fail_all(&error, batch, running);
            }
        };
        for token in told {
            self.pass_on(token, batch.as_mut(), running);
        }
        self.sort_out(batch.as_mut(), running);
    }

    /// Gives a sequence its token, and its end.
    fn pass_on(&mut self, told: StepToken, batch: &mut dyn DecodeBatch, running: &mut Vec<Sequence<'m>>) {
        let Some(place) = running.iter().position(|sequence| sequence.id == told.id) else {
            return;
        };
        let stopped = told
            .token
            .is_some_and(|id| running[place].push(id, &self.metrics));
        let reason = match (stopped, told.finished) {
            (true, finished) => {
                if finished.is_none() {
                    batch.leave(told.id);
                }
                "stop"
            }
            (false, None) => return,
            (false, Some(Finish::Stop)) => "stop",
            (false, Some(Finish::NotFinite)) => {
                let error = "the model's scores are not finite; its weights are damaged, or need a wider number format";
                return running.remove(place).fail(ApiError::internal(error));
            }
            (false, Some(_)) => "length",
        };
        self.finish(running.remove(place), reason, None);
    }

    fn finish(&self, sequence: Sequence<'m>, reason: &'static str, warning: Option<String>) {
        let usage = sequence.finish(reason, warning, self.vlm.kv_bytes_per_token());
        self.metrics.finished(&usage);
    }

    /// Takes out sequences that nobody waits for, and those whose time is up.
    fn sort_out(&mut self, batch: &mut dyn DecodeBatch, running: &mut Vec<Sequence<'m>>) {
        let now = Instant::now();
        let mut place = 0;
        while place < running.len() {
            if running[place].is_abandoned() {
                batch.leave(running.remove(place).id);
                self.metrics.cancelled();
            } else if running[place].is_late(now) {
                let sequence = running.remove(place);
                batch.leave(sequence.id);
                let warning = "the server's time for a request was up, and the answer ends here";
                self.finish(sequence, "length", Some(warning.into()));
            } else {
                place += 1;
            }
        }
    }

    /// Ends every sequence after a failure of the batch as a whole, and begins a new one.
    fn fail_all(
        &mut self,
        error: &ApiError,
        batch: &mut Box<dyn DecodeBatch>,
        running: &mut Vec<Sequence<'m>>,
    ) {
        for sequence in running.drain(..) {
            sequence.fail(error.clone());
        }
        *batch = self.vlm.decode_batch();
    }

    fn answer_selection(&mut self, job: SelectJob) {
        if job.answer.is_closed() {
            return self.metrics.cancelled();
        }
        let SelectJob {
            picture,
            methods,
            seed,
            question,
            answer,
        } = job;
        let selected = catch_unwind(AssertUnwindSafe(|| {
            self.select(&picture, &methods, seed, question.as_deref())
        }));
        let failed = || Err(ApiError::internal("the model failed on this picture"));
        // Whoever went away needs no answer.
        let _ = answer.send(selected.unwrap_or_else(|_| failed()));
    }
}
