//! Situations from bug reports of the field: files that lie, change or are laid out otherwise.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bad_input::refuse;
use crate::{FEW_QUESTIONS, diffprune, model, output, picture, succeed};

/// A small model and a world of three benchmarks.
fn setting(dir: &Path) -> (PathBuf, PathBuf) {
    let (checkpoint, world) = (dir.join("model"), dir.join("world"));
    model(&checkpoint, 32);
    let counts = format!("--images 4 --val-images 2 {FEW_QUESTIONS}");
    succeed(&format!("mini data --out {{}} {counts}"), &[&world]);
    (checkpoint, world)
}

/// The pictures below a folder.
fn pictures(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(pictures(&path));
        } else if path.extension().is_some_and(|end| end == "png" || end == "jpg") {
            found.push(path);
        }
    }
    found.sort();
    found
}

const EVAL: &str =
    "eval --model {} --data {} --out {} --arms full,cls --budgets 16 --max-new-tokens 2 --pictures 0";

#[test]
fn what_can_be_asked_is_asked_and_the_rest_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, world) = setting(dir.path());
    let at = |name: &str| dir.path().join(name);
    fs::rename(world.join("pope"), world.join("POPE")).unwrap();
    fs::create_dir_all(world.join("vizwiz")).unwrap();
    fs::create_dir_all(world.join("mm-vet")).unwrap();
    let told = output(EVAL, &[&checkpoint, &world, &at("all")]);
    let errors = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{errors}");
    assert!(
        errors.contains("vizwiz is not asked") && errors.contains("mm-vet"),
        "{errors}"
    );
    let records = fs::read_to_string(at("all").join("records.jsonl")).unwrap();
    for name in ["pope", "gqa", "textvqa"] {
        assert!(records.contains(&format!("\"benchmark\":\"{name}\"")), "{name}");
    }
    let page = fs::read_to_string(at("all").join("report.md")).unwrap();
    assert!(page.contains("vizwiz is not asked"), "{page}");
    let strict = format!("{EVAL} --strict");
    refuse(&strict, &[&checkpoint, &world, &at("strict")], &["vizwiz"]);

    // A folder of runs is as good as a run.
    fs::create_dir(at("runs")).unwrap();
    fs::rename(at("all"), at("runs").join("all")).unwrap();
    fs::remove_file(at("runs").join("all/report.md")).unwrap();
    succeed("report {}", &[&at("runs")]);
    assert!(at("runs").join("all/report.md").is_file());

    let some = format!("{EVAL} --benchmarks POPE");
    succeed(&some, &[&checkpoint, &world, &at("some")]);
    let records = fs::read_to_string(at("some").join("records.jsonl")).unwrap();
    assert!(records.contains("\"pope\"") && !records.contains("\"gqa\""));
    let absent = format!("{EVAL} --benchmarks mme");
    refuse(
        &absent,
        &[&checkpoint, &world, &at("none")],
        &["found no folder mme"],
    );
}

#[test]
fn pictures_that_change_or_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, world) = setting(dir.path());
    let out = dir.path().join("out");
    succeed("check {}", &[&world]);
    succeed(EVAL, &[&checkpoint, &world, &out]);
    let photo = pictures(&world.join("gqa")).remove(0);
    let whole = fs::read(&photo).unwrap();
    // Another picture under the same name.
    fs::remove_file(&photo).unwrap();
    picture(&photo);
    refuse(
        EVAL,
        &[&checkpoint, &world, &out],
        &["another run", "its questions;"],
    );
    // One that ends early.
    for photo in pictures(&world.join("gqa")) {
        let bytes = fs::read(&photo).unwrap();
        fs::remove_file(&photo).unwrap();
        fs::write(&photo, &bytes[..bytes.len() / 2]).unwrap();
    }
    let told = output("check {}", &[&world]);
    let listed = String::from_utf8_lossy(&told.stdout);
    let name = photo.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(told.status.code(), Some(1));
    assert!(listed.contains(&name), "{listed}");
    succeed("check {} --sizes-only", &[&world]);
    let failed = dir.path().join("failed");
    succeed(EVAL, &[&checkpoint, &world, &failed]);
    let page = fs::read_to_string(failed.join("report.md")).unwrap();
    for part in [
        "Questions without an answer of some arm: gqa",
        "records.failed.jsonl",
        "damaged",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    fs::remove_file(&photo).unwrap();
    fs::write(&photo, whole).unwrap();
}

