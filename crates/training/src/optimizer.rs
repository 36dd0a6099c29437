//! AdamW with PyTorch's conventions and a state that is stored exactly.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, GradientsParams, Optimizer as _};
use burn::tensor::{DType, Device, Tensor, TensorCreationOptions, TensorData};
use serde::{Deserialize, Serialize};

use crate::TrainingError;
use crate::named::{ModulePath, NamedTensors, from_bytes, module_tensors, to_bytes, with_autodiff_of};

/// Settings of AdamW; the defaults are PyTorch's, except that biases and norms do not decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AdamWOptions {
    /// Decay of the first moment; 0.9.
    pub beta1: f32,
    /// Decay of the second moment; 0.999.
    pub beta2: f32,
    /// Added to the root of the second moment; 1e-8.
    pub eps: f32,
    /// Decoupled weight decay, multiplied with the learning rate; 0.01.
    pub weight_decay: f32,
    /// `true` to let parameters with one axis (biases, norms, class tokens) decay too; false. Axes of size 1 do not count.
    pub decay_vectors: bool,
    /// Parameters whose path contains one of these texts do not decay either; none.
    pub no_decay: Vec<String>,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            decay_vectors: false,
            no_decay: Vec::new(),
        }
    }
}

impl AdamWOptions {
    fn decays(&self, path: &str, n_axes: usize) -> bool {
        (self.decay_vectors || n_axes > 1) && !self.no_decay.iter().any(|part| path.contains(part))
    }

    fn build(&self, weight_decay: f32) -> AdamW {
        AdamWConfig::new()
            .with_beta_1(self.beta1)
            .with_beta_2(self.beta2)
            .with_epsilon(self.eps)
            .with_weight_decay(weight_decay)
            .build()
    }

    /// The same with another decay of the first moment.
    pub fn with_beta1(mut self, beta1: f32) -> Self {
        self.beta1 = beta1;
        self
    }

    /// The same with another decay of the second moment.
    pub fn with_beta2(mut self, beta2: f32) -> Self {
        self.beta2 = beta2;
        self
    }

    /// The same with another number added to the root of the second moment.
    pub fn with_eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// The same with another weight decay.
    pub fn with_weight_decay(mut self, weight_decay: f32) -> Self {
        self.weight_decay = weight_decay;
        self
    }

    /// The same; `true` lets parameters with one axis decay too.
    pub fn with_decay_vectors(mut self, decay_vectors: bool) -> Self {
        self.decay_vectors = decay_vectors;
        self
    }

    /// The same without decay of parameters whose path contains one of these texts.
    pub fn with_no_decay(mut self, no_decay: Vec<String>) -> Self {
        self.no_decay = no_decay;
        self
    }
}

/// AdamW over the parameters of a module that have gradients.
///
/// The update is Burn's; the moments are kept here under the path of the parameter in the module, so that a state can
/// be restored into a module that was built anew, with an error when it does not fit.
pub struct Optimizer {
    options: AdamWOptions,
    decaying: AdamW,
    plain: AdamW,
    states: BTreeMap<String, AdamWState<1>>,
}

impl Optimizer {
    /// An optimizer without history.
    pub fn new(options: AdamWOptions) -> Self {
        let (decaying, plain) = (options.build(options.weight_decay), options.build(0.0));
        Self {
            options,
            decaying,
            plain,
            states: BTreeMap::new(),
        }
    }

    /// The settings.
    pub fn options(&self) -> &AdamWOptions {
        &self.options
    }

    /// One update with learning rate `lr`; parameters without gradient stay as they are.
    pub fn step<M: Module>(&mut self, lr: f64, module: M, grads: GradientsParams) -> M {
        module.map(&mut Update {
            optimizer: self,
            lr,
            grads,
            path: ModulePath::default(),
        })
    }

    /// The moments and step counts as safetensors bytes.
    ///
    /// # Errors
    /// When a moment cannot be stored (a type that is not a float).
    pub fn to_bytes(&self) -> Result<Vec<u8>, TrainingError> {
        let mut tensors = NamedTensors::new();
        for (name, state) in &self.states {
            let momentum = &state.momentum;
            tensors.insert(format!("{name}.moment_1"), momentum.moment_1.clone().into_data());
            tensors.insert(format!("{name}.moment_2"), momentum.moment_2.clone().into_data());
            tensors.insert(
                format!("{name}.time"),
                TensorData::new(vec![momentum.time as i64], [1]),
            );
        }
        to_bytes(&tensors, Path::new("optimizer state"))
    }

    /// Replaces the history by a stored one; `file` only names the source in errors.
    ///
    /// # Errors
    /// When the bytes are no complete state or belong to another module.
    pub fn load_bytes<M: Module>(
        &mut self,
        bytes: &[u8],
        module: &M,
        file: &Path,
    ) -> Result<(), TrainingError> {
        let mut tensors = from_bytes(bytes, file)?;
        let device = module.devices().into_iter().next().map(Device::inner);
        let mut states = BTreeMap::new();
        for (name, parameter) in module_tensors(module) {
            if !tensors.contains_key(&format!("{name}.time")) {
                continue;
            }
            let mut take = |field: &str, size: usize| {
                let key = format!("{name}.{field}");
                let data = tensors.remove(&key);
                let found = data.as_ref().map_or(0, |data| data.num_elements());
                data.filter(|_| found == size).ok_or_else(|| {
                    TrainingError::tensor(file, &key, format!("{found} values"), format!("{size} values"))
                })
            };
            let time = take("time", 1)?;
            let (first, second) = (
                take("moment_1", parameter.num_elements())?,
                take("moment_2", parameter.num_elements())?,
            );
            let time = time.iter::<i64>().next().unwrap_or(0) as usize;
            if let Some(device) = &device {
                let momentum =
                    AdaptiveMomentumState::new(time, moment(first, device), moment(second, device));
                states.insert(name, AdamWState::new(momentum));
            }
        }
        if let Some(name) = tensors.keys().next() {
            return Err(TrainingError::tensor(
                file,
                name,
                "a moment",
                "no parameter of this name",
            ));
        }
        self.states = states;
        Ok(())
    }

