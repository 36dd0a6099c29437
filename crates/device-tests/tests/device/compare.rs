//! Values and gradients of one function on two devices.

use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::target::Target;

/// A function of flat tensors on the device that it is given.
pub type Function = dyn Fn(&[Tensor<1>], &Device) -> Tensor<1>;

/// Numbers around zero, the same in every run.
pub fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| 2.0 * rng.random::<f32>() - 1.0).collect()
}

/// Values of `function` and its gradients in every input, on the device and on the CPU.
///
/// The gradient is that of a weighted sum of the output, so that it is not the same everywhere.
pub fn values_and_gradients(target: &Target, sizes: &[usize], function: &Function) -> Result<f32, String> {
    let inputs: Vec<Vec<f32>> = sizes
        .iter()
        .enumerate()
        .map(|(i, &n)| numbers(n, i as u64 + 1))
        .collect();
    let wanted = run(&Device::flex(), DType::F32, &inputs, function);
    let found = run(&target.device, target.dtype, &inputs, function);
    let mut worst = 0f32;
    for (i, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        let what = match i {
            0 => "values".to_string(),
            i => format!("gradient of input {}", i - 1),
        };
        worst = worst.max(close(&what, found, wanted, target.tolerance())?);
    }
    Ok(worst)
}

fn run(device: &Device, dtype: DType, inputs: &[Vec<f32>], function: &Function) -> Vec<Vec<f32>> {
    let device = device.clone().autodiff();
    let inputs: Vec<Tensor<1>> = inputs
        .iter()
        .map(|values| {
            let data = TensorData::new(values.clone(), [values.len()]);
            Tensor::<1>::from_data(data, (&device, dtype)).require_grad()
        })
        .collect();
    let output = function(&inputs, &device);
    let weights = numbers(output.dims()[0], 99);
    let n = weights.len();
    let weights = Tensor::<1>::from_data(TensorData::new(weights, [n]), (&device, output.dtype()));
    let gradients = (output.clone() * weights).sum().backward();
    let mut all = vec![host(output.without_autodiff())];
    all.extend(inputs.iter().map(|input| match input.grad(&gradients) {
        Some(gradient) => host(gradient),
        None => Vec::new(),
    }));
    all
}

/// Values on the host, in f32.
pub fn host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// The largest difference as a share of `tolerance * max(1, largest wanted value)`.
pub fn close(what: &str, found: &[f32], wanted: &[f32], tolerance: f32) -> Result<f32, String> {
    if found.len() != wanted.len() {
        return Err(format!(
            "{what}: {} numbers, expected {}",
            found.len(),
            wanted.len()
        ));
    }
    let scale = wanted.iter().fold(1f32, |scale, value| scale.max(value.abs()));
    let shares = found
        .iter()
        .zip(wanted)
        .map(|(found, wanted)| ((found - wanted) / (tolerance * scale)).abs());
    // In the total order a positive NaN is the largest: it must not pass.
    let Some((i, worst)) = shares.enumerate().max_by(|one, other| one.1.total_cmp(&other.1)) else {
        return Ok(0.0);
    };
    if worst <= 1.0 {
        return Ok(worst);
    }
    Err(format!(
        "{what}: {} at {i}, expected {}, {worst:.1} times the tolerance",
        found[i], wanted[i]
    ))
}
