//! Module parameters by name, to and from safetensors bytes, bit for bit.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorCreationOptions, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::TrainingError;

/// Tensors by name, in the order of the names.
pub(crate) type NamedTensors = BTreeMap<String, TensorData>;

/// The float parameters of a module under their paths (`blocks.0.norm.gamma`).
pub(crate) fn module_tensors<M: Module>(module: &M) -> NamedTensors {
    let mut collect = Collect::default();
    module.visit(&mut collect);
    collect.tensors
}

/// The module with its float parameters replaced; every name must be there with the right shape, and no other.
pub(crate) fn load_module_tensors<M: Module>(
    module: M,
    mut tensors: NamedTensors,
    file: &Path,
) -> Result<M, TrainingError> {
    let wanted = module_tensors(&module);
    for (name, own) in &wanted {
        let Some(found) = tensors.get(name) else {
            return Err(TrainingError::tensor(
                file,
                name,
                "no such tensor",
                format!("{:?}", own.shape()),
            ));
        };
        if found.shape() != own.shape() {
            return Err(TrainingError::tensor(
                file,
                name,
                format!("{:?}", found.shape()),
                format!("{:?}", own.shape()),
            ));
        }
    }
    if let Some(name) = tensors.keys().find(|name| !wanted.contains_key(*name)) {
        return Err(TrainingError::tensor(file, name, "a tensor", "none of this name"));
    }
    Ok(module.map(&mut Replace {
        path: ModulePath::default(),
        tensors: &mut tensors,
    }))
}

/// Safetensors bytes of the tensors.
pub(crate) fn to_bytes(tensors: &NamedTensors, file: &Path) -> Result<Vec<u8>, TrainingError> {
    let views = tensors
        .iter()
        .map(|(name, data)| {
            let dtype = match data.dtype() {
                DType::F32 => Dtype::F32,
                DType::F64 => Dtype::F64,
                DType::F16 => Dtype::F16,
                DType::BF16 => Dtype::BF16,
                DType::I64 => Dtype::I64,
                other => {
                    return Err(TrainingError::tensor(
                        file,
                        name,
                        format!("{other:?}"),
                        "a float tensor",
                    ));
                }
            };
            TensorView::new(dtype, data.shape().to_vec(), data.as_bytes())
                .map(|view| (name.clone(), view))
                .map_err(|cause| TrainingError::tensor(file, name, cause, "a dense tensor"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    safetensors::serialize(views, None)
        .map_err(|cause| TrainingError::corrupt(file, cause, "tensors to write"))
}

/// The inverse of [`to_bytes`].
pub(crate) fn from_bytes(bytes: &[u8], file: &Path) -> Result<NamedTensors, TrainingError> {
    let corrupt = |found: String| TrainingError::corrupt(file, found, "a complete safetensors file");
    let parsed = SafeTensors::deserialize(bytes).map_err(|cause| corrupt(cause.to_string()))?;
    parsed
        .iter()
        .map(|(name, view)| {
            let dtype = match view.dtype() {
                Dtype::F32 => DType::F32,
                Dtype::F64 => DType::F64,
                Dtype::F16 => DType::F16,
                Dtype::BF16 => DType::BF16,
                Dtype::I64 => DType::I64,
                other => return Err(corrupt(format!("tensor `{name}` of type {other:?}"))),
            };
            let data = TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype);
            Ok((name.to_string(), data))
        })
        .collect()
}

/// The path from the root to the parameter that is being visited. Variants of an enum leave no trace in it: which one it
/// is shows in the names below.
#[derive(Default)]
pub(crate) struct ModulePath(Vec<String>);

impl ModulePath {
    pub(crate) fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with(ENUM) {
            self.0.push(name.to_string());
        }
    }

    pub(crate) fn exit(&mut self, container: &str) {
        if !container.starts_with(ENUM) {
            self.0.pop();
        }
    }

    pub(crate) fn name(&self) -> String {
        self.0.join(".")
    }
}

/// The prefix of Burn's names for the containers of enum variants.
const ENUM: &str = "Enum:";

#[derive(Default)]
struct Collect {
    path: ModulePath,
    tensors: NamedTensors,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.tensors
            .insert(self.path.name(), param.val().without_autodiff().into_data());
    }
}

struct Replace<'a> {
    path: ModulePath,
    tensors: &'a mut NamedTensors,
}

impl ModuleMapper for Replace<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let tensor = match self.tensors.remove(&self.path.name()) {
            Some(data) => replace_value(&tensor, data),
            None => tensor,
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}

fn replace_value<const D: usize>(old: &Tensor<D>, data: TensorData) -> Tensor<D> {
    let dtype = data.dtype();
    let device = old.clone().without_autodiff().device();
    let value = Tensor::from_data(data, TensorCreationOptions::new(device).with_dtype(dtype));
    with_autodiff_of(old, value)
}

/// Puts the autodiff context of `old` onto a plain tensor.
pub(crate) fn with_autodiff_of<const D: usize>(old: &Tensor<D>, value: Tensor<D>) -> Tensor<D> {
    if !old.is_autodiff() {
        return value;
    }
    let mut value = Tensor::from_inner(value);
    if let Some(strategy) = old.gradient_checkpointing_strategy() {
        value = value.with_gradient_checkpointing_strategy(strategy);
    }
    if old.is_require_grad() {
        value.require_grad()
    } else {
        value
    }
}
