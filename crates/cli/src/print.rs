//! Standard output, whose reader may go away and whose disk may be full; and how much is told on standard error.

use std::fmt;
use std::io::{ErrorKind, Write, stdout};
use std::sync::atomic::{AtomicU8, Ordering};

use diffprune::training::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::Serialize;

/// Nobody reads standard output any more (`diffprune check DIR | head -1`): there is nothing left to do, and nothing wrong.
#[derive(Debug)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output: closed by its reader")
    }
}

impl std::error::Error for Closed {}

/// How much is told on standard error.
static VOLUME: AtomicU8 = AtomicU8::new(NORMAL);
const QUIET: u8 = 0;
const NORMAL: u8 = 1;
const VERBOSE: u8 = 2;

/// Sets how much is told on standard error; once, before anything is.
pub fn set_volume(quiet: bool, verbose: bool) {
    let volume = match (quiet, verbose) {
        (true, _) => QUIET,
        (_, true) => VERBOSE,
        _ => NORMAL,
    };
    VOLUME.store(volume, Ordering::Relaxed);
}

/// True when nothing but errors is told.
pub fn is_quiet() -> bool {
    VOLUME.load(Ordering::Relaxed) == QUIET
}

/// True when details are told too.
pub fn is_verbose() -> bool {
    VOLUME.load(Ordering::Relaxed) == VERBOSE
}

/// The progress of so many steps.
pub fn progress(label: &str, total: usize) -> Progress {
    match is_quiet() {
        true => Progress::silent(),
        false => Progress::new(label, total),
    }
}

/// A bar on standard error, unless nothing is told.
pub fn bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    if is_quiet() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}

/// Prints a value as one line of JSON.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    text(format_args!("{}\n", serde_json::to_string(value)?))
}

/// Prints a line on standard error, unless nothing but errors is told.
macro_rules! tell {
    ($($part:tt)*) => {
        if !$crate::print::is_quiet() {
            eprintln!($($part)*);
        }
    };
}
pub(crate) use tell;

/// Prints a line on standard error when details are told.
macro_rules! detail {
    ($($part:tt)*) => {
        if $crate::print::is_verbose() {
            eprintln!($($part)*);
        }
    };
}
pub(crate) use detail;

/// Writes a text to standard output.
///
/// # Errors
/// [`Closed`], or the system's reason.
pub fn text(text: fmt::Arguments<'_>) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        Err(error) => Err(anyhow::Error::from(error)
            .context("standard output: cannot write; make room, or write elsewhere")),
    }
}

/// Prints a line on standard output; a failure is returned from the function around it.
macro_rules! say {
    ($($part:tt)*) => {
        $crate::print::text(format_args!("{}\n", format_args!($($part)*)))?
    };
}
pub(crate) use say;
