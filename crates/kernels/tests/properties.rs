//! Every fused operator against its composed form: outputs and gradients, over shapes, masks and mixed contexts.

use burn::tensor::{Bool, Device, FloatDType, Int, Tensor, TensorData};
use diffprune_kernels::{self as kernels, AttentionOptions, reference};
use proptest::prelude::*;

/// Largest difference of outputs, in units of the largest output or one.
const OUTPUT_TOLERANCE: f32 = 2e-6;
/// Largest difference of gradients, in units of the largest gradient or one.
const GRADIENT_TOLERANCE: f32 = 1e-5;

/// A leaf tensor, flat, with its shape.
struct Leaf {
    values: Vec<f32>,
    shape: Vec<usize>,
}

/// Deterministic numbers in about -2..2, different for each seed.
fn leaf<const D: usize>(shape: [usize; D], seed: u32) -> Leaf {
    scaled_leaf(shape, seed, 2.0)
}

fn scaled_leaf<const D: usize>(shape: [usize; D], seed: u32, scale: f32) -> Leaf {
    let n = shape.iter().product();
    let mut state = seed.wrapping_mul(0x9E37_79B9) ^ 0x5bd1_e995;
    let values = (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state as f32 / u32::MAX as f32 * 2.0 - 1.0) * scale
        })
        .collect();
    Leaf {
        values,
        shape: shape.to_vec(),
    }
}

fn shaped<const D: usize>(x: &Tensor<1>, leaf: &Leaf) -> Tensor<D> {
    let shape: [usize; D] = leaf.shape.clone().try_into().expect("rank");
    x.clone().reshape(shape)
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_to_vec::<f32>().expect("f32")
}

fn assert_close(what: &str, got: &[f32], wanted: &[f32], tolerance: f32) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    let scale = wanted.iter().fold(1.0f32, |a, b| a.max(b.abs()));
    for (i, (a, b)) in got.iter().zip(wanted).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * scale,
            "{what}[{i}]: {a} against {b}, scale {scale}"
        );
    }
}

/// Output and gradients of `f`; leaves outside `tracked` live on the plain device.
fn run(
    leaves: &[Leaf],
    tracked: u32,
    f: &dyn Fn(&[Tensor<1>]) -> Tensor<1>,
) -> (Vec<f32>, Vec<Option<Vec<f32>>>) {
    let plain = Device::flex();
    let autodiff = Device::flex().autodiff();
    let inputs: Vec<Tensor<1>> = leaves
        .iter()
        .enumerate()
        .map(|(i, leaf)| {
            let data = TensorData::new(leaf.values.clone(), [leaf.values.len()]);
            if tracked >> i & 1 == 1 {
                Tensor::from_data(data, &autodiff).require_grad()
            } else {
                Tensor::from_data(data, &plain)
            }
        })
        .collect();
    let y = f(&inputs);
    let output = values(y.clone());
    if tracked == 0 {
        return (output, vec![None; leaves.len()]);
    }
    let pull = leaf([output.len()], 99);
    let pull = Tensor::<1>::from_data(TensorData::new(pull.values, [output.len()]), &plain);
    let gradients = (y * pull).sum().backward();
    let of = |(i, x): (usize, &Tensor<1>)| {
        (tracked >> i & 1 == 1)
            .then(|| x.grad(&gradients).map(values))
            .flatten()
    };
    (output, inputs.iter().enumerate().map(of).collect())
}

/// Compares two functions for every choice of tracked leaves.
fn check(
    what: &str,
    leaves: &[Leaf],
    fused: &dyn Fn(&[Tensor<1>]) -> Tensor<1>,
    composed: &dyn Fn(&[Tensor<1>]) -> Tensor<1>,
) {
    for tracked in 0..1 << leaves.len() {
        let (y, grads) = run(leaves, tracked, fused);
        let (wanted_y, wanted_grads) = run(leaves, tracked, composed);
        assert!(
            wanted_y.iter().all(|y| y.is_finite()),
            "{what}: the oracle itself is not finite"
        );
        assert_close(
            &format!("{what} output, tracked {tracked:b}"),
            &y,
            &wanted_y,
            OUTPUT_TOLERANCE,
        );
        for (i, (grad, wanted)) in grads.iter().zip(&wanted_grads).enumerate() {
            assert_eq!(
                grad.is_some(),
                tracked >> i & 1 == 1,
                "{what}: gradient {i}, tracked {tracked:b}"
            );
            if let (Some(grad), Some(wanted)) = (grad, wanted) {
                let what = format!("{what} gradient {i}, tracked {tracked:b}");
                assert_close(&what, grad, wanted, GRADIENT_TOLERANCE);
            }
        }
    }
}

