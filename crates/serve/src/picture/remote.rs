//! Pictures behind addresses on the network.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Instant;

use ureq::{Agent, AgentBuilder, ErrorKind};

use super::address::is_public;
use super::{refused, too_large};
use crate::config::Limits;
use crate::error::ApiError;

/// Most redirections that are followed.
const REDIRECTIONS: u32 = 3;

/// Fetches pictures from public addresses.
#[derive(Debug)]
pub(crate) struct Fetcher {
    agent: Agent,
    most: usize,
    time: std::time::Duration,
}

impl Fetcher {
    /// A fetcher within these limits. Each connection, those of redirections too, is made to an address that was found to
    /// be public, not to a name that could be looked up again with another answer.
    pub fn new(limits: &Limits) -> Self {
        Self::within(limits, is_public)
    }

    fn within(limits: &Limits, allowed: fn(IpAddr) -> bool) -> Self {
        let agent = AgentBuilder::new()
            .resolver(move |name: &str| addresses(name, allowed))
            .redirects(REDIRECTIONS)
            .max_idle_connections(0)
            .timeout(limits.fetch_time)
            .user_agent("diffprune-serve")
            .build();
        Self {
            agent,
            most: limits.image_bytes,
            time: limits.fetch_time,
        }
    }

    /// The bytes behind an address.
    pub fn fetch(&self, url: &str, place: &str) -> Result<Vec<u8>, ApiError> {
        let start = Instant::now();
        let response = self
            .agent
            .get(url)
            .call()
            .map_err(|error| unreachable(place, &error))?;
        let too_many = || {
            let most = self.most;
            let message =
                format!("{place}: found a picture of more than {most} bytes, expected at most as many");
            too_large("image_too_large", message)
        };
        let told = response
            .header("content-length")
            .and_then(|length| length.parse::<u64>().ok());
        if told.is_some_and(|length| length > self.most as u64) {
            return Err(too_many());
        }
        let mut reader = response.into_reader().take(self.most as u64 + 1);
        let mut bytes = Vec::new();
        let read = reader.read_to_end(&mut bytes);
        if read.is_err() || start.elapsed() > self.time {
            return Err(refused(
                place,
                "the picture did not arrive whole and in time; try another address",
            ));
        }
        match bytes.len() > self.most {
            true => Err(too_many()),
            false => Ok(bytes),
        }
    }
}

/// The addresses of a machine, if all of them are allowed.
fn addresses(name: &str, allowed: fn(IpAddr) -> bool) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = name.to_socket_addrs()?.collect();
    match found.iter().all(|address| allowed(address.ip())) {
        true => Ok(found),
        false => Err(io::Error::new(io::ErrorKind::PermissionDenied, FORBIDDEN)),
    }
}

/// The words for an address that is not public. The address itself is not told: it may be a secret.
const FORBIDDEN: &str = "an address of this machine or of a private network";

fn unreachable(place: &str, error: &ureq::Error) -> ApiError {
    match error {
        ureq::Error::Status(status, _) => refused(
            place,
            &format!("the address answered with status {status}, expected a picture"),
        ),
        ureq::Error::Transport(error) if error.to_string().contains(FORBIDDEN) => {
            refused(place, &format!("found {FORBIDDEN}, expected a public one"))
        }
        ureq::Error::Transport(error) if error.kind() == ErrorKind::TooManyRedirects => refused(
            place,
            &format!("the address leads on more than {REDIRECTIONS} times"),
        ),
        ureq::Error::Transport(_) => refused(place, "the address cannot be reached; check it"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    /// Answers every connection with the same bytes; gives its address.
    fn machine(host: &str, answer: impl Fn(u16) -> Vec<u8> + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = [0; 1024];
                let _ = stream.read(&mut head);
                let _ = stream.write_all(&answer(address.port()));
            }
        });
        address
    }

    fn page(body: &[u8]) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    fn leads_to(location: &str) -> Vec<u8> {
        format!(
            "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        .into_bytes()
    }

    /// A network on which only 127.0.0.1 is public.
    fn fetcher(most: usize) -> Fetcher {
        let limits = Limits {
            image_bytes: most,
            ..Limits::default()
        };
        Fetcher::within(&limits, |ip| ip == IpAddr::from([127, 0, 0, 1]))
    }

    #[test]
    fn pictures_are_fetched_within_bounds() {
        let there = machine("127.0.0.1", |_| page(b"a picture"));
        let url = format!("http://{there}/a.png");
        assert_eq!(fetcher(9).fetch(&url, "here").unwrap(), b"a picture");
        assert_eq!(fetcher(8).fetch(&url, "here").unwrap_err().status, 413);
        let endless = machine("127.0.0.1", |_| {
            [
                b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec(),
                vec![7; 100],
            ]
            .concat()
        });
        assert_eq!(
            fetcher(50)
                .fetch(&format!("http://{endless}/"), "here")
                .unwrap_err()
                .status,
            413
        );
    }

    #[test]
    fn private_addresses_are_refused_also_behind_a_redirection() {
        let inside = machine("127.0.0.2", |_| page(b"secret"));
        let direct = fetcher(99)
            .fetch(&format!("http://{inside}/"), "here")
            .unwrap_err();
        let outside = machine("127.0.0.1", move |_| leads_to(&format!("http://{inside}/")));
        let led = fetcher(99)
            .fetch(&format!("http://{outside}/"), "here")
            .unwrap_err();
        for error in [direct, led] {
            assert_eq!((error.status.as_u16(), error.code), (400, Some("image_refused")));
            assert!(
                error.message.contains(FORBIDDEN) && !error.message.contains("127."),
                "{error}"
            );
        }
    }

    #[test]
    fn loopback_names_and_numbers_in_every_spelling_are_refused() {
        let fetcher = Fetcher::new(&Limits::default());
        for host in [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "0.0.0.0",
            "2130706433",
            "0x7f.1",
            "169.254.169.254",
        ] {
            let error = fetcher
                .fetch(&format!("http://{host}:9/latest/meta-data"), "here")
                .unwrap_err();
            assert!(error.message.contains(FORBIDDEN), "{host}: {error}");
        }
    }

    #[test]
    fn circles_and_failures_are_told() {
        let circle = machine("127.0.0.1", |port| leads_to(&format!("http://127.0.0.1:{port}/")));
        let error = fetcher(99)
            .fetch(&format!("http://{circle}/"), "here")
            .unwrap_err();
        assert!(error.message.contains("leads on"), "{error}");
        let missing = machine("127.0.0.1", |_| {
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec()
        });
        let error = fetcher(99)
            .fetch(&format!("http://{missing}/"), "here")
            .unwrap_err();
        assert!(error.message.contains("status 404"), "{error}");
    }
}
