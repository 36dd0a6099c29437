//! Signals in the middle of work, and two processes in one folder.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use diffprune_eval::FolderLock;

use crate::bad_input::refuse;
use crate::{diffprune, model, picture, succeed};

/// A run that takes signals, whatever the program that runs the tests does with them.
struct Running {
    child: Child,
    told: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn start(line: &str, paths: &[&Path]) -> Self {
        Self::start_under(&["--default-signal=INT,TERM"], line, paths)
    }

    /// The same with other options of `env` about signals.
    fn start_under(signals: &[&str], line: &str, paths: &[&Path]) -> Self {
        let program = diffprune(line, paths);
        let mut child = Command::new("env")
            .args(signals)
            .arg(program.get_program())
            .args(program.get_args())
            .env("HF_HUB_OFFLINE", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let told = BufReader::new(child.stderr.take().expect("a pipe"));
        Self { child, told }
    }

    /// Waits until something of the run is there.
    fn until(&mut self, is_there: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_there() {
            assert!(started.elapsed() < Duration::from_secs(300), "nothing came");
            assert!(self.child.try_wait().unwrap().is_none(), "ended: {}", self.rest());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn send(&self, signal: &str) {
        let process = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", signal, &process])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Reads up to the line that acknowledges a signal.
    fn acknowledged(&mut self) {
        let mut line = String::new();
        while !line.contains("stopping after the running") {
            line.clear();
            assert!(self.told.read_line(&mut line).unwrap() > 0, "no acknowledgement");
        }
    }

    fn rest(&mut self) -> String {
        let mut text = String::new();
        self.told.read_to_string(&mut text).unwrap();
        text
    }

    /// Exit code and what was told.
    fn end(mut self) -> (Option<i32>, String) {
        let text = self.rest();
        (self.child.wait().unwrap().code(), text)
    }
}

/// A small model and captions, in a folder.
fn setting(dir: &Path) -> (PathBuf, PathBuf) {
    let (checkpoint, data) = (dir.join("model"), dir.join("data"));
    model(&checkpoint, 32);
    fs::create_dir(&data).unwrap();
    picture(&data.join("a.png"));
    let lines = ["a red cross", "a ring", "a blue ring", "two stars"];
    let lines = lines.map(|caption| format!("{{\"image\": \"a.png\", \"caption\": \"{caption}\"}}\n"));
    fs::write(data.join("captions.jsonl"), lines.concat()).unwrap();
    (checkpoint, data)
}

fn n_lines(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

const TRAIN: &str = "train --model {} --data {} --out {} --steps 80";

#[test]
fn a_run_in_the_background_of_a_script_ignores_interrupts_and_ends_when_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, data) = setting(dir.path());
    let out = dir.path().join("out");
    let signals = ["--ignore-signal=INT", "--default-signal=TERM"];
    let mut run = Running::start_under(&signals, TRAIN, &[&checkpoint, &data, &out]);
    run.until(|| n_lines(&out.join("metrics.jsonl")) > 1);
    run.send("INT");
    let done = n_lines(&out.join("metrics.jsonl"));
    run.until(|| n_lines(&out.join("metrics.jsonl")) > done + 2);
    run.send("TERM");
    run.acknowledged();
    let (found, told) = run.end();
    assert_eq!(found, Some(143), "{told}");
}

#[test]
fn signals_end_a_training_after_an_update_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, data) = setting(dir.path());
    let (broken, whole) = (dir.path().join("broken"), dir.path().join("whole"));
    let paths = [checkpoint.as_path(), &data, &broken];
    let mut done = 0;
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut run = Running::start(TRAIN, &paths);
        run.until(|| n_lines(&broken.join("metrics.jsonl")) > done + 2);
        run.send(signal);
        run.acknowledged();
        let (found, told) = run.end();
        assert_eq!(found, Some(code), "{told}");
        let line = format!("diffprune train --model {}", checkpoint.display());
        assert!(told.contains("go on with: ") && told.contains(&line), "{told}");
        // The update that ran is the last one, and is saved.
        let after = told.split("stopped after update ").nth(1).expect("its number");
        done = after.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(n_lines(&broken.join("metrics.jsonl")), done);
        assert!(
            broken.join(format!("checkpoints/step-{done:08}")).is_dir(),
            "{told}"
        );
        assert!(!broken.join("model.safetensors").exists());
    }
    succeed(TRAIN, &paths);
    succeed(TRAIN, &[&checkpoint, &data, &whole]);
    for file in ["model.safetensors", "diffprune.json", "metrics.jsonl"] {
        assert!(
            fs::read(broken.join(file)).unwrap() == fs::read(whole.join(file)).unwrap(),
            "{file}"
        );
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, data) = setting(dir.path());
    let config = dir.path().join("train.toml");
    // One update that takes far longer than sending two signals.
    fs::write(&config, "batch = 4096\nsteps = 1\n").unwrap();
    let line = "train --model {} --data {} --out {} --config {}";
    for attempt in 0..5 {
        let out = dir.path().join(attempt.to_string());
        let mut run = Running::start(line, &[&checkpoint, &data, &out, &config]);
        run.until(|| out.join("metrics.jsonl").is_file());
        run.send("INT");
        run.acknowledged();
        run.send("INT");
        let (code, told) = run.end();
        assert_eq!(code, Some(130), "{told}");
        assert_eq!(n_lines(&out.join("metrics.jsonl")), 0);
        // The first signal may have come before the update began: then there was nothing to cut off.
        if !told.contains("go on with") {
            return;
        }
        assert!(told.contains("before the first update"), "{told}");
    }
    panic!("no update was cut off");
}

