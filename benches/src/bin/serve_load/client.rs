//! One request on a connection of its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Failure;

/// Longest time of a request.
const LONGEST: Duration = Duration::from_secs(120);

/// What came of a request.
#[derive(Debug, Clone)]
pub struct Done {
    pub status: u16,
    pub text: String,
    /// New tokens, by the server's count.
    pub tokens: u64,
    /// Until the first text.
    pub first: Duration,
}

/// Asks for an answer in pieces.
pub async fn ask(addr: SocketAddr, body: &str) -> Result<Done, Failure> {
    timeout(LONGEST, exchange(addr, body)).await?
}

async fn exchange(addr: SocketAddr, body: &str) -> Result<Done, Failure> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(addr).await?;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let (mut bytes, mut first) = (Vec::new(), None);
    let mut buffer = [0; 16 * 1024];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            break;
        }
        bytes.extend_from_slice(&buffer[..n]);
        if first.is_none() && !text_of(&bytes).is_empty() {
            first = Some(start.elapsed());
        }
    }
    let status = std::str::from_utf8(bytes.get(9..12).ok_or("no answer")?)?.parse()?;
    let tokens = pieces(&bytes)
        .filter_map(|piece| piece["usage"]["completion_tokens"].as_u64())
        .last();
    Ok(Done {
        status,
        text: text_of(&bytes),
        tokens: tokens.unwrap_or_default(),
        first: first.unwrap_or(start.elapsed()),
    })
}

/// The pieces of an answer that have come whole. Chunks of the transfer begin and end with them.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = Value> {
    let lines = bytes.split(|&byte| byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice(line.strip_prefix(b"data: ")?).ok())
}

fn text_of(bytes: &[u8]) -> String {
    pieces(bytes)
        .filter_map(|piece| {
            piece["choices"][0]["delta"]["content"]
                .as_str()
                .map(str::to_string)
        })
        .collect()
}