    fn update<const D: usize>(
        &mut self,
        path: &str,
        lr: f64,
        value: Tensor<D>,
        grad: Tensor<D>,
    ) -> Tensor<D> {
        let shape = value.dims();
        let n_axes = shape.iter().filter(|&&size| size > 1).count();
        let rule = if self.options.decays(path, n_axes) {
            &self.decaying
        } else {
            &self.plain
        };
        // Flattened, so that the states of all parameters have one type.
        let state = self.states.remove(path);
        let (value, state) = rule.step::<1>(lr, value.reshape([-1]), grad.reshape([-1]), state);
        if let Some(state) = state {
            self.states.insert(path.to_string(), state);
        }
        value.reshape(shape)
    }
}

fn moment(data: TensorData, device: &Device) -> Tensor<1> {
    let dtype: DType = data.dtype();
    let size = data.num_elements();
    let (bytes, _, _) = data.into_parts();
    let data = TensorData::from_bytes(bytes, [size], dtype);
    Tensor::from_data(data, TensorCreationOptions::new(device.clone()).with_dtype(dtype))
}

struct Update<'a> {
    optimizer: &'a mut Optimizer,
    lr: f64,
    grads: GradientsParams,
    path: ModulePath,
}

impl ModuleMapper for Update<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let tensor = match self.grads.remove::<D>(id) {
            Some(grad) => {
                let value = tensor.clone().without_autodiff();
                let updated = self.optimizer.update(&self.path.name(), self.lr, value, grad);
                with_autodiff_of(&tensor, updated)
            }
            None => tensor,
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Distribution;

    fn grads(layer: &Linear, step: usize) -> GradientsParams {
        let device = Device::flex().autodiff();
        let x = Tensor::<1, burn::tensor::Int>::arange(0..12, &device)
            .float()
            .reshape([4, 3])
            * 0.1;
        let loss = (layer.forward(x).sin() * (step as f64 + 1.0)).sum();
        GradientsParams::from_grads(loss.backward(), layer)
    }

    fn bits(layer: &Linear) -> Vec<u8> {
        module_tensors(layer)
            .values()
            .flat_map(|data| data.as_bytes().to_vec())
            .collect()
    }

    #[test]
    fn a_restored_state_continues_bit_for_bit() {
        let device = Device::flex().autodiff();
        let mut layer = LinearConfig::new(3, 2).init(&device);
        let mut optimizer = Optimizer::new(AdamWOptions::default());
        for step in 0..3 {
            let grads = grads(&layer, step);
            layer = optimizer.step(0.01, layer, grads);
        }
        let mut other = Optimizer::new(AdamWOptions::default());
        other
            .load_bytes(&optimizer.to_bytes().unwrap(), &layer, Path::new("x"))
            .unwrap();
        let mut twin = layer.clone().fork(&device);
        for step in 3..6 {
            (layer, twin) = {
                let (left, right) = (grads(&layer, step), grads(&twin, step));
                (optimizer.step(0.01, layer, left), other.step(0.01, twin, right))
            };
        }
        assert_eq!(bits(&layer), bits(&twin));
        assert_eq!(optimizer.to_bytes().unwrap(), other.to_bytes().unwrap());
    }

    #[test]
    fn only_matrices_decay() {
        let device = Device::flex().autodiff();
        let layer = LinearConfig::new(3, 2).init(&device);
        let before = module_tensors(&layer);
        let zero = |layer: &Linear| {
            let x = Tensor::<2>::random([2, 3], Distribution::Default, &device);
            GradientsParams::from_grads((layer.forward(x) * 0.0).sum().backward(), layer)
        };
        let grads = zero(&layer);
        let options = AdamWOptions {
            weight_decay: 0.5,
            ..Default::default()
        };
        let layer = Optimizer::new(options).step(0.1, layer, grads);
        let after = module_tensors(&layer);
        assert_eq!(before["bias"], after["bias"]);
        let (old, new) = (&before["weight"], &after["weight"]);
        for (old, new) in old.iter::<f32>().zip(new.iter::<f32>()) {
            assert!((new - old * 0.95).abs() < 1e-6);
        }
    }

    #[test]
    fn states_of_other_modules_are_refused() {
        let device = Device::flex().autodiff();
        let layer = LinearConfig::new(3, 2).init(&device);
        let mut optimizer = Optimizer::new(AdamWOptions::default());
        let grads = grads(&layer, 0);
        optimizer.step(0.1, layer, grads);
        let bytes = optimizer.to_bytes().unwrap();
        let wider = LinearConfig::new(4, 2).init(&device);
        assert!(optimizer.load_bytes(&bytes, &wider, Path::new("x")).is_err());
        assert!(
            optimizer
                .load_bytes(&bytes[..bytes.len() - 3], &wider, Path::new("x"))
                .is_err()
        );
    }
}
