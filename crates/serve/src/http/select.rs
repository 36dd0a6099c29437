//! `POST /v1/diffprune/select`.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::chat::parse;
use super::info::as_json;
use super::{App, body};
use crate::api::{ImageAsked, SelectRequest};
use crate::engine::{Job, SelectJob};
use crate::error::ApiError;

/// What methods keep of a picture.
pub(super) async fn select(State(app): State<Arc<App>>, body: Body) -> Result<Response, ApiError> {
    let deadline = Instant::now() + app.config.limits.request_time;
    let whole = body::read(&app, body).await?;
    let request: SelectRequest = parse(&whole.bytes)?;
    let model = app.model(request.model.as_deref())?;
    let methods = request.methods(&app.config.limits)?.to_vec();
    let (url, choice) = request.picture();
    let asked = ImageAsked {
        url,
        place: "image_url".into(),
        turn: 0,
        choice,
    };
    let mut pictures = app.pictures.read(vec![asked]).await?;
    drop(whole);
    let picture = pictures
        .pop()
        .ok_or_else(|| ApiError::internal("the picture is gone"))?;
    let (send, answer) = oneshot::channel();
    let job = SelectJob {
        picture,
        methods,
        seed: request.seed.unwrap_or_default() as u64,
        question: request.question,
        answer: send,
    };
    let _place = model.submit(Job::Select(Box::new(job)))?;
    match timeout_at(deadline.into(), answer).await {
        Ok(Ok(selected)) => {
            let mut selected = selected?;
            selected.model.clone_from(&model.name);
            Ok(as_json(StatusCode::OK, &selected))
        }
        Ok(Err(_)) => Err(ApiError::unavailable("stopping", "the server is stopping", 1)),
        Err(_) => {
            let message = "the request waited for its model longer than the server's time for a request";
            Err(ApiError::unavailable("queue_timeout", message, 5))
        }
    }
}
