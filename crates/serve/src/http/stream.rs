//! Answers in pieces, as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Serialize;

use super::chat::{Named, Pending};
use super::listener::Busy;
use crate::api::Chunk;
use crate::engine::Event;
use crate::error::ApiError;

/// An answer that is sent piece by piece.
pub(super) struct Pieces {
    pending: Pending,
    named: Named,
    with_usage: bool,
    ready: VecDeque<Bytes>,
    ended: bool,
    /// The connection is in use until the last piece is taken.
    _busy: Busy,
}

impl Pieces {
    /// The pieces of an answer that has begun.
    pub fn new(pending: Pending, named: Named, with_usage: bool, busy: Busy) -> Self {
        let first = event(&Chunk::first(named.head(), with_usage));
        Self {
            pending,
            named,
            with_usage,
            ready: VecDeque::from([first]),
            ended: false,
            _busy: busy,
        }
    }

    /// The next piece; `None` after the last.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(piece);
            }
            if self.ended {
                return None;
            }
            let event = self.pending.events.recv().await;
            self.take(event);
        }
    }

    fn take(&mut self, event_of_model: Option<Event>) {
        let head = self.named.head();
        match event_of_model {
            Some(Event::Read) => {}
            Some(Event::Text(text)) => self
                .ready
                .push_back(event(&Chunk::text(head, text, self.with_usage))),
            Some(Event::Finished(outcome)) => {
                let last = Chunk::last(head, outcome.reason, outcome.warnings, self.with_usage);
                self.ready.push_back(event(&last));
                if self.with_usage {
                    self.ready.push_back(event(&Chunk::usage(head, outcome.usage)));
                }
                self.end();
            }
            Some(Event::Failed(error)) => self.fail(&error),
            None => self.fail(&ApiError::unavailable("stopping", "the server is stopping", 1)),
        }
    }

    fn fail(&mut self, error: &ApiError) {
        self.ready.push_back(event(&error.body()));
        self.end();
    }

    fn end(&mut self) {
        self.ready.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
        self.ended = true;
    }
}

/// One server-sent event.
fn event(data: &impl Serialize) -> Bytes {
    // JSON has no line breaks outside its texts, and none unescaped in them.
    let json = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("data: {json}\n\n"))
}

/// The response that sends the pieces.
pub(super) fn response(pieces: Pieces) -> Response {
    let stream = unfold(pieces, |mut pieces| async move {
        let piece = pieces.next().await?;
        Some((Ok::<_, Infallible>(piece), pieces))
    });
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies in front must not collect the pieces.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
