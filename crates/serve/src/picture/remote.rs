//! Pictures behind addresses on the network.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Instant;

use ureq::{Agent, AgentBuilder, Response};

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
        Self::on(limits, look_up, is_public)
    }

    /// A fetcher on a network with these names and these public addresses.
    fn on(
        limits: &Limits,
        look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
        is_public: fn(IpAddr) -> bool,
    ) -> Self {
        let agent = AgentBuilder::new()
            .resolver(move |name: &str| all_public(look_up(name)?, is_public))
            // They are followed here: the library fails on those that lead to no server.
            .redirects(0)
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
        let response = self.follow(url, place, start)?;
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

    /// The answer at the end of the redirections.
    fn follow(&self, url: &str, place: &str, start: Instant) -> Result<Response, ApiError> {
        let mut url = url.to_string();
        for _ in 0..=REDIRECTIONS {
            let left = self.time.saturating_sub(start.elapsed());
            let sent = self.agent.get(&url).timeout(left).call();
            let response = sent.map_err(|error| unreachable(place, &error))?;
            if !(300..400).contains(&response.status()) {
                return Ok(response);
            }
            let led = response
                .header("location")
                .and_then(|location| led_to(&url, location));
            url = led.ok_or_else(|| refused(place, "the address leads to no other of http or https"))?;
        }
        Err(refused(
            place,
            &format!("the address leads on more than {REDIRECTIONS} times"),
        ))
    }
}

/// The address that a redirection from `url` leads to, if it is one of a server.
fn led_to(url: &str, location: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let begins = |start: &str| {
        location
            .get(..start.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(start))
    };
    let has_scheme = location
        .split_once(':')
        .is_some_and(|(scheme, _)| !scheme.is_empty() && !scheme.contains(['/', '?', '#']));
    Some(match location {
        _ if begins("http://") || begins("https://") => location.into(),
        _ if begins("//") => format!("{scheme}:{location}"),
        _ if has_scheme => return None,
        _ if begins("/") => format!("{scheme}://{authority}{location}"),
        _ => {
            let path = path.split(['?', '#']).next().unwrap_or_default();
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{location}")
        }
    })
}

/// The addresses of a name with a port.
fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(name.to_socket_addrs()?.collect())
}

/// The addresses of a machine, if all of them are public.
fn all_public(found: Vec<SocketAddr>, is_public: fn(IpAddr) -> bool) -> io::Result<Vec<SocketAddr>> {
    match found.iter().all(|address| is_public(address.ip())) {
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
        ureq::Error::Transport(_) => refused(place, "the address cannot be reached; check it"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

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
        knowing(most, look_up)
    }

    /// The same with other names.
    fn knowing(
        most: usize,
        names: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Fetcher {
        let limits = Limits {
            image_bytes: most,
            ..Limits::default()
        };
        Fetcher::on(&limits, names, |ip| ip == IpAddr::from([127, 0, 0, 1]))
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
    fn redirections_lead_on_from_where_they_are() {
        for (location, wanted) in [
            ("https://other.example/b", Some("https://other.example/b")),
            ("HTTP://other.example", Some("HTTP://other.example")),
            ("//other.example/b", Some("http://other.example/b")),
            ("/b?c:d", Some("http://a.example:81/b?c:d")),
            ("b.png", Some("http://a.example:81/x/b.png")),
            ("file:///etc/passwd", None),
            ("gopher:x", None),
        ] {
            let led = led_to("http://a.example:81/x/y?z=/w", location);
            assert_eq!(led.as_deref(), wanted, "{location}");
        }
        assert_eq!(
            led_to("http://a.example?q", "b").as_deref(),
            Some("http://a.example/b")
        );
        let there = machine("127.0.0.1", |_| page(b"a picture"));
        let outside = machine("127.0.0.1", move |_| leads_to(&format!("//{there}/b.png")));
        let found = fetcher(99).fetch(&format!("http://{outside}/a.png"), "here");
        assert_eq!(found.unwrap(), b"a picture");
    }

    /// DNS rebinding: a name that leads to a public machine when it is checked, and inside when it is looked up again.
    #[test]
    fn a_name_is_looked_up_once_and_the_machine_that_was_checked_is_asked() {
        let outside = machine("127.0.0.1", |_| page(b"a picture"));
        let inside = machine("127.0.0.2", |_| page(b"secret"));
        let looked_up = Arc::new(AtomicUsize::new(0));
        let count = looked_up.clone();
        let fetcher = knowing(99, move |name| {
            assert_eq!(name, "rebound.example:80");
            Ok(match count.fetch_add(1, Ordering::SeqCst) {
                0 => vec![outside],
                _ => vec![inside],
            })
        });
        let fetch = || fetcher.fetch("http://rebound.example/a.png", "here");
        assert_eq!(fetch().unwrap(), b"a picture");
        assert_eq!(looked_up.load(Ordering::SeqCst), 1);
        assert!(fetch().unwrap_err().message.contains(FORBIDDEN));
    }

    #[test]
    fn a_name_with_one_private_address_among_public_ones_is_refused() {
        let outside = machine("127.0.0.1", |_| page(b"a picture"));
        let inside = SocketAddr::from(([10, 0, 0, 1], 80));
        for both in [vec![outside, inside], vec![inside, outside]] {
            let fetcher = knowing(99, move |_| Ok(both.clone()));
            let error = fetcher.fetch("http://both.example/a.png", "here").unwrap_err();
            assert!(error.message.contains(FORBIDDEN), "{error}");
        }
    }

    #[test]
    fn redirections_do_not_lead_to_files() {
        for location in ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://127.0.0.1/"] {
            let there = machine("127.0.0.1", move |_| leads_to(location));
            let error = fetcher(9999)
                .fetch(&format!("http://{there}/"), "here")
                .unwrap_err();
            assert_eq!(error.code, Some("image_refused"), "{location}: {error}");
        }
    }

    #[test]
    fn a_machine_that_takes_its_time_is_given_up() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let there = machine("127.0.0.1", move |_| {
            // Until the test ends.
            let _ = wait.recv();
            Vec::new()
        });
        let limits = Limits {
            fetch_time: std::time::Duration::from_millis(300),
            ..Limits::default()
        };
        let fetcher = Fetcher::on(&limits, look_up, |_| true);
        let error = fetcher.fetch(&format!("http://{there}/"), "here").unwrap_err();
        assert_eq!(error.code, Some("image_refused"), "{error}");
        drop(done);
    }

    #[test]
    fn loopback_names_and_numbers_in_every_spelling_are_refused() {
        let fetcher = Fetcher::new(&Limits::default());
        for host in [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
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
