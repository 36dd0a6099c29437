//! The denoiser against PyTorch's `TransformerEncoderLayer`: outputs and every gradient.
//!
//! The identity attention mask is diagonal attention, no mask is global attention.

use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use diffprune_denoiser::{Activation, Denoiser, DenoiserAttention, DenoiserConfig};
use safetensors::SafeTensors;
use serde_json::Value;

/// Largest difference allowed, relative to the largest value of the tensor compared.
const OUTPUT_TOLERANCE: f32 = 2e-5;
const GRADIENT_TOLERANCE: f32 = 2e-4;

#[test]
fn agrees_with_pytorch_in_every_case() {
    let folder = fixtures().join("hf/encoder_block");
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).expect("manifest.json"))
            .expect("json");
    let cases = manifest["cases"].as_array().expect("cases");
    assert!(!cases.is_empty(), "no cases in {}", folder.display());
    for case in cases {
        check(&manifest, case, &folder);
    }
}

fn fixtures() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");
    std::env::var("DIFFPRUNE_FIXTURES").map_or_else(|_| default.into(), PathBuf::from)
}

fn check(manifest: &Value, case: &Value, folder: &Path) {
    let device = Device::flex().autodiff();
    let name = case["file"].as_str().expect("file");
    let bytes = std::fs::read(folder.join(name)).expect("case file");
    let file = Case {
        tensors: SafeTensors::deserialize(&bytes).expect("safetensors"),
        device: &device,
    };
    let diagonal = case["identity_attention_mask"]
        .as_bool()
        .expect("identity_attention_mask");
    let denoiser = denoiser(manifest, case, diagonal, &file);

    let x = file.tensor::<3>("x").require_grad();
    let y = denoiser.forward(x.clone(), None);
    close(
        &format!("{name}: y"),
        y.clone(),
        file.tensor("y"),
        OUTPUT_TOLERANCE,
    );

    let gradients = (y * file.tensor::<3>("output_gradient")).sum().backward();
    let grad_x = x.grad(&gradients).expect("gradient of x");
    close(
        &format!("{name}: grad_x"),
        grad_x,
        file.tensor("grad_x"),
        GRADIENT_TOLERANCE,
    );
    let compare = |what: &str, got: Option<Tensor<2>>, wanted: Tensor<2>| {
        close(
            &format!("{name}: {what}"),
            got.expect(what),
            wanted,
            GRADIENT_TOLERANCE,
        );
    };
    check_norm(&compare, "norm1", &denoiser.norm1, &gradients, &file);
    check_norm(&compare, "norm2", &denoiser.norm2, &gradients, &file);
    check_linear(&compare, "linear1", &denoiser.linear1, &gradients, &file);
    check_linear(&compare, "linear2", &denoiser.linear2, &gradients, &file);
    check_linear(
        &compare,
        "self_attn.out_proj",
        &denoiser.attn.out_proj,
        &gradients,
        &file,
    );
    let attn = &denoiser.attn;
    for (row, layer) in [attn.q_proj.as_ref(), attn.k_proj.as_ref(), Some(&attn.v_proj)]
        .into_iter()
        .enumerate()
    {
        let (weight, bias) = file.in_proj("grad.", row);
        match layer {
            Some(layer) => {
                // A query bias moves all its scores alike along a key; a key bias has gradient zero in exact
                // arithmetic, so its scale is that of the whole stacked bias.
                let whole = file
                    .tensor::<1>("grad.self_attn.in_proj_bias")
                    .abs()
                    .max()
                    .into_scalar::<f32>();
                compare(
                    "in_proj_weight",
                    layer.weight.grad(&gradients).map(Tensor::transpose),
                    weight,
                );
                let got = layer
                    .bias
                    .as_ref()
                    .expect("bias")
                    .grad(&gradients)
                    .expect("gradient of bias");
                let error = (got - bias).abs().max().into_scalar::<f32>();
                assert!(
                    error <= GRADIENT_TOLERANCE * whole,
                    "{name}: in_proj_bias {row} is off by {error}"
                );
            }
            // What diagonal attention leaves out has no effect in PyTorch either.
            None => {
                assert!(diagonal);
                assert!(
                    weight.abs().max().into_scalar::<f32>() < 1e-6,
                    "{name}: queries and keys matter"
                );
                assert!(
                    bias.abs().max().into_scalar::<f32>() < 1e-6,
                    "{name}: queries and keys matter"
                );
            }
        }
    }
}

fn check_linear(
    compare: &impl Fn(&str, Option<Tensor<2>>, Tensor<2>),
    name: &str,
    layer: &Linear,
    gradients: &Gradients,
    file: &Case<'_>,
) {
    let weight = layer.weight.grad(gradients).map(Tensor::transpose);
    compare(
        &format!("{name}.weight"),
        weight,
        file.tensor(&format!("grad.{name}.weight")),
    );
    let bias = layer
        .bias
        .as_ref()
        .and_then(|bias| bias.grad(gradients))
        .map(Tensor::unsqueeze);
    compare(
        &format!("{name}.bias"),
        bias,
        file.tensor::<1>(&format!("grad.{name}.bias")).unsqueeze(),
    );
}

