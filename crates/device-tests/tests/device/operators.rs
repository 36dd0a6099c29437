//! The operators of `kernels`, and those of Burn that the project leans on.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use diffprune_kernels as kernels;
use kernels::AttentionOptions;

use crate::Check;
use crate::compare::{close, host, numbers, values_and_gradients};

/// Rows and width of most inputs.
const N: usize = 12;
const D: usize = 32;

fn check(
    name: &'static str,
    sizes: &'static [usize],
    function: fn(&[Tensor<1>], &Device) -> Tensor<1>,
) -> Check {
    Check::new(name, move |target| values_and_gradients(target, sizes, &function))
}

fn product(
    name: &'static str,
    sizes: &'static [usize],
    function: fn(&[Tensor<1>], &Device) -> Tensor<1>,
) -> Check {
    Check::new(name, move |target| {
        values_and_gradients(&target.with_products(), sizes, &function)
    })
}

fn flat<const R: usize>(x: Tensor<R>) -> Tensor<1> {
    let n = x.shape().num_elements();
    x.reshape([n])
}

fn rows(x: &Tensor<1>) -> Tensor<3> {
    x.clone().reshape([2, N / 2, D])
}

/// `[2, 6, heads, 8]`
fn heads(x: &Tensor<1>, n_heads: usize) -> Tensor<4> {
    x.clone().reshape([2, 6, n_heads, 8])
}

fn hidden_keys(device: &Device) -> Tensor<2, Bool> {
    let seen = [
        true, true, true, true, true, true, false, false, true, true, true, true,
    ];
    Tensor::from_data(TensorData::new(seen.to_vec(), [2, 6]), device)
}

/// Every check of this file.
pub fn checks() -> Vec<Check> {
    vec![
        product("matmul", &[N * D, D * N], |x, _| {
            flat(x[0].clone().reshape([N, D]).matmul(x[1].clone().reshape([D, N])))
        }),
        product("matmul of a matrix and a column", &[N * D, D], |x, _| {
            flat(x[0].clone().reshape([N, D]).matmul(x[1].clone().reshape([D, 1])))
        }),
        check("gather and select", &[2 * 6 * 4], |x, device| {
            let x = x[0].clone().reshape([2, 6, 4]);
            let places = Tensor::<2, Int>::from_data([[5, 1, 1], [0, 3, 4]], device);
            let gathered = x
                .clone()
                .gather(1, places.unsqueeze_dim::<3>(2).expand([2, 3, 4]));
            let selected = x.select(1, Tensor::<1, Int>::from_data([4, 0, 4], device));
            flat(gathered + selected)
        }),
        product("product and bias", &[N * D, D * 8, 8], |x, _| {
            let product = x[0].clone().reshape([N, D]).matmul(x[1].clone().reshape([D, 8]));
            flat(product + x[2].clone().reshape([1, 8]))
        }),
        check("gelu", &[N * D], |x, _| {
            flat(kernels::gelu(rows(&(x[0].clone() * 3.0))))
        }),
        check("quick gelu", &[N * D], |x, _| {
            flat(kernels::quick_gelu(rows(&(x[0].clone() * 3.0))))
        }),
        check("silu", &[N * D], |x, _| {
            flat(kernels::silu(rows(&(x[0].clone() * 3.0))))
        }),
        check("swiglu", &[N * D, N * D], |x, _| {
            flat(kernels::swiglu(rows(&x[0]), rows(&x[1])))
        }),
        check("softmax", &[N * D], |x, _| {
            flat(kernels::softmax(rows(&(x[0].clone() * 4.0))))
        }),
        check("layer norm", &[N * D, D, D], |x, _| {
            flat(kernels::layer_norm(rows(&x[0]), x[1].clone(), x[2].clone(), 1e-5))
        }),
        check("rms norm", &[N * D, D], |x, _| {
            flat(kernels::rms_norm(rows(&x[0]), x[1].clone(), 1e-6))
        }),
        check("cross entropy", &[N * D], |x, device| {
            let targets: Vec<i64> = (0..N as i64).map(|i| (7 * i) % D as i64).collect();
            let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [N]), device);
            flat(kernels::cross_entropy(x[0].clone().reshape([N, D]), targets))
        }),
        check("rotary positions", &[2 * 6 * 2 * 8], |x, device| {
            let positions = Tensor::<2, Int>::from_data([[0, 1, 5, 6, 7, 700], [3, 4, 5, 6, 7, 8]], device);
            let (cos, sin) = kernels::rope_tables(positions, 8, 1e4);
            flat(kernels::rope_halves(heads(&x[0], 2), cos, sin))
        }),
        product("attention", &[192, 192, 192], |x, _| {
            attend(x, AttentionOptions::default())
        }),
        product("causal attention with a mask", &[192, 192, 192], |x, device| {
            let options = AttentionOptions::default()
                .with_causal(true)
                .with_key_mask(hidden_keys(device));
            attend(x, options)
        }),
        product("attention with grouped keys", &[384, 192, 192], |x, _| {
            let options = AttentionOptions::default().with_causal(true);
            flat(kernels::attention(
                heads(&x[0], 4),
                heads(&x[1], 2),
                heads(&x[2], 2),
                &options,
            ))
        }),
        product("rows of attention", &[32, 192], |x, _| {
            let q = x[0].clone().reshape([2, 1, 2, 8]);
            flat(kernels::attention_rows(
                q,
                heads(&x[1], 2),
                &AttentionOptions::default(),
            ))
        }),
        Check::new("the largest of each row", |target| {
            let pick = |device: &Device| {
                let x = Tensor::<1>::from_data(TensorData::new(numbers(N * D, 5), [N * D]), device);
                let (values, places) = x.reshape([N, D]).topk_with_indices(4, 1);
                let places: Vec<f32> = places.into_data().iter::<i64>().map(|i| i as f32).collect();
                [host(values), places].concat()
            };
            close(
                "topk",
                &pick(&target.device),
                &pick(&Device::flex()),
                target.tolerance(),
            )
        }),
    ]
}

fn attend(x: &[Tensor<1>], options: AttentionOptions) -> Tensor<1> {
    flat(kernels::attention(
        heads(&x[0], 2),
        heads(&x[1], 2),
        heads(&x[2], 2),
        &options,
    ))
}
