//! An answer while it is made.

use std::time::Instant;

use diffprune_vlm::{SequenceId, TextStream, Vlm};
use tokio::sync::mpsc::UnboundedSender;

use super::job::{Event, Outcome};
use super::stop::StopFilter;
use crate::api::Usage;
use crate::metrics::ModelMetrics;

/// An answer while it is made.
pub(super) struct Sequence<'m> {
    pub id: SequenceId,
    vlm: &'m dyn Vlm,
    events: UnboundedSender<Event>,
    stream: TextStream<'m>,
    filter: StopFilter,
    ids: Vec<u32>,
    usage: Usage,
    warnings: Vec<String>,
    queued: Instant,
    read: Instant,
    last: Instant,
    deadline: Instant,
}

/// What a new sequence begins with.
pub(super) struct Start {
    pub id: SequenceId,
    pub events: UnboundedSender<Event>,
    pub stops: Vec<String>,
    pub usage: Usage,
    pub warnings: Vec<String>,
    pub queued: Instant,
    pub deadline: Instant,
}

impl<'m> Sequence<'m> {
    /// An answer to a prompt that was just read.
    pub fn new(vlm: &'m dyn Vlm, start: Start) -> Self {
        let now = Instant::now();
        Self {
            id: start.id,
            vlm,
            events: start.events,
            stream: TextStream::new(vlm),
            filter: StopFilter::new(start.stops),
            ids: Vec::new(),
            usage: start.usage,
            warnings: start.warnings,
            queued: start.queued,
            read: now,
            last: now,
            deadline: start.deadline,
        }
    }

    /// True when nobody waits for the answer any more.
    pub fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// True when its time is up.
    pub fn is_late(&self, now: Instant) -> bool {
        now >= self.deadline
    }

    /// Takes the next id; true when one of the request's own texts ends the answer with it.
    pub fn push(&mut self, id: u32, metrics: &ModelMetrics) -> bool {
        let now = Instant::now();
        match self.ids.is_empty() {
            true => {
                let first = now.duration_since(self.queued).as_secs_f64();
                self.usage.time_ms.first_token = 1e3 * first;
                metrics.first_token(first);
            }
            false => metrics.between_tokens(now.duration_since(self.last).as_secs_f64()),
        }
        self.last = now;
        self.ids.push(id);
        if let Some(piece) = self.stream.push(id) {
            let text = self.filter.push(&piece);
            self.send(text);
        }
        self.filter.is_stopped()
    }

    /// The answer is complete: sends its rest, counts and times. Gives them too.
    pub fn finish(mut self, reason: &'static str, warning: Option<String>, token_bytes: u64) -> Usage {
        let whole = self.vlm.text_of(&self.ids);
        let rest = self.stream.rest(whole.trim()).to_string();
        let text = self.filter.push(&rest) + &self.filter.finish();
        self.send(text);
        let reason = if self.filter.is_stopped() { "stop" } else { reason };
        let n_new = self.ids.len();
        self.usage.completion_tokens = n_new;
        self.usage.total_tokens = self.usage.prompt_tokens + n_new;
        self.usage.kv_bytes += token_bytes * n_new as u64;
        self.usage.time_ms.decode = 1e3 * self.last.duration_since(self.read).as_secs_f64();
        self.warnings.extend(warning);
        let usage = self.usage.clone();
        // Whoever went away needs no counts.
        let _ = self.events.send(Event::Finished(Box::new(Outcome {
            reason,
            usage: self.usage,
            warnings: self.warnings,
        })));
        usage
    }

    /// There is no further answer.
    pub fn fail(self, error: crate::error::ApiError) {
        let _ = self.events.send(Event::Failed(error));
    }

    fn send(&self, text: String) {
        if !text.is_empty() {
            // Whoever went away is noticed after the step.
            let _ = self.events.send(Event::Text(text));
        }
    }
}