#[test]
fn an_evaluation_goes_on_after_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, _) = setting(dir.path());
    let world = dir.path().join("world");
    let counts = "--images 1 --val-images 1 --pope-images 5 --gqa-per-kind 1 --textvqa-questions 1 --vqav2-questions 0 \
                  --vizwiz-questions 0 --mme-pictures 0 --mmbench-questions 0 --mmbench-cn-questions 0 \
                  --seed-bench-questions 0 --scienceqa-questions 0";
    succeed(&format!("mini data --out {{}} {counts}"), &[&world]);
    let line = "eval --model {} --data {} --out {} --arms full,cls,random,first-k --budgets 1/9 --pictures 0";
    let (broken, whole) = (dir.path().join("broken"), dir.path().join("whole"));
    let paths = [checkpoint.as_path(), &world, &broken];
    let records = broken.join("records.jsonl");
    let mut run = Running::start(line, &paths);
    run.until(|| n_lines(&records) > 10);
    run.send("INT");
    run.acknowledged();
    let (code, told) = run.end();
    assert_eq!(code, Some(130), "{told}");
    assert!(
        told.contains("answers, which are saved") && told.contains("go on with: "),
        "{told}"
    );
    assert!(!broken.join("report.json").exists());
    let answered = n_lines(&records) - 1;
    assert!(told.contains(&format!("stopped with {answered} of ")), "{told}");
    succeed(line, &paths);
    succeed(line, &[&checkpoint, &world, &whole]);
    for file in ["records.jsonl", "report.json"] {
        assert!(
            fs::read(broken.join(file)).unwrap() == fs::read(whole.join(file)).unwrap(),
            "{file}"
        );
    }
}

#[test]
fn a_small_model_goes_on_after_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let stage = "steps = 40\nlr = 1e-3\nwarmup = 1\nweight_decay = 0.0\nclip = 1.0\n";
    let sizes = "d_vision = 32\nd_model = 32\nvision_layers = 1\nlanguage_layers = 1\nn_heads = 2\nshards = 2\n\
                 images_per_shard = 2\nturns = 2\ncheckpoint_every = 1000\nlog_every = 1\n";
    fs::write(
        at("recipe.toml"),
        format!("{sizes}[tower]\n{stage}[language]\n{stage}"),
    )
    .unwrap();
    let line = "mini train --out {} --assets {} --config {} --no-card";
    let recipe = at("recipe.toml");
    for (log, signal, code) in [("tower.jsonl", "INT", 130), ("language.jsonl", "TERM", 143)] {
        let mut run = Running::start(line, &[&at("run"), &at("broken"), &recipe]);
        run.until(|| n_lines(&at("run").join(log)) > 2);
        run.send(signal);
        run.acknowledged();
        let (found, told) = run.end();
        assert_eq!(found, Some(code), "{told}");
        assert!(
            told.contains("which is saved") && !at("broken").exists(),
            "{told}"
        );
    }
    succeed(line, &[&at("run"), &at("broken"), &recipe]);
    succeed(line, &[&at("other"), &at("whole"), &recipe]);
    let weights = |name: &str| fs::read(at(name).join("model.safetensors")).unwrap();
    assert!(weights("broken") == weights("whole"));
}

#[test]
fn a_folder_in_which_another_process_works_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, data) = setting(dir.path());
    let out = dir.path().join("out");
    let held = FolderLock::take(&out).unwrap();
    let process = std::process::id().to_string();
    let told = [process.as_str(), "is working in this folder", "/out"];
    refuse(TRAIN, &[&checkpoint, &data, &out], &told);
    refuse(
        "run repro --model {} --plan quick --out {}",
        &[&checkpoint, &out],
        &told,
    );
    refuse("mini train --out {}", &[&out], &told);
    drop(held);
    succeed(
        "train --model {} --data {} --out {} --steps 1",
        &[&checkpoint, &data, &out],
    );
}
