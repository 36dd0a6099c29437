//! The parameters of a module as one vector.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use diffprune_pilots::MatrixPlace;

/// All float parameters, flattened one after the other, and the places of those that are matrices.
pub(super) fn flat<M: Module>(module: &M) -> (Vec<f32>, Vec<MatrixPlace>) {
    let mut flat = Flat::default();
    module.visit(&mut flat);
    (flat.values, flat.matrices)
}

/// The gradients of a loss by the parameters of a module, in the same order; 0 where there is none.
pub(super) fn flat_gradient<M: Module>(module: &M, loss: &Tensor<1>) -> Vec<f32> {
    let mut flat = FlatGradient {
        gradients: &GradientsParams::from_grads(loss.backward(), module),
        values: Vec::new(),
    };
    module.visit(&mut flat);
    flat.values
}

/// The module with other values of its float parameters, in the order of [`flat`].
pub(super) fn with_values<M: Module>(module: M, values: &[f32]) -> M {
    module.map(&mut Replace { values })
}

#[derive(Default)]
struct Flat {
    values: Vec<f32>,
    matrices: Vec<MatrixPlace>,
}

impl ModuleVisitor for Flat {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val().without_autodiff();
        if let [inputs, outputs] = value.dims()[..] {
            self.matrices.push(MatrixPlace {
                offset: self.values.len(),
                inputs,
                outputs,
            });
        }
        self.values.extend(value.into_data().iter::<f32>());
    }
}

struct FlatGradient<'a> {
    gradients: &'a GradientsParams,
    values: Vec<f32>,
}

impl ModuleVisitor for FlatGradient<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        match self.gradients.get::<D>(param.id) {
            Some(gradient) => self.values.extend(gradient.into_data().iter::<f32>()),
            None => {
                let n = param.val().dims().iter().product::<usize>();
                self.values.resize(self.values.len() + n, 0.0);
            }
        }
    }
}

struct Replace<'a> {
    values: &'a [f32],
}

impl ModuleMapper for Replace<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let shape = tensor.dims();
        let (own, rest) = self
            .values
            .split_at(shape.iter().product::<usize>().min(self.values.len()));
        self.values = rest;
        let data = TensorData::new(own.to_vec(), shape);
        let tensor = Tensor::from_data(data, (&tensor.device(), tensor.dtype()));
        Param::from_mapped_value(id, tensor, mapper)
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::LinearConfig;
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn values_go_out_and_in_again() {
        let layer = || LinearConfig::new(3, 2).init(&Device::flex());
        let (values, matrices) = flat(&layer());
        assert_eq!(values.len(), 8);
        let place = MatrixPlace {
            offset: matrices[0].offset,
            inputs: 3,
            outputs: 2,
        };
        assert_eq!(matrices, [place]);
        let other: Vec<f32> = (0..8).map(|i| i as f32).collect();
        assert_eq!(flat(&with_values(layer(), &other)).0, other);
    }

    #[test]
    fn gradients_stand_where_their_parameters_do() {
        let layer = LinearConfig::new(3, 2).init(&Device::flex().autodiff());
        let input = Tensor::<2>::from_data([[1.0, 2.0, 3.0]], &Device::flex().autodiff());
        let found = flat_gradient(&layer, &layer.forward(input).sum());
        let (_, matrices) = flat(&layer);
        let weight = &found[matrices[0].offset..matrices[0].offset + 6];
        assert_eq!(weight, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        assert_eq!(found.iter().filter(|&&value| value == 1.0).count(), 4);
    }
}
