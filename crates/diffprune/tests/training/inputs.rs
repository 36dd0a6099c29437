//! A run belongs to its inputs, and errors name the sample.

use std::fs;
use std::path::Path;

use diffprune::training::Progress;
use diffprune::{
    CAPTIONS_FILE, CaptionData, CaptionFolder, CaptionPrompt, TrainConfig, TrainError, Trainer, usable,
};
use image::{Rgb, RgbImage};

use crate::{alone, settings, tiny};

/// Writes six pictures and their captions; picture `i` is `colours[i % 2]`.
fn folder(captions: &str, colours: [u8; 2]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), captions, colours);
    folder
}

fn write(folder: &Path, captions: &str, colours: [u8; 2]) {
    let mut list = String::new();
    for i in 0..6 {
        let picture = RgbImage::from_pixel(20, 16, Rgb([colours[i % 2], 60, 200]));
        picture.save(folder.join(format!("{i}.png"))).unwrap();
        list += &format!("{{\"image\": \"{i}.png\", \"caption\": \"{captions} {i}\"}}\n");
    }
    fs::write(folder.join(CAPTIONS_FILE), list).unwrap();
}

fn short() -> TrainConfig {
    let mut config = settings();
    config.steps = 2;
    config.batch = 3;
    config.validation.every = 0;
    config
}

fn go_on(data: &Path, model: &str, out: &Path, steps: usize) -> Result<bool, TrainError> {
    let vlm = tiny();
    let trainer = Trainer::new(&vlm, &short())
        .with_model_digest(model)
        .stop_after(steps);
    let data = CaptionFolder::open(data)?;
    Ok(trainer.run(&data, None, out, &mut Progress::silent())?.finished)
}

#[test]
fn a_run_belongs_to_its_captions_pictures_and_weights() {
    let _guard = alone();
    let (data, out) = (folder("a red cross", [10, 240]), tempfile::tempdir().unwrap());
    let out = out.path();
    assert!(!go_on(data.path(), "weights", out, 1).unwrap());
    let copy = folder("a red cross", [10, 240]);
    let refused = |data: &Path, model: &str, field: &str| {
        let outcome = go_on(data, model, out, 2);
        assert!(
            matches!(&outcome, Err(TrainError::OtherRun { field: found, .. }) if found == field),
            "{field}: {outcome:?}"
        );
    };
    refused(
        folder("a blue ring", [10, 240]).path(),
        "weights",
        "inputs.captions",
    );
    refused(
        folder("a red cross", [10, 241]).path(),
        "weights",
        "inputs.captions",
    );
    refused(copy.path(), "other weights", "inputs.model");
    // The same content elsewhere is the same data; a finished run is compared too.
    assert!(go_on(copy.path(), "weights", out, 9).unwrap());
    refused(
        folder("a blue ring", [10, 240]).path(),
        "weights",
        "inputs.captions",
    );
    // A picture that changes under its name.
    let picture = RgbImage::from_pixel(20, 16, Rgb([0, 0, 0]));
    picture.save(data.path().join("5.png")).unwrap();
    refused(data.path(), "weights", "inputs.captions");
}

#[test]
fn runs_of_earlier_versions_go_on() {
    let _guard = alone();
    let (data, out) = (folder("a red cross", [10, 240]), tempfile::tempdir().unwrap());
    let out = out.path();
    go_on(data.path(), "weights", out, 1).unwrap();
    let path = out.join(diffprune::SETTINGS_FILE);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("[inputs]").unwrap();
    let (_, after) = rest.split_once("\n[").unwrap();
    fs::write(&path, format!("{before}[{after}")).unwrap();
    assert!(go_on(data.path(), "weights", out, 9).unwrap());
}

#[test]
fn samples_that_cannot_be_used_are_named_or_left_out() {
    let _guard = alone();
    let data = folder("a red cross", [10, 240]);
    let list = data.path().join(CAPTIONS_FILE);
    let mut lines: Vec<String> = fs::read_to_string(&list)
        .unwrap()
        .lines()
        .map(String::from)
        .collect();
    lines[2] = lines[2].replace("red", "<image>");
    lines[4] = lines[4].replace("4.png", "absent.png");
    // A mark of the byte order in front, as editors of some systems write it.
    fs::write(&list, format!("\u{feff}{}\n", lines.join("\r\n"))).unwrap();

    let out = tempfile::tempdir().unwrap();
    let error = go_on(data.path(), "weights", out.path(), 9)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("captions.jsonl:3") || error.contains("captions.jsonl:5"),
        "{error}"
    );

    let vlm = tiny();
    let config = short();
    let whole = CaptionFolder::open(data.path()).unwrap();
    let prompt = CaptionPrompt::new(&vlm, &config.prompt, config.max_caption_tokens).unwrap();
    let (left, skipped) = usable(&vlm, &whole, &prompt).unwrap();
    let reasons: Vec<String> = skipped.iter().map(|skipped| skipped.reason.to_string()).collect();
    assert_eq!((left.len(), reasons.len()), (4, 2));
    assert!(
        reasons[0].contains("captions.jsonl:3") && reasons[0].contains("<image>"),
        "{reasons:?}"
    );
    assert!(
        reasons[1].contains("captions.jsonl:5") && reasons[1].contains("absent.png"),
        "{reasons:?}"
    );
    assert_ne!(left.digest().unwrap(), whole.digest().unwrap());
    let out = tempfile::tempdir().unwrap();
    let report = Trainer::new(&vlm, &config).run(&left, None, out.path(), &mut Progress::silent());
    assert!(report.unwrap().finished);

    fs::write(&list, "{\"image\": \"absent.png\", \"caption\": \"a\"}\n").unwrap();
    let none = CaptionFolder::open(data.path()).unwrap();
    assert!(usable(&vlm, &none, &prompt).is_err(), "nothing is left");
}
