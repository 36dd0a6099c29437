//! Signals of CLIP's tower against plain arithmetic on hidden states (the stored ones, where they are stored).

use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Device, Tensor, activation};
use diffprune_pruner::Signals;
use diffprune_vlm_adapters::{ClipLayer, Encoded, ImageMode, Llava, LlavaModel, LlavaNext, LoadOptions, Vlm};
use serde_json::Value;

use crate::cases::{cases, images, manifests};
use crate::llava_case::root;
use crate::tensors::Tensors;

/// Relative to the largest value; signals of f32 agree to a few units in the last place.
const TOLERANCE: f32 = 1e-4;

const ALL: Signals = Signals {
    cls_attention: true,
    first_cls_attention: true,
    class_tokens: true,
    keys: true,
    wide_attention: true,
    received_attention: true,
    projected: false,
    text_relevance: false,
    relevance: false,
};

/// `x` normed, times a weight, plus its bias, `[views, rows, d]`.
fn linear(layer: &Linear, x: Tensor<3>) -> Tensor<3> {
    let [_, d_output] = layer.weight.dims();
    let bias = layer.bias.as_ref().unwrap().val().reshape([1, 1, d_output]);
    x.matmul(layer.weight.val().unsqueeze::<3>()) + bias
}

fn normed(norm: &LayerNorm, epsilon: f64, x: Tensor<3>) -> Tensor<3> {
    let width = x.dims()[2];
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2);
    let unit = centred / (variance + epsilon).sqrt();
    let vector = |x: Tensor<1>| x.reshape([1, 1, width]);
    unit * vector(norm.gamma.val()) + vector(norm.beta.as_ref().unwrap().val())
}

/// Keys and the whole matrix of attention with `heads` heads: `[views, heads, rows, d]`, `[views, heads, rows, rows]`.
fn attention(layer: &ClipLayer, epsilon: f64, heads: usize, x: &Tensor<3>) -> (Tensor<4>, Tensor<4>) {
    let x = normed(&layer.layer_norm1, epsilon, x.clone());
    let [views, rows, width] = x.dims();
    let split = |x: Tensor<3>| x.reshape([views, rows, heads, width / heads]).swap_dims(1, 2);
    let q = split(linear(&layer.q_proj, x.clone()));
    let k = split(linear(&layer.k_proj, x));
    let scores = q.matmul(k.clone().swap_dims(2, 3)) / ((width / heads) as f64).sqrt();
    (k, activation::softmax(scores, 3))
}

/// Values by place.
struct Values {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Values {
    fn of<const D: usize>(x: Tensor<D>) -> Self {
        Self {
            shape: x.dims().to_vec(),
            values: x.into_data().try_to_vec().unwrap(),
        }
    }

    fn at(&self, place: &[usize]) -> f32 {
        assert_eq!(place.len(), self.shape.len());
        let flat = place.iter().zip(&self.shape).fold(0, |flat, (&i, &n)| {
            assert!(i < n, "{place:?} of {:?}", self.shape);
            flat * n + i
        });
        self.values[flat]
    }

