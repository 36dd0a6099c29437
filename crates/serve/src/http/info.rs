//! What the server says about itself.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::App;
use crate::engine::{Model, State as ModelState};
use crate::error::ApiError;
use crate::metrics;

/// The description of the interface. A test compares it with the routes and the answers.
pub(crate) const OPENAPI: &str = include_str!("../openapi.json");

/// `GET /health`: 200 once every model answers.
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let word = |model: &Model| match model.state() {
        ModelState::Ready(_) => "ready",
        ModelState::Loading => "loading",
        ModelState::Failed(_) => "failed",
    };
    let models: Value = app
        .models
        .iter()
        .map(|model| (model.name.clone(), json!(word(model))))
        .collect();
    let words: Vec<&str> = app.models.iter().map(word).collect();
    let (status, code) = match (words.contains(&"failed"), words.contains(&"loading")) {
        (true, _) => ("failed", StatusCode::SERVICE_UNAVAILABLE),
        (false, true) => ("loading", StatusCode::SERVICE_UNAVAILABLE),
        (false, false) => ("ok", StatusCode::OK),
    };
    as_json(code, &json!({"status": status, "models": models}))
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    app.models.iter().for_each(Model::tell_load);
    let text = metrics::text(&app.registry).ok_or_else(|| ApiError::internal("metrics cannot be written"))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// `GET /openapi.json`.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// `GET /v1/models`.
pub(super) async fn models(State(app): State<Arc<App>>) -> Response {
    let data: Vec<Value> = app.models.iter().map(|model| described(&app, model)).collect();
    as_json(StatusCode::OK, &json!({"object": "list", "data": data}))
}

/// `GET /v1/models/{model}`.
pub(super) async fn model(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let model = app.model(Some(&name))?;
    Ok(as_json(StatusCode::OK, &described(&app, model)))
}

/// OpenAI's model object, and what is ours.
fn described(app: &App, model: &Model) -> Value {
    let (ready, ours) = match model.state() {
        ModelState::Ready(info) => (true, json!(*info)),
        ModelState::Loading => (false, json!({"status": "loading"})),
        ModelState::Failed(_) => (false, json!({"status": "failed"})),
    };
    json!({
        "id": model.name, "object": "model", "created": app.created, "owned_by": "diffprune", "ready": ready,
        "diffprune": ours,
    })
}

pub(super) fn as_json(status: StatusCode, body: &impl serde::Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => (status, [(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => ApiError::internal(format!("the answer cannot be written: {error}")).into_response(),
    }
}
