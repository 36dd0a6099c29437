//! Files made by the authors' code, and the small language model that they were made with.

use std::path::PathBuf;

use burn::module::Param;
use burn::tensor::{Device, Int, Tensor, TensorData};
use diffprune_pruner::{DecoderContext, DecoderObserved};
use diffprune_vlm_adapters::{Llama, LlamaConfig, Padding, Spliced, VisualInput, plan_splice, splice};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// One fixture: its description and its arrays.
pub struct Fixture {
    pub stem: String,
    pub json: Value,
    bytes: Vec<u8>,
}

fn folder() -> PathBuf {
    diffprune_test_support::fixtures().join("pruners").join("in_llm")
}

/// Every fixture whose name begins with the method and holds `part`; at least one.
pub fn fixtures(method: &str, part: &str) -> Vec<Fixture> {
    let mut stems: Vec<String> = std::fs::read_dir(folder())
        .expect("folder of fixtures")
        .filter_map(|entry| {
            let name = entry.expect("entry").file_name().into_string().expect("name");
            let stem = name.strip_suffix(".json")?.to_string();
            (stem.starts_with(method) && stem.contains(part)).then_some(stem)
        })
        .collect();
    assert!(!stems.is_empty(), "no fixture {method}*{part}*");
    stems.sort();
    stems.iter().map(|stem| Fixture::open(stem)).collect()
}

impl Fixture {
    pub fn open(stem: &str) -> Self {
        let path = |extension: &str| folder().join(format!("{stem}.{extension}"));
        let json = std::fs::read_to_string(path("json")).expect("description");
        Self {
            stem: stem.to_string(),
            json: serde_json::from_str(&json).expect("json"),
            bytes: std::fs::read(path("safetensors")).expect("arrays"),
        }
    }

    /// The names of the arrays.
    pub fn names(&self) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.bytes).expect("safetensors");
        file.names().iter().map(|name| name.to_string()).collect()
    }

    fn array(&self, name: &str) -> (Vec<f64>, Vec<usize>) {
        let file = SafeTensors::deserialize(&self.bytes).expect("safetensors");
        let view = file
            .tensor(name)
            .unwrap_or_else(|_| panic!("{}: array {name} is missing", self.stem));
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => data
                .chunks_exact(4)
                .map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("4 bytes"))))
                .collect(),
            Dtype::I64 => data
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().expect("8 bytes")) as f64)
                .collect(),
            Dtype::U8 => data.iter().map(|&b| f64::from(b)).collect(),
            other => panic!("{}: {name} holds {other:?}", self.stem),
        };
        (values, view.shape().to_vec())
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.array(name).0.into_iter().map(|value| value as f32).collect()
    }

    pub fn indices(&self, name: &str) -> Vec<usize> {
        self.array(name)
            .0
            .into_iter()
            .map(|value| value as usize)
            .collect()
    }

    /// The indices at which a mask is set.
    pub fn set(&self, name: &str) -> Vec<usize> {
        let mask = self.indices(name);
        (0..mask.len()).filter(|&i| mask[i] == 1).collect()
    }

    pub fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let (values, shape) = self.array(name);
        let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    pub fn number(&self, path: &str) -> usize {
        let value = self.json.pointer(path).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("{}: no number {path}", self.stem)) as usize
    }

    pub fn layout(&self) -> Layout {
        Layout {
            system: self.number("/layout/system_tokens"),
            visual: self.number("/layout/visual_tokens"),
            text: self.number("/layout/text_tokens"),
        }
    }

    /// The language model and its input for a file of a whole run.
    pub fn run(&self) -> Run {
        let (_, variant) = self.stem.split_once("_e2e").expect("a file of a run");
        Run::new(&Self::open(&format!("tiny_llama{variant}")))
    }
}

/// Whole numbers of a json list.
pub fn numbers(value: &Value) -> Vec<usize> {
    let list = value.as_array().expect("a list");
    list.iter()
        .map(|value| value.as_u64().expect("a number") as usize)
        .collect()
}

/// Tokens before, of and after the image.
#[derive(Clone, Copy)]
pub struct Layout {
    pub system: usize,
    pub visual: usize,
    pub text: usize,
}

impl Layout {
    pub fn total(&self) -> usize {
        self.system + self.visual + self.text
    }

    /// A context of this layout with what was observed.
    pub fn context(&self, observed: DecoderObserved) -> DecoderContext {
        DecoderContext {
            row: 0,
            n_tokens: self.total(),
            visual: (self.system..self.system + self.visual).collect(),
            observed,
        }
    }

