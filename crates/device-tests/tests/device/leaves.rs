//! The leaves: soft and hard top-k, noise gate, denoiser, scorer. They compute in f32 whatever the target's type is,
//! as training does.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Bool, Device, Tensor, TensorData};
use diffprune::denoiser::{Denoiser, DenoiserAttention, DenoiserConfig};
use diffprune::pruning::{Budget, Grid, PruningContext, Selection, descriptors};
use diffprune::scorer::{Scorer, ScorerConfig};
use diffprune::softtopk::{
    GumbelNoise, GumbelTopKInput, K, SoftTopKConfig, SoftTopKInput, SteBackward, Tau, ThresholdKind,
    gumbel_topk_ste, hard_topk,
};
use diffprune::throttler::{GateFamily, GateKind, NoiseScale, ThrottlerConfig, ThrottlerInput};
use diffprune::{LearnedPruner, Pruner};

use crate::Check;
use crate::compare::{close, host, numbers, values_and_gradients};

const BATCH: usize = 2;
const N: usize = 12;
const D: usize = 32;

fn check(
    name: impl Into<String>,
    sizes: &'static [usize],
    function: impl Fn(&[Tensor<1>], &Device) -> Tensor<1> + 'static,
) -> Check {
    Check::new(name, move |target| {
        values_and_gradients(&target.in_f32(), sizes, &function)
    })
}

fn product(
    name: &'static str,
    sizes: &'static [usize],
    function: impl Fn(&[Tensor<1>], &Device) -> Tensor<1> + 'static,
) -> Check {
    Check::new(name, move |target| {
        values_and_gradients(&target.in_f32().with_products(), sizes, &function)
    })
}

fn flat<const R: usize>(x: Tensor<R>) -> Tensor<1> {
    let n = x.shape().num_elements();
    x.reshape([n])
}

fn tokens(x: &Tensor<1>) -> Tensor<3> {
    x.clone().reshape([BATCH, N, D])
}

fn scores(x: &Tensor<1>) -> Tensor<2> {
    x.clone().reshape([BATCH, N]) * 2.0
}

/// The last two tokens of the second image are padding.
fn mask(device: &Device) -> Tensor<2, Bool> {
    let real: Vec<bool> = (0..BATCH * N).map(|i| i < BATCH * N - 2).collect();
    Tensor::from_data(TensorData::new(real, [BATCH, N]), device)
}

/// Parameters that do not come from a device's own generator.
struct Numbered(u64);

impl ModuleMapper for Numbered {
    fn map_float<const R: usize>(&mut self, parameter: Param<Tensor<R>>) -> Param<Tensor<R>> {
        self.0 += 1;
        let seed = self.0;
        parameter.map(|tensor| {
            let shape = tensor.shape();
            let values = numbers(shape.num_elements(), seed);
            let device = tensor.device();
            Tensor::<1>::from_data(TensorData::new(values, [shape.num_elements()]), &device).reshape(shape)
                * 0.2
        })
    }
}

fn on<M: Module>(module: M, device: &Device) -> M {
    let plain = device.clone().without_autodiff();
    let module = module.map(&mut Numbered(0)).to_device(&plain);
    if device.is_autodiff() {
        module.train()
    } else {
        module
    }
}

fn scorer(device: &Device) -> Scorer {
    on(ScorerConfig::mini(D).init(&Device::flex()), device)
}

fn denoiser(attention: DenoiserAttention, device: &Device) -> Denoiser {
    let config = DenoiserConfig::new(D).with_n_heads(4).with_attention(attention);
    on(config.init(&Device::flex()), device)
}

fn soft(kind: ThresholdKind) -> Check {
    check(format!("soft top-k {kind:?}"), &[BATCH * N], move |x, device| {
        let output = SoftTopKConfig::new()
            .with_kind(kind)
            .init()
            .forward(SoftTopKInput {
                scores: scores(&x[0]),
                k: K::Batch(4.0),
                tau: Tau::Batch(0.3),
                mask: Some(mask(device)),
            });
        flat(output.weights)
    })
}

