//! A run of the program that can be broken.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::cases::Case;

/// What every acknowledgement says.
const ACKNOWLEDGED: &str = "stopping after the running";
/// A run that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(1200);

/// How a run is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGKILL.
    Kill,
    /// SIGINT or SIGTERM.
    Ask,
}

/// A process, and the lines that it writes to standard error, as they come.
pub struct Running {
    child: Child,
    lines: Receiver<(Instant, String)>,
    told: Vec<(Instant, String)>,
}

impl Running {
    /// Starts the command of a case in a folder.
    pub fn start(case: &Case, out: &Path) -> anyhow::Result<Self> {
        // What runs in the background of a script ignores SIGINT; a run here takes it.
        let mut child = Command::new("env")
            .args(["--default-signal=INT,TERM"])
            .arg(&case.binary)
            // Reports name the revision of the repository around them, which may change meanwhile.
            .current_dir(&case.dir)
            .args(case.arguments(out))
            .envs(case.environment(out))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| case.binary.display().to_string())?;
        let told = child.stderr.take().context("a pipe")?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(told).lines().map_while(Result::ok) {
                // Nobody waits for lines of a run that is over.
                let _ = send.send((Instant::now(), line));
            }
        });
        Ok(Self {
            child,
            lines,
            told: Vec::new(),
        })
    }

    /// Waits for so long; `true` if the run has ended by then.
    pub fn ends_within(&mut self, moment: Duration) -> anyhow::Result<bool> {
        let started = Instant::now();
        while started.elapsed() < moment {
            if self.child.try_wait()?.is_some() {
                return Ok(true);
            }
            sleep(Duration::from_millis(1).min(moment.saturating_sub(started.elapsed())));
        }
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for the end, which must be a success.
    pub fn succeed(mut self) -> anyhow::Result<()> {
        if !self.ends_within(LONGEST)? {
            self.child.kill()?;
            bail!("no end within {LONGEST:?}");
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}: {}", self.rest());
        Ok(())
    }

    /// Breaks the run and waits for its end; gives the time from the signal to its acknowledgement, or to the end where that
    /// came first.
    pub fn end_by(mut self, signal: Signal, is_interrupt: bool) -> anyhow::Result<Duration> {
        let sent = Instant::now();
        if signal == Signal::Kill {
            self.child.kill()?;
            self.child.wait()?;
            return Ok(sent.elapsed());
        }
        let name = if is_interrupt { "INT" } else { "TERM" };
        let process = self.child.id().to_string();
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &process])
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            // It ended meanwhile.
            self.child.wait()?;
            return Ok(Duration::ZERO);
        }
        let acknowledged = loop {
            match self.lines.recv_timeout(LONGEST) {
                Ok((at, line)) if line.contains(ACKNOWLEDGED) => break at,
                Ok(line) => self.told.push(line),
                // It has closed its standard error: it is over.
                Err(RecvTimeoutError::Disconnected) => break Instant::now(),
                Err(RecvTimeoutError::Timeout) => bail!("no answer to SIG{name} within {LONGEST:?}"),
            }
        };
        self.child.wait()?;
        Ok(acknowledged.saturating_duration_since(sent))
    }

    /// What was told at last.
    fn rest(&mut self) -> String {
        self.told.extend(self.lines.iter());
        let lines = self.told.iter().map(|(_, line)| line.as_str());
        let lines: Vec<&str> = lines.collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}
