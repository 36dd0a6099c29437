//! Signals that end the program: work that can be gone on with ends after its running step, everything else at once.
//!
//! The only state of the process as a whole is here: a signal is sent to a process, not to a function of it.

use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use diffprune_eval::Stop;

/// The number of SIGINT.
const INTERRUPT: i32 = 2;

/// The signal that arrived last.
static ARRIVED: AtomicI32 = AtomicI32::new(INTERRUPT);
/// True where SIGINT was ignored when the program started, as in a script's background: it stays so.
static IGNORES_INTERRUPTS: AtomicBool = AtomicBool::new(false);
/// True once the handlers are there; they stay.
static LISTENS: AtomicBool = AtomicBool::new(false);
/// The work that a signal ends.
static WORK: Mutex<Option<Work>> = Mutex::new(None);

enum Work {
    /// It saves what it has when asked to.
    Steps { stop: Stop, step: &'static str },
    /// It can be cut off at any time.
    Resumable { what: &'static str },
}

/// While it lives, signals are acknowledged; after it they end the program as everywhere.
#[derive(Debug)]
#[must_use]
pub struct Watch(());

impl Drop for Watch {
    fn drop(&mut self) {
        *work() = None;
    }
}

/// Lets the first signal ask work to end after its running `step`, and a second one end the program.
pub fn after(step: &'static str) -> anyhow::Result<(Watch, Stop)> {
    let stop = Stop::default();
    let watch = watch(Work::Steps {
        stop: stop.clone(),
        step,
    })?;
    Ok((watch, stop))
}

/// Lets a signal end the program at once, and say how to go on with `what`.
pub fn at_once(what: &'static str) -> anyhow::Result<Watch> {
    watch(Work::Resumable { what })
}

/// The exit code of a program that the last signal has ended, as shells have it.
pub fn exit_code() -> u8 {
    (128 + ARRIVED.load(Ordering::SeqCst)) as u8
}

/// The line that starts the program again.
pub fn command_line() -> String {
    let words = std::env::args_os().map(|word| quoted(&word.to_string_lossy()));
    words.collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,%+@".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn work() -> MutexGuard<'static, Option<Work>> {
    WORK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch(new: Work) -> anyhow::Result<Watch> {
    *work() = Some(new);
    if !LISTENS.swap(true, Ordering::SeqCst) {
        system::listen()?;
    }
    Ok(Watch(()))
}

/// Runs in a thread of its own.
fn arrived() {
    if ARRIVED.load(Ordering::SeqCst) == INTERRUPT && IGNORES_INTERRUPTS.load(Ordering::SeqCst) {
        return;
    }
    match &*work() {
        Some(Work::Steps { stop, step }) if !stop.is_requested() => {
            stop.request();
            eprintln!("\nstopping after the running {step}; a second signal ends at once");
            return;
        }
        Some(Work::Resumable { what }) => eprintln!("\nstopped; go on with the {what}: {}", command_line()),
        _ => {}
    }
    exit(exit_code().into());
}

#[cfg(not(unix))]
mod system {
    pub fn listen() -> Result<(), ctrlc::Error> {
        ctrlc::set_handler(super::arrived)
    }
}

/// Which signal it was, and the signals that stay ignored (`nohup`, a job in the background of a script), are not told by
/// `ctrlc`.
#[cfg(unix)]
mod system {
    use std::ffi::c_int;
    use std::sync::atomic::Ordering;

    use super::{ARRIVED, IGNORES_INTERRUPTS, INTERRUPT, arrived};

    const HANGUP: c_int = 1;
    const TERMINATE: c_int = 15;
    /// `SIG_IGN`.
    const IGNORED: usize = 1;

    unsafe extern "C" {
        fn signal(number: c_int, handler: usize) -> usize;
        fn raise(number: c_int) -> c_int;
    }

    /// Notes the signal and hands it on to `ctrlc` as an interrupt.
    extern "C" fn note(number: c_int) {
        ARRIVED.store(number, Ordering::SeqCst);
        // SAFETY: `raise` may be called in a handler, and takes any number.
        unsafe { raise(INTERRUPT) };
    }

    pub fn listen() -> Result<(), ctrlc::Error> {
        // SAFETY: the numbers are those of POSIX, and `SIG_IGN` is a handler.
        let before = |number| unsafe { signal(number, IGNORED) };
        let numbers = [INTERRUPT, TERMINATE, HANGUP];
        let before = numbers.map(before);
        ctrlc::set_handler(arrived)?;
        for (number, before) in numbers.into_iter().zip(before) {
            let handler = match number {
                // The handler of `ctrlc` stays: the other signals come through it.
                INTERRUPT => {
                    IGNORES_INTERRUPTS.store(before == IGNORED, Ordering::SeqCst);
                    continue;
                }
                _ if before == IGNORED => IGNORED,
                _ => note as extern "C" fn(c_int) as usize,
            };
            // SAFETY: the handler is `SIG_IGN` or a function that does only what handlers may.
            unsafe { signal(number, handler) };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("--keep=1/9"), "--keep=1/9");
        assert_eq!(quoted("what is it?"), "'what is it?'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
