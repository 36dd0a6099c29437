//! Schedules, AdamW and clipping against runs recorded with PyTorch and Hugging Face Transformers.

use std::fs;
use std::path::PathBuf;

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use diffprune_training::{AdamWOptions, Optimizer, WarmupCosine, clip_global_norm, cosine_anneal};
use safetensors::SafeTensors;
use serde_json::Value;

#[derive(Module, Debug)]
struct Toy {
    w1: Param<Tensor<2>>,
    w2: Param<Tensor<2>>,
    bias: Param<Tensor<2>>,
}

fn fixtures() -> PathBuf {
    diffprune_test_support::fixtures().join("hf/optim")
}

fn manifest() -> Value {
    let path = fixtures().join("manifest.json");
    serde_json::from_slice(&fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

struct Stored<'a>(SafeTensors<'a>);

impl Stored<'_> {
    fn shape_and_values(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let view = self.0.tensor(name).unwrap();
        let values = view
            .data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        (view.shape().to_vec(), values)
    }

    fn tensor(&self, name: &str, device: &Device) -> Tensor<2> {
        let (mut shape, values) = self.shape_and_values(name);
        while shape.len() < 2 {
            shape.insert(0, 1);
        }
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

fn worst(found: &Tensor<2>, wanted: &[f32]) -> f64 {
    let found = found
        .clone()
        .without_autodiff()
        .into_data()
        .try_to_vec::<f32>()
        .unwrap();
    assert_eq!(found.len(), wanted.len());
    found
        .iter()
        .zip(wanted)
        .map(|(a, b)| ((a - b).abs() / b.abs().max(1.0)) as f64)
        .fold(0.0, f64::max)
}

fn close(what: &str, found: f64, wanted: f64, tolerance: f64) {
    assert!(
        (found - wanted).abs() <= tolerance * wanted.abs().max(1.0),
        "{what}: found {found}, expected {wanted}"
    );
}

#[test]
fn recorded_runs_are_followed_step_by_step() {
    let manifest = manifest();
    let runs = manifest["runs"].as_array().unwrap();
    assert!(!runs.is_empty(), "no recorded runs");
    for run in runs {
        follow(run);
    }
}

fn follow(run: &Value) {
    let id = run["id"].as_str().unwrap();
    let bytes = fs::read(fixtures().join(run["tensors_file"].as_str().unwrap())).unwrap();
    let stored = Stored(SafeTensors::deserialize(&bytes).unwrap());
    let device = Device::flex().autodiff();
    let param = |name: &str| Param::from_tensor(stored.tensor(name, &device));
    let mut toy = Toy {
        w1: param("w1_init"),
        w2: param("w2_init"),
        bias: param("bias_init"),
    };
    let (a, b) = (stored.tensor("a", &device), stored.tensor("b", &device));

    let mut optimizer = Optimizer::new(options(run));
    let steps = run["steps"].as_u64().unwrap() as usize;
    let schedule = WarmupCosine::new(
        run["lr"].as_f64().unwrap(),
        run["warmup"].as_u64().unwrap() as usize,
        steps,
    );
    let rates = numbers(&run["lr_used"]);
    let (losses, norms) = (
        numbers(&run["loss_before_step"]),
        numbers(&run["grad_norm_before_clip"]),
    );
    let mut error: f64 = 0.0;
    for step in 0..steps {
        let hidden = a.clone().matmul(toy.w1.val()) * toy.w2.val() + toy.bias.val();
        let loss = b.clone().matmul(hidden).square().mean() + toy.w1.val().square().sum() * 0.1;
        close(
            &format!("{id} loss {step}"),
            loss.clone().into_scalar::<f32>() as f64,
            losses[step],
            2e-5,
        );
        let grads = GradientsParams::from_grads(loss.backward(), &toy);
        let max_norm = run["clip"].as_f64().unwrap_or(f64::INFINITY);
        let (grads, norm) = clip_global_norm(grads, &toy, max_norm);
        close(&format!("{id} norm {step}"), norm, norms[step], 2e-5);
        for (name, param) in [("w1", &toy.w1), ("w2", &toy.w2), ("bias", &toy.bias)] {
            let grad = grads.get::<2>(param.id).unwrap();
            error = error.max(worst(
                &grad,
                &stored.shape_and_values(&format!("grad_{name}_{step:02}")).1,
            ));
        }
        let relative = (schedule.at(step) - rates[step]).abs() / rates[step].max(1e-300);
        assert!(
            relative < 1e-13,
            "{id}: rate of step {step}: found {}, expected {}",
            schedule.at(step),
            rates[step]
        );
        toy = optimizer.step(schedule.at(step), toy, grads);
        for (name, param) in [("w1", &toy.w1), ("w2", &toy.w2), ("bias", &toy.bias)] {
            error = error.max(worst(
                &param.val(),
                &stored.shape_and_values(&format!("{name}_after_{step:02}")).1,
            ));
        }
    }
    close(
        id,
        schedule.at(steps),
        run["lr_after_last_step"].as_f64().unwrap(),
        1e-12,
    );
    println!("{id}: worst difference {error:.2e}");
    assert!(error < 2e-5, "{id}: worst difference {error}");
}

fn options(run: &Value) -> AdamWOptions {
    let betas = numbers(&run["betas"]);
    AdamWOptions::default()
        .with_beta1(betas[0] as f32)
        .with_beta2(betas[1] as f32)
        .with_eps(run["eps"].as_f64().unwrap() as f32)
        .with_weight_decay(run["wd"].as_f64().unwrap() as f32)
        .with_decay_vectors(true)
}

#[test]
fn half_a_cosine_is_torch_annealing() {
    let case = &manifest()["torch_cosine_annealing"];
    let (start, end) = (case["lr"].as_f64().unwrap(), case["eta_min"].as_f64().unwrap());
    let total = case["T_max"].as_u64().unwrap() as usize;
    // PyTorch goes up again after T_max; annealing here stays at its end.
    for (step, wanted) in numbers(&case["lr_per_step"])
        .into_iter()
        .take(total + 1)
        .enumerate()
    {
        close(
            &format!("step {step}"),
            cosine_anneal(start, end, step, total),
            wanted,
            1e-12,
        );
    }
}
