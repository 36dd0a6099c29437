//! Training on a model without weights, whose tokens are made of several vectors.

use burn::tensor::Device;
use diffprune::training::Progress;
use diffprune::vlm::FakeVlm;
use diffprune::{CheckpointError, LearnedPruner, TrainConfig, Trainer, Vlm};

use super::{Stripes, alone, settings};

#[test]
fn a_scorer_looks_at_descriptors_and_not_at_whole_tokens() {
    let _guard = alone();
    let vlm = FakeVlm::new(&Device::flex()).with_tokens(8, 4);
    assert_eq!((vlm.d_vision(), vlm.d_descriptor()), (32, 8));
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        steps: 4,
        ..settings()
    };
    let report = Trainer::new(&vlm, &config)
        .run(
            &Stripes(12),
            Some(&Stripes(5)),
            folder.path(),
            &mut Progress::silent(),
        )
        .unwrap();
    assert!(report.best_val_nll.is_some_and(f64::is_finite));
    let text = std::fs::read_to_string(folder.path().join("diffprune.json")).unwrap();
    assert!(
        text.contains("\"d_descriptor\": 8") && text.contains("\"vlm\": \"fake\""),
        "{text}"
    );
    assert!(LearnedPruner::load(folder.path(), vlm.d_descriptor(), &vlm.device()).is_ok());
    let refused = LearnedPruner::load(folder.path(), vlm.d_vision(), &vlm.device());
    assert!(matches!(
        refused,
        Err(CheckpointError::Width {
            found: 8,
            wanted: 32,
            ..
        })
    ));
}
