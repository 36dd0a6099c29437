//! A random decoder and ragged prompts for it.

use burn::tensor::{Device, Distribution, Tensor};
use diffprune_baselines::registry;
use diffprune_pruner::{PositionRule, Pruner};
use diffprune_vlm_adapters::{
    Llama, LlamaConfig, Padding, Spliced, VisualInput, VisualSequence, VisualSlot, VisualSource, plan_splice,
    splice,
};

pub const IMAGE: u32 = 60;

/// Every registered method that acts inside the language model.
pub fn methods() -> Vec<Box<dyn Pruner>> {
    let methods = registry().iter().map(|baseline| (baseline.init)());
    let methods: Vec<_> = methods.filter(|method| method.decoder().is_some()).collect();
    assert!(methods.len() >= 6);
    methods
}

/// A random decoder with grouped keys and attention that prefers some tokens.
pub fn language(mrope_section: Option<[usize; 3]>) -> Llama {
    let device = Device::flex();
    device.seed(11);
    let config = LlamaConfig {
        num_hidden_layers: 8,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        hidden_size: 32,
        mrope_section,
        ..LlamaConfig::tiny()
    };
    let mut language = config.init(&device);
    for layer in &mut language.layers {
        let attention = &mut layer.self_attn;
        for linear in [
            &mut attention.q_proj,
            &mut attention.k_proj,
            &mut attention.v_proj,
        ] {
            linear.weight = linear.weight.clone().map(|weight| weight * 12.0);
        }
        attention.o_proj.weight = attention.o_proj.weight.clone().map(|weight| weight * 12.0);
    }
    language.embed_tokens.weight = language.embed_tokens.weight.clone().map(|weight| weight * 30.0);
    // A placeholder is never an answer.
    let image = IMAGE as usize;
    let head = language.lm_head.take().map(|mut head| {
        head.weight = head
            .weight
            .clone()
            .map(|weight| weight.slice_fill([0..32, image..image + 1], 0.0));
        head
    });
    language.lm_head = head;
    language
}

/// Prompts of different lengths: one image, two images, none.
pub fn prompts() -> Vec<Vec<u32>> {
    vec![
        vec![1, 2, IMAGE, 5, 6, 7, 8],
        vec![3, IMAGE, 4, IMAGE, 9, 10, 11, 12, 13],
        vec![14, 15, 16],
    ]
}

/// The images of [`prompts`], of 20, 15 and 18 tokens.
pub fn visual(axes: usize) -> VisualInput {
    let device = Device::flex();
    device.seed(12);
    let features = Tensor::random([3, 20, 32], Distribution::Normal(0.0, 1.0), &device);
    let sequence = |(rows, cols): (usize, usize)| match axes {
        1 => VisualSequence::raster(
            &(0..rows * cols).collect::<Vec<_>>(),
            rows * cols,
            PositionRule::Keep,
        ),
        _ => VisualSequence {
            slots: (0..rows * cols)
                .map(|i| VisualSlot {
                    source: VisualSource::Feature(i),
                    offset: [0, i / cols, i % cols],
                })
                .collect(),
            span: rows.max(cols),
        },
    };
    VisualInput {
        features,
        sequences: [(4, 5), (3, 5), (2, 9)].map(sequence).to_vec(),
        separator: None,
    }
}

pub fn spliced(language: &Llama, prompts: &[Vec<u32>], visual: Option<&VisualInput>) -> Spliced {
    let plans = plan_splice(prompts, visual, IMAGE, language).unwrap();
    splice(prompts, visual, plans, Padding::Left, language)
}

/// The prompts of [`prompts`] one by one, with their images.
pub fn apart() -> Vec<(Vec<u32>, Option<Vec<usize>>)> {
    let images = [Some(vec![0]), Some(vec![1, 2]), None];
    prompts().into_iter().zip(images).collect()
}
