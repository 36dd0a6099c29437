//! A transformer block against PyTorch's `TransformerEncoderLayer`: outputs and every gradient, in every stored case.

use std::path::Path;

use burn::module::Param;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use diffprune_kernels::Activation;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::{fixtures, none_failed};

/// Largest difference of outputs, relative to the largest value of the tensor compared.
const OUTPUT_TOLERANCE: f32 = 2e-5;
/// The same of gradients.
const GRADIENT_TOLERANCE: f32 = 2e-4;

/// The settings of a case.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Width of the tokens.
    pub d_model: usize,
    /// Number of heads.
    pub n_heads: usize,
    /// Width of the feed-forward part.
    pub d_ff: usize,
    /// Pre-LN instead of post-LN.
    pub norm_first: bool,
    /// Nonlinearity of the feed-forward part.
    pub activation: Activation,
    /// Epsilon of the layer norms.
    pub norm_eps: f64,
    /// Each token attends to itself alone.
    pub alone: bool,
}

/// The layers of a block, to be loaded and to be asked for gradients.
pub struct Layers<'a> {
    /// Norm of the attention part.
    pub norm1: &'a mut LayerNorm,
    /// Norm of the feed-forward part.
    pub norm2: &'a mut LayerNorm,
    /// First feed-forward layer.
    pub linear1: &'a mut Linear,
    /// Second feed-forward layer.
    pub linear2: &'a mut Linear,
    /// Output projection of the attention.
    pub out_proj: &'a mut Linear,
    /// Projections of queries, keys and values, as far as the block has them: the others have no effect in the case.
    pub in_proj: [Option<&'a mut Linear>; 3],
}

/// A block under test.
pub trait Block {
    /// Its layers.
    fn layers(&mut self) -> Layers<'_>;
    /// Runs it on `[batch, n_tokens, d_model]`.
    fn forward(&self, x: Tensor<3>) -> Tensor<3>;
}

/// Holds the blocks that `build` makes to every stored case.
///
/// # Panics
/// With the list of all differences, or when there is no case.
pub fn check<B: Block>(build: impl Fn(&Settings, &Device) -> B) {
    let folder = fixtures().join("hf/encoder_block");
    let manifest = std::fs::read(folder.join("manifest.json")).expect("manifest.json");
    let manifest: Value = serde_json::from_slice(&manifest).expect("json");
    let cases = manifest["cases"].as_array().expect("cases");
    assert!(!cases.is_empty(), "no cases in {}", folder.display());
    let mut failures = Vec::new();
    for case in cases {
        check_case(&settings(&manifest, case), case, &folder, &build, &mut failures);
    }
    none_failed(&failures);
}

fn settings(manifest: &Value, case: &Value) -> Settings {
    let size = |key: &str| manifest[key].as_u64().expect(key) as usize;
    let flag = |key: &str| case[key].as_bool().expect(key);
    Settings {
        d_model: size("dim"),
        n_heads: size("heads"),
        d_ff: size("ff"),
        norm_first: flag("norm_first"),
        activation: match manifest["activation"].as_str().expect("activation") {
            name if name.starts_with("gelu") && !name.contains("tanh") => Activation::Gelu,
            "relu" => Activation::Relu,
            other => panic!("unknown activation {other}"),
        },
        norm_eps: manifest["layer_norm_eps"].as_f64().expect("layer_norm_eps"),
        alone: flag("identity_attention_mask"),
    }
}

fn check_case<B: Block>(
    settings: &Settings,
    case: &Value,
    folder: &Path,
    build: &impl Fn(&Settings, &Device) -> B,
    failures: &mut Vec<String>,
) {
    let device = Device::flex().autodiff();
    let name = case["file"].as_str().expect("file");
    let bytes = std::fs::read(folder.join(name)).expect("case file");
    let file = Stored {
        tensors: SafeTensors::deserialize(&bytes).expect("safetensors"),
        device: &device,
    };
    let mut block = build(settings, &device);
    file.load(block.layers());
    let x = file.tensor::<3>("x").require_grad();
    let y = block.forward(x.clone());
    let mut differences = Differences { name, failures };
    differences.compare("y", y.clone(), file.tensor("y"), OUTPUT_TOLERANCE);
    let gradients = (y * file.tensor::<3>("output_gradient")).sum().backward();
    let mut gradient = |what: &str, found: Option<Flat>| {
        let (found, dims) = found.unwrap_or_else(|| panic!("{name}: {what} has no gradient"));
        let wanted = file.flat(what);
        assert_eq!(dims, file.dims(what), "{name}: {what}");
        differences.compare(what, found, wanted, GRADIENT_TOLERANCE);
    };
    gradient("grad_x", x.grad(&gradients).map(flat));
    let layers = block.layers();
    for (name, norm) in [("norm1", &layers.norm1), ("norm2", &layers.norm2)] {
        let beta = norm.beta.as_ref().expect("beta");
        gradient(
            &format!("grad.{name}.weight"),
            norm.gamma.grad(&gradients).map(flat),
        );
        gradient(&format!("grad.{name}.bias"), beta.grad(&gradients).map(flat));
    }
    for (name, layer) in [
        ("linear1", &layers.linear1),
        ("linear2", &layers.linear2),
        ("self_attn.out_proj", &layers.out_proj),
    ] {
        let (weight, bias) = of_linear(layer, &gradients);
        gradient(&format!("grad.{name}.weight"), Some(flat(weight)));
        gradient(&format!("grad.{name}.bias"), Some(flat(bias)));
    }
    // Compared as PyTorch stacks them: single parts may be zero in exact arithmetic (the key bias is), and what a block
    // leaves out has no effect there either.
    let parts = layers
        .in_proj
        .map(|layer| layer.map(|layer| of_linear(layer, &gradients)));
    let d = settings.d_model;
    let (weights, biases): (Vec<_>, Vec<_>) = parts
        .into_iter()
        .map(|part| {
            part.unwrap_or_else(|| {
                let device = device.clone().without_autodiff();
                (Tensor::zeros([d, d], &device), Tensor::zeros([d], &device))
            })
        })
        .unzip();
    gradient(
        "grad.self_attn.in_proj_weight",
        Some(flat(Tensor::cat(weights, 0))),
    );
    gradient("grad.self_attn.in_proj_bias", Some(flat(Tensor::cat(biases, 0))));
}