/// Shapes with one row, odd widths, widths around the lanes, and one large enough for several threads.
const SHAPES: [[usize; 2]; 9] = [
    [1, 1],
    [1, 7],
    [3, 5],
    [2, 16],
    [5, 31],
    [4, 33],
    [7, 145],
    [3, 260],
    [600, 128],
];

macro_rules! check_unary {
    ($name:ident, $shape:expr, $scale:expr) => {
        let leaves = [scaled_leaf($shape, 1, $scale)];
        check(
            stringify!($name),
            &leaves,
            &|x| kernels::$name::<2>(shaped(&x[0], &leaves[0])).reshape([-1]),
            &|x| reference::$name::<2>(shaped(&x[0], &leaves[0])).reshape([-1]),
        );
    };
}

#[test]
fn activations_and_softmax_equal_their_composed_forms() {
    for shape in SHAPES {
        for scale in [0.01, 2.0, 12.0] {
            check_unary!(gelu, shape, scale);
            check_unary!(quick_gelu, shape, scale);
            check_unary!(silu, shape, scale);
            check_unary!(softmax, shape, scale);
        }
    }
}

#[test]
fn swiglu_equals_its_composed_form() {
    for shape in SHAPES {
        let leaves = [leaf(shape, 1), leaf(shape, 2)];
        let split = |x: &[Tensor<1>]| (shaped::<2>(&x[0], &leaves[0]), shaped::<2>(&x[1], &leaves[1]));
        check(
            "swiglu",
            &leaves,
            &|x| {
                let (gate, up) = split(x);
                kernels::swiglu(gate, up).reshape([-1])
            },
            &|x| {
                let (gate, up) = split(x);
                reference::swiglu(gate, up).reshape([-1])
            },
        );
    }
}

#[test]
fn norms_equal_their_composed_forms() {
    for [rows, width] in SHAPES {
        // One column has no variance: its normal form is zero and its gradient all rounding.
        if width == 1 {
            continue;
        }
        let leaves = [leaf([rows, 1, width], 1), leaf([width], 2), leaf([width], 3)];
        let x0 = |x: &[Tensor<1>]| shaped::<3>(&x[0], &leaves[0]);
        check(
            &format!("layer_norm {rows}x{width}"),
            &leaves,
            &|x| kernels::layer_norm(x0(x), x[1].clone(), x[2].clone(), 1e-5).reshape([-1]),
            &|x| reference::layer_norm(x0(x), x[1].clone(), x[2].clone(), 1e-5).reshape([-1]),
        );
        check(
            &format!("rms_norm {rows}x{width}"),
            &leaves[..2],
            &|x| kernels::rms_norm(x0(x), x[1].clone(), 1e-6).reshape([-1]),
            &|x| reference::rms_norm(x0(x), x[1].clone(), 1e-6).reshape([-1]),
        );
    }
}

#[test]
fn cross_entropy_equals_its_composed_form() {
    for [rows, vocab] in SHAPES {
        let leaves = [leaf([rows, vocab], 1)];
        let targets: Vec<i64> = (0..rows).map(|i| (i * 7 % vocab) as i64).collect();
        let targets =
            |_: ()| Tensor::<1, Int>::from_data(TensorData::new(targets.clone(), [rows]), &Device::flex());
        check(
            &format!("cross_entropy {rows}x{vocab}"),
            &leaves,
            &|x| kernels::cross_entropy(shaped(&x[0], &leaves[0]), targets(())),
            &|x| reference::cross_entropy(shaped(&x[0], &leaves[0]), targets(())),
        );
    }
}