    /// Compares `found(a, b, c)` with `wanted(a, b, c)` for all places given.
    fn same(&self, what: &str, wanted: &Values, places: impl Iterator<Item = (Vec<usize>, Vec<usize>)>) {
        let scale = wanted.values.iter().fold(0f32, |most, x| most.max(x.abs()));
        let mut n = 0;
        for (own, other) in places {
            let (found, wanted) = (self.at(&own), wanted.at(&other));
            let off = (found - wanted).abs();
            assert!(
                off <= TOLERANCE * scale,
                "{what} {own:?}: {found} is not {wanted}"
            );
            n += 1;
        }
        assert!(n > 0, "{what}: nothing compared");
    }
}

/// Everything that the tower says about a case, view by view and token by token.
fn check(vlm: &dyn Vlm, model: &LlavaModel, heads: usize, epsilon: f64, json: &Value) {
    let tensors = Tensors::open(&root().join(json["file"].as_str().unwrap()));
    let pixels = vlm.preprocess(&images(json)).unwrap();
    let views: Vec<usize> = pixels.images.iter().map(|image| image.rows).collect();
    let vision = &model.vision;
    let states = vision.hidden_states(pixels.values.clone());
    let state = |i: usize| {
        let stored = tensors.floats(&format!("vision_hidden_{i}"));
        stored.unwrap_or_else(|| states[i].clone())
    };
    // The oracle's selected state is the last but one.
    let depth = vision.depth(-2);
    let output = tensors
        .floats("vision_selected_with_cls")
        .unwrap_or_else(|| state(depth));
    let (keys, weights) = attention(&vision.layers[depth - 1], epsilon, heads, &state(depth - 1));
    let weights = tensors.floats("vision_attention_layer_-2").unwrap_or(weights);
    let (_, first) = attention(&vision.layers[0], epsilon, heads, &state(0));
    let (wide_keys, wide) = attention(&vision.layers[depth], epsilon, 1, &output);
    let rows = |x: Tensor<4>| Values::of(x.narrow(2, 0, 1).squeeze_dim::<3>(2));
    let received = Values::of(weights.clone().mean_dim(2).mean_dim(1));
    let (cls, first, wide) = (rows(weights), rows(first), rows(wide));
    let (keys, wide_keys) = (Values::of(keys.mean_dim(1)), Values::of(wide_keys));
    let output = Values::of(output);

    let encoded = vlm.encode(pixels, ALL);
    let observed = encoded.observed.clone();
    let places = places(&encoded, &views);
    let [_, _, width] = encoded.tokens.dims();
    let d_head = width / heads;
    let per = |n: usize| {
        move |&(image, token, view, row): &Place| (0..n).map(move |d| (image, token, view, row, d))
    };
    let last = |n| {
        places
            .iter()
            .flat_map(per(n))
            .map(|(image, token, view, row, d)| (vec![image, token, d], vec![view, row, d]))
    };
    let middle = || {
        places
            .iter()
            .flat_map(per(heads))
            .map(|(image, token, view, row, h)| (vec![image, h, token], vec![view, h, row]))
    };
    Values::of(encoded.tokens).same("tokens", &output, last(width));
    Values::of(observed.cls_attention.unwrap()).same("cls", &cls, middle());
    Values::of(observed.first_cls_attention.unwrap()).same("first cls", &first, middle());
    let found = observed.keys.unwrap();
    let split = |places: (Vec<usize>, Vec<usize>)| (places.0, vec![places.1[0], 0, places.1[1], places.1[2]]);
    Values::of(found.tokens).same("keys", &keys, last(d_head).map(split));
    let found_wide = observed.wide_attention.unwrap();
    Values::of(found_wide.keys).same("wide keys", &wide_keys, last(width).map(split));
    let single = |make: fn(usize, usize) -> Vec<usize>| {
        places
            .iter()
            .map(move |&(image, token, view, row)| (vec![image, token], make(view, row)))
    };
    Values::of(found_wide.cls).same("wide cls", &wide, single(|view, row| vec![view, 0, row]));
    let found = Values::of(observed.received_attention.unwrap());
    found.same("received", &received, single(|view, row| vec![view, 0, 0, row]));
    // `[CLS]` of each view.
    let mut of_views = Vec::new();
    let mut first_view = 0;
    for (image, &n) in views.iter().enumerate() {
        of_views.extend((0..n).map(|view| (image, view, first_view + view)));
        first_view += n;
    }
    let class = |n: usize, keys: bool| {
        of_views.iter().flat_map(move |&(image, view, global)| {
            (0..n).map(move |d| {
                let other = if keys {
                    vec![global, 0, 0, d]
                } else {
                    vec![global, 0, d]
                };
                (vec![image, view, d], other)
            })
        })
    };
    Values::of(observed.class_tokens.unwrap()).same("class tokens", &output, class(width, false));
    Values::of(observed_keys_class(vlm, json)).same("class keys", &keys, class(d_head, true));

    // Nothing that nobody asked for.
    let quiet = vlm
        .encode(vlm.preprocess(&images(json)).unwrap(), Signals::default())
        .observed;
    assert!(quiet.cls_attention.is_none() && quiet.first_cls_attention.is_none() && quiet.keys.is_none());
    assert!(quiet.class_tokens.is_none() && quiet.wide_attention.is_none());
    assert!(quiet.received_attention.is_none());
}

/// Keys of `[CLS]`, asked for alone.
fn observed_keys_class(vlm: &dyn Vlm, json: &Value) -> Tensor<3> {
    let signals = Signals {
        keys: true,
        ..Signals::default()
    };
    let observed = vlm
        .encode(vlm.preprocess(&images(json)).unwrap(), signals)
        .observed;
    assert!(observed.cls_attention.is_none());
    observed.keys.unwrap().class.unwrap()
}

/// A token of an image, and the row of the view (of all views) that it is.
type Place = (usize, usize, usize, usize);

/// The source of every token, as the layouts say.
fn places(encoded: &Encoded, views: &[usize]) -> Vec<Place> {
    let (mut places, mut first) = (Vec::new(), 0);
    for (image, (layout, &n)) in encoded.layouts.iter().zip(views).enumerate() {
        assert_eq!(layout.views.len(), n);
        for (view, seen) in layout.views.iter().enumerate() {
            let cells = seen.tokens.iter().enumerate();
            places.extend(cells.filter_map(|(cell, &token)| Some((image, token?, first + view, 1 + cell))));
        }
        first += n;
    }
    assert_eq!(places.len(), encoded.counts().iter().sum::<usize>());
    places
}

#[test]
fn signals_of_llava_are_those_of_plain_arithmetic() {
    for (_, manifest) in manifests("llava") {
        let options = LoadOptions::f32().with_image_mode(ImageMode::CenterCrop);
        let dir = root().join(manifest["checkpoint"].as_str().unwrap());
        let llava = Llava::load(dir, &Device::flex(), options).unwrap();
        let vision = &llava.parts().config.vision;
        for json in cases(&manifest) {
            check(
                &llava,
                llava.model(),
                vision.num_attention_heads,
                vision.layer_norm_eps,
                json,
            );
        }
    }
}

#[test]
fn signals_of_llava_next_are_those_of_plain_arithmetic() {
    for (_, manifest) in manifests("llava_next") {
        let dir = root().join(manifest["checkpoint"].as_str().unwrap());
        let next = LlavaNext::load(dir, &Device::flex(), LoadOptions::f32()).unwrap();
        let vision = &next.config().llava.vision;
        for json in cases(&manifest) {
            check(
                &next,
                next.model(),
                vision.num_attention_heads,
                vision.layer_norm_eps,
                json,
            );
        }
    }
}
