//! Features that were encoded once: equal to pictures, resumable, refused when they are others or damaged.

use std::fs;
use std::path::{Path, PathBuf};

use diffprune::training::{Progress, Stop};
use diffprune::{
    CachePrecision, CaptionData, CaptionFolder, DataError, FeatureError, FeatureFolder, FeatureOptions,
    FeaturePlan, GlimpsePrune, ShardOf, TrainConfig, TrainError, Trainer, Vlm, write_features,
};

use crate::{Stripes, alone, result, settings, tiny};

fn options(precision: CachePrecision) -> FeatureOptions {
    FeatureOptions::default()
        .with_precision(precision)
        .with_samples_per_file(6)
        .with_model_digest("weights")
}

fn encode(data: &dyn CaptionData, folder: &Path, options: &FeatureOptions) -> Result<usize, FeatureError> {
    Ok(write_features(&tiny(), data, folder, options, &mut |_, _| {})?.written)
}

fn train(data: &dyn CaptionData, held_out: &dyn CaptionData, config: &TrainConfig, out: &Path) {
    let vlm = tiny();
    let trainer = Trainer::new(&vlm, config).with_model_digest("weights");
    let report = trainer
        .run(data, Some(held_out), out, &mut Progress::silent())
        .unwrap();
    assert!(report.finished);
}

/// The features of 20 pictures and of 7 held-out ones.
fn features(at: &Path, precision: CachePrecision) -> [FeatureFolder; 2] {
    [("train", 20), ("val", 7)].map(|(name, n)| {
        let folder = at.join(name);
        encode(&Stripes(n), &folder, &options(precision)).unwrap();
        FeatureFolder::open(folder).unwrap()
    })
}

#[test]
fn features_in_f32_train_to_the_bits_of_the_pictures() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    train(&Stripes(20), &Stripes(7), &settings(), &at("pictures"));
    let [data, held_out] = features(folder.path(), CachePrecision::F32);
    train(&data, &held_out, &settings(), &at("features"));
    assert!(result(&at("pictures")) == result(&at("features")));
    // A run that began with pictures goes on with features.
    let vlm = tiny();
    let config = settings();
    let trainer = Trainer::new(&vlm, &config)
        .with_model_digest("weights")
        .stop_after(5);
    let torn = at("torn");
    let mut silent = Progress::silent();
    trainer
        .run(&Stripes(20), Some(&Stripes(7)), &torn, &mut silent)
        .unwrap();
    train(&data, &held_out, &config, &torn);
    assert!(result(&at("pictures")) == result(&torn));
}

#[test]
fn features_in_f16_are_the_pictures_rounded() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let [data, held_out] = features(folder.path(), CachePrecision::F16);
    train(&data, &held_out, &settings(), &at("features"));
    let rounded = TrainConfig {
        cache_precision: CachePrecision::F16,
        ..settings()
    };
    train(&Stripes(20), &Stripes(7), &rounded, &at("rounded"));
    train(&Stripes(20), &Stripes(7), &settings(), &at("exact"));
    let [model, metrics] = ["model.safetensors", "metrics.jsonl"]
        .map(|name| ["features", "rounded", "exact"].map(|run| fs::read(at(run).join(name)).unwrap()));
    assert!(model[0] == model[1], "the rounding is that of the cache");
    assert!(model[0] != model[2]);
    let losses = |text: &[u8]| -> Vec<f64> {
        let lines = String::from_utf8(text.to_vec()).unwrap();
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["nll"].as_f64();
        lines.lines().filter_map(line).collect()
    };
    let (found, exact) = (losses(&metrics[0]), losses(&metrics[2]));
    assert_eq!(found.len(), 8);
    // Before the first update the tokens alone differ, later what was learned from them does.
    for (step, (found, exact)) in found.iter().zip(&exact).enumerate() {
        let tolerance = if step == 0 { 1e-3 } else { 1e-2 };
        assert!(
            (found - exact).abs() < tolerance * exact,
            "{step}: {found} {exact}"
        );
    }
}

#[test]
fn shards_and_interrupted_calls_write_the_same_files() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let files = |name: &str| -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(at(name)).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = entries.collect();
        files.sort();
        files
            .into_iter()
            .map(|path| (path.file_name().unwrap().into(), fs::read(&path).unwrap()))
            .collect()
    };
    let f16 = options(CachePrecision::F16);
    let plan = FeaturePlan::new(&tiny(), &Stripes(20), &at("whole"), &f16).unwrap();
    assert_eq!((plan.index.n_files(), plan.files.len()), (4, 4));
    assert_eq!(encode(&Stripes(20), &at("whole"), &f16).unwrap(), 4);
    let whole = FeatureFolder::open(at("whole")).unwrap();
    let more = whole.n_bytes() - plan.n_bytes;
    assert!(more < 4096 * 4, "headers alone are not counted: {more}");
    for index in [2, 1, 3] {
        let shard = f16.clone().with_shard(ShardOf::new(index, 3).unwrap());
        encode(&Stripes(20), &at("shards"), &shard.with_threads(1)).unwrap();
        let opened = FeatureFolder::open(at("shards"));
        assert_eq!(opened.is_ok(), index == 3, "the last shard makes it whole");
        if let Err(error) = opened {
            assert!(
                matches!(error, FeatureError::Missing { n_files: 4, .. }),
                "{error}"
            );
        }
    }
    assert!(files("whole") == files("shards"));
    // A stopped call, then the same without being stopped.
    let stop = Stop::default();
    let stopped = f16.clone().with_stop(stop.clone());
    let mut after_two = |done: usize, _: usize| {
        if done >= 12 {
            stop.request();
        }
    };
    let outcome = write_features(&tiny(), &Stripes(20), at("torn"), &stopped, &mut after_two);
    assert!(
        matches!(outcome, Err(FeatureError::Stopped { done: 2, total: 4 })),
        "{outcome:?}"
    );
    assert_eq!(
        encode(&Stripes(20), &at("torn"), &f16).unwrap(),
        2,
        "two were there"
    );
    assert!(files("whole") == files("torn"));
    assert!("4/3".parse::<ShardOf>().is_err() && "0/3".parse::<ShardOf>().is_err());
}