    /// Places of the sequence that stay when these visual tokens do.
    pub fn places(&self, keep: &[usize]) -> Vec<usize> {
        let visual = keep.iter().map(|i| self.system + i);
        let text = self.system + self.visual..self.total();
        (0..self.system).chain(visual).chain(text).collect()
    }
}

/// A language model with the weights of a fixture, and its input as a spliced prompt.
pub struct Run {
    pub language: Llama,
    pub spliced: Spliced,
    pub layout: Layout,
}

impl Run {
    /// From a file that holds weights and inputs.
    pub fn new(fixture: &Fixture) -> Self {
        let layout = fixture.layout();
        let embeds = fixture.tensor::<3>("inputs_embeds");
        let part = |first: usize, n: usize| embeds.clone().narrow(1, first, n);
        let image = layout.system + layout.text;
        let after = layout.system + layout.visual;
        let mut language = llama(fixture, image + 1);
        // The text's embeddings become the rows of the table, so that prompt and image run through the real splice.
        let text = Tensor::cat(vec![part(0, layout.system), part(after, layout.text)], 1).squeeze_dim::<2>(0);
        let [_, width] = text.dims();
        let table = Tensor::cat(vec![text, Tensor::zeros([1, width], &Device::flex())], 0);
        language.embed_tokens.weight = Param::from_tensor(table);
        let visual = VisualInput::full(part(layout.system, layout.visual));
        let mut prompt: Vec<u32> = (0..image as u32).collect();
        prompt.insert(layout.system, image as u32);
        let prompts = [prompt];
        let plans = plan_splice(&prompts, Some(&visual), image as u32, &language).expect("a plan");
        let spliced = splice(&prompts, Some(&visual), plans, Padding::Left, &language);
        spliced
            .embeds
            .clone()
            .into_data()
            .assert_eq(&embeds.into_data(), true);
        Self {
            language,
            spliced,
            layout,
        }
    }
}

fn llama(fixture: &Fixture, vocab_size: usize) -> Llama {
    let size = |name: &str| fixture.number(&format!("/model/{name}"));
    let config = LlamaConfig {
        vocab_size,
        hidden_size: size("hidden"),
        intermediate_size: size("intermediate"),
        num_hidden_layers: size("layers"),
        num_attention_heads: size("heads"),
        num_key_value_heads: size("kv_heads"),
        head_dim: size("hidden") / size("heads"),
        ..LlamaConfig::tiny()
    };
    let mut language = config.init(&Device::flex());
    let matrix =
        |name: String| Param::from_tensor(fixture.tensor::<2>(&format!("w.{name}.weight")).transpose());
    let vector = |name: String| Param::from_tensor(fixture.tensor::<1>(&format!("w.{name}.weight")));
    for (i, layer) in language.layers.iter_mut().enumerate() {
        let name = |part: &str| format!("layers.{i}.{part}");
        layer.self_attn.q_proj.weight = matrix(name("self_attn.q_proj"));
        layer.self_attn.k_proj.weight = matrix(name("self_attn.k_proj"));
        layer.self_attn.v_proj.weight = matrix(name("self_attn.v_proj"));
        layer.self_attn.o_proj.weight = matrix(name("self_attn.o_proj"));
        layer.mlp.gate_proj.weight = matrix(name("mlp.gate_proj"));
        layer.mlp.up_proj.weight = matrix(name("mlp.up_proj"));
        layer.mlp.down_proj.weight = matrix(name("mlp.down_proj"));
        layer.input_layernorm.gamma = vector(name("input_layernorm"));
        layer.post_attention_layernorm.gamma = vector(name("post_attention_layernorm"));
    }
    language.norm.gamma = vector("norm".into());
    language
}

/// All numbers agree within the tolerance, absolute up to one and relative above.
pub fn close(what: &str, found: &[f32], wanted: &[f32], tolerance: f32) {
    assert_eq!(found.len(), wanted.len(), "{what}: lengths");
    let mut worst = 0f32;
    for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
        let difference = (f - w).abs() / w.abs().max(1.0);
        worst = worst.max(difference);
        assert!(difference <= tolerance, "{what}[{i}]: found {f}, expected {w}");
    }
    println!("{what}: largest difference {worst:e}");
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_to_vec().expect("numbers")
}

/// Chosen rows of a matrix.
pub fn rows(x: &Tensor<2>, index: &[usize]) -> Tensor<2> {
    let index: Vec<i64> = index.iter().map(|&i| i as i64).collect();
    let n = index.len();
    x.clone().select(
        0,
        Tensor::<1, Int>::from_data(TensorData::new(index, [n]), &x.device()),
    )
}
