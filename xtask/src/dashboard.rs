//! The dashboard of a training, as it stands in a terminal after some updates.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::bail;
use xshell::{Shell, cmd};

/// Size of the terminal, characters.
const COLUMNS: &str = "112";
const ROWS: &str = "42";
/// Updates of the run, and that after which the picture is taken: in the fourth interval between validations.
const STEPS: &str = "60";
const AFTER: usize = 52;
/// What a machine under load may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Runs a training of the small model in tmux and gives its screen.
pub fn screen(shell: &Shell, binary: &Path) -> anyhow::Result<String> {
    let folder = shell.create_temp_dir()?;
    let tmp = folder.path().display().to_string();
    cmd!(
        shell,
        "{binary} mini data --quiet --out {tmp}/world --images 64 --val-images 32"
    )
    .quiet()
    .run()?;
    let config = "[validation]\nevery = 15\nsize = 32\n\n[diffprune]\nbudget = \"1/9\"\nscorer = \"mini\"\n";
    shell.write_file(folder.path().join("train.toml"), config)?;
    let name = format!("diffprune-{}", std::process::id());
    let line = format!(
        "{} train --data {tmp}/world --out {tmp}/run --config {tmp}/train.toml --steps {STEPS} --dashboard",
        binary.display()
    );
    cmd!(
        shell,
        "tmux new-session -d -s {name} -x {COLUMNS} -y {ROWS} {line}"
    )
    .quiet()
    .run()?;
    let taken = wait(shell, &name, Path::new(&format!("{tmp}/run/metrics.jsonl")));
    // The session is over already when the training is.
    let _ = cmd!(shell, "tmux kill-session -t {name}")
        .quiet()
        .ignore_stderr()
        .run();
    taken
}

fn wait(shell: &Shell, name: &str, log: &Path) -> anyhow::Result<String> {
    let start = Instant::now();
    loop {
        let updates = std::fs::read_to_string(log).unwrap_or_default();
        let updates = updates.lines().filter(|line| line.contains("\"nll\"")).count();
        if updates >= AFTER {
            // What the last updates came to is on the screen then.
            sleep(Duration::from_millis(300));
            return Ok(cmd!(shell, "tmux capture-pane -p -t {name}").quiet().read()?);
        }
        if start.elapsed() > LIMIT {
            bail!("the training made {updates} of {AFTER} updates in {LIMIT:?}");
        }
        sleep(Duration::from_millis(50));
    }
}