#[test]
fn rope_equals_its_composed_form_and_keeps_lengths() {
    for ([b, n, h, d], tables) in [
        ([2, 5, 3, 8], 2),
        ([2, 5, 3, 6], 1),
        ([1, 1, 1, 2], 1),
        ([4, 150, 4, 32], 4),
    ] {
        let leaves = [leaf([b, n, h, d], 1)];
        let ids: Vec<i64> = (0..tables * n).map(|i| (i * i % 577) as i64).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [tables, n]), &Device::flex());
        let (cos, sin) = kernels::rope_tables(ids, d, 10_000.0);
        check(
            "rope_halves",
            &leaves,
            &|x| kernels::rope_halves(shaped(&x[0], &leaves[0]), cos.clone(), sin.clone()).reshape([-1]),
            &|x| reference::rope_halves(shaped(&x[0], &leaves[0]), cos.clone(), sin.clone()).reshape([-1]),
        );
        let x = Tensor::<1>::from_data(
            TensorData::new(leaves[0].values.clone(), [b * n * h * d]),
            &Device::flex(),
        );
        let x: Tensor<4> = shaped(&x, &leaves[0]);
        let y = kernels::rope_halves(x.clone(), cos, sin);
        let square = |x: Tensor<4>| values((x.clone() * x).sum_dim(3));
        assert_close("squared lengths", &square(y), &square(x), 2e-6);
    }
}

#[test]
fn rope_tables_hold_the_angles() {
    let ids = Tensor::<2, Int>::from_data(TensorData::new(vec![0i64, 3], [1, 2]), &Device::flex());
    let (cos, sin) = kernels::rope_tables(ids, 4, 100.0);
    // Frequencies 1 and 100^(-1/2) = 0.1; positions 0 and 3.
    assert_close("cos", &values(cos), &[1.0, 1.0, 3f32.cos(), 0.3f32.cos()], 1e-6);
    assert_close("sin", &values(sin), &[0.0, 0.0, 3f32.sin(), 0.3f32.sin()], 1e-6);
}

/// One case of attention.
#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    n: usize,
    m: usize,
    heads_kv: usize,
    repeats: usize,
    d: usize,
    causal: bool,
    masked: bool,
    scale: Option<f64>,
}

impl Case {
    fn leaves(&self) -> [Leaf; 3] {
        let Case {
            batch,
            n,
            m,
            heads_kv,
            repeats,
            d,
            ..
        } = *self;
        [
            leaf([batch, n, heads_kv * repeats, d], 1),
            leaf([batch, m, heads_kv, d], 2),
            leaf([batch, m, heads_kv, d], 3),
        ]
    }

    fn options(&self) -> AttentionOptions {
        let Case { batch, m, .. } = *self;
        let key_mask = self.masked.then(|| {
            // The first sequence sees every second key, further ones all but one of three.
            let mask: Vec<bool> = (0..batch * m)
                .map(|i| if i < m { i % 2 == 1 } else { i % 3 > 0 })
                .collect();
            Tensor::<2, Bool>::from_data(TensorData::new(mask, [batch, m]), &Device::flex())
        });
        AttentionOptions::default()
            .with_scale(self.scale)
            .with_causal(self.causal)
            .with_key_mask(key_mask)
    }

    fn check(&self) {
        let (leaves, options) = (self.leaves(), self.options());
        let inputs =
            |x: &[Tensor<1>]| -> [Tensor<4>; 3] { core::array::from_fn(|i| shaped(&x[i], &leaves[i])) };
        check(
            &format!("{self:?}"),
            &leaves,
            &|x| {
                let [q, k, v] = inputs(x);
                kernels::attention(q, k, v, &options).reshape([-1])
            },
            &|x| {
                let [q, k, v] = inputs(x);
                reference::attention(q, k, v, &options).reshape([-1])
            },
        );
    }
}

const PLAIN: Case = Case {
    batch: 2,
    n: 9,
    m: 9,
    heads_kv: 2,
    repeats: 1,
    d: 8,
    causal: false,
    masked: false,
    scale: None,
};

