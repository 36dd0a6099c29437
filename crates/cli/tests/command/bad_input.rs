//! Whatever is wrong with the input: exit code 1 (2 where the call itself makes no sense), one line that names it, nothing half-written.

use std::fs;
use std::path::Path;
use std::process::Output;

#[cfg(unix)]
use crate::diffprune;
use crate::{FEW_QUESTIONS, model, output, picture, succeed};

/// Runs, must fail with code 1 or 2 and one line that holds every one of `parts`.
pub fn refuse(line: &str, paths: &[&Path], parts: &[&str]) {
    refused(line, &output(line, paths), parts);
}

/// Must have failed with code 1 or 2 and one line that holds every one of `parts`.
fn refused(line: &str, output: &Output, parts: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{line}: {told}");
    assert_eq!(told.trim_end().lines().count(), 1, "{line}: {told}");
    assert!(!told.contains("panicked"), "{line}: {told}");
    for part in parts {
        assert!(told.contains(part), "{line}: `{part}` is not in: {told}");
    }
}

#[test]
fn models_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let (absent, checkpoint, out) = (
        dir.path().join("absent"),
        dir.path().join("model"),
        dir.path().join("out"),
    );
    let picture_file = dir.path().join("a.png");
    picture(&picture_file);
    model(&checkpoint, 32);
    let repro = "run repro --model {} --out {}";
    refuse(
        repro,
        &[&absent, &out],
        &["absent", "expected an existing folder or `owner/name`"],
    );

    let show = "show --model {} --image {} --out {}";
    let png = dir.path().join("b.png");
    let weights = checkpoint.join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    for length in [0, 5, whole.len() / 2, whole.len() - 1] {
        fs::write(&weights, &whole[..length]).unwrap();
        refuse(show, &[&checkpoint, &picture_file, &png], &["model.safetensors"]);
    }
    fs::write(&weights, &whole).unwrap();
    let config = checkpoint.join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"llava\"", "\"qwen9\"")).unwrap();
    refuse(
        show,
        &[&checkpoint, &picture_file, &png],
        &["config.json", "qwen9"],
    );
    fs::write(&config, &text[..text.len() / 2]).unwrap();
    refuse(show, &[&checkpoint, &picture_file, &png], &["config.json"]);
    fs::write(&config, text).unwrap();
    fs::remove_file(checkpoint.join("tokenizer.json")).unwrap();
    refuse(show, &[&checkpoint, &picture_file, &png], &["tokenizer.json"]);
    assert!(!png.exists() && !out.exists());
}

#[test]
fn calls_that_make_no_sense_end_with_two() {
    for line in [
        "",
        "aks",
        "show --keep many --image a --out b",
        "train",
        "eval --benchmarks mm-vet --data d --out o",
    ] {
        let output = output(line, &[]);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(output("--help", &[]).status.code(), Some(0));
}

#[test]
fn names_that_are_misspelt_get_a_suggestion() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, photo, png) = (
        dir.path().join("model"),
        dir.path().join("a.png"),
        dir.path().join("b.png"),
    );
    model(&checkpoint, 32);
    picture(&photo);
    let show = "show --model {} --image {} --out {} --pruner vision-zip";
    refuse(
        show,
        &[&checkpoint, &photo, &png],
        &["`visionzip` (the most alike)"],
    );
    let line = "show --model mini-llava-15 --image {} --out {}";
    refuse(line, &[&photo, &png], &["did you mean `mini-llava-1.5`?"]);
}

#[test]
fn methods_completions_and_manual_are_printed() {
    let list = succeed("methods", &[]);
    let json: serde_json::Value = serde_json::from_str(&succeed("methods --json", &[])).unwrap();
    let methods = json.as_array().unwrap();
    assert_eq!(list.lines().count(), methods.len());
    for method in methods {
        let name = method["name"].as_str().unwrap();
        assert!(list.lines().any(|line| line.starts_with(name)), "{name}");
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(
            succeed(&format!("completions {shell}"), &[]).contains("diffprune"),
            "{shell}"
        );
    }
    assert!(succeed("man", &[]).contains(".TH"));
    assert!(succeed("man eval", &[]).contains("budgets"));
    refuse("man best", &[], &["`best`", "eval"]);
}

/// A reader that goes away is no error; a disk without room is one line.
#[cfg(unix)]
#[test]
fn standard_output_that_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, photo) = (dir.path().join("model"), dir.path().join("a.png"));
    model(&checkpoint, 32);
    picture(&photo);
    let dry = "ask what --dry-run --model {} --image {}";
    let paths: [&Path; 2] = [&checkpoint, &photo];
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = diffprune(dry, &paths).stdout(writer).output().unwrap();
    let told = String::from_utf8_lossy(&closed.stderr);
    assert!(closed.status.success() && !told.contains("panicked"), "{told}");
    if let Ok(full) = fs::File::options().write(true).open("/dev/full") {
        let output = diffprune(dry, &paths).stdout(full).output().unwrap();
        refused(dry, &output, &["standard output", "make room"]);
    }
}