fn gate(kind: GateKind, scale: NoiseScale) -> Check {
    check(
        format!("noise gate {kind:?} {scale:?}"),
        &[BATCH * N, BATCH * N * D],
        move |x, device| {
            let soft = SoftTopKConfig::new().init().forward(SoftTopKInput {
                scores: scores(&x[0]),
                k: K::Batch(4.0),
                tau: Tau::Batch(0.3),
                mask: None,
            });
            let noise = TensorData::new(numbers(BATCH * N * D, 7), [BATCH, N, D]);
            let config = ThrottlerConfig::new().with_gate(kind).with_noise_scale(scale);
            flat(config.init().forward(ThrottlerInput {
                tokens: tokens(&x[1]),
                weights: soft.weights,
                complement: soft.complement,
                argument: soft.argument,
                family: GateFamily::Laplace,
                noise: Tensor::from_data(noise, &device.clone().without_autodiff()),
                mask: None,
            }))
        },
    )
}

/// Every check of this file.
pub fn checks() -> Vec<Check> {
    vec![
        soft(ThresholdKind::Laplace),
        soft(ThresholdKind::Sigmoid),
        check("straight-through Gumbel", &[BATCH * N], |x, device| {
            let noise = TensorData::new(numbers(BATCH * N, 8), [BATCH, N]);
            flat(gumbel_topk_ste(GumbelTopKInput {
                scores: scores(&x[0]),
                k: 4,
                noise: GumbelNoise::Given(Tensor::from_data(noise, &device.clone().without_autodiff())),
                backward: SteBackward::SoftTopK {
                    kind: ThresholdKind::Laplace,
                    tau: 0.3,
                },
                mask: Some(mask(device)),
            }))
        }),
        gate(GateKind::VpNoise, NoiseScale::TokenStd),
        gate(GateKind::VpNoise, NoiseScale::ChannelStd),
        gate(GateKind::Scale, NoiseScale::Unit),
        product("denoiser, diagonal", &[BATCH * N * D], |x, device| {
            let model = denoiser(DenoiserAttention::Diagonal, device);
            flat(model.forward(tokens(&x[0]), Some(mask(device))))
        }),
        product("denoiser, global", &[BATCH * N * D], |x, device| {
            let model = denoiser(DenoiserAttention::Global, device);
            flat(model.forward(tokens(&x[0]), None))
        }),
        product("scorer", &[BATCH * N * D], |x, device| {
            flat(scorer(device).forward(tokens(&x[0]), Some(mask(device))))
        }),
        check("descriptors of groups", &[BATCH * N * D], |x, _| {
            flat(descriptors(tokens(&x[0]), 4))
        }),
        check("gather of kept tokens", &[BATCH * N * D], |x, _| {
            let selection = Selection::keep(vec![vec![7, 0, 3], vec![11]]);
            flat(selection.gather(tokens(&x[0])))
        }),
        Check::new("hard top-k", |target| {
            let pick = |device: &Device| {
                let data = TensorData::new(numbers(BATCH * N, 3), [BATCH * N]);
                let scores = scores(&Tensor::from_data(data, device));
                let kept = hard_topk(scores, 5, Some(mask(device))).into_data();
                kept.iter::<i64>().map(|index| index as f32).collect::<Vec<_>>()
            };
            close("indices", &pick(&target.device), &pick(&Device::flex()), 1e-6)
        }),
        Check::new("DiffPrune's choice", |target| {
            let pick = |device: &Device| {
                let data = TensorData::new(numbers(BATCH * N * D, 4), [BATCH, N, D]);
                let tokens = Tensor::<3>::from_data(data, device);
                let grid = Grid { rows: 3, cols: 4 };
                let context = PruningContext::new(tokens.clone(), grid, &Budget::Tokens(5))
                    .map_err(|error| error.to_string())?;
                let selection = LearnedPruner::new(scorer(device))
                    .select(&context)
                    .map_err(|error| error.to_string())?;
                Ok::<_, String>(host(selection.gather(tokens)))
            };
            close(
                "kept tokens",
                &pick(&target.device)?,
                &pick(&Device::flex())?,
                1e-5,
            )
        }),
    ]
}