#[test]
fn attention_equals_its_composed_form() {
    let sizes = [
        (1, 1),
        (1, 40),
        (2, 5),
        (3, 17),
        (9, 9),
        (20, 3),
        (100, 100),
        (37, 150),
    ];
    for (n, m) in sizes {
        for causal in [false, true] {
            for masked in [false, true] {
                Case {
                    n,
                    m,
                    causal,
                    masked,
                    ..PLAIN
                }
                .check();
            }
        }
    }
}

#[test]
fn grouped_heads_odd_widths_and_scales_agree() {
    Case { repeats: 3, ..PLAIN }.check();
    Case {
        repeats: 7,
        heads_kv: 1,
        n: 1,
        m: 33,
        d: 16,
        causal: true,
        ..PLAIN
    }
    .check();
    for d in [1, 3, 20, 32, 64, 80] {
        Case {
            d,
            n: 13,
            m: 21,
            causal: true,
            masked: true,
            ..PLAIN
        }
        .check();
    }
    Case {
        scale: Some(0.3),
        ..PLAIN
    }
    .check();
    Case {
        scale: Some(-0.2),
        masked: true,
        ..PLAIN
    }
    .check();
    Case {
        batch: 4,
        n: 145,
        m: 145,
        heads_kv: 4,
        d: 32,
        causal: true,
        ..PLAIN
    }
    .check();
}

#[test]
fn queries_that_see_nothing_give_zeros_and_pass_no_gradient() {
    let device = Device::flex().autodiff();
    let [q, k, v] = [1, 2, 3].map(|seed| {
        let data = TensorData::new(leaf([2, 4, 1, 8], seed).values, [2, 4, 1, 8]);
        Tensor::<4>::from_data(data, &device).require_grad()
    });
    let mask = [false, false, false, false, true, true, true, true];
    let key_mask = Some(Tensor::<2, Bool>::from_data(
        TensorData::new(mask.to_vec(), [2, 4]),
        &Device::flex(),
    ));
    let options = AttentionOptions::default().with_key_mask(key_mask);
    for attention in [kernels::attention, reference::attention] {
        let y = attention(q.clone(), k.clone(), v.clone(), &options);
        let grads = y.clone().sum().backward();
        let y = values(y);
        assert!(y[..32].iter().all(|&y| y == 0.0) && y[32..].iter().all(|&y| y != 0.0));
        for x in [&q, &k, &v] {
            let grad = values(x.grad(&grads).expect("a gradient"));
            assert!(grad[..32].iter().all(|&g| g == 0.0), "{grad:?}");
            assert!(grad.iter().all(|g| g.is_finite()));
        }
    }
    let rows = kernels::attention_rows(q.inner(), k.inner(), &options);
    let sums = values(rows.sum_dim(3));
    assert_close(
        "sums of rows",
        &sums,
        &[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0],
        1e-6,
    );
}

#[test]
fn attention_rows_are_the_weights_of_attention() {
    let case = Case {
        repeats: 2,
        n: 3,
        m: 11,
        causal: true,
        masked: true,
        ..PLAIN
    };
    let device = Device::flex();
    let [q, k, v]: [Tensor<4>; 3] = case.leaves().map(|leaf| {
        shaped(
            &Tensor::<1>::from_data(TensorData::new(leaf.values.clone(), [leaf.values.len()]), &device),
            &leaf,
        )
    });
    let options = case.options();
    let rows = kernels::attention_rows(q.clone(), k.clone(), &options);
    assert_eq!(rows.dims(), [2, 4, 3, 11]);
    let values_by_head = v
        .swap_dims(1, 2)
        .unsqueeze_dim::<5>(2)
        .expand([2, 2, 2, 11, 8])
        .reshape([2, 4, 11, 8]);
    let mixed = rows.matmul(values_by_head).swap_dims(1, 2);
    let v = case.leaves();
    let v = shaped(
        &Tensor::<1>::from_data(TensorData::new(v[2].values.clone(), [v[2].values.len()]), &device),
        &v[2],
    );
    assert_close(
        "mixed",
        &values(mixed),
        &values(kernels::attention(q, k, v, &options)),
        2e-6,
    );
}

