//! Fused against composed on this machine: `cargo run --release -p diffprune-kernels --example speed`.

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use diffprune_kernels::{AttentionOptions, attention, gelu, reference, softmax};

/// Best of a few runs, in milliseconds.
fn best<T>(f: impl Fn() -> T) -> f64 {
    let run = || {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..10).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn main() {
    let device = Device::flex();
    let x = Tensor::<2>::random([576, 4096], Distribution::Normal(0.0, 1.0), &device);
    let q = Tensor::<4>::random([1, 576, 16, 64], Distribution::Normal(0.0, 1.0), &device);
    let options = AttentionOptions::default();
    let rows = [
        (
            "gelu 576x4096",
            best(|| gelu(x.clone())),
            best(|| reference::gelu(x.clone())),
        ),
        (
            "softmax 576x4096",
            best(|| softmax(x.clone())),
            best(|| reference::softmax(x.clone())),
        ),
        (
            "attention 576, 16 heads of 64",
            best(|| attention(q.clone(), q.clone(), q.clone(), &options)),
            best(|| reference::attention(q.clone(), q.clone(), q.clone(), &options)),
        ),
    ];
    for (name, fused, composed) in rows {
        println!(
            "{name}: fused {fused:.2} ms, composed {composed:.2} ms, {:.1} times",
            composed / fused
        );
    }
}
