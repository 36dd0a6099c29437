//! Where pictures come from.

use std::io::{Read, Write};
use std::net::TcpListener;

use image::ImageFormat;
use serde_json::{Value, json};

use crate::common::{TestServer, content, counting, file, picture};

fn behind(url: &str) -> Value {
    json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]})
}

#[test]
fn files_and_addresses_are_refused_unless_allowed() {
    let server = TestServer::counting();
    for (url, flag) in [
        ("file:///etc/passwd", "--media-root"),
        ("http://example.org/a.png", "--allow-remote-images"),
        ("HTTPS://example.org/a.png", "--allow-remote-images"),
    ] {
        let error = server.refused(400, &behind(url));
        assert_eq!(error["code"], "image_refused");
        assert!(error["message"].as_str().unwrap().contains(flag), "{error}");
    }
    for url in [
        "",
        "a.png",
        "ftp://example.org/a.png",
        "gopher://x",
        "javascript:1",
    ] {
        let error = server.refused(400, &behind(url));
        assert!(
            error["message"].as_str().unwrap().contains("expected data:"),
            "{error}"
        );
    }
}

#[test]
fn files_below_the_media_root_are_read_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("media");
    std::fs::create_dir(&root).unwrap();
    let bytes = file(&picture(1), ImageFormat::Jpeg);
    std::fs::write(root.join("a.jpg"), &bytes).unwrap();
    std::fs::write(folder.path().join("b.jpg"), &bytes).unwrap();
    let server = TestServer::with(|config| config.media_root = Some(root.clone()), counting());
    let url = |path: &str| format!("file://{}/{path}", root.display());
    assert_eq!(content(&server.chat(&behind(&url("a.jpg")))), "5 tokens");
    for path in ["../b.jpg", "%2e%2e/b.jpg", "x/../../b.jpg"] {
        assert_eq!(
            server.refused(400, &behind(&url(path)))["code"],
            "image_refused",
            "{path}"
        );
    }
}

/// Every machine that a test can reach is this one, which the server must not ask.
#[test]
fn addresses_of_this_machine_are_not_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, was_asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = asked.send(());
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let server = TestServer::with(|config| config.allow_remote_images = true, counting());
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "[::ffff:127.0.0.1]",
    ] {
        let error = server.refused(400, &behind(&format!("http://{host}:{port}/a.png")));
        assert_eq!(error["code"], "image_refused", "{host}: {error}");
    }
    assert!(was_asked.try_recv().is_err(), "a connection was made");
}
