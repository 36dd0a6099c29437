//! Standard output, whose reader may go away and whose disk may be full.

use std::fmt;
use std::io::{ErrorKind, Write, stdout};

/// Nobody reads standard output any more (`diffprune check DIR | head -1`): there is nothing left to do, and nothing wrong.
#[derive(Debug)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output: closed by its reader")
    }
}

impl std::error::Error for Closed {}

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
