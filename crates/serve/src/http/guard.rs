//! What every request passes: its name, its `Host` and `Origin`, its key.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::listener::Peer;
use super::{App, route_of};
use crate::config::ServeConfig;
use crate::error::ApiError;

/// The header that names a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Most letters of a name that a client gives a request.
const LONGEST_ID: usize = 128;

/// The name of a request, for handlers.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub String);

/// Who may call the server, and by which names.
#[derive(Debug)]
pub(crate) struct Guard {
    bound: IpAddr,
    hosts: Vec<String>,
    origins: Vec<String>,
    key: Option<String>,
    /// Distinguishes the requests of this server from those of the one before.
    start: u64,
    next: AtomicU64,
}

impl Guard {
    /// A guard for a server that listens on `bound`; `start` is part of the names of requests.
    pub fn new(config: &ServeConfig, bound: IpAddr, start: u64) -> Self {
        Self {
            bound,
            hosts: config.allowed_hosts.clone(),
            origins: config.allowed_origins.clone(),
            key: config.api_key.clone(),
            start,
            next: AtomicU64::new(0),
        }
    }

    /// The client's own name for its request, where that is one, or a new one.
    fn name(&self, headers: &HeaderMap) -> String {
        let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        match given {
            Some(id) if !id.is_empty() && id.len() <= LONGEST_ID && id.chars().all(plain) => id.into(),
            _ => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                format!("req-{:012x}-{number:06x}", self.start & 0xffff_ffff_ffff)
            }
        }
    }

    /// Refuses a request by a foreign name. A page of another site can make a browser look up that site's name again and
    /// get this machine's address; the name is then still the site's.
    fn check_host(&self, host: Option<&str>) -> Result<(), ApiError> {
        let named = host.map(|host| name_of(host).to_ascii_lowercase());
        let known = named.as_deref().is_some_and(|name| self.knows(name));
        match known {
            true => Ok(()),
            false => Err(ApiError::refused(
                StatusCode::MISDIRECTED_REQUEST,
                "host_refused",
                format!(
                    "Host: found `{}`, expected a loopback name or the address of the server; other names are given with \
                     --allowed-host",
                    host.unwrap_or_default()
                ),
            )),
        }
    }

    fn knows(&self, name: &str) -> bool {
        if self.hosts.iter().any(|host| host == name) || name == "localhost" {
            return true;
        }
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        // A number cannot be looked up anew, so it is no danger where the server listens on every address.
        bare.parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback() || ip == self.bound || self.bound.is_unspecified())
    }

    /// Refuses a request that a page of another origin makes. Programs send no `Origin`.
    fn check_origin(&self, origin: Option<&str>, host: &str) -> Result<(), ApiError> {
        let Some(origin) = origin else {
            return Ok(());
        };
        let lower = origin.to_ascii_lowercase();
        let own = ["http://", "https://"].iter().any(|scheme| {
            let authority = lower.strip_prefix(scheme);
            authority.is_some_and(|authority| authority == host.to_ascii_lowercase())
        });
        if own || self.origins.contains(&lower) {
            return Ok(());
        }
        Err(ApiError::refused(
            StatusCode::FORBIDDEN,
            "origin_refused",
            format!(
                "Origin: found `{origin}`, expected the server's own; other pages are given with --allowed-origin"
            ),
        ))
    }

    /// Refuses a request without the key, where there is one.
    fn check_key(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(key) = &self.key else {
            return Ok(());
        };
        let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let given = given.and_then(|value| {
            let (scheme, key) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
        });
        // The time depends on the length at most.
        match given.is_some_and(|given| bool::from(given.ct_eq(key.as_bytes()))) {
            true => Ok(()),
            false => Err(ApiError::refused(
                StatusCode::UNAUTHORIZED,
                "invalid_api_key",
                "Authorization: found no valid key, expected `Bearer KEY` with the key that the server was started with",
            )),
        }
    }

    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let headers = request.headers();
        let text = |name| {
            headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let in_target = request.uri().authority().map(|authority| authority.as_str());
        let host = in_target.or_else(|| text(header::HOST));
        self.check_host(host)?;
        let origin = headers
            .get(header::ORIGIN)
            .map(|origin| origin.to_str().unwrap_or("?"));
        self.check_origin(origin, host.unwrap_or_default())?;
        let is_open = route_of(request.uri().path()).is_some_and(|(_, _, needs_key)| !needs_key);
        match is_open || request.method() == Method::OPTIONS {
            true => Ok(()),
            false => self.check_key(headers),
        }
    }

    /// What a browser needs to hear before a page of an allowed origin may read the answer.
    fn allow_origin(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let Some(origin) = origin else { return };
        let known = origin
            .to_str()
            .is_ok_and(|origin| self.origins.contains(&origin.to_ascii_lowercase()));
        if !known {
            return;
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        let exposed = HeaderValue::from_static("x-request-id, retry-after");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        let methods = HeaderValue::from_static("GET, POST");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let allowed = HeaderValue::from_static("authorization, content-type, x-request-id");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
}

/// The name in a `Host` header, without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Names, checks and counts a request.
pub(crate) async fn guard(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    let busy = peer.busy();
    let id = app.guard.name(request.headers());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let route = route_of(request.uri().path()).map_or("other", |(_, route, _)| route);
    let checked = app.guard.check(&request);
    let mut response = match checked {
        Err(error) => error.into_response(),
        Ok(()) if request.method() == Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        Ok(()) => {
            request.extensions_mut().insert(RequestId(id.clone()));
            request.extensions_mut().insert(busy.clone());
            next.run(request).await
        }
    };
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    app.guard.allow_origin(origin.as_ref(), headers);
    app.metrics
        .request(route, response.status().as_u16(), start.elapsed().as_secs_f64());
    response
}

/// The answer to a path that is no route.
pub(super) async fn not_found(request: Request) -> ApiError {
    let message = format!(
        "found no {} {}, see /openapi.json for what there is",
        request.method(),
        request.uri().path()
    );
    ApiError::not_found("route_not_found", message)
}

/// The answer to a method that a route does not have.
pub(super) async fn not_allowed(request: Request) -> ApiError {
    let message = format!(
        "found {} {}, see /openapi.json for the method",
        request.method(),
        request.uri().path()
    );
    ApiError::refused(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(bound: &str, change: impl FnOnce(&mut ServeConfig)) -> Guard {
        let mut config = ServeConfig::default();
        change(&mut config);
        Guard::new(&config, bound.parse().unwrap(), 7)
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let local = guard("127.0.0.1", |_| {});
        for host in [
            "127.0.0.1:8080",
            "localhost",
            "LOCALHOST:1",
            "[::1]:8080",
            "127.1.2.3",
        ] {
            assert!(local.check_host(Some(host)).is_ok(), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "192.168.0.7",
            "",
            "a:b:c",
            "localhost:x",
        ] {
            let error = local.check_host(Some(host)).unwrap_err();
            assert_eq!(error.status, 421, "{host}");
        }
        assert!(local.check_host(None).is_err());
        let named = guard("0.0.0.0", |config| {
            config.allowed_hosts = vec!["gpu.example".into()]
        });
        for host in ["gpu.example:80", "192.168.0.7", "[2001:db8::1]:80"] {
            assert!(named.check_host(Some(host)).is_ok(), "{host}");
        }
        assert!(named.check_host(Some("evil.example")).is_err());
    }

    #[test]
    fn only_the_servers_own_pages_may_call_it() {
        let guard = guard("127.0.0.1", |config| {
            config.allowed_origins = vec!["https://a.example".into()]
        });
        let check = |origin| guard.check_origin(origin, "localhost:8080");
        for origin in [None, Some("http://localhost:8080"), Some("https://a.example")] {
            assert!(check(origin).is_ok(), "{origin:?}");
        }
        for origin in [
            "null",
            "http://localhost:3000",
            "http://evil.example",
            "https://a.example.evil",
            "?",
        ] {
            assert_eq!(check(Some(origin)).unwrap_err().status, 403, "{origin}");
        }
    }

    #[test]
    fn the_key_must_be_the_key() {
        let guard = guard("127.0.0.1", |config| config.api_key = Some("secret".into()));
        let check = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            guard.check_key(&headers).is_ok()
        };
        assert!(check("Bearer secret") && check("bearer secret"));
        for wrong in [
            "Bearer secre",
            "Bearer secrets",
            "Bearer ",
            "secret",
            "Basic secret",
            "",
        ] {
            assert!(!check(wrong), "{wrong}");
        }
        assert!(guard.check_key(&HeaderMap::new()).is_err());
    }

    #[test]
    fn names_of_requests_are_honoured_or_made() {
        let guard = guard("127.0.0.1", |_| {});
        let name = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, given.parse().unwrap());
            guard.name(&headers)
        };
        assert_eq!(name("mine-1"), "mine-1");
        assert_eq!(name("a b"), "req-000000000007-000000");
        assert_eq!(name(&"x".repeat(129)), "req-000000000007-000001");
    }
}
