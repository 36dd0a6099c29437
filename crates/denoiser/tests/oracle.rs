//! The denoiser against PyTorch's `TransformerEncoderLayer`: outputs and every gradient.
//!
//! The identity attention mask is diagonal attention, no mask is global attention.

use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use diffprune_denoiser::{Activation, Denoiser, DenoiserAttention, DenoiserConfig, DenoiserSelfAttention};
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
    let denoiser = denoiser(manifest, case, &file);

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
    let found = Found {
        name,
        gradients: &gradients,
        file: &file,
    };
    found.norm("norm1", &denoiser.norm1);
    found.norm("norm2", &denoiser.norm2);
    found.linear("linear1", &denoiser.linear1);
    found.linear("linear2", &denoiser.linear2);
    found.linear("self_attn.out_proj", &denoiser.attn.out_proj);
    found.in_proj(&denoiser.attn);
}

struct Found<'a> {
    name: &'a str,
    gradients: &'a Gradients,
    file: &'a Case<'a>,
}

impl Found<'_> {
    fn linear(&self, name: &str, layer: &Linear) {
        let (weight, bias) = self.of(layer);
        self.close(&format!("{name}.weight"), weight);
        self.close(&format!("{name}.bias"), bias);
    }

    fn norm(&self, name: &str, layer: &LayerNorm) {
        self.close(
            &format!("{name}.weight"),
            layer.gamma.grad(self.gradients).expect("gradient"),
        );
        let beta = layer.beta.as_ref().expect("beta");
        self.close(
            &format!("{name}.bias"),
            beta.grad(self.gradients).expect("gradient"),
        );
    }

    /// Compared as PyTorch stacks them; what diagonal attention leaves out has no effect there either.
    fn in_proj(&self, attn: &DenoiserSelfAttention) {
        let (value, value_bias) = self.of(&attn.v_proj);
        let parts = [attn.q_proj.as_ref(), attn.k_proj.as_ref(), Some(&attn.v_proj)].map(|layer| {
            layer.map_or_else(
                || (value.zeros_like(), value_bias.zeros_like()),
                |layer| self.of(layer),
            )
        });
        let (weights, biases): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        self.close("self_attn.in_proj_weight", Tensor::cat(weights, 0));
        self.close("self_attn.in_proj_bias", Tensor::cat(biases, 0));
    }

    /// Gradients of a layer, the weight's as `[out, in]`.
    fn of(&self, layer: &Linear) -> (Tensor<2>, Tensor<1>) {
        let weight = layer.weight.grad(self.gradients).expect("gradient").transpose();
        let bias = layer
            .bias
            .as_ref()
            .expect("bias")
            .grad(self.gradients)
            .expect("gradient");
        (weight, bias)
    }

    fn close<const D: usize>(&self, what: &str, got: Tensor<D>) {
        let wanted = self.file.tensor(&format!("grad.{what}"));
        close(&format!("{}: {what}", self.name), got, wanted, GRADIENT_TOLERANCE);
    }
}

fn denoiser(manifest: &Value, case: &Value, file: &Case<'_>) -> Denoiser {
    let size = |key: &str| manifest[key].as_u64().expect(key) as usize;
    let activation = match manifest["activation"].as_str().expect("activation") {
        name if name.starts_with("gelu") && !name.contains("tanh") => Activation::Gelu,
        "relu" => Activation::Relu,
        other => panic!("unknown activation {other}"),
    };
    let attention = match case["identity_attention_mask"]
        .as_bool()
        .expect("identity_attention_mask")
    {
        true => DenoiserAttention::Diagonal,
        false => DenoiserAttention::Global,
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
    let layers = [attn.q_proj.as_mut(), attn.k_proj.as_mut(), Some(&mut attn.v_proj)];
    for (row, layer) in layers.into_iter().enumerate() {
        let Some(layer) = layer else { continue };
        let weight = file.tensor::<2>("weight.self_attn.in_proj_weight");
        let bias = file.tensor::<1>("weight.self_attn.in_proj_bias");
        let [_, d] = weight.dims();
        layer.weight = Param::from_tensor(weight.narrow(0, row * d, d).transpose());
        layer.bias = Some(Param::from_tensor(bias.narrow(0, row * d, d)));
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