#[test]
fn inputs_may_lie_anywhere_in_memory() {
    let device = Device::flex();
    let base = Tensor::<1>::from_data(
        TensorData::new(leaf([2 * 7 * 3 * 4 * 8], 5).values, [2 * 7 * 3 * 4 * 8]),
        &device,
    );
    // Queries, keys and values as slices of one projection, keys transposed, values broadcast over the batch.
    let all = base.clone().reshape([2, 7, 3, 4, 8]);
    let part = |i: usize| {
        all.clone()
            .slice([0..2, 0..7, i..i + 1, 0..4, 0..8])
            .reshape([2, 7, 4, 8])
    };
    let (q, k) = (part(0), part(1).swap_dims(1, 2).swap_dims(1, 2).flip([1]));
    let v = part(2).slice([0..1, 0..7, 0..4, 0..8]).expand([2, 7, 4, 8]);
    let dense = |x: &Tensor<4>| Tensor::<4>::from_data(x.to_data(), &device);
    let options = AttentionOptions::default();
    let y = kernels::attention(q.clone(), k.clone(), v.clone(), &options);
    assert_close(
        "attention",
        &values(y),
        &values(reference::attention(dense(&q), dense(&k), dense(&v), &options)),
        2e-6,
    );
    let x = base.reshape([42, 32]).transpose().slice([3..20, 5..30]);
    assert_close(
        "gelu",
        &values(kernels::gelu(x.clone())),
        &values(reference::gelu(x.clone())),
        2e-6,
    );
    assert_close(
        "softmax",
        &values(kernels::softmax(x.clone())),
        &values(reference::softmax(x.clone())),
        2e-6,
    );
    let gamma = Tensor::<1>::ones([1], &device).expand([25]);
    assert_close(
        "rms_norm",
        &values(kernels::rms_norm(x.clone(), gamma.clone(), 1e-6)),
        &values(reference::rms_norm(x, gamma, 1e-6)),
        2e-6,
    );
}

#[test]
fn extreme_inputs_stay_finite() {
    let device = Device::flex().autodiff();
    for value in [0.0f32, 1e-30, 1e4, -1e4] {
        for alternate in [1.0, -1.0] {
            let data: Vec<f32> = (0..80)
                .map(|i| if i % 2 == 0 { value } else { value * alternate })
                .collect();
            let x = Tensor::<2>::from_data(TensorData::new(data, [2, 40]), &device).require_grad();
            let one = Tensor::<1>::ones([40], &device);
            let targets = Tensor::<1, Int>::from_data(TensorData::new(vec![0i64, 1], [2]), &Device::flex());
            let heads = x.clone().reshape([2, 5, 2, 4]);
            let outputs: [(&str, Tensor<1>); 8] = [
                ("gelu", kernels::gelu(x.clone()).sum()),
                ("quick_gelu", kernels::quick_gelu(x.clone()).sum()),
                ("swiglu", kernels::swiglu(x.clone(), x.clone()).sum()),
                ("softmax", kernels::softmax(x.clone()).sum()),
                (
                    "layer_norm",
                    kernels::layer_norm(x.clone(), one.clone(), one.clone(), 1e-5).sum(),
                ),
                ("rms_norm", kernels::rms_norm(x.clone(), one.clone(), 1e-6).sum()),
                ("cross_entropy", kernels::cross_entropy(x.clone(), targets).sum()),
                (
                    "attention",
                    kernels::attention(heads.clone(), heads.clone(), heads, &Default::default()).sum(),
                ),
            ];
            for (name, y) in outputs {
                let grads = y.clone().backward();
                assert!(values(y)[0].is_finite(), "{name} at {value}");
                let grad = values(x.grad(&grads).expect("a gradient"));
                assert!(
                    grad.iter().all(|g| g.is_finite()),
                    "gradient of {name} at {value}"
                );
            }
        }
    }
}

