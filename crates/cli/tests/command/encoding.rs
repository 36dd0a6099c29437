//! Features encoded once, several devices, image folders and shares of classes, from outside.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{FEW_QUESTIONS, model, output, succeed};

const TRAIN: &str = "train --model {} --out {} --config {} --steps 3 --keep 16";

/// A small model, a small world, and settings that validate.
fn setting(dir: &Path) -> [PathBuf; 3] {
    let [checkpoint, world, config] = ["model", "world", "train.toml"].map(|name| dir.join(name));
    model(&checkpoint, 32);
    succeed(
        &format!("mini data --out {{}} --images 8 --val-images 4 {FEW_QUESTIONS}"),
        &[&world],
    );
    let text = "batch = 4\n\n[validation]\nevery = 2\nsize = 4\n\n[diffprune]\nscorer = \"mini\"\n";
    fs::write(&config, text).unwrap();
    [checkpoint, world, config]
}

/// The files of a run that must be the same however it was fed.
fn result(run: &Path) -> Vec<Vec<u8>> {
    [
        "model.safetensors",
        "diffprune.json",
        "metrics.jsonl",
        "train.toml",
    ]
    .map(|name| fs::read(run.join(name)).unwrap())
    .to_vec()
}

#[test]
fn features_and_devices_change_nothing_and_other_features_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let [checkpoint, world, config] = setting(dir.path());
    let train = |rest: &str, out: &str, more: &[&Path]| {
        let out = at(out);
        let paths = [&[checkpoint.as_path(), &out, &config], more].concat();
        (output(&format!("{TRAIN} {rest}"), &paths), out.clone())
    };
    let done = |rest: &str, out: &str, more: &[&Path]| {
        let (output, out) = train(rest, out, more);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        (result(&out), told)
    };
    let (pictures, _) = done("--data {}", "pictures", &[&world]);

    // Told before it starts; two jobs share the work, and a job that is run again finds it done.
    let encode = "encode --model {} --data {} --out {} --precision f32";
    let features = at("features");
    let paths = [checkpoint.as_path(), &world, &features];
    let first = output(&format!("{encode} --shard 1/2"), &paths);
    let told = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(
        told.contains("train: 8 samples") && told.contains("1 of 2 files"),
        "{told}"
    );
    let (early, _) = train("--features {}", "early", &[&features]);
    let told = String::from_utf8_lossy(&early.stderr).into_owned();
    assert!(
        !early.status.success() && told.contains("missing (1 of 2 files are)"),
        "{told}"
    );
    succeed(&format!("{encode} --shard 2/2"), &paths);
    let again = succeed(&format!("{encode} --shard 2/2"), &paths);
    assert!(
        again.contains("0 files written") && again.contains("1 were there"),
        "{again}"
    );

    assert!(done("--features {}", "features-run", &[&features]).0 == pictures);
    assert!(done("--features {} --data {}", "both", &[&features, &world]).0 == pictures);
    assert!(done("--data {} --device cpu,cpu", "devices", &[&world]).0 == pictures);
    let (lines, told) = done("--data {} --dashboard", "lines", &[&world]);
    assert!(lines == pictures && told.contains("no terminal"), "{told}");

    let other = at("other");
    model(&other, 64);
    let line = "train --model {} --features {} --out {} --steps 1 --keep 16";
    let refused = output(line, &[&other, &features, &at("refused")]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && told.contains("features.json"),
        "{told}"
    );
    for bad in ["3/2", "0/1", "one"] {
        let refused = output(&format!("{encode} --shard {bad}"), &paths);
        assert_eq!(refused.status.code(), Some(2), "{bad}");
    }
}

#[test]
fn an_image_folder_of_classes_is_trained_on_by_its_share() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let [checkpoint, world, config] = setting(dir.path());
    // The pictures of the world in folders of two classes, as ImageNet-1K-VL-Enriched lies on a disk.
    let folder = at("enriched");
    let own = world.join("captions/train");
    let list = fs::read_to_string(own.join("captions.jsonl")).unwrap();
    let mut metadata = String::new();
    for (i, line) in list.lines().enumerate() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let class = ["n01440764", "n01443537"][i % 2];
        fs::create_dir_all(folder.join("train").join(class)).unwrap();
        let name = format!("{class}/{i}.png");
        fs::copy(
            own.join(row["image"].as_str().unwrap()),
            folder.join("train").join(&name),
        )
        .unwrap();
        let row =
            serde_json::json!({"file_name": name, "caption_enriched": row["caption"], "short": "a scene"});
        metadata += &format!("{row}\n");
    }
    // The last picture is gone.
    fs::remove_file(folder.join("train/n01443537/7.png")).unwrap();
    fs::write(folder.join("train/metadata.jsonl"), metadata).unwrap();
    let encode = "encode --model {} --data {} --out {} --skip-unusable";
    let paths = [checkpoint.as_path(), &folder, &at("features")];
    let encoded = output(encode, &paths);
    let told = String::from_utf8_lossy(&encoded.stderr).into_owned();
    assert!(
        encoded.status.success() && told.contains("1 of 8 samples are left out"),
        "{told}"
    );
    assert!(
        told.contains("metadata.jsonl:8") && told.contains("7 samples"),
        "{told}"
    );
    // Half of each class; features know the classes of their pictures.
    let run = |rest: &str, out: &str, more: &Path| {
        let out = at(out);
        let line = format!("{TRAIN} {rest} --class-share 0.5 --class-seed 3");
        succeed(&line, &[&checkpoint, &out, &config, more]);
        result(&out)
    };
    run("--features {}", "share", &at("features"));
    let usual = run("--data {} --skip-unusable", "usual", &folder);
    let short = run(
        "--data {} --skip-unusable --caption-column short",
        "short",
        &folder,
    );
    assert!(usual[2] != short[2], "another caption, another loss");
    let line = format!("{TRAIN} --data {{}} --class-share 1.5");
    let refused = output(&line, &[&checkpoint, &at("refused"), &config, &folder]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && told.contains("class share"),
        "{told}"
    );
}
