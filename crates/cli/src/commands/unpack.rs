//! `diffprune unpack`.

use std::path::PathBuf;

use clap::Args;
use diffprune_eval::Benchmark;

/// Writes the official files of a benchmark from its parquet copy, pictures included, so that `eval` reads them.
#[derive(Debug, Args)]
pub struct UnpackArgs {
    /// The benchmark: gqa, pope, textvqa, mmbench, mmbench_cn, mme, scienceqa, vqav2, seed_bench or vizwiz.
    #[arg(value_parser = benchmark)]
    benchmark: Benchmark,
    /// Folder with the parquet files.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Folder for the official files; `eval` looks for them in a folder of the benchmark's name.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl UnpackArgs {
    /// Runs the command.
    #[cfg(feature = "parquet")]
    pub fn run(self) -> anyhow::Result<()> {
        let n_questions = diffprune_eval::unpack_parquet(self.benchmark, &self.from, &self.out)?;
        println!(
            "{}: {n_questions} questions in {}",
            self.benchmark,
            self.out.display()
        );
        Ok(())
    }

    /// Says how this command is built in.
    #[cfg(not(feature = "parquet"))]
    pub fn run(self) -> anyhow::Result<()> {
        anyhow::bail!(
            "unpack: {} stays as it is and {} is not written: this program was built without parquet; build it with \
             `cargo build --release --package diffprune-cli --features parquet` and unpack {} again",
            self.from.display(),
            self.out.display(),
            self.benchmark
        )
    }
}

/// The benchmark of that name.
fn benchmark(name: &str) -> Result<Benchmark, String> {
    let found = Benchmark::ALL
        .into_iter()
        .find(|benchmark| benchmark.name() == name);
    found.ok_or_else(|| {
        let names = Benchmark::ALL.map(Benchmark::name);
        format!("found `{name}`, wanted one of {}", names.join(", "))
    })
}
