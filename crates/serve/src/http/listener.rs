//! Connections, with bounds on their number and on how slow a client may be.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::Limits;

/// What a client is told whose request does not arrive in time; nothing of it can be answered.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\ncontent-length: 128\r\nconnection: close\r\n\r\n\
{\"error\":{\"message\":\"the head of the request did not arrive in time\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"slow\"}}";

/// Listens, and lets in so many connections at a time.
pub(crate) struct GuardedListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
    times: Times,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
struct Times {
    head: Duration,
    idle: Duration,
    write: Duration,
}

impl GuardedListener {
    /// A listener with these limits.
    pub fn new(listener: TcpListener, limits: &Limits) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(
                limits.connections.clamp(1, Semaphore::MAX_PERMITS),
            )),
            times: Times {
                head: limits.head_time,
                idle: limits.idle_time,
                write: limits.write_time,
            },
        }
    }
}

impl Listener for GuardedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else {
                // The places are never closed.
                std::future::pending::<()>().await;
                continue;
            };
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Pieces of an answer are small and must not wait for each other.
                    let _ = stream.set_nodelay(true);
                    return (Connection::new(stream, place, self.times), address);
                }
                // A connection that broke at once, or no free file: others may fare better.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The requests of a connection, as handlers and the connection both see them.
#[derive(Debug, Default)]
struct Requests {
    running: AtomicUsize,
    begun: AtomicUsize,
    /// When the last one ended.
    ended: Mutex<Option<Instant>>,
}

/// A connection, for handlers.
#[derive(Debug, Clone)]
pub(crate) struct Peer(Arc<Requests>);

impl Peer {
    /// A request has begun; it lasts as long as the value and its clones.
    pub fn busy(&self) -> Busy {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        self.0.running.fetch_add(1, Ordering::SeqCst);
        Busy(Arc::new(Running(self.0.clone())))
    }
}

impl Connected<IncomingStream<'_, GuardedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, GuardedListener>) -> Self {
        Self(stream.io().requests.clone())
    }
}

/// A request that is being answered.
#[derive(Debug, Clone)]
pub(crate) struct Busy(#[allow(dead_code, reason = "it is there to be dropped")] Arc<Running>);

#[derive(Debug)]
struct Running(Arc<Requests>);

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A connection that is closed when its client is too slow: with the head of a request, with the next request, or with
/// taking an answer. (Bodies have a time of their own.)
pub(crate) struct Connection {
    stream: TcpStream,
    requests: Arc<Requests>,
    times: Times,
    /// Requests that had begun when bytes of the next one came; `None` while none came.
    head: Option<usize>,
    read_by: Pin<Box<Sleep>>,
    write_by: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit, times: Times) -> Self {
        Self {
            stream,
            requests: Arc::default(),
            times,
            head: None,
            // A client that connects means to ask.
            read_by: Box::pin(sleep_until(Instant::now() + times.head)),
            write_by: None,
            _place: place,
        }
    }

    fn is_busy(&self) -> bool {
        self.requests.running.load(Ordering::SeqCst) > 0
    }

    fn begun(&self) -> usize {
        self.requests.begun.load(Ordering::SeqCst)
    }

    /// Notes that bytes came: those of a new head must be complete in time.
    fn note_bytes(&mut self) {
        let begun = self.begun();
        if !self.is_busy() && self.head != Some(begun) {
            self.head = Some(begun);
            self.read_by.as_mut().reset(Instant::now() + self.times.head);
        }
    }

    /// What the time that is up means: `true` if the client was too slow.
    fn is_too_slow(&mut self) -> bool {
        let now = Instant::now();
        if self.is_busy() {
            self.read_by.as_mut().reset(now + self.times.idle);
            return false;
        }
        let begun = self.begun();
        if self.head == Some(begun) || begun == 0 {
            return true;
        }
        // Between two requests.
        self.head = None;
        let ended = *self.requests.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let until = ended.unwrap_or(now) + self.times.idle;
        if until <= now {
            return true;
        }
        self.read_by.as_mut().reset(until);
        false
    }

    /// Says why, if the client can still be told, and ends the connection.
    fn give_up(&mut self, cx: &mut Context<'_>) -> io::Error {
        if self.head == Some(self.begun()) {
            let _ = Pin::new(&mut self.stream).poll_write(cx, TOO_SLOW);
        }
        io::ErrorKind::TimedOut.into()
    }

    /// Waits for a client that takes nothing, but not for ever.
    fn wait_to_write<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.write_by = None;
            return poll;
        }
        let until = Instant::now() + self.times.write;
        let write_by = self.write_by.get_or_insert_with(|| Box::pin(sleep_until(until)));
        match write_by.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() > before {
                    self.note_bytes();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                while self.read_by.as_mut().poll(cx).is_ready() {
                    if self.is_too_slow() {
                        return Poll::Ready(Err(self.give_up(cx)));
                    }
                }
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wait_to_write(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.wait_to_write(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wait_to_write(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_have_the_length_that_they_say() {
        let text = std::str::from_utf8(TOO_SLOW).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        let error: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(error["error"]["code"], "slow");
    }
}
