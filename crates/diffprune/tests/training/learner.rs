//! The run under `burn-train`: its logs, several devices, and the trainee under Burn's own strategies.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use burn::optim::AdamWConfig;
use burn::tensor::Device;
use diffprune::training::Progress;
use diffprune::training::learner::burn_train::metric::LossMetric;
use diffprune::training::learner::burn_train::{
    ExecutionStrategy, Learner, MultiDeviceOptim, SupervisedTraining,
};
use diffprune::{CaptionTask, TrainConfig, TrainReport, Trainee, Trainer, Vlm};

use crate::{Stripes, alone, result, run, settings, tiny};

/// The numbers of a metric's log in an interval between validations.
fn logged(out: &Path, split: &str, epoch: usize, name: &str) -> Vec<f64> {
    let path = out.join(format!("learner/{split}/epoch-{epoch}/{name}.log"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let number = |line: &str| line.split(',').next().unwrap().parse().unwrap();
    text.lines()
        .filter(|line| !line.ends_with("final"))
        .map(number)
        .collect()
}

fn numbers(out: &Path, key: &str) -> Vec<f64> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let value = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()[key].as_f64();
    text.lines().filter_map(value).collect()
}

#[test]
fn burn_train_logs_every_update_and_validation_also_of_a_run_that_was_left_in_between() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    let (whole, torn) = (folder.path().join("whole"), folder.path().join("torn"));
    run(&settings(), &whole, None).unwrap();
    for stop in [5, 8] {
        run(&settings(), &torn, Some(stop)).unwrap();
    }
    // Eight updates, a validation after every third and after the last.
    for out in [&whole, &torn] {
        for (name, key) in [
            ("Loss", "nll"),
            ("Temperature", "tau"),
            ("Learning_rate", "lr"),
            ("Gradient_norm", "grad_norm"),
            ("Weights_above_one_half", "above_half"),
        ] {
            let found = [1, 2, 3].map(|epoch| logged(out, "train", epoch, name));
            assert_eq!(found.each_ref().map(Vec::len), [3, 3, 2], "{name}");
            assert_eq!(found.concat(), numbers(out, key), "{name}");
        }
        for epoch in 0..=3 {
            let parts = logged(out, "valid", epoch, "Loss");
            assert!(!parts.is_empty() && parts.iter().all(|nll| nll.is_finite()));
        }
    }
    assert_eq!(logged(&whole, "train", 3, "Caption_tokens_per_second").len(), 2);
    assert_eq!(numbers(&whole, "val_nll").len(), 4);
}

fn on_devices(n_devices: usize, config: &TrainConfig, out: &Path) -> TrainReport {
    let vlm = tiny();
    let copies: Vec<Box<dyn Vlm>> = (1..n_devices).map(|_| vlm.clone_box()).collect();
    Trainer::new(&vlm, config)
        .with_devices(copies.iter().map(|copy| copy.as_ref()))
        .run(&Stripes(20), Some(&Stripes(7)), out, &mut Progress::silent())
        .unwrap()
}

#[test]
fn two_devices_learn_what_one_does_from_the_same_batches() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // The CPU twice computes the same shards, and they are summed in the same order: not a bit differs.
    on_devices(1, &settings(), &at("one"));
    for n_devices in [2, 3] {
        let out = at(&n_devices.to_string());
        on_devices(n_devices, &settings(), &out);
        assert!(result(&at("one")) == result(&out), "{n_devices} devices");
    }
    // A shard for each device, as GPUs have it: sums of another order, the same curve.
    let halves = TrainConfig {
        shards: Some(2),
        ..settings()
    };
    on_devices(2, &halves, &at("halves"));
    let (one, two) = (numbers(&at("one"), "nll"), numbers(&at("halves"), "nll"));
    assert_eq!((one.len(), two.len()), (8, 8));
    for (one, two) in one.iter().zip(&two) {
        assert!((one - two).abs() < 1e-4 * one, "{one} {two}");
    }
}

#[test]
fn copies_of_another_model_are_refused() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    let (vlm, other) = (tiny(), diffprune::vlm::FakeVlm::new(&Device::flex()));
    let others: [&dyn Vlm; 1] = [&other];
    let error = Trainer::new(&vlm, &settings())
        .with_devices(others)
        .run(&Stripes(4), None, folder.path(), &mut Progress::silent())
        .unwrap_err();
    assert!(error.to_string().contains("copies of the model"), "{error}");
}

#[test]
fn the_trainee_is_a_model_for_burns_own_learner() {
    let single = ExecutionStrategy::single(Device::flex());
    burns_learner_trains(1, single);
}

/// Each device has a share of every batch: as many updates as on one, and twice as many items.
#[test]
fn burns_learner_shares_batches_between_devices() {
    let devices = vec![Device::flex(), Device::flex()];
    burns_learner_trains(
        2,
        ExecutionStrategy::multi(devices, MultiDeviceOptim::OptimMainDevice),
    );
}

#[test]
fn a_task_without_a_model_is_refused() {
    let task = CaptionTask::on_devices(&[], &settings(), Arc::new(Stripes(4)), None);
    assert!(task.err().unwrap().to_string().contains("models"));
}

fn burns_learner_trains(n_devices: usize, strategy: ExecutionStrategy) {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    let vlm = tiny();
    let config = TrainConfig {
        steps: 40,
        threads: 1,
        ..settings()
    };
    let held_out = Some(Arc::new(Stripes(7)) as Arc<_>);
    let copies = vec![&vlm as &dyn Vlm; n_devices];
    let task = CaptionTask::on_devices(&copies, &config, Arc::new(Stripes(12)), held_out).unwrap();
    let start = task.trainee().unwrap();
    let result = SupervisedTraining::<Trainee>::new(
        folder.path(),
        Arc::new(task.batches()),
        Arc::new(task.held_out()),
    )
    .metrics((LossMetric::new(),))
    .with_application_logger(None)
    .with_training_strategy(strategy.into())
    .num_epochs(1)
    .launch(Learner::new(start, AdamWConfig::new().init(), 1e-2));
    assert!(result.error.is_none());
    let path = folder.path().join("train/epoch-1/Loss.log");
    let text = fs::read_to_string(path).unwrap();
    let number = |line: &str| line.split(',').next().unwrap().parse::<f64>().unwrap();
    let losses: Vec<f64> = text
        .lines()
        .filter(|line| !line.ends_with("final"))
        .map(number)
        .collect();
    assert_eq!(losses.len(), 40 * n_devices);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (5 * n_devices, 35 * n_devices);
    assert!(mean(&losses[last..]) < mean(&losses[..first]) - 0.1, "{losses:?}");
    assert!(folder.path().join("valid/epoch-1/Loss.log").is_file());
}
