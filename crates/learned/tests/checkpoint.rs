//! One description for every checkpoint: files of earlier releases are read, and heads come back as they were.

use std::fs;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use diffprune_learned::{
    DynamicVitPredictorConfig, GlimpsePredictorConfig, Head, HeadCheckpoint, HeadConfig, LearnedPruner,
};
use diffprune_pruner::Pruner;
use diffprune_scorer::{CheckpointError, Metadata, ScorerCheckpoint, ScorerConfig};

/// As the first release wrote it for a scorer.
const OF_A_SCORER: &str = r#"{
  "format_version": 1,
  "method": "diffprune",
  "scorer": {
    "d_model": 8,
    "n_heads": 4,
    "n_layers": 2,
    "d_ff": null,
    "input_norm": true,
    "activation": "Gelu",
    "norm_eps": 1e-5
  },
  "d_vision": 8,
  "vlm": "llava-1.5",
  "training": {
    "step": 240
  }
}
"#;

/// As the first release wrote it for the head of a rival.
const OF_A_HEAD: &str = r#"{
  "format_version": 1,
  "method": "glimpse_prune",
  "selector": {
    "kind": "glimpse",
    "d_model": 16,
    "n_maps": 2,
    "d_map": 8,
    "d_hidden": 16,
    "d_condition": 32,
    "n_heads": 4,
    "n_layers": 1
  },
  "d_vision": 16
}
"#;

#[derive(Default)]
struct Bits(Vec<u32>);

impl ModuleVisitor for Bits {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().into_data();
        self.0.extend(data.iter::<f32>().map(f32::to_bits));
    }
}

fn bits(head: &Head) -> Vec<u32> {
    let mut bits = Bits::default();
    head.visit(&mut bits);
    bits.0
}

fn heads() -> Vec<Head> {
    let device = Device::flex();
    vec![
        ScorerConfig::mini(8).init(&device).into(),
        Head::DynamicVit(DynamicVitPredictorConfig::new(8).init(&device)),
        Head::GlimpsePrune(GlimpsePredictorConfig::for_width(16).init(&device)),
    ]
}

/// Something in the place of a denoiser.
fn denoiser() -> burn::nn::Linear {
    burn::nn::LinearConfig::new(2, 2).init(&Device::flex())
}

#[test]
fn descriptions_of_the_first_release_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("diffprune.json");
    fs::write(&path, OF_A_SCORER).unwrap();
    let metadata = HeadCheckpoint::metadata(folder.path()).unwrap();
    assert_eq!(metadata.method, "diffprune");
    assert_eq!(metadata.sizes.config(), HeadConfig::Scorer(ScorerConfig::mini(8)));
    assert_eq!(metadata.vlm.as_deref(), Some("llava-1.5"));
    assert!(metadata.expect_width(8).is_ok() && metadata.expect_width(16).is_err());
    // The same file, as the crate of the scorer reads it.
    let scorer = ScorerCheckpoint::metadata(folder.path()).unwrap();
    assert_eq!(scorer.sizes.scorer, ScorerConfig::mini(8));
    assert_eq!(scorer.training, metadata.training);

    fs::write(&path, OF_A_HEAD).unwrap();
    let metadata = HeadCheckpoint::metadata(folder.path()).unwrap();
    let config = GlimpsePredictorConfig::for_width(16).with_n_layers(1);
    assert_eq!(metadata.sizes.config(), HeadConfig::GlimpsePrune(config));
    assert!(metadata.vlm.is_none() && metadata.training.is_none());
    let error = ScorerCheckpoint::metadata(folder.path()).unwrap_err();
    assert!(matches!(error, CheckpointError::Json { .. }), "{error}");

    for (from, to) in [
        ("\"format_version\": 1", "\"format_version\": 7"),
        ("\"kind\": \"glimpse\"", "\"kind\": \"magic\""),
        ("\"n_heads\": 4", "\"n_heads\": 5"),
        ("\"d_vision\": 16", "\"d_vision\": 8"),
        ("\"selector\"", "\"head\""),
    ] {
        assert!(OF_A_HEAD.contains(from));
        fs::write(&path, OF_A_HEAD.replace(from, to)).unwrap();
        assert!(HeadCheckpoint::metadata(folder.path()).is_err(), "{to}");
    }
}

#[test]
fn heads_come_back_to_the_bit_and_scorers_under_both_names() {
    let device = Device::flex();
    for head in heads() {
        let folder = tempfile::tempdir().unwrap();
        let metadata = HeadCheckpoint::describe("some_method", &head).with_vlm("a-vlm");
        HeadCheckpoint::save_with_denoiser(folder.path(), &head, &denoiser(), &metadata).unwrap();
        let (loaded, found) = HeadCheckpoint::load(folder.path(), &device).unwrap();
        assert_eq!(found, metadata);
        assert_eq!(bits(&loaded), bits(&head));
        let width = head.config().d_model();
        let pruner = LearnedPruner::load(folder.path(), width, &device).unwrap();
        assert_eq!(pruner.name(), "some_method");
        let error = LearnedPruner::load(folder.path(), width + 8, &device).unwrap_err();
        assert!(matches!(error, CheckpointError::Width { .. }), "{error}");
        if let Head::Scorer(scorer) = &head {
            let other = tempfile::tempdir().unwrap();
            let metadata = Metadata::new("some_method", scorer).with_vlm("a-vlm");
            ScorerCheckpoint::save_with_denoiser(other.path(), scorer, &denoiser(), &metadata).unwrap();
            let read = |folder: &tempfile::TempDir| fs::read(folder.path().join("diffprune.json")).unwrap();
            assert_eq!(read(&folder), read(&other), "one format, whoever writes it");
        }
    }
}