/// A tensor as one row, and its sizes.
type Flat = (Tensor<1>, Vec<usize>);

fn flat<const D: usize>(x: Tensor<D>) -> Flat {
    let dims = x.dims().to_vec();
    let n = dims.iter().product::<usize>();
    (x.without_autodiff().reshape([n]), dims)
}

/// Gradients of a layer, the weight's as `[out, in]`.
fn of_linear(layer: &Linear, gradients: &Gradients) -> (Tensor<2>, Tensor<1>) {
    let weight = layer.weight.grad(gradients).expect("gradient").transpose();
    let bias = layer.bias.as_ref().expect("bias");
    (weight, bias.grad(gradients).expect("gradient"))
}

struct Differences<'a> {
    name: &'a str,
    failures: &'a mut Vec<String>,
}

impl Differences<'_> {
    fn compare<const D: usize>(&mut self, what: &str, found: Tensor<D>, wanted: Tensor<D>, tolerance: f32) {
        assert_eq!(found.dims(), wanted.dims(), "{}: {what}", self.name);
        let (found, wanted) = (found.without_autodiff(), wanted.without_autodiff());
        let scale = wanted.clone().abs().max().into_scalar::<f32>();
        let error = (found - wanted).abs().max().into_scalar::<f32>();
        println!("{}: {what}: {error:.1e} of {scale:.1e}", self.name);
        // NaN is a failure too.
        let close = error <= tolerance * scale;
        if !close {
            self.failures.push(format!(
                "{}: {what} is off by {error}, largest value {scale}",
                self.name
            ));
        }
    }
}

struct Stored<'a> {
    tensors: SafeTensors<'a>,
    device: &'a Device,
}

impl Stored<'_> {
    fn dims(&self, name: &str) -> Vec<usize> {
        let view = self.tensors.tensor(name);
        view.unwrap_or_else(|error| panic!("{name}: {error}"))
            .shape()
            .to_vec()
    }

    fn data(&self, name: &str) -> TensorData {
        let view = self.tensors.tensor(name);
        let view = view.unwrap_or_else(|error| panic!("{name}: {error}"));
        let (words, _) = view.data().as_chunks::<4>();
        let values: Vec<f32> = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
        TensorData::new(values, view.shape().to_vec())
    }

    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        Tensor::from_data(self.data(name), self.device)
    }

    fn flat(&self, name: &str) -> Tensor<1> {
        let data = self.data(name);
        let n = data.num_elements();
        Tensor::from_data(
            TensorData::new(data.iter::<f32>().collect::<Vec<_>>(), [n]),
            self.device,
        )
    }

    fn load(&self, layers: Layers<'_>) {
        for (name, norm) in [("norm1", layers.norm1), ("norm2", layers.norm2)] {
            norm.gamma = Param::from_tensor(self.tensor(&format!("weight.{name}.weight")));
            norm.beta = Some(Param::from_tensor(self.tensor(&format!("weight.{name}.bias"))));
        }
        for (name, layer) in [
            ("linear1", layers.linear1),
            ("linear2", layers.linear2),
            ("self_attn.out_proj", layers.out_proj),
        ] {
            let weight = self.tensor::<2>(&format!("weight.{name}.weight"));
            layer.weight = Param::from_tensor(weight.transpose());
            layer.bias = Some(Param::from_tensor(self.tensor(&format!("weight.{name}.bias"))));
        }
        let weight = self.tensor::<2>("weight.self_attn.in_proj_weight");
        let bias = self.tensor::<1>("weight.self_attn.in_proj_bias");
        let [_, d] = weight.dims();
        for (row, layer) in layers.in_proj.into_iter().enumerate() {
            if let Some(layer) = layer {
                layer.weight = Param::from_tensor(weight.clone().narrow(0, row * d, d).transpose());
                layer.bias = Some(Param::from_tensor(bias.clone().narrow(0, row * d, d)));
            }
        }
    }
}
