//! `cargo xtask features`: steps per second of a training on pictures and on features that were encoded before.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use xshell::{Shell, cmd};

use crate::run::build;

/// Flags of `cargo xtask features`.
#[derive(Args)]
pub struct FeatureFlags {
    /// Small models to train on.
    #[arg(long, value_delimiter = ',', default_value = "mini-llava-1.5,mini-llava-next")]
    models: Vec<String>,
    /// Updates of the short and of the long run; a step is their difference, so that loading does not count.
    #[arg(long, value_delimiter = ',', num_args = 2, default_value = "4,24")]
    steps: Vec<usize>,
    /// Rounds, each of which runs every row once.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A program that is built already [default: build it in release].
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Folder of the result.
    #[arg(long, default_value = "benches/runs/features")]
    out: PathBuf,
}

/// What is read, whether tokens are held in memory, and the argument for it.
const ROWS: [(&str, u64, &str); 3] = [
    ("pictures, nothing held in memory", 0, "--data={tmp}/world"),
    (
        "features in f16, nothing held in memory",
        0,
        "--features={tmp}/f16",
    ),
    (
        "features in f32, nothing held in memory",
        0,
        "--features={tmp}/f32",
    ),
];

impl FeatureFlags {
    /// Measures, and writes the table and every time.
    pub fn run(self, shell: &Shell) -> anyhow::Result<()> {
        let [short, long] = self.steps[..] else {
            bail!("steps: found {:?}, expected two counts", self.steps);
        };
        if short >= long {
            bail!("steps: found {short},{long}, expected the smaller count first");
        }
        let binary = match &self.binary {
            Some(binary) => binary.clone(),
            None => build(shell, "cpu")?,
        };
        let folder = shell.create_temp_dir()?;
        let tmp = folder.path();
        cmd!(
            shell,
            "{binary} mini data --quiet --out {tmp}/world --images 256 --val-images 4"
        )
        .quiet()
        .run()?;
        let mut table =
            String::from("| model | data | steps per second, each round | median |\n|---|---|---|---|\n");
        let mut raw = String::from("model,row,round,steps,seconds\n");
        for model in &self.models {
            for precision in ["f16", "f32"] {
                let out = tmp.join(precision);
                cmd!(shell, "{binary} encode --quiet --model {model} --data {tmp}/world --out {out} --precision {precision}")
                    .quiet()
                    .ignore_stdout()
                    .run()?;
            }
            let mut rates: Vec<Vec<f64>> = vec![Vec::new(); ROWS.len()];
            for round in 0..self.rounds {
                for (row, (name, held, data)) in ROWS.iter().enumerate() {
                    let data = data.replace("{tmp}", &tmp.display().to_string());
                    let mut time = |steps| -> anyhow::Result<f64> {
                        let seconds = timed(shell, &binary, model, tmp, (&data, *held), steps)?;
                        writeln!(raw, "{model},{name},{round},{steps},{seconds:.3}")?;
                        Ok(seconds)
                    };
                    let (few, many) = (time(short)?, time(long)?);
                    rates[row].push((long - short) as f64 / (many - few).max(1e-3));
                }
            }
            for (row, (name, ..)) in ROWS.iter().enumerate() {
                let rounds: Vec<String> = rates[row].iter().map(|rate| format!("{rate:.2}")).collect();
                writeln!(
                    table,
                    "| {model} | {name} | {} | {:.2} |",
                    rounds.join(" "),
                    median(&rates[row])
                )?;
            }
            for precision in ["f16", "f32"] {
                shell.remove_path(tmp.join(precision))?;
            }
        }
        shell.create_dir(&self.out)?;
        shell.write_file(self.out.join("times.csv"), raw)?;
        shell.write_file(self.out.join("table.md"), &table)?;
        print!("{table}");
        Ok(())
    }
}

/// The time of a training of so many updates, the program's start included.
fn timed(
    shell: &Shell,
    binary: &Path,
    model: &str,
    tmp: &Path,
    (data, held): (&str, u64),
    steps: usize,
) -> anyhow::Result<f64> {
    let (config, out) = (tmp.join("train.toml"), tmp.join("run"));
    let text = format!(
        "batch = 16\ncache_bytes = {held}\nlr = 1e-3\n\n[validation]\nevery = 0\n\n[diffprune]\nbudget = \"1/9\"\nscorer = \"mini\"\n"
    );
    shell.write_file(&config, text)?;
    let steps = steps.to_string();
    let start = Instant::now();
    cmd!(
        shell,
        "{binary} train --quiet --model {model} {data} --out {out} --config {config} --steps {steps}"
    )
    .quiet()
    .ignore_stdout()
    .run()
    .with_context(|| format!("a training of {model} on {data}"))?;
    let seconds = start.elapsed().as_secs_f64();
    shell.remove_path(&out)?;
    Ok(seconds)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
