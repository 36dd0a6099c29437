//! Bodies of requests, within bounds of size and time.

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::http::StatusCode;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::App;
use crate::error::ApiError;

/// A body that is here as a whole, and the memory that it takes.
pub(super) struct Whole {
    pub bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

/// Reads a body. Waits while other requests' bodies fill the memory that is set aside.
pub(super) async fn read(app: &App, body: Body) -> Result<Whole, ApiError> {
    let limits = &app.config.limits;
    let most = limits.body_bytes;
    let told = body.size_hint();
    let too_large = || {
        let message = format!("found a body of more than {most} bytes, expected at most as many");
        ApiError::refused(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    };
    if told.lower() > most as u64 {
        return Err(too_large());
    }
    // A body of unknown length may be as long as any.
    let size = told.exact().map_or(most, |size| size as usize);
    let read = async {
        let memory = app.bodies.clone().acquire_many_owned(kib(size)).await;
        let memory = memory.map_err(|_| ApiError::unavailable("stopping", "the server is stopping", 1))?;
        let bytes = to_bytes(body, most).await;
        let bytes = bytes.map_err(|error| match is_too_long(&error) {
            true => too_large(),
            false => ApiError::refused(
                StatusCode::BAD_REQUEST,
                "body_broken",
                "the body did not arrive whole",
            ),
        })?;
        Ok(Whole {
            bytes,
            _memory: memory,
        })
    };
    timeout(limits.body_time, read).await.unwrap_or_else(|_| {
        let message = format!(
            "the body did not arrive within {} s",
            limits.body_time.as_secs_f64()
        );
        Err(ApiError::refused(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            message,
        ))
    })
}

/// KiB of so many bytes, as permits.
pub(super) fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).max(1)
}

/// `to_bytes` has one error; the cause tells which.
fn is_too_long(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("length limit exceeded") {
            return true;
        }
        cause = error.source();
    }
    false
}
