//! Who may call.

use serde_json::json;

use crate::common::{TestServer, counting, saying};

fn request(server: &TestServer, head: &str) -> String {
    server.raw(format!("{head}connection: close\r\n\r\n").as_bytes())
}

#[test]
fn foreign_names_are_refused() {
    let server = TestServer::counting();
    let port = server.addr.port();
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        "localhost".into(),
    ] {
        let reply = request(&server, &format!("GET /health HTTP/1.1\r\nhost: {host}\r\n"));
        assert!(reply.starts_with("HTTP/1.1 200"), "{host}: {reply}");
    }
    for head in [
        "GET /health HTTP/1.1\r\nhost: rebound.example\r\n".to_string(),
        format!("GET /health HTTP/1.1\r\nhost: rebound.example:{port}\r\n"),
        format!("GET http://rebound.example/health HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"),
        "GET / HTTP/1.0\r\n".to_string(),
    ] {
        let reply = request(&server, &head);
        assert!(
            reply.contains(" 421 ") && reply.contains("host_refused"),
            "{head}: {reply}"
        );
    }
    let named = TestServer::with(
        |config| config.allowed_hosts = vec!["GPU.example".into()],
        counting(),
    );
    assert!(
        request(&named, "GET /health HTTP/1.1\r\nhost: gpu.example:8080\r\n").starts_with("HTTP/1.1 200")
    );
}

#[test]
fn pages_of_other_origins_are_refused() {
    let server = TestServer::counting();
    let body = saying("hi");
    let ask = |origin: &str| server.post_with("/v1/chat/completions", &body, &[("origin", origin)]);
    assert_eq!(ask(&server.url("")).status, 200);
    for origin in ["http://evil.example", "null", "http://localhost:1"] {
        let reply = ask(origin);
        assert_eq!(
            (reply.status, &reply.error()["code"]),
            (403, &json!("origin_refused"))
        );
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
}

#[test]
fn pages_that_are_allowed_are_told_so() {
    let origin = "https://lab.example";
    let server = TestServer::with(|config| config.allowed_origins = vec![origin.into()], counting());
    let reply = server.post_with("/v1/chat/completions", &saying("hi"), &[("origin", origin)]);
    assert_eq!(
        (reply.status, reply.header("access-control-allow-origin")),
        (200, Some(origin))
    );
    let ask = format!(
        "OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: {}\r\norigin: {origin}\r\n",
        server.addr
    );
    let reply = request(&server, &ask);
    assert!(
        reply.starts_with("HTTP/1.1 204") && reply.contains("access-control-allow-headers"),
        "{reply}"
    );
    let foreign = ask.replace(origin, "https://evil.example");
    assert!(request(&server, &foreign).starts_with("HTTP/1.1 403"));
}

#[test]
fn a_key_is_needed_where_there_is_one() {
    let server = TestServer::with(|config| config.api_key = Some("secret".into()), counting());
    let ask = |key: &str| server.post_with("/v1/chat/completions", &saying("hi"), &[("authorization", key)]);
    assert_eq!(ask("Bearer secret").status, 200);
    for wrong in ["Bearer secre", "Bearer secrett", "secret", "Basic secret"] {
        let reply = ask(wrong);
        assert_eq!(
            (reply.status, &reply.error()["code"]),
            (401, &json!("invalid_api_key"))
        );
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    for path in ["/v1/models", "/v1/models/fake", "/metrics", "/made/up"] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    // The page asks for the key, and a watchdog has none.
    for path in ["/", "/page/app.js", "/health", "/openapi.json"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
}