#[test]
fn captions_that_cannot_be_used_or_are_others() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, data) = (at("model"), at("data"));
    model(&checkpoint, 32);
    fs::create_dir(&data).unwrap();
    picture(&data.join("a.png"));
    let list = |captions: [&str; 3]| {
        let line = |caption: &&str| format!("{{\"image\": \"a.png\", \"caption\": \"{caption}\"}}\n");
        fs::write(
            data.join("captions.jsonl"),
            captions.iter().map(line).collect::<String>(),
        )
        .unwrap();
    };
    let train = "train --model {} --data {} --out {} --steps 2";
    let paths = |out: &'static str| [checkpoint.clone(), data.clone(), at(out)];
    let run = |line: &str, out: &'static str| {
        let paths = paths(out);
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        diffprune(line, &paths).output().unwrap()
    };
    list(["a red cross", "a <image> of a ring", "a blue ring"]);
    let told = run(train, "one");
    let errors = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("captions.jsonl:2") && errors.contains("<image>"),
        "{errors}"
    );
    let told = run(&format!("{train} --skip-unusable"), "two");
    let errors = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{errors}");
    assert!(
        errors.contains("1 of 3 samples are left out") && errors.contains("captions.jsonl:2"),
        "{errors}"
    );

    list(["an <image>", "two <image>", "<image>"]);
    let errors = run(&format!("{train} --skip-unusable"), "none").stderr;
    let errors = String::from_utf8_lossy(&errors);
    assert!(
        errors.contains("none of 3 samples") && errors.contains("captions.jsonl:3"),
        "{errors}"
    );

    list(["a red cross", "a ring", "a blue ring"]);
    assert!(run(train, "three").status.success());
    assert!(run(train, "three").status.success(), "the same inputs");
    list(["a red cross", "a ring", "a green ring"]);
    let errors = run(train, "three").stderr;
    let errors = String::from_utf8_lossy(&errors);
    assert!(errors.contains("inputs.captions"), "{errors}");
    let errors = run(&format!("{train} --keep 9999"), "four").stderr;
    let errors = String::from_utf8_lossy(&errors);
    assert!(errors.contains("keeps all 144 tokens"), "{errors}");
}

#[test]
fn photographs_stand_upright_unless_they_are_wanted_as_stored() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, photo) = (at("model"), at("phone.jpg"));
    model(&checkpoint, 32);
    picture(&photo);
    let plain = fs::read(&photo).unwrap();
    // A note that the camera was turned by a quarter.
    let entry = [0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0];
    let exif = [&b"Exif\0\0II*\0\x08\0\0\0\x01\0"[..], &entry, &[0; 4]].concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    fs::write(
        &photo,
        [&plain[..2], &[0xff, 0xe1], &length, &exif, &plain[2..]].concat(),
    )
    .unwrap();
    for (switch, sides) in [("", "120x200"), ("--as-stored", "200x120")] {
        let line = format!("ask what --dry-run --model {{}} --image {{}} {switch}");
        let told = succeed(&line, &[&checkpoint, &photo]);
        assert!(told.contains(sides), "{told}");
    }
    let show = "show --model {} --image {} --out {} --keep 16";
    for name in ["out.jpg", "out.png", "out.webp"] {
        succeed(show, &[&checkpoint, &photo, &at(name)]);
        let bytes = fs::read(at(name)).unwrap();
        let kind = diffprune::vlm::image_kind(&bytes).unwrap();
        assert!(name.ends_with(&kind.replace("jpeg", "jpg")), "{name}: {kind}");
    }
    refuse(
        show,
        &[&checkpoint, &photo, &at("out.txt")],
        &["out.txt", "png, jpg"],
    );
    // A cut photograph is no picture.
    fs::write(&photo, &plain[..plain.len() / 3]).unwrap();
    refuse(
        show,
        &[&checkpoint, &photo, &at("cut.png")],
        &["phone.jpg", "truncated"],
    );
    assert!(!at("cut.png").exists());
    #[cfg(unix)]
    {
        picture(&photo);
        std::os::unix::fs::symlink(at("out.png"), at("link.png")).unwrap();
        refuse(show, &[&checkpoint, &photo, &at("link.png")], &["link.png"]);
        assert!(at("link.png").symlink_metadata().unwrap().is_symlink());
    }
}
