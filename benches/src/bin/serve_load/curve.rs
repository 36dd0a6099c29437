//! Throughput and time to the first token against the number of clients, at several budgets.

use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use diffprune_serve::ModelSource;
use image::{ImageFormat, Rgb, RgbImage};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Failure, client, serve};

/// Clients at the same time.
pub const CLIENTS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Budgets of the picture.
pub const BUDGETS: [&str; 3] = ["all", "1/3", "1/9"];
/// New tokens of an answer, at most.
pub const NEW_TOKENS: usize = 16;
/// Requests of a point: at least so many, and so many of each client.
const REQUESTS: usize = 32;
const OF_EACH: usize = 2;
/// A point is measured so often unless another number is given, and the one in the middle counts. Budgets take turns, so that
/// whatever else the machine does meets all of them.
pub const ROUNDS: usize = 3;
/// No request of a point begins later, unless another time is given.
pub const LONGEST: Duration = Duration::from_secs(30);
/// Pictures that take turns.
const PICTURES: usize = 16;
const SIDE: u32 = 168;

/// One number of clients at one budget.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    pub budget: String,
    pub clients: usize,
    pub requests: usize,
    pub seconds: f64,
    pub requests_per_second: f64,
    /// The same of every round, ascending.
    pub rounds: Vec<f64>,
    pub tokens_per_second: f64,
    /// Milliseconds to the first text, in the middle and for the slowest twentieth.
    pub first_token_ms: [f64; 2],
}

/// How long a model is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Times that a point is measured.
    pub rounds: usize,
    /// No request of a point begins later.
    pub longest: Duration,
}

/// Measures a model. One of random weights has to write all the tokens that it may.
pub async fn run(source: ModelSource, effort: Effort, is_random: bool) -> Result<Vec<Point>, Failure> {
    let (addr, _stop) = serve(source, |config| {
        config.limits.feature_cache_bytes = 0;
        config.limits.selection_cache_bytes = 0;
        config.limits.prefix_cache_bytes = 0;
        config.limits.running = 32;
    })
    .await?;
    let bodies = BUDGETS.map(|budget| Arc::new((0..PICTURES).map(|n| body(n, budget)).collect::<Vec<_>>()));
    // What is done once is not measured.
    let first = client::ask(addr, &bodies[0][0]).await?;
    if is_random && (first.tokens != NEW_TOKENS as u64 || first.text.is_empty()) {
        let found = format!("{} tokens and the text `{}`", first.tokens, first.text);
        return Err(format!(
            "found {found}, expected {NEW_TOKENS} and a text: no time to the first token can be told"
        )
        .into());
    }
    let mut points = Vec::new();
    for clients in CLIENTS {
        let mut rounds: [Vec<Point>; BUDGETS.len()] = Default::default();
        for _ in 0..effort.rounds {
            for (n, budget) in BUDGETS.into_iter().enumerate() {
                rounds[n].push(point(addr, &bodies[n], budget, clients, effort.longest).await?);
            }
        }
        for mut of_budget in rounds {
            of_budget.sort_by(|a, b| a.requests_per_second.total_cmp(&b.requests_per_second));
            let all: Vec<f64> = of_budget.iter().map(|point| point.requests_per_second).collect();
            let mut middle = of_budget.swap_remove(effort.rounds / 2);
            eprintln!(
                "  {clients:>3} clients, {:>4}: {:6.1} requests/s, first token after {:.0} ms",
                middle.budget, middle.requests_per_second, middle.first_token_ms[0]
            );
            middle.rounds = all;
            points.push(middle);
        }
    }
    Ok(points)
}

async fn point(
    addr: SocketAddr,
    bodies: &Arc<Vec<String>>,
    budget: &str,
    clients: usize,
    longest: Duration,
) -> Result<Point, Failure> {
    let wanted = REQUESTS.max(OF_EACH * clients);
    let (start, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let of_client = || {
        let (bodies, next) = (bodies.clone(), next.clone());
        tokio::spawn(async move {
            let mut done = Vec::new();
            while start.elapsed() < longest {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= wanted {
                    break;
                }
                done.push(client::ask(addr, &bodies[number % bodies.len()]).await?);
            }
            Ok::<_, Failure>(done)
        })
    };
    let tasks: Vec<_> = (0..clients).map(|_| of_client()).collect();
    let (mut first, mut tokens) = (Vec::new(), 0);
    for task in tasks {
        for done in task.await?? {
            if done.status != 200 {
                return Err(format!("found the status {}, expected 200", done.status).into());
            }
            first.push(1e3 * done.first.as_secs_f64());
            tokens += done.tokens;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    first.sort_by(f64::total_cmp);
    let at = |share: f64| first[((first.len() - 1) as f64 * share).round() as usize];
    Ok(Point {
        budget: budget.to_string(),
        clients,
        requests: first.len(),
        seconds,
        requests_per_second: first.len() as f64 / seconds,
        rounds: Vec::new(),
        tokens_per_second: tokens as f64 / seconds,
        first_token_ms: [at(0.5), at(0.95)],
    })
}

/// A request about picture `number`.
fn body(number: usize, budget: &str) -> String {
    let shade = (number * 15) as u8;
    let picture = RgbImage::from_fn(SIDE, SIDE, |x, y| Rgb([x as u8, y as u8, shade]));
    let mut file = Cursor::new(Vec::new());
    // Writing into memory cannot fail.
    let _ = picture.write_to(&mut file, ImageFormat::Png);
    let url = format!("data:image/png;base64,{}", STANDARD.encode(file.get_ref()));
    let content = json!([{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what is in the picture?"}]);
    json!({
        "messages": [{"role": "user", "content": content}], "visual_tokens": budget, "max_tokens": NEW_TOKENS, "stream": true,
        "stream_options": {"include_usage": true},
    })
    .to_string()
}
