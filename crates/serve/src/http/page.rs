//! The page, embedded.

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// What the page may do: load what this server gives, and show pictures that its user chose.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The files of the page: name, media type, content. The pictures are of the small world that the small models know.
const FILES: [(&str, &str, &[u8]); 8] = [
    ("api.js", SCRIPT, include_bytes!("../page/api.js")),
    ("app.js", SCRIPT, include_bytes!("../page/app.js")),
    ("cards.js", SCRIPT, include_bytes!("../page/cards.js")),
    ("draw.js", SCRIPT, include_bytes!("../page/draw.js")),
    (
        "style.css",
        "text/css; charset=utf-8",
        include_bytes!("../page/style.css"),
    ),
    ("busy.png", "image/png", include_bytes!("../page/busy.png")),
    ("shapes.png", "image/png", include_bytes!("../page/shapes.png")),
    ("sign.png", "image/png", include_bytes!("../page/sign.png")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// `GET /`.
pub(super) async fn index() -> Response {
    answer("text/html; charset=utf-8", include_bytes!("../page/index.html"))
}

/// `GET /page/{name}`.
pub(super) async fn file(Path(name): Path<String>) -> Result<Response, ApiError> {
    let found = FILES.iter().find(|(known, _, _)| *known == name);
    let (_, kind, content) = found.ok_or_else(|| {
        let message = format!("found no `{name}`, expected a file of the page");
        ApiError::not_found("route_not_found", message)
    })?;
    Ok(answer(kind, content))
}

fn answer(kind: &'static str, content: &'static [u8]) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}
