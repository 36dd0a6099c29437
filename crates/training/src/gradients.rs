//! Gradients of a module as one vector: sums, averages, clipping.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// The sum of the gradients of several workers, in the order given.
///
/// A parameter without gradient in some of them counts as zero there.
pub fn sum_gradients<M: Module>(grads: Vec<GradientsParams>, module: &M) -> GradientsParams {
    combine(grads, module, 1.0)
}

/// The mean of the gradients of several workers, summed in the order given.
///
/// With shards of equal size and a loss that is a mean over a shard, this is the gradient of the mean over the batch.
pub fn average_gradients<M: Module>(grads: Vec<GradientsParams>, module: &M) -> GradientsParams {
    let scale = 1.0 / grads.len().max(1) as f64;
    combine(grads, module, scale)
}

/// The gradients times `factor`.
pub fn scale_gradients<M: Module>(grads: GradientsParams, module: &M, factor: f64) -> GradientsParams {
    combine(vec![grads], module, factor)
}

/// Scales the gradients so that their joint Euclidean norm is at most `max_norm`; also returns the norm before.
///
/// The factor is `max_norm / (norm + 1e-6)`, at most 1, as in PyTorch. A norm that is not finite is returned as it is
/// and the gradients stay untouched: the caller decides.
pub fn clip_global_norm<M: Module>(
    grads: GradientsParams,
    module: &M,
    max_norm: f64,
) -> (GradientsParams, f64) {
    let norm = global_norm(&grads, module);
    let scale = max_norm / (norm + 1e-6);
    if !norm.is_finite() || scale >= 1.0 {
        return (grads, norm);
    }
    (combine(vec![grads], module, scale), norm)
}

/// The joint Euclidean norm of all gradients.
pub fn global_norm<M: Module>(grads: &GradientsParams, module: &M) -> f64 {
    let mut squares = Squares {
        grads,
        rows: Vec::new(),
    };
    module.visit(&mut squares);
    if squares.rows.is_empty() {
        return 0.0;
    }
    // Row sums on the device, the rest on the host in f64: little is read back, once, and the order of the additions is
    // fixed, which a parallel sum over everything would not promise.
    let rows = Tensor::cat(squares.rows, 0).into_data();
    rows.iter::<f64>().sum::<f64>().sqrt()
}

fn combine<M: Module>(grads: Vec<GradientsParams>, module: &M, scale: f64) -> GradientsParams {
    let mut combine = Combine {
        grads,
        scale,
        result: GradientsParams::new(),
    };
    module.visit(&mut combine);
    combine.result
}

struct Combine {
    grads: Vec<GradientsParams>,
    scale: f64,
    result: GradientsParams,
}

impl Combine {
    fn total<const D: usize>(&mut self, id: ParamId) -> Option<Tensor<D>> {
        self.grads
            .iter_mut()
            .filter_map(|grads| grads.remove::<D>(id))
            .reduce(|sum, next| sum + next)
    }
}

impl ModuleVisitor for Combine {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(total) = self.total::<D>(param.id) {
            let total = if self.scale == 1.0 {
                total
            } else {
                total * self.scale
            };
            self.result.register(param.id, total);
        }
    }
}

struct Squares<'a> {
    grads: &'a GradientsParams,
    /// Sums over the last axis of each gradient's squares.
    rows: Vec<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            let rows = grad.square().sum_dim(D - 1);
            self.rows.push(rows.reshape([-1]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    fn layer() -> Linear {
        LinearConfig::new(3, 2).init(&Device::flex().autodiff())
    }

    fn grads_of(layer: &Linear, scale: f64) -> GradientsParams {
        let device = Device::flex().autodiff();
        let loss = layer.forward(Tensor::<2>::ones([1, 3], &device)).sum() * scale;
        GradientsParams::from_grads(loss.backward(), layer)
    }

    #[test]
    fn the_norm_is_joint_over_parameters() {
        let layer = layer();
        // Six weights and two biases, all with gradient 2.
        let (grads, norm) = clip_global_norm(grads_of(&layer, 2.0), &layer, 1.0);
        assert!((norm - 2.0 * 8f64.sqrt()).abs() < 1e-6);
        assert!((global_norm(&grads, &layer) - 1.0).abs() < 1e-5);
        let (grads, _) = clip_global_norm(grads_of(&layer, 2.0), &layer, 100.0);
        assert!((global_norm(&grads, &layer) - norm).abs() < 1e-6);
    }

    #[test]
    fn a_norm_that_is_not_finite_is_reported() {
        let layer = layer();
        let (_, norm) = clip_global_norm(grads_of(&layer, f64::INFINITY), &layer, 1.0);
        assert!(!norm.is_finite());
    }

    #[test]
    fn averages_over_workers() {
        let layer = layer();
        let both = || vec![grads_of(&layer, 1.0), grads_of(&layer, 3.0)];
        let wanted = 8f64.sqrt();
        assert!((global_norm(&average_gradients(both(), &layer), &layer) - 2.0 * wanted).abs() < 1e-5);
        assert!((global_norm(&sum_gradients(both(), &layer), &layer) - 4.0 * wanted).abs() < 1e-5);
    }
}