fn check_norm(
    compare: &impl Fn(&str, Option<Tensor<2>>, Tensor<2>),
    name: &str,
    layer: &LayerNorm,
    gradients: &Gradients,
    file: &Case<'_>,
) {
    let weight = layer.gamma.grad(gradients).map(Tensor::unsqueeze);
    compare(
        &format!("{name}.weight"),
        weight,
        file.tensor::<1>(&format!("grad.{name}.weight")).unsqueeze(),
    );
    let bias = layer
        .beta
        .as_ref()
        .and_then(|beta| beta.grad(gradients))
        .map(Tensor::unsqueeze);
    compare(
        &format!("{name}.bias"),
        bias,
        file.tensor::<1>(&format!("grad.{name}.bias")).unsqueeze(),
    );
}

fn denoiser(manifest: &Value, case: &Value, diagonal: bool, file: &Case<'_>) -> Denoiser {
    let size = |key: &str| manifest[key].as_u64().expect(key) as usize;
    let activation = match manifest["activation"].as_str().expect("activation") {
        name if name.starts_with("gelu") && !name.contains("tanh") => Activation::Gelu,
        "relu" => Activation::Relu,
        other => panic!("unknown activation {other}"),
    };
    let attention = if diagonal {
        DenoiserAttention::Diagonal
    } else {
        DenoiserAttention::Global
    };
    let mut denoiser = DenoiserConfig::new(size("dim"))
        .with_n_heads(size("heads"))
        .with_d_ff(Some(size("ff")))
        .with_attention(attention)
        .with_norm_first(case["norm_first"].as_bool().expect("norm_first"))
        .with_activation(activation)
        .with_norm_eps(manifest["layer_norm_eps"].as_f64().expect("layer_norm_eps"))
        .init(file.device);
    file.load_norm("norm1", &mut denoiser.norm1);
    file.load_norm("norm2", &mut denoiser.norm2);
    file.load_linear("linear1", &mut denoiser.linear1);
    file.load_linear("linear2", &mut denoiser.linear2);
    file.load_linear("self_attn.out_proj", &mut denoiser.attn.out_proj);
    let attn = &mut denoiser.attn;
    for (row, layer) in [attn.q_proj.as_mut(), attn.k_proj.as_mut(), Some(&mut attn.v_proj)]
        .into_iter()
        .enumerate()
    {
        let (weight, bias) = file.in_proj("weight.", row);
        if let Some(layer) = layer {
            layer.weight = Param::from_tensor(weight.transpose());
            layer.bias = Some(Param::from_tensor(bias));
        }
    }
    denoiser
}

struct Case<'a> {
    tensors: SafeTensors<'a>,
    device: &'a Device,
}

impl Case<'_> {
    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let view = self
            .tensors
            .tensor(name)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let values: Vec<f32> = view
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect();
        Tensor::from_data(TensorData::new(values, view.shape().to_vec()), self.device)
    }

    /// Part `row` (0 query, 1 key, 2 value) of the stacked input projection.
    fn in_proj(&self, prefix: &str, row: usize) -> (Tensor<2>, Tensor<1>) {
        let weight = self.tensor::<2>(&format!("{prefix}self_attn.in_proj_weight"));
        let bias = self.tensor::<1>(&format!("{prefix}self_attn.in_proj_bias"));
        let [_, d] = weight.dims();
        (weight.narrow(0, row * d, d), bias.narrow(0, row * d, d))
    }

    fn load_linear(&self, name: &str, layer: &mut Linear) {
        layer.weight = Param::from_tensor(self.tensor::<2>(&format!("weight.{name}.weight")).transpose());
        layer.bias = Some(Param::from_tensor(self.tensor(&format!("weight.{name}.bias"))));
    }

    fn load_norm(&self, name: &str, layer: &mut LayerNorm) {
        layer.gamma = Param::from_tensor(self.tensor(&format!("weight.{name}.weight")));
        layer.beta = Some(Param::from_tensor(self.tensor(&format!("weight.{name}.bias"))));
    }
}

fn close<const D: usize>(what: &str, got: Tensor<D>, wanted: Tensor<D>, tolerance: f32) {
    assert_eq!(got.dims(), wanted.dims(), "{what}");
    let (got, wanted) = (got.without_autodiff(), wanted.without_autodiff());
    let scale = wanted.clone().abs().max().into_scalar::<f32>();
    let error = (got - wanted).abs().max().into_scalar::<f32>();
    println!("{what}: {error:.1e} of {scale:.1e}");
    assert!(
        error <= tolerance * scale,
        "{what} is off by {error}, largest value {scale}"
    );
}