#[test]
fn a_number_that_is_none_is_not_hidden() {
    let data = TensorData::new(vec![1.0f32, f32::NAN, 2.0], [1, 3]);
    let x = Tensor::<2>::from_data(data, &Device::flex());
    assert!(values(kernels::gelu(x.clone()))[1].is_nan());
    assert!(values(kernels::silu(x.clone()))[1].is_nan());
    assert!(values(kernels::softmax(x)).iter().all(|y| y.is_nan()));
}

#[test]
fn other_types_take_the_composed_form_and_keep_their_type() {
    let device = Device::flex();
    let values = leaf([6, 8], 4).values;
    let x = Tensor::<2>::from_data(TensorData::new(values, [6, 8]), &device);
    for dtype in [FloatDType::F16, FloatDType::BF16, FloatDType::F64] {
        let y = x.clone().cast(dtype);
        let gamma = Tensor::<1>::ones([8], &device).cast(dtype);
        let heads = y.clone().reshape([1, 3, 2, 8]);
        let pairs = [
            (kernels::softmax(y.clone()), kernels::softmax(x.clone())),
            (kernels::gelu(y.clone()), kernels::gelu(x.clone())),
            (
                kernels::layer_norm(y.clone(), gamma.clone(), gamma.clone(), 1e-5),
                kernels::layer_norm(
                    x.clone(),
                    Tensor::ones([8], &device),
                    Tensor::ones([8], &device),
                    1e-5,
                ),
            ),
            (
                kernels::attention(heads.clone(), heads.clone(), heads, &Default::default()).reshape([6, 8]),
                {
                    let heads = x.clone().reshape([1, 3, 2, 8]);
                    kernels::attention(heads.clone(), heads.clone(), heads, &Default::default())
                        .reshape([6, 8])
                },
            ),
        ];
        for (got, wanted) in pairs {
            assert_eq!(FloatDType::from(got.dtype()), dtype);
            let (got, wanted) = (got.cast(FloatDType::F32), wanted);
            assert_close(
                &format!("{dtype:?}"),
                &self::values(got),
                &self::values(wanted),
                2e-2,
            );
        }
    }
}

#[test]
fn a_pool_of_two_threads_and_one_of_one_give_the_same() {
    let case = Case {
        batch: 4,
        n: 90,
        m: 90,
        heads_kv: 4,
        d: 32,
        causal: true,
        ..PLAIN
    };
    let leaves = case.leaves();
    let attend = || {
        run(&leaves, 0b111, &|x| {
            let [q, k, v]: [Tensor<4>; 3] = core::array::from_fn(|i| shaped(&x[i], &leaves[i]));
            kernels::attention(kernels::gelu(q), k, v, &case.options()).reshape([-1])
        })
    };
    let pool = |n| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(n)
            .build()
            .expect("a pool")
    };
    assert_eq!(pool(1).install(attend), pool(3).install(attend));
}

#[test]
fn linear3_equals_the_layer_itself() {
    let device = Device::flex();
    let layer = burn::nn::LinearConfig::new(6, 4).init(&device);
    let x = Tensor::<3>::from_data(TensorData::new(leaf([2, 3, 6], 8).values, [2, 3, 6]), &device);
    let y = kernels::linear3(&layer, x.clone());
    assert_close("linear3", &values(y), &values(layer.forward(x)), 1e-6);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn attention_agrees_on_random_shapes(
        (batch, n, m) in (1usize..3, 1usize..40, 1usize..40),
        (heads_kv, repeats, d) in (1usize..3, 1usize..4, 1usize..40),
        (causal, masked) in (any::<bool>(), any::<bool>()),
    ) {
        Case { batch, n, m, heads_kv, repeats, d, causal, masked, scale: None }.check();
    }

    #[test]
    fn rows_agree_on_random_shapes(rows in 1usize..20, width in 2usize..200, scale in 0.1f32..20.0) {
        check_unary!(softmax, [rows, width], scale);
        check_unary!(gelu, [rows, width], scale);
        let y = kernels::softmax(Tensor::<2>::from_data(
            TensorData::new(scaled_leaf([rows, width], 3, scale).values, [rows, width]),
            &Device::flex(),
        ));
        assert_close("sums", &values(y.sum_dim(1)), &vec![1.0; rows], 1e-6);
    }
}
