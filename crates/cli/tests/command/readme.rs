//! The commands of the README as they stand there, in a folder that has what they name, on the smallest plan.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use diffprune_mini::Family;

use crate::repro::PLAN;
use crate::{FEW_QUESTIONS, model_of, picture, succeed};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Stands for `diffprune`: the program, a training of two updates, the smallest plan, a port that is free.
const DIFFPRUNE: &str = r#"#!/bin/bash
case "$1" in
  train) exec "$PROGRAM" "$@" --steps 2 ;;
  serve) exec "$PROGRAM" "$@" --addr 127.0.0.1:0 ;;
  run) exec "$PROGRAM" "$@" --plan plan.toml ;;
  *) exec "$PROGRAM" "$@" ;;
esac
"#;
/// Stands for `cargo`, which has built the program already. `--quick` is a plan, of which a run has one.
const CARGO: &str = r#"#!/bin/bash
case "$1 $2" in
  "install --path") exec grep -q 'name = "diffprune-cli"' "$ROOT/$3/Cargo.toml" ;;
  "xtask repro") shift 2; if [ "$1" = --quick ]; then shift; fi; exec diffprune run repro "$@" ;;
  "run -r") shift 5; exec diffprune "$@" ;;
  *) echo "no stand-in for cargo $*" >&2; exit 1 ;;
esac
"#;
/// Stands for `curl -s URL -d BODY`, which not every machine has.
const CURL: &str = r#"#!/bin/bash
address=${2%%/*} path=/${2#*/}
exec 3<>"/dev/tcp/${address%:*}/${address#*:}"
printf 'POST %s HTTP/1.1\r\nhost: %s\r\nconnection: close\r\ncontent-length: %s\r\n\r\n%s' "$path" "$address" "$(printf %s "$4" | wc -c)" "$4" >&3
cat <&3
"#;

/// A server that ends with the test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The commands in the blocks of a shell, one for each line that is whole.
fn commands(readme: &str) -> Vec<String> {
    let (mut commands, mut open) = (Vec::new(), String::new());
    let mut is_shell = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            is_shell = line == "```sh";
        } else if is_shell {
            open += line;
            // A text in quotes goes on in the next line.
            if open.replace("\\\"", "").matches('"').count() % 2 == 0 {
                commands.push(std::mem::take(&mut open));
            } else {
                open.push('\n');
            }
        }
    }
    commands
}

/// A folder in which the README's commands find what they name.
fn prepare(dir: &Path) {
    symlink(Path::new(ROOT).join("assets"), dir.join("assets")).unwrap();
    // A picture's type is known by its content.
    picture(&dir.join("a.png"));
    fs::rename(dir.join("a.png"), dir.join("a.jpg")).unwrap();
    fs::write(dir.join("plan.toml"), PLAN).unwrap();
    // One folder is the user's model and the user's data.
    let own = dir.join("DIR");
    let line = format!("mini data --out {{}} --images 8 --val-images 4 {FEW_QUESTIONS}");
    succeed(&line, &[&own]);
    model_of(Family::Llava15, &own, 32, 4);
    symlink(own.join("captions"), dir.join("captions")).unwrap();
    let hub = dir.join("hub/models--llava-hf--llava-1.5-7b-hf");
    let commit = "0123456789012345678901234567890123456789";
    fs::create_dir_all(hub.join("refs")).unwrap();
    fs::write(hub.join("refs/main"), commit).unwrap();
    model_of(Family::Llava15, &hub.join("snapshots").join(commit), 32, 4);
    for (name, text) in [("diffprune", DIFFPRUNE), ("cargo", CARGO), ("curl", CURL)] {
        let program = dir.join("bin").join(name);
        fs::create_dir_all(dir.join("bin")).unwrap();
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn shell(dir: &Path, command: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let before = std::iter::once(dir.join("bin")).chain(std::env::split_paths(&path));
    let mut shell = Command::new("bash");
    shell
        .args(["-c", command])
        .current_dir(dir)
        .env("PATH", std::env::join_paths(before).unwrap())
        .env("PROGRAM", env!("CARGO_BIN_EXE_diffprune"))
        .env("ROOT", ROOT)
        .env("HF_HUB_CACHE", dir.join("hub"))
        .env("HF_HUB_OFFLINE", "1");
    shell
}

/// A server that is ready, and where.
fn serve(dir: &Path, command: &str) -> (Serving, String) {
    // The program takes the shell's place, so that it ends with it.
    let command = format!("exec {command}");
    let child = shell(dir, &command)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut serving = Serving(child.unwrap());
    let mut first = String::new();
    let out = serving.0.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut first).unwrap();
    let address = first.trim().strip_prefix("listening on http://");
    let address = address
        .unwrap_or_else(|| panic!("{command}: {first}"))
        .to_string();
    let mut told = BufReader::new(serving.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("ready: ") {
        line.clear();
        assert!(told.read_line(&mut line).unwrap() > 0, "{command}: it ended");
    }
    (serving, address)
}

#[test]
fn every_command_of_the_readme_does_what_it_says() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let dir: PathBuf = folder.path().canonicalize().unwrap();
    prepare(&dir);
    let (mut failed, mut told, mut serving) = (Vec::new(), Vec::new(), None);
    for command in commands(&readme) {
        if command.contains("-- serve") {
            serving = Some(serve(&dir, &command));
            continue;
        }
        let address = serving.as_ref().map_or("127.0.0.1:8080", |(_, address)| address);
        let command = command.replace("127.0.0.1:8080", address);
        let output = shell(&dir, &command).output().expect("bash starts");
        if !output.status.success() {
            failed.push(format!("{command}\n{}", String::from_utf8_lossy(&output.stderr)));
        }
        told.push(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(told.len() > 8 && serving.is_some(), "{} commands", told.len());
    for text in ["purple", "\"visual_tokens_kept\":16"] {
        assert!(told.iter().any(|told| told.contains(text)), "{text}");
    }
    for made in ["kept.png", "runs/first", "runs/repro/report.html"] {
        assert!(dir.join(made).exists(), "{made}");
    }
}