#[test]
fn scorers_of_other_models() {
    let dir = tempfile::tempdir().unwrap();
    let (narrow, wide) = (dir.path().join("narrow"), dir.path().join("wide"));
    let (picture_file, png, scorer) = (
        dir.path().join("a.png"),
        dir.path().join("b.png"),
        dir.path().join("scorer"),
    );
    picture(&picture_file);
    model(&narrow, 32);
    model(&wide, 64);
    let config = diffprune::ScorerConfig::mini(32);
    let trained = config.init(&burn::tensor::Device::flex());
    let metadata = diffprune::Metadata::new("diffprune", &trained);
    diffprune::ScorerCheckpoint::save(&scorer, &trained, &metadata).unwrap();

    let show = "show --model {} --image {} --out {} --pruner diffprune:{}";
    refuse(
        show,
        &[&wide, &picture_file, &png, &scorer],
        &["32", "64", "scorer"],
    );
    refuse(
        show,
        &[&narrow, &picture_file, &png, &narrow],
        &["diffprune.json"],
    );
    let weights = scorer.join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    refuse(
        show,
        &[&narrow, &picture_file, &png, &scorer],
        &["model.safetensors"],
    );
    assert!(!png.exists());
}

#[test]
fn pictures_and_questions_that_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, broken, png) = (
        dir.path().join("model"),
        dir.path().join("broken.png"),
        dir.path().join("b.png"),
    );
    model(&checkpoint, 32);
    let whole = dir.path().join("a.png");
    picture(&whole);
    let bytes = fs::read(&whole).unwrap();
    let show = "show --model {} --image {} --out {}";
    refuse(show, &[&checkpoint, &broken, &png], &["broken.png"]);
    for length in [0, 20, bytes.len() / 2] {
        fs::write(&broken, &bytes[..length]).unwrap();
        refuse(show, &[&checkpoint, &broken, &png], &["broken.png"]);
        refuse(
            "ask what --model {} --image {}",
            &[&checkpoint, &broken],
            &["broken.png"],
        );
    }
    refuse(
        "eval --model {} --data {} --out {}",
        &[&checkpoint, dir.path(), &png],
        &["found no questions"],
    );
    refuse(
        "train --model {} --data {} --out {}",
        &[&checkpoint, dir.path(), &png],
        &["captions.jsonl"],
    );
    let (world, pope) = (dir.path().join("world"), dir.path().join("world/pope"));
    fs::create_dir_all(pope.join("data")).unwrap();
    fs::write(pope.join("data/test-00000-of-00001.parquet"), "PAR1").unwrap();
    refuse(
        "eval --model {} --data {} --out {}",
        &[&checkpoint, &world, &png],
        &["test-00000-of-00001.parquet", "diffprune unpack pope --from"],
    );
    refuse(
        "unpack pope --from {} --out {}",
        &[&pope, &png],
        &["test-00000-of-00001.parquet:0: found unfit parquet"],
    );
    refuse(
        "unpack captions --from {} --out {}",
        &[&pope, &png],
        &["found none of train-*.parquet"],
    );
    refuse(
        "unpack best --from {} --out {}",
        &[&pope, &png],
        &["`best`", "expected captions, imagenet or one of gqa"],
    );
    refuse("report {}", &[dir.path()], &["records.jsonl"]);
    refuse(
        "report {} --format pdf",
        &[dir.path()],
        &["`pdf`", "expected json, md"],
    );
    assert!(!png.exists());
}

#[test]
fn a_damaged_line_is_left_out_unless_the_run_is_strict() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, world, out) = (at("model"), at("world"), at("out"));
    model(&checkpoint, 32);
    let counts = format!("--images 4 --val-images 2 {FEW_QUESTIONS}");
    succeed(&format!("mini data --out {{}} {counts}"), &[&world]);
    let path = world.join("pope").join("llava_pope_test.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let mut damaged = lines.clone();
    damaged[1] = &lines[1][..lines[1].len() / 2];
    fs::write(&path, damaged.join("\n")).unwrap();

    let eval = "eval --model {} --data {} --out {} --arms full,cls --budgets 16 --max-new-tokens 2";
    let strict = format!("{eval} --strict");
    refuse(
        &strict,
        &[&checkpoint, &world, &out],
        &["llava_pope_test.jsonl:2:"],
    );
    assert!(!out.exists());

    let pope = |records: &str| records.matches("\"benchmark\":\"pope\"").count();
    let told = output(eval, &[&checkpoint, &world, &out]);
    assert!(told.status.success());
    let note = "left out because they cannot be used: pope 1 (listed in data.problems.jsonl)";
    assert!(String::from_utf8_lossy(&told.stderr).contains(note));
    let records = fs::read_to_string(out.join("records.jsonl")).unwrap();
    assert_eq!(pope(&records), 2 * (lines.len() - 1));
    let problems = fs::read_to_string(out.join("data.problems.jsonl")).unwrap();
    assert_eq!(problems.lines().count(), 1);
    assert!(problems.contains("\"benchmark\":\"pope\"") && problems.contains("llava_pope_test.jsonl:2:"));
    for file in ["report.md", "report.json"] {
        assert!(
            fs::read_to_string(out.join(file)).unwrap().contains(note),
            "{file}"
        );
    }

    // The repaired data is another run, and has nothing to complain about.
    fs::write(&path, &whole).unwrap();
    refuse(
        eval,
        &[&checkpoint, &world, &out],
        &["another run", "its questions;", "choose another folder"],
    );
    fs::remove_file(out.join("records.jsonl")).unwrap();
    succeed(eval, &[&checkpoint, &world, &out]);
    let records = fs::read_to_string(out.join("records.jsonl")).unwrap();
    assert_eq!(pope(&records), 2 * lines.len());
    assert!(!out.join("data.problems.jsonl").exists());
    assert!(
        !fs::read_to_string(out.join("report.md"))
            .unwrap()
            .contains("cannot be used")
    );
}

