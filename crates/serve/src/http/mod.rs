//! Routes, and what handlers share.

mod body;
mod chat;
mod guard;
mod info;
mod listener;
mod page;
mod select;
mod stream;

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use crate::config::ServeConfig;
use crate::engine::Model;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::picture::PictureReader;
pub(crate) use chat::now;
pub(crate) use guard::Guard;

pub(crate) use listener::{GuardedListener, Peer};

/// What handlers share.
pub(crate) struct App {
    pub config: Arc<ServeConfig>,
    pub models: Vec<Model>,
    pub metrics: Metrics,
    pub registry: Registry,
    pub pictures: Arc<PictureReader>,
    /// KiB of bodies that may lie in memory.
    pub bodies: Arc<Semaphore>,
    pub guard: Guard,
    /// Names this server's answers, beside their model.
    pub fingerprint: String,
    /// Seconds since 1970 when the server started.
    pub created: u64,
}

impl App {
    /// The model of a request; without a name the first one.
    pub fn model(&self, name: Option<&str>) -> Result<&Model, ApiError> {
        let found = match name {
            Some(name) => self.models.iter().find(|model| model.name == name),
            None => self.models.first(),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
            let name = name.unwrap_or_default();
            let message = format!("model: found `{name}`, expected one of {}", names.join(", "));
            ApiError::not_found("model_not_found", message)
        })
    }
}

/// The routes: method, path, and whether a key is needed where the server has one. `/openapi.json` describes the same, and
/// a test compares them.
pub(crate) const ROUTES: [(Method, &str, bool); 9] = [
    (Method::GET, "/", false),
    (Method::GET, "/page/{name}", false),
    (Method::GET, "/health", false),
    (Method::GET, "/metrics", true),
    (Method::GET, "/openapi.json", false),
    (Method::GET, "/v1/models", true),
    (Method::GET, "/v1/models/{model}", true),
    (Method::POST, "/v1/chat/completions", true),
    (Method::POST, "/v1/diffprune/select", true),
];

/// The handler of a route.
fn handler(path: &str) -> Option<MethodRouter<Arc<App>>> {
    Some(match path {
        "/" => get(page::index),
        "/page/{name}" => get(page::file),
        "/health" => get(info::health),
        "/metrics" => get(info::metrics),
        "/openapi.json" => get(info::openapi),
        "/v1/models" => get(info::models),
        "/v1/models/{model}" => get(info::model),
        "/v1/chat/completions" => post(chat::complete),
        "/v1/diffprune/select" => post(select::select),
        _ => return None,
    })
}

/// All routes behind the guard.
pub(crate) fn router(app: Arc<App>) -> Router {
    let routes = ROUTES
        .iter()
        .filter_map(|(_, path, _)| Some((*path, handler(path)?)));
    let router = routes.fold(Router::new(), |router, (path, handler)| {
        router.route(path, handler)
    });
    router
        .fallback(guard::not_found)
        .method_not_allowed_fallback(guard::not_allowed)
        .layer(from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}

/// The route of a path, for metrics and keys: paths that a client makes up are all one.
pub(crate) fn route_of(path: &str) -> Option<&'static (Method, &'static str, bool)> {
    ROUTES.iter().find(|(_, route, _)| match route.split_once('{') {
        None => *route == path,
        Some((start, _)) => path
            .strip_prefix(start)
            .is_some_and(|rest| !rest.is_empty() && !rest.contains('/')),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_a_handler() {
        for (_, path, _) in &ROUTES {
            assert!(handler(path).is_some(), "{path}");
        }
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document: serde_json::Value = serde_json::from_str(info::OPENAPI).unwrap();
        let mut described = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, what) in methods.as_object().unwrap() {
                described.push((
                    method.to_uppercase(),
                    path.as_str(),
                    what.get("security").is_none(),
                ));
            }
        }
        let routes = ROUTES
            .iter()
            .map(|(method, path, key)| (method.to_string(), *path, *key));
        let mut routes: Vec<_> = routes.collect();
        routes.sort();
        described.sort();
        assert_eq!(described, routes);
    }

    /// The fields of a struct, as its source names them.
    fn fields_of(source: &str, name: &str) -> Vec<String> {
        let body = source.split(&format!("struct {name} {{")).nth(1).unwrap();
        let lines = body.split("\n}").next().unwrap().lines();
        lines
            .filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next())
            .map(str::to_string)
            .collect()
    }

    #[test]
    fn every_field_of_a_request_is_described() {
        let document: serde_json::Value = serde_json::from_str(info::OPENAPI).unwrap();
        let (chat, select) = (include_str!("../api/chat.rs"), include_str!("../api/select.rs"));
        for (source, name) in [
            (chat, "ChatRequest"),
            (select, "SelectRequest"),
            (chat, "Message"),
        ] {
            let properties = document["components"]["schemas"][name]["properties"]
                .as_object()
                .unwrap();
            let mut described: Vec<_> = properties.keys().cloned().collect();
            let mut fields = fields_of(source, name);
            described.sort();
            fields.sort();
            assert!(fields.len() > 1);
            assert_eq!(described, fields, "{name}");
        }
    }

    #[test]
    fn paths_are_told_by_their_routes() {
        let route = |path: &str| route_of(path).map(|(_, route, _)| *route);
        assert_eq!(route("/v1/models"), Some("/v1/models"));
        assert_eq!(route("/v1/models/a"), Some("/v1/models/{model}"));
        assert_eq!(route("/v1/models/a/b"), None);
        assert_eq!(route("/made/up"), None);
    }
}
