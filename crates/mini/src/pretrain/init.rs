//! Weights at the scale that small widths want.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;

/// The standard deviation that the model's own initialisation gives to matrices; right for widths near 1000.
const DRAWN_STD: f64 = 0.02;
/// Standard deviation of token embeddings and positions.
const EMBEDDING_STD: f64 = 0.5;

/// Rescales freshly drawn matrices to one over the root of their input width; without this a network of width 128
/// starts nearly linear and learns late.
pub fn rescale<M: Module>(module: M) -> M {
    module.map(&mut Rescale { path: Vec::new() })
}

struct Rescale {
    path: Vec<String>,
}

impl ModuleMapper for Rescale {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let table = self
            .path
            .iter()
            .any(|name| name.contains("embed_tokens") || name.contains("position_embedding"));
        let tensor = if D != 2 {
            tensor
        } else if table {
            tensor * (EMBEDDING_STD / DRAWN_STD)
        } else {
            let fan_in = tensor.dims()[0] as f64;
            tensor * (1.0 / (fan_in.sqrt() * DRAWN_STD))
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}
