//! `POST /v1/chat/completions`.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout_at;

use super::guard::RequestId;
use super::info::as_json;
use super::listener::Busy;
use super::stream::{self, Pieces};
use super::{App, body};
use crate::api::{Answer, ChatRequest, Head, conversation, refuse_unsupported};
use crate::config::Limits;
use crate::engine::{ChatJob, Event, Job, Outcome, Place};
use crate::error::ApiError;

/// A request that waits for its model, or is being answered. Dropping it takes it out of the queue or the batch.
pub(super) struct Pending {
    pub events: UnboundedReceiver<Event>,
    _place: Place<Job>,
}

/// What every answer begins with.
pub(super) struct Named {
    pub id: String,
    pub created: u64,
    pub model: String,
    pub fingerprint: String,
}

impl Named {
    pub fn head(&self) -> Head<'_> {
        Head {
            id: &self.id,
            created: self.created,
            model: &self.model,
            fingerprint: &self.fingerprint,
        }
    }
}

/// Continues a conversation.
pub(super) async fn complete(
    State(app): State<Arc<App>>,
    Extension(RequestId(id)): Extension<RequestId>,
    Extension(busy): Extension<Busy>,
    body: Body,
) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let whole = body::read(&app, body).await?;
    let fields: Value = parse(&whole.bytes)?;
    refuse_unsupported(&fields)?;
    drop(fields);
    let mut request: ChatRequest = parse(&whole.bytes)?;
    let model = app.model(request.model.as_deref())?;
    let asked = conversation(&mut request, &app.config.limits)?;
    let stops = request.stops()?;
    let (streams, with_usage) = (request.streams(), request.wants_usage());
    let pictures = app.pictures.read(asked.images).await?;
    drop(whole);
    let named = Named {
        id: format!("chatcmpl-{id}"),
        created: now(),
        model: model.name.clone(),
        fingerprint: app.fingerprint.clone(),
    };
    let (send, events) = unbounded_channel();
    let deadline = arrived + app.config.limits.request_time;
    let job = ChatJob {
        turns: asked.turns,
        pictures,
        seed: request.seed.unwrap_or_default() as u64,
        wishes: wishes(request, app.config.limits.clone()),
        stops,
        warnings: Vec::new(),
        events: send,
        queued: Instant::now(),
        deadline,
    };
    let _place = model.submit(Job::Chat(Box::new(job)))?;
    let mut pending = Pending { events, _place };
    // What is wrong with a request is known before its answer begins, so it gets a status of its own.
    match timeout_at(deadline.into(), pending.events.recv()).await {
        Err(_) => {
            let message = "the request waited for its model longer than the server's time for a request";
            return Err(ApiError::unavailable("queue_timeout", message, 5));
        }
        Ok(None) => return Err(ApiError::unavailable("stopping", "the server is stopping", 1)),
        Ok(Some(Event::Failed(error))) => return Err(error),
        Ok(Some(_)) => {}
    }
    match streams {
        true => {
            let pieces = Pieces::new(pending, named, with_usage, busy);
            Ok(stream::response(pieces))
        }
        false => {
            let (text, outcome) = collect(&mut pending.events).await?;
            let Outcome {
                reason,
                usage,
                warnings,
            } = outcome;
            let answer = Answer::new(named.head(), text, reason, usage, warnings);
            Ok(as_json(StatusCode::OK, &answer))
        }
    }
}

/// Makes the options of generation once the model's own are known.
fn wishes(request: ChatRequest, limits: Limits) -> crate::engine::Wishes {
    let seed = request.seed.map_or_else(drawn_seed, |seed| seed as u64);
    Box::new(move |own, warnings| request.options(own, &limits, seed, warnings))
}

/// A seed for a request that names none, short enough for every reader of JSON.
fn drawn_seed() -> u64 {
    RandomState::new().hash_one(0u8) & 0xffff_ffff
}

/// The whole text.
async fn collect(events: &mut UnboundedReceiver<Event>) -> Result<(String, Outcome), ApiError> {
    let mut text = String::new();
    loop {
        match events.recv().await {
            Some(Event::Read) => {}
            Some(Event::Text(piece)) => text.push_str(&piece),
            Some(Event::Finished(outcome)) => return Ok((text, *outcome)),
            Some(Event::Failed(error)) => return Err(error),
            None => return Err(ApiError::unavailable("stopping", "the server is stopping", 1)),
        }
    }
}

/// A body as a value.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("body: {error}; expected JSON as /openapi.json describes it");
        ApiError::invalid("", message)
    })
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH);
    passed.map_or(0, |passed| passed.as_secs())
}
