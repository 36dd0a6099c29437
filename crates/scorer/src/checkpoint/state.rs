//! Module parameters as named tensors in PyTorch's layout, and back.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData, bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::CheckpointError;

/// One tensor as it stands in the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StateTensor {
    /// Axes; `[out, in]` for a linear weight.
    pub(super) shape: Vec<usize>,
    /// Values, row major.
    pub(super) values: Vec<f32>,
}

/// Named tensors.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct StateDict {
    pub(super) tensors: BTreeMap<String, StateTensor>,
}

impl StateDict {
    /// Adds all parameters of `module`, each name preceded by `prefix`.
    pub(super) fn add<M: Module>(&mut self, prefix: &str, module: &M) -> Result<(), CheckpointError> {
        let mut reader = Reader {
            names: Names::new(prefix),
            state: self,
            error: None,
        };
        module.visit(&mut reader);
        reader.error.map_or(Ok(()), Err)
    }

    /// Bytes of a safetensors file.
    pub(super) fn to_bytes(&self, path: &Path) -> Result<Vec<u8>, CheckpointError> {
        let error = |source| CheckpointError::Safetensors {
            path: path.into(),
            source,
        };
        let bytes: Vec<(&String, &StateTensor, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, tensor)| {
                (
                    name,
                    tensor,
                    tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                )
            })
            .collect();
        let views = bytes
            .iter()
            .map(|(name, tensor, bytes)| {
                Ok((*name, TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(error)?;
        let header = [("format".to_string(), "pt".to_string())].into();
        safetensors::serialize(views, Some(header)).map_err(error)
    }

    /// Parses a safetensors file; tensors that `wanted` refuses by name are left out.
    pub(super) fn from_bytes(
        bytes: &[u8],
        path: &Path,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Self, CheckpointError> {
        let file = SafeTensors::deserialize(bytes).map_err(|source| CheckpointError::Safetensors {
            path: path.into(),
            source,
        })?;
        let mut state = Self::default();
        for (name, view) in file.iter().filter(|(name, _)| wanted(name)) {
            let values = floats(&view).ok_or_else(|| CheckpointError::Dtype {
                path: path.into(),
                name: name.into(),
                found: view.dtype().to_string(),
            })?;
            if values.iter().any(|value| !value.is_finite()) {
                return Err(CheckpointError::NotFinite {
                    path: path.into(),
                    name: name.into(),
                });
            }
            state.tensors.insert(
                name.into(),
                StateTensor {
                    shape: view.shape().to_vec(),
                    values,
                },
            );
        }
        Ok(state)
    }

    /// Puts the tensors into `module`, whose parameter names are preceded by `prefix`. Every parameter
    /// must be there and every tensor must be used.
    pub(super) fn into_module<M: Module>(
        self,
        prefix: &str,
        module: M,
        path: &Path,
    ) -> Result<M, CheckpointError> {
        let mut writer = Writer {
            names: Names::new(prefix),
            state: self,
            path,
            error: None,
        };
        let module = module.map(&mut writer);
        if let Some(error) = writer.error {
            return Err(error);
        }
        match writer.state.tensors.into_keys().next() {
            Some(name) => Err(CheckpointError::ExtraTensor {
                path: path.into(),
                name,
            }),
            None => Ok(module),
        }
    }
}

/// Values of a float tensor as f32, or `None` if it is of another type.
fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let halves = || view.data().as_chunks::<2>().0.iter();
    match view.dtype() {
        Dtype::F32 => Some(
            view.data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&b| f32::from_le_bytes(b))
                .collect(),
        ),
        Dtype::F16 => Some(halves().map(|&b| f16::from_le_bytes(b).to_f32()).collect()),
        Dtype::BF16 => Some(halves().map(|&b| bf16::from_le_bytes(b).to_f32()).collect()),
        _ => None,
    }
}

/// The prefix of Burn's names for the containers of an enum's variants.
const ENUM: &str = "Enum:";

/// The path from the root to the parameter that is being visited.
struct Names {
    prefix: String,
    parts: Vec<String>,
    containers: Vec<String>,
}

impl Names {
    fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
            parts: Vec::new(),
            containers: Vec::new(),
        }
    }

