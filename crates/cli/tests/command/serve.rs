//! A server from its first line to its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::bad_input::refuse;
use crate::{diffprune, model, picture};

/// A server that is killed when a test fails.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn exchange(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

fn get(address: &str, path: &str) -> String {
    exchange(
        address,
        &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"),
    )
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_says_where_it_listens_answers_and_ends_at_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, media) = (dir.path().join("tiny"), dir.path().join("media"));
    std::fs::create_dir(&media).unwrap();
    picture(&media.join("a.png"));
    model(&checkpoint, 32);
    let line = "serve --addr 127.0.0.1:0 --model one={} --model {} --keep 1/9 --media-root {}";
    let program = diffprune(line, &[&checkpoint, &checkpoint, &media]);
    let child = Command::new("env")
        .arg("--default-signal=INT,TERM")
        .arg(program.get_program())
        .args(program.get_args())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut serving = Serving(child);
    let mut first = String::new();
    BufReader::new(serving.0.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    let address = first
        .trim()
        .strip_prefix("listening on http://")
        .unwrap_or_else(|| panic!("{first}"));
    let mut told = BufReader::new(serving.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("ready: ") {
        line.clear();
        assert!(
            told.read_line(&mut line).unwrap() > 0,
            "it ended before it was ready"
        );
    }
    assert_eq!(line.trim(), "ready: one, tiny");
    assert!(get(address, "/health").starts_with("HTTP/1.1 200"));
    assert!(get(address, "/").contains("<title>diffprune"));
    let url = format!("file://{}", media.join("a.png").display());
    let body = format!(
        "{{\"model\": \"tiny\", \"max_tokens\": 3, \"messages\": [{{\"role\": \"user\", \"content\": [{{\"type\": \"image_url\", \
         \"image_url\": {{\"url\": \"{url}\"}}}}, {{\"type\": \"text\", \"text\": \"what?\"}}]}}]}}"
    );
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = exchange(address, &request);
    assert!(
        reply.contains("\"visual_tokens_total\":144,\"visual_tokens_kept\":16"),
        "{reply}"
    );
    let id = serving.0.id().to_string();
    assert!(
        Command::new("sh")
            .args(["-c", "kill -s INT \"$0\"", &id])
            .status()
            .unwrap()
            .success()
    );
    let mut rest = String::new();
    told.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("stopped"), "{rest}");
    assert_eq!(serving.0.wait().unwrap().code(), Some(0));
}

#[test]
fn servers_that_make_no_sense_do_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = dir.path().join("tiny");
    model(&checkpoint, 32);
    refuse(
        "serve --addr 0.0.0.0:0 --model {}",
        &[&checkpoint],
        &["0.0.0.0:0", "--api-key"],
    );
    refuse(
        "serve --addr 127.0.0.1:0 --model a={} --model a={}",
        &[&checkpoint, &checkpoint],
        &["two models called `a`"],
    );
    refuse(
        "serve --addr 127.0.0.1:0 --model {} --scorer folder",
        &[&checkpoint],
        &["NAME=DIR"],
    );
    refuse(
        "serve --addr 127.0.0.1:0 --media-root {} --model {}",
        &[&dir.path().join("none"), &checkpoint],
        &["media-root"],
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let line = format!("serve --addr {} --model {{}}", taken.local_addr().unwrap());
    refuse(&line, &[&checkpoint], &["cannot listen", "--addr"]);
}
