//! Progress of a run and the time that is left.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Counts answers; draws a bar on a terminal, prints a line now and then elsewhere.
pub(crate) struct Progress {
    bar: ProgressBar,
    plain: Option<Mutex<Plain>>,
    failed: AtomicUsize,
    shown: bool,
}

struct Plain {
    started: Instant,
    printed: Instant,
}

/// Time between two lines where no bar can be drawn.
const EVERY: Duration = Duration::from_secs(20);

impl Progress {
    /// A counter up to `total`, of which `done` were there before.
    pub(crate) fn new(total: usize, done: usize, shown: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if shown && terminal {
            ProgressBar::new(total as u64)
        } else {
            ProgressBar::hidden()
        };
        bar.set_length(total as u64);
        let template = "evaluating {bar:30} {pos}/{len} answers, {elapsed} passed, {eta} left {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_position(done as u64);
        bar.reset_eta();
        let now = Instant::now();
        let plain = (shown && !terminal).then(|| {
            Mutex::new(Plain {
                started: now,
                printed: now,
            })
        });
        Self {
            bar,
            plain,
            failed: AtomicUsize::new(0),
            shown,
        }
    }

    /// Counts `n` more answers.
    pub(crate) fn add(&self, n: usize) {
        self.bar.inc(n as u64);
        let Some(plain) = &self.plain else { return };
        let Ok(mut plain) = plain.lock() else { return };
        if plain.printed.elapsed() >= EVERY {
            plain.printed = Instant::now();
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
            let passed = plain.started.elapsed().as_secs();
            let left = self.bar.eta().as_secs();
            eprintln!("evaluating: {done}/{total} answers, {passed} s passed, about {left} s left");
        }
    }

    /// Counts one answer that will not come.
    pub(crate) fn fail(&self) {
        let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
        self.bar.set_message(format!("({failed} failed)"));
        self.add(1);
    }

    /// Takes the bar away; tells where failures are listed.
    pub(crate) fn finish(&self, list: &Path) {
        self.bar.finish_and_clear();
        let failed = self.failed.load(Ordering::Relaxed);
        if self.shown && failed > 0 {
            eprintln!("evaluating: {failed} answers are missing, see {}", list.display());
        }
    }
}
