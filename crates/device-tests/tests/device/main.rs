//! Every operator, leaf and backbone on a GPU backend against the CPU, in one process.
//!
//! `DIFFPRUNE_TEST_DEVICE` names the backend (`wgpu`, `vulkan` or `cuda`, with an index as in `cuda:1`),
//! `DIFFPRUNE_TEST_DTYPE` the type of the device's numbers (`f32`, `f16` or `bf16`). Arguments filter checks by name.

mod backbones;
mod compare;
mod leaves;
mod operators;
mod oracles;
mod target;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use target::Target;

/// Answers with the largest difference relative to what is allowed.
type Run = dyn Fn(&Target) -> Result<f32, String>;

/// A named comparison; its error says what differs.
pub struct Check {
    name: String,
    run: Box<Run>,
}

impl Check {
    /// A comparison that answers with the largest difference relative to what is allowed (1 is the limit).
    pub fn new(name: impl Into<String>, run: impl Fn(&Target) -> Result<f32, String> + 'static) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

fn main() -> ExitCode {
    let target = match Target::from_env() {
        Ok(target) => target,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::FAILURE;
        }
    };
    println!("device {target}");
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let mut checks = operators::checks();
    checks.extend(leaves::checks());
    let root = match std::env::var_os("DIFFPRUNE_FIXTURES") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures"),
    };
    for found in [backbones::checks(&root), oracles::checks(&root)] {
        match found {
            Ok(found) => checks.extend(found),
            Err(problem) => {
                eprintln!("error: {problem}");
                return ExitCode::FAILURE;
            }
        }
    }
    checks.retain(|check| filters.is_empty() || filters.iter().any(|filter| check.name.contains(filter)));
    let (mut passed, mut failed) = (0, 0);
    for check in &checks {
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (check.run)(&target)));
        let took = start.elapsed().as_secs_f64();
        match outcome {
            Ok(Ok(share)) => {
                passed += 1;
                println!(
                    "ok     {:<44} {:>5.1} % of the tolerance, {took:.1} s",
                    check.name,
                    100.0 * share
                );
            }
            Ok(Err(problem)) => {
                failed += 1;
                println!("FAILED {:<44} {problem}", check.name);
            }
            Err(_) => {
                failed += 1;
                println!("FAILED {:<44} panicked", check.name);
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