/// Two captioned pictures in a folder, which have a digest.
fn pictures(at: &Path, caption: &str) -> CaptionFolder {
    fs::create_dir_all(at).unwrap();
    let mut list = String::new();
    for i in 0..2 {
        let name = format!("{i}.png");
        image::RgbImage::from_pixel(9, 7, image::Rgb([40 * i, 9, 200]))
            .save(at.join(&name))
            .unwrap();
        list += &format!("{{\"image\": \"{name}\", \"caption\": \"{caption} {i}\"}}\n");
    }
    fs::write(at.join(diffprune::CAPTIONS_FILE), list).unwrap();
    CaptionFolder::open(at).unwrap()
}

#[test]
fn other_features_and_damaged_ones_are_refused() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (data, other) = (
        pictures(&at("a"), "a red cross"),
        pictures(&at("b"), "a blue ring"),
    );
    let f32 = options(CachePrecision::F32);
    encode(&data, &at("features"), &f32).unwrap();
    let vlm = tiny();
    let open = || FeatureFolder::open(at("features"));
    let features = open().unwrap();
    let digest = |data: &CaptionFolder| data.digest().unwrap();
    let expect = |model: &str, data: Option<String>| features.expect(&vlm, Some(model), data.as_deref());
    expect("weights", digest(&data)).unwrap();
    expect("weights", None).unwrap();
    let field = |outcome: Result<(), FeatureError>| match outcome.unwrap_err() {
        FeatureError::Other { field, .. } => field,
        error => panic!("{error}"),
    };
    assert_eq!(field(expect("other", digest(&data))), "model");
    assert_eq!(field(expect("weights", digest(&other))), "data");
    let wider = diffprune::vlm::FakeVlm::new(&vlm.device());
    assert_eq!(field(features.expect(&wider, None, None)), "family");
    // Neither is written into.
    let refused = encode(&other, &at("features"), &f32).map(|_| ());
    assert_eq!(field(refused), "data");
    let refused = encode(&data, &at("features"), &f32.clone().with_model_digest("other")).map(|_| ());
    assert_eq!(field(refused), "model");
    let refused = encode(&data, &at("features"), &options(CachePrecision::F16)).map(|_| ());
    assert_eq!(field(refused), "precision");
    assert!(
        matches!(features.sample(0), Err(DataError::Other(_))),
        "no pictures"
    );
    assert!(matches!(
        features.stored(2),
        Err(DataError::Index { found: 2, wanted: 2 })
    ));

    let path = features.index().path(&at("features"), 0);
    let good = fs::read(&path).unwrap();
    // A bit of the numbers, which only reading them shows.
    let mut bad = good.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    fs::write(&path, &bad).unwrap();
    let flipped = open().unwrap();
    assert!(flipped.stored(0).is_ok());
    let error = flipped.stored(1).unwrap_err().to_string();
    assert!(
        error.contains("safetensors") && error.contains("digest"),
        "{error}"
    );
    let mut short = settings();
    short.validation.every = 0;
    let outcome = Trainer::new(&vlm, &short).run(&flipped, None, at("run"), &mut Progress::silent());
    assert!(matches!(outcome, Err(TrainError::Data(_))), "{outcome:?}");
    // The file cut short, made empty, of another index, and gone.
    let other_index = at("other");
    encode(&other, &other_index, &f32).unwrap();
    let foreign = fs::read(features.index().path(&other_index, 0)).unwrap();
    for bytes in [&good[..good.len() - 3], &[], &foreign] {
        // A new file: the old one is mapped.
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        let error = open().unwrap_err();
        assert!(matches!(error, FeatureError::Damaged { .. }), "{error}");
        // It is written again.
    }
    assert_eq!(encode(&data, &at("features"), &f32).unwrap(), 1);
    assert_eq!(fs::read(&path).unwrap(), good);
    fs::remove_file(&path).unwrap();
    assert!(matches!(open(), Err(FeatureError::Missing { n_missing: 1, .. })));
    fs::write(at("features").join(diffprune::FEATURES_FILE), "{}").unwrap();
    assert!(matches!(open(), Err(FeatureError::Index { .. })));
    assert!(matches!(
        FeatureFolder::open(at("a")),
        Err(FeatureError::Read { .. })
    ));
}

#[test]
fn boxes_are_kept_for_the_methods_that_learn_from_them() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut config = TrainConfig {
        steps: 3,
        ..settings()
    };
    config.diffprune.method = GlimpsePrune::default().into();
    let [data, held_out] = features(folder.path(), CachePrecision::F32);
    train(&data, &held_out, &config, &at("features"));
    train(&Stripes(20), &Stripes(7), &config, &at("pictures"));
    assert!(result(&at("pictures")) == result(&at("features")));
}