    fn enter(&mut self, name: &str, container: &str) {
        // Which variant of an enum it is shows in the names below.
        if container.starts_with(ENUM) {
            return;
        }
        // Burn calls the two parameters of a layer norm gamma and beta, PyTorch weight and bias.
        let name = match (container, name) {
            ("Struct:LayerNorm", "gamma") => "weight",
            ("Struct:LayerNorm", "beta") => "bias",
            _ => name,
        };
        self.parts.push(name.into());
        self.containers.push(container.into());
    }

    fn exit(&mut self, container: &str) {
        if container.starts_with(ENUM) {
            return;
        }
        self.parts.pop();
        self.containers.pop();
    }

    fn name(&self) -> String {
        format!("{}{}", self.prefix, self.parts.join("."))
    }

    /// `true` if the parameter is stored transposed: a linear weight is `[in, out]` in Burn.
    fn transposed(&self, rank: usize) -> bool {
        rank == 2
            && self
                .containers
                .last()
                .is_some_and(|container| container == "Struct:Linear")
    }
}

struct Reader<'a> {
    names: Names,
    state: &'a mut StateDict,
    error: Option<CheckpointError>,
}

impl ModuleVisitor for Reader<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.names.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.names.exit(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.names.name();
        let tensor = param.val().without_autodiff();
        let mut shape = tensor.dims().to_vec();
        match tensor
            .try_into_data_as::<f32>()
            .map_err(|e| e.to_string())
            .and_then(|data| data.try_into_vec::<f32>().map_err(|e| e.to_string()))
        {
            Err(reason) => self.error = Some(CheckpointError::Device { name, reason }),
            Ok(mut values) => {
                if self.names.transposed(D) {
                    values = transpose(&values, shape[0], shape[1]);
                    shape.reverse();
                }
                self.state.tensors.insert(name, StateTensor { shape, values });
            }
        }
    }
}

struct Writer<'a> {
    names: Names,
    state: StateDict,
    path: &'a Path,
    error: Option<CheckpointError>,
}

impl Writer<'_> {
    /// The values for the parameter at the current path, in Burn's layout.
    fn take(&mut self, shape: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        let name = self.names.name();
        let transposed = self.names.transposed(shape.len());
        let mut wanted = shape.to_vec();
        if transposed {
            wanted.reverse();
        }
        let path = self.path.to_path_buf();
        let Some(tensor) = self.state.tensors.remove(&name) else {
            return Err(CheckpointError::MissingTensor { path, name });
        };
        if tensor.shape != wanted {
            return Err(CheckpointError::Shape {
                path,
                name,
                found: tensor.shape,
                wanted,
            });
        }
        Ok(if transposed {
            transpose(&tensor.values, wanted[0], wanted[1])
        } else {
            tensor.values
        })
    }
}

impl ModuleMapper for Writer<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.names.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.names.exit(container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.error.is_some() {
            return param;
        }
        let shape = param.lazy_shape();
        match self.take(shape.as_slice()) {
            Ok(values) => {
                let data = TensorData::new(values, shape);
                let tensor = Tensor::from_data(data, (&param.lazy_device(), DType::F32));
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}

/// Row-major `[rows, cols]` to row-major `[cols, rows]`, in tiles that stay in the cache.
fn transpose(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut out = vec![0.0; values.len()];
    for row0 in (0..rows).step_by(TILE) {
        for col0 in (0..cols).step_by(TILE) {
            for row in row0..(row0 + TILE).min(rows) {
                for col in col0..(col0 + TILE).min(cols) {
                    out[col * rows + row] = values[row * cols + col];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::transpose;

    #[test]
    fn transposing_twice_gives_back_the_matrix() {
        let values: Vec<f32> = (0..70 * 33).map(|i| i as f32).collect();
        let turned = transpose(&values, 70, 33);
        assert_eq!(turned[1], values[33]);
        assert_eq!(turned[70], values[1]);
        assert_eq!(transpose(&turned, 33, 70), values);
    }
}