#[test]
fn settings_that_mean_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    for keep in ["0", "0/9", "10/9", "many", "0%"] {
        let line = format!("show --image a.png --out {{}} --keep {keep}");
        refuse(&line, &[&out], &["--keep", "expected `all`, a positive count"]);
    }
    refuse("train --data d --out {} --keep 0", &[&out], &["--keep"]);
    refuse("run repro --out {} --device gpu", &[&out], &["`gpu`", "cpu"]);
    refuse(
        "train --data d --out {} --method best",
        &[&out],
        &["--method", "best"],
    );
    refuse(
        "train --data d --out {} --method operator:best",
        &[&out],
        &["--method", "best"],
    );
    #[cfg(not(feature = "cuda"))]
    refuse(
        "run repro --out {} --device cuda:1",
        &[&out],
        &["--features cuda"],
    );
    refuse("eval --data d --out {} --device cpu,gpu:x", &[&out], &["`gpu:x`"]);
    let plan = dir.path().join("plan.toml");
    fs::write(&plan, "stepps = 3").unwrap();
    refuse(
        "run repro --out {} --plan {}",
        &[&out, &plan],
        &["plan.toml", "stepps"],
    );
    assert!(!out.exists());
}

#[test]
fn folders_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, picture_file) = (dir.path().join("model"), dir.path().join("a.png"));
    model(&checkpoint, 32);
    picture(&picture_file);
    // A file where a folder should be refuses even the superuser.
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("out");
    refuse(
        "run repro --model {} --out {}",
        &[&checkpoint, &below],
        &["file/out"],
    );
    refuse("mini data --out {} --images 1", &[&below], &["file"]);
    refuse("mini train --out {}", &[&below], &["file/out"]);
    refuse(
        "show --model {} --image {} --out {}",
        &[&checkpoint, &picture_file, &below],
        &["file"],
    );
    assert_eq!(fs::read(&file).unwrap(), b"");
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

/// The program as [`diffprune`] makes it, which may write 512 bytes to a file and no more: the system refuses the rest
/// in the middle of a write, as that of a full disk does.
#[cfg(unix)]
fn cramped(line: &str, paths: &[&Path]) -> Output {
    let program = diffprune(line, paths);
    std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""])
        .arg(program.get_program())
        .args(program.get_args())
        .output()
        .expect("a shell")
}

/// Names in a folder, hidden ones included.
#[cfg(unix)]
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(unix)]
#[test]
fn a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, world, photo) = (at("model"), at("world"), at("a.png"));
    model(&checkpoint, 32);
    picture(&photo);
    let counts = format!("--images 4 --val-images 2 {FEW_QUESTIONS}");
    succeed(&format!("mini data --out {{}} {counts}"), &[&world]);
    let before = names(dir.path());
    let (png, scorer, out) = (at("b.png"), at("scorer"), at("out"));
    refused(
        "show",
        &cramped(
            "show --model {} --image {} --out {}",
            &[&checkpoint, &photo, &png],
        ),
        &["b.png", "File too large"],
    );
    assert_eq!(names(dir.path()), before);

    let train = "train --model {} --data {} --out {} --steps 1 --keep 2/9";
    refused(
        train,
        &cramped(train, &[&checkpoint, &world, &scorer]),
        &["scorer", "File too large"],
    );
    let left = names(&scorer);
    assert!(
        !left
            .iter()
            .any(|name| name.ends_with(".tmp") || name == "diffprune.json"),
        "{left:?}"
    );

    let eval = "eval --model {} --data {} --out {} --arms full,cls --budgets 16 --max-new-tokens 2";
    refused(
        eval,
        &cramped(eval, &[&checkpoint, &world, &out]),
        &["records.jsonl", "File too large"],
    );
    assert_eq!(names(&out), [".diffprune.lock", "inputs.json", "records.jsonl"]);
    let records = fs::read_to_string(out.join("records.jsonl")).unwrap();
    assert!(
        records.ends_with('\n') && records.lines().all(|line| line.ends_with('}')),
        "{records}"
    );
    // With room again, both go on.
    succeed(train, &[&checkpoint, &world, &scorer]);
    succeed(eval, &[&checkpoint, &world, &out]);
}
