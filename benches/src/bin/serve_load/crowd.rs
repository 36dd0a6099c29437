//! A thousand clients at once, fifty thousand requests: nothing lost, nothing mixed up, no growth of memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use burn::tensor::Device;
use diffprune_serve::{LoadFailure, ModelSource};
use diffprune_vlm::{FakeVlm, Vlm};
use serde::Serialize;
use serde_json::json;

use crate::{Failure, client, serve};

const CLIENTS: usize = 1000;
const REQUESTS: usize = 50_000;
/// Memory is looked at after so many.
const STEP: usize = 5000;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Crowd {
    clients: usize,
    requests: usize,
    seconds: f64,
    /// Answers that are those to their questions.
    right: usize,
    /// Everything else, by its status; 0 for a connection that broke.
    wrong: Vec<(u16, usize)>,
    /// KiB of memory (server and clients are one process) after each five thousand answers.
    resident_kib: Vec<u64>,
}

/// Runs the crowd against the model for tests, which repeats its question.
pub async fn run() -> Result<Crowd, Failure> {
    let source = ModelSource::new("fake", || {
        let vlm = FakeVlm::new(&Device::flex()).answering(|input| input.text.trim().to_string());
        Ok::<Box<dyn Vlm>, LoadFailure>(Box::new(vlm))
    });
    let (addr, _stop) = serve(source, |config| config.limits.queue = 2 * CLIENTS).await?;
    let next = Arc::new(AtomicUsize::new(0));
    let answered = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let of_client = || {
        let (next, answered) = (next.clone(), answered.clone());
        tokio::spawn(async move {
            let mut outcomes = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= REQUESTS {
                    return outcomes;
                }
                let question = format!("request {number}");
                let messages = json!([{"role": "user", "content": question}]);
                let body = json!({"messages": messages, "stream": true}).to_string();
                outcomes.push(match client::ask(addr, &body).await {
                    Ok(done) if done.status == 200 && done.text == question => None,
                    Ok(done) => Some(done.status),
                    Err(_) => Some(0),
                });
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let tasks: Vec<_> = (0..CLIENTS).map(|_| of_client()).collect();
    let mut resident_kib = Vec::new();
    while resident_kib.len() < REQUESTS / STEP {
        while answered.load(Ordering::Relaxed) < STEP * (resident_kib.len() + 1) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        resident_kib.push(resident()?);
    }
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.extend(task.await?);
    }
    let right = outcomes.iter().filter(|outcome| outcome.is_none()).count();
    let mut wrong: Vec<(u16, usize)> = Vec::new();
    for status in outcomes.iter().flatten() {
        match wrong.iter_mut().find(|(known, _)| known == status) {
            Some((_, count)) => *count += 1,
            None => wrong.push((*status, 1)),
        }
    }
    eprintln!(
        "  {right} of {} right; others by status: {wrong:?}",
        outcomes.len()
    );
    Ok(Crowd {
        clients: CLIENTS,
        requests: outcomes.len(),
        seconds: start.elapsed().as_secs_f64(),
        right,
        wrong,
        resident_kib,
    })
}

/// KiB of memory that the process holds now.
fn resident() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("/proc/self/status: found no VmRSS")?.parse()?)
}
