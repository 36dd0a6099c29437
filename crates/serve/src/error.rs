//! Why a server does not start, and what a client is told when a request is refused.

use std::net::SocketAddr;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use diffprune_lab::LabError;
use diffprune_pruner::PruneError;
use diffprune_vlm::VlmError;
use serde_json::{Value, json};

/// Why a server does not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The server would be open to others without a key.
    #[error(
        "found the address {addr} without a key, expected a key where other machines can reach the server; give one with \
         --api-key, or listen on 127.0.0.1"
    )]
    KeyNeeded {
        /// The address.
        addr: SocketAddr,
    },
    /// A setting that makes no sense.
    #[error("{name}: found {found}, expected {wanted}")]
    Setting {
        /// The setting, as the command line calls it.
        name: &'static str,
        /// The value found.
        found: String,
        /// The value expected.
        wanted: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}; is it taken? choose another one with --addr")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The system gives no threads or no timers.
    #[error("cannot start the server's threads")]
    Threads(#[source] std::io::Error),
    /// A model could not be read, or its default method is none.
    #[error("model {name}: {problem}")]
    Model {
        /// The name by which requests would call it.
        name: String,
        /// The problem, with its remedy.
        problem: String,
    },
}

/// What a client is told instead of an answer: a status, and OpenAI's error object.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    pub status: StatusCode,
    pub kind: &'static str,
    pub code: Option<&'static str>,
    pub param: Option<String>,
    pub message: String,
    pub retry_after: Option<u64>,
}

/// The type of errors that the client can mend.
const INVALID: &str = "invalid_request_error";

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code: None,
            param: None,
            message: message.into(),
            retry_after: None,
        }
    }

    /// A request that makes no sense; `param` names the field.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, INVALID, message);
        let param = param.into();
        Self {
            param: (!param.is_empty()).then_some(param),
            ..error
        }
    }

    /// A request that would get another answer than it asks for.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(param, message).with_code("unsupported_parameter")
    }

    /// A request that is refused for what it is: its origin, its size, its speed.
    pub fn refused(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self::new(status, INVALID, message).with_code(code)
    }

    /// Something that does not exist.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::refused(StatusCode::NOT_FOUND, code, message)
    }

    /// The queue is full.
    pub fn busy(waiting: usize, seconds: u64) -> Self {
        let message = format!("{waiting} requests wait already; try again in {seconds} s");
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        error.with_code("queue_full").after(seconds)
    }

    /// The server cannot answer now.
    pub fn unavailable(code: &'static str, message: impl Into<String>, seconds: u64) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message);
        error.with_code(code).after(seconds)
    }

    /// Something is wrong with the server itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The same with a code for programs.
    pub fn with_code(self, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    fn after(self, seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }

    /// OpenAI's error object.
    pub fn body(&self) -> Value {
        json!({"error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        }})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = self.body().to_string();
        let json = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status, json, body).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<PruneError> for ApiError {
    fn from(error: PruneError) -> Self {
        let message = error.to_string();
        match error {
            PruneError::EmptyBudget { .. } | PruneError::UnreachableBudget { .. } => {
                Self::unsupported("visual_tokens", message)
            }
            PruneError::MissingSignal { .. } => Self::unsupported("pruner", message),
            PruneError::NotFinite { .. } => Self::internal(message),
            _ => Self::invalid("pruner", message),
        }
    }
}

impl From<VlmError> for ApiError {
    fn from(error: VlmError) -> Self {
        let message = error.to_string();
        match error {
            VlmError::ContextOverflow { .. } => {
                Self::invalid("messages", message).with_code("context_length_exceeded")
            }
            VlmError::Prune(error) => error.into(),
            VlmError::Placeholders { .. }
            | VlmError::Prompt { .. }
            | VlmError::Image { .. }
            | VlmError::Text(_) => Self::invalid("messages", message),
            _ => Self::internal(message),
        }
    }
}

impl From<LabError> for ApiError {
    fn from(error: LabError) -> Self {
        Self::unsupported("pruner", error.to_string())
    }
}
