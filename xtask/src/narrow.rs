//! Tests as on a processor without AVX-512, or without AVX at all.
//!
//! Programs choose their instructions when they run: `cpuid` says what the processor has, `xgetbv` which registers the system
//! saves. A copy of the test program in which `xgetbv` answers that the wide registers are not saved takes the narrower path,
//! in the standard library's detection and in that of every crate, with nothing built again.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::{Args, ValueEnum};

/// The widest instructions that are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Width {
    /// No AVX-512.
    Avx2,
    /// Neither AVX nor AVX-512.
    Sse,
}

impl Width {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx2 => "avx2",
            Self::Sse => "sse",
        }
    }

    /// The low byte of `xgetbv`'s answer: x87, SSE and AVX registers, in bits from the lowest.
    fn saved(self) -> u8 {
        match self {
            Self::Avx2 => 0b111,
            Self::Sse => 0b011,
        }
    }
}

/// `xor ecx, ecx` and `xgetbv`, as compilers emit them. The three bytes of `xgetbv` alone also occur by accident in programs
/// of this size.
const XGETBV: [u8; 5] = [0x31, 0xc9, 0x0f, 0x01, 0xd0];

/// Replaces every `xgetbv` by `mov al, saved` and `nop`; returns how many there were.
fn narrow(program: &mut [u8], width: Width) -> usize {
    let places: Vec<usize> = program
        .windows(XGETBV.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == XGETBV)
        .map(|(place, _)| place)
        .collect();
    for place in &places {
        program[place + 2..place + 5].copy_from_slice(&[0xb0, width.saved(), 0x90]);
    }
    places.len()
}

/// The value of cargo's `target.<host>.runner` that runs every test program narrowed.
///
/// # Errors
/// When the host is no x86-64, or `rustc` does not say which it is.
pub fn runner(width: Width) -> anyhow::Result<String> {
    let told = Command::new("rustc").arg("-vV").output()?;
    let told = String::from_utf8(told.stdout)?;
    let host = told
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc -vV: found no host")?;
    anyhow::ensure!(
        host.starts_with("x86_64"),
        "found a host {host}, expected x86_64: other processors have no such paths"
    );
    let own = std::env::current_exe()?;
    // A literal string of TOML, which has no escapes.
    Ok(format!(
        "target.{host}.runner=['{}', 'narrowed', '{}']",
        own.display(),
        width.name()
    ))
}

/// A test program and its arguments, as cargo hands them to a runner.
#[derive(Args)]
pub struct NarrowedFlags {
    /// The widest instructions that are left.
    width: Width,
    /// The program.
    program: PathBuf,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl NarrowedFlags {
    /// Runs a narrowed copy of the program in the same folder, and returns its exit code.
    ///
    /// # Errors
    /// When the program cannot be copied or started, or asks for its registers in a way that is not known here.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let copy = self.program.with_extension(self.width.name());
        let code = self.run_copy(&copy);
        // The program's own result matters more than a copy that stays behind.
        let _ = std::fs::remove_file(&copy);
        code
    }

    fn run_copy(&self, copy: &Path) -> anyhow::Result<ExitCode> {
        let shown = self.program.display();
        // The copy has the permissions of the program.
        std::fs::copy(&self.program, copy).with_context(|| format!("cannot copy {shown}"))?;
        let mut program = std::fs::read(copy)?;
        let n_places = narrow(&mut program, self.width);
        std::fs::write(copy, program).with_context(|| format!("cannot write {}", copy.display()))?;
        match n_places {
            0 => eprintln!("{shown} asks for no registers and has one path on every processor"),
            _ => eprintln!(
                "{shown} without wider registers than {} ({n_places} places)",
                self.width.name()
            ),
        }
        let status = Command::new(copy).args(&self.arguments).status()?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_gets_the_narrow_answer_and_nothing_else_changes() {
        let around = [0x0f, 0x01, 0xd0, 0x90];
        let program = [&around[..], &XGETBV, &around, &XGETBV].concat();
        for (width, saved) in [(Width::Avx2, 7), (Width::Sse, 3)] {
            let mut found = program.clone();
            assert_eq!(narrow(&mut found, width), 2);
            let answer = [0x31, 0xc9, 0xb0, saved, 0x90];
            assert_eq!(found, [&around[..], &answer, &around, &answer].concat());
        }
        assert_eq!(narrow(&mut around.clone(), Width::Sse), 0);
    }

    /// The bits that detection asks for: the registers of AVX (bits 1 and 2), and those of AVX-512 besides (5 to 7).
    #[test]
    fn the_answers_hide_the_wider_registers() {
        let has = |width: Width, bits: u8| width.saved() & bits == bits;
        assert!(has(Width::Avx2, 0b110) && !has(Width::Avx2, 0b1110_0110));
        assert!(!has(Width::Sse, 0b110) && has(Width::Sse, 0b10));
    }
}
