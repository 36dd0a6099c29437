//! The parameters of a model under the names of a weight file: one list for reading, writing and drawing them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use burn::module::Param;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::{WeightFiles, convert};
use crate::LoadError;
use crate::notes::note;

/// The parameters of a model, each under the name of the stored tensor that holds it.
#[derive(Debug, Default)]
pub(crate) struct Table<'a> {
    rows: Vec<(String, Slot<'a>)>,
}

/// A parameter, and how a file stores it.
#[derive(Debug)]
pub(crate) struct Slot<'a> {
    parameter: Parameter<'a>,
    /// Shape of the stored tensor.
    stored: Vec<usize>,
    /// The part of it, along the first axis, that is this parameter.
    part: Range<usize>,
    fresh: Fresh,
}

/// The content of a parameter in a model with random weights.
#[derive(Debug, Clone, Copy)]
enum Fresh {
    Zeros,
    Ones,
    Random,
}

/// Deviation of random weights.
const STD: f32 = 0.02;

#[derive(Debug)]
enum Parameter<'a> {
    Vector(&'a mut Param<Tensor<1>>),
    Matrix(&'a mut Param<Tensor<2>>),
    /// Stored `[out, in]` (or `[out, ..]` with the same number of values), held `[in, out]`.
    Transposed(&'a mut Param<Tensor<2>>),
}

impl<'a> Slot<'a> {
    /// A vector, stored as it is held.
    pub(crate) fn vector(parameter: &'a mut Param<Tensor<1>>) -> Self {
        let stored = parameter.lazy_shape().dims::<1>().to_vec();
        Self::new(Parameter::Vector(parameter), stored)
    }

    /// A matrix, stored as it is held.
    pub(crate) fn matrix(parameter: &'a mut Param<Tensor<2>>) -> Self {
        let stored = parameter.lazy_shape().dims::<2>().to_vec();
        Self::new(Parameter::Matrix(parameter), stored)
    }

    /// The weight of a linear layer, stored `[out, in]`, held `[in, out]`.
    fn linear(parameter: &'a mut Param<Tensor<2>>) -> Self {
        let [d_input, d_output] = parameter.lazy_shape().dims();
        Self::new(Parameter::Transposed(parameter), vec![d_output, d_input])
    }

    /// The weight of a convolution whose stride is its kernel, stored `[out, kernel..]`, held `[kernel, out]`.
    fn patches(parameter: &'a mut Param<Tensor<2>>, kernel: &[usize]) -> Self {
        let [flat, d_output] = parameter.lazy_shape().dims();
        assert_eq!(flat, kernel.iter().product::<usize>(), "a kernel of {kernel:?}");
        let stored = [&[d_output], kernel].concat();
        Self::new(Parameter::Transposed(parameter), stored)
    }

    /// The same parameter, stored with `n` axes of length one in front.
    pub(crate) fn behind_axes(mut self, n: usize) -> Self {
        if n > 0 {
            self.stored.splice(0..0, vec![1; n]);
            self.part = 0..1;
        }
        self
    }

    fn new(parameter: Parameter<'a>, stored: Vec<usize>) -> Self {
        let part = 0..stored[0];
        Self {
            parameter,
            stored,
            part,
            fresh: Fresh::Random,
        }
    }

    /// The same parameter, all zeros in a model with random weights.
    fn zeros(self) -> Self {
        let fresh = Fresh::Zeros;
        Self { fresh, ..self }
    }

    /// The same parameter, all ones in a model with random weights.
    fn ones(self) -> Self {
        let fresh = Fresh::Ones;
        Self { fresh, ..self }
    }

    fn load(self, files: &WeightFiles, name: &str, dtype: DType, device: &Device) -> Result<(), LoadError> {
        let found = files.shape(name)?;
        if found != self.stored {
            return Err(LoadError::TensorShape {
                path: files.path().into(),
                name: name.into(),
                found: found.into(),
                wanted: self.stored,
                remedy: "check that config.json belongs to these weights".into(),
            });
        }
        let values = files.values(name, self.part.clone(), dtype)?;
        self.set(values, dtype, device);
        Ok(())
    }

    /// Replaces the parameter by `values`, which lie as the file has them.
    fn set(self, values: TensorData, dtype: DType, device: &Device) {
        let values = Tensor::<1>::from_data(values, (device, dtype));
        match self.parameter {
            Parameter::Vector(parameter) => *parameter = Param::from_tensor(values),
            Parameter::Matrix(parameter) => {
                let shape: [usize; 2] = parameter.lazy_shape().dims();
                *parameter = Param::from_tensor(values.reshape(shape));
            }
            // The transposition is a view: products take strided operands at full speed.
            Parameter::Transposed(parameter) => {
                let [d_input, d_output] = parameter.lazy_shape().dims();
                *parameter = Param::from_tensor(values.reshape([d_output, d_input]).transpose());
            }
        }
    }

    /// The values as the file has them.
    fn data(&self) -> TensorData {
        match &self.parameter {
            Parameter::Vector(parameter) => parameter.val().without_autodiff().into_data(),
            Parameter::Matrix(parameter) => parameter.val().without_autodiff().into_data(),
            Parameter::Transposed(parameter) => parameter.val().without_autodiff().transpose().into_data(),
        }
    }
}

impl<'a> Table<'a> {
    /// `true` if there is a parameter that the tensor `name` holds.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.rows.iter().any(|(known, _)| known == name)
    }

    /// Adds the parameter that the tensor `name` holds.
    pub(crate) fn push(&mut self, name: impl Into<String>, slot: Slot<'a>) {
        self.rows.push((name.into(), slot));
    }

    /// Adds a [`Slot::vector`].
    pub(crate) fn vector(&mut self, name: impl Into<String>, parameter: &'a mut Param<Tensor<1>>) {
        self.push(name, Slot::vector(parameter));
    }

    /// Adds the factors of a norm, a [`Slot::vector`] that begins as ones.
    pub(crate) fn gain(&mut self, name: impl Into<String>, parameter: &'a mut Param<Tensor<1>>) {
        self.push(name, Slot::vector(parameter).ones());
    }

    /// Adds a [`Slot::matrix`].
    pub(crate) fn matrix(&mut self, name: impl Into<String>, parameter: &'a mut Param<Tensor<2>>) {
        self.push(name, Slot::matrix(parameter));
    }

    /// Adds a convolution whose stride is its kernel, held as a linear layer of flattened patches.
    ///
    /// # Panics
    /// When the kernel does not have as many values as the layer has inputs.
    pub(crate) fn patches(&mut self, name: &str, layer: &'a mut Linear, kernel: &[usize]) {
        self.push(format!("{name}.weight"), Slot::patches(&mut layer.weight, kernel));
        if let Some(bias) = &mut layer.bias {
            self.push(format!("{name}.bias"), Slot::vector(bias).zeros());
        }
    }

    /// Adds `{name}.weight`, and `{name}.bias` where the layer has one.
    pub(crate) fn linear(&mut self, name: &str, layer: &'a mut Linear) {
        self.push(format!("{name}.weight"), Slot::linear(&mut layer.weight));
        if let Some(bias) = &mut layer.bias {
            self.push(format!("{name}.bias"), Slot::vector(bias).zeros());
        }
    }

    /// Adds layers of the same input that the file keeps as one, below one another in this order.
    pub(crate) fn fused(&mut self, name: &str, layers: Vec<&'a mut Linear>) {
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for layer in layers {
            weights.push(Slot::linear(&mut layer.weight));
            biases.extend(layer.bias.as_mut().map(|bias| Slot::vector(bias).zeros()));
        }
        self.stack(&format!("{name}.weight"), weights);
        self.stack(&format!("{name}.bias"), biases);
    }

    /// Adds `{name}.weight` and `{name}.bias`.
    pub(crate) fn layer_norm(&mut self, name: &str, norm: &'a mut LayerNorm) {
        self.gain(format!("{name}.weight"), &mut norm.gamma);
        if let Some(beta) = &mut norm.beta {
            self.push(format!("{name}.bias"), Slot::vector(beta).zeros());
        }
    }

    fn stack(&mut self, name: &str, slots: Vec<Slot<'a>>) {
        let height = slots.iter().map(|slot| slot.stored[0]).sum();
        let mut start = 0;
        for mut slot in slots {
            slot.part = start..start + slot.stored[0];
            start = slot.part.end;
            slot.stored[0] = height;
            self.push(name, slot);
        }
    }

    /// Reads every parameter, one tensor after the other, and holds it as `dtype`.
    ///
    /// `canonical` gives the table's name for a name in the file, and `None` for tensors that no model needs.
    /// `family` is for messages.
    ///
    /// # Errors
    /// When a tensor is missing, there twice, of another shape, or holds values that are no floats or do not fit `dtype`.
    /// Tensors that the model has no place for are passed over and noted.
    pub(crate) fn load(
        self,
        files: &WeightFiles,
        canonical: impl Fn(&str) -> Option<String>,
        family: &str,
        dtype: DType,
        device: &Device,
    ) -> Result<(), LoadError> {
        let mut in_file = BTreeMap::new();
        for name in files.names() {
            if let Some(known) = canonical(name)
                && let Some(twin) = in_file.insert(known, name)
            {
                return Err(LoadError::Weights {
                    path: files.path().into(),
                    found: format!("tensors `{twin}` and `{name}`, which are the same parameter"),
                    wanted: "one of the two".into(),
                    remedy: "use files of one release only".into(),
                });
            }
        }
        let mut used = BTreeSet::new();
        for (name, slot) in self.rows {
            let stored = in_file
                .get(&name)
                .ok_or_else(|| missing(files, &name, &slot.stored))?;
            slot.load(files, stored, dtype, device)?;
            used.insert(name);
        }
        let left: Vec<&str> = in_file
            .into_iter()
            .filter(|(name, _)| !used.contains(name))
            .map(|(_, stored)| stored)
            .collect();
        if !left.is_empty() {
            note(unused(files, &left, family));
        }
        Ok(())
    }

    /// Draws every parameter, one after the other, held as `dtype`: norms of one, biases of zero, all others uniform
    /// with a standard deviation of 0.02. The values depend on `seed` alone.
    ///
    /// # Errors
    /// When `dtype` is not a float type of 16 bits or more.
    pub(crate) fn fill(self, dtype: DType, seed: u64, device: &Device) -> Result<(), LoadError> {
        for (i, (_, slot)) in self.rows.into_iter().enumerate() {
            let n = slot.part.len() * slot.stored[1..].iter().product::<usize>();
            let values = match slot.fresh {
                Fresh::Ones => convert::from_f32(vec![1.0; n], &[n], dtype),
                Fresh::Zeros => convert::from_f32(vec![0.0; n], &[n], dtype),
                Fresh::Random => convert::random(n, STD, seed, i as u64, dtype),
            };
            let values = values.map_err(|found| LoadError::Request {
                subject: "random weights".into(),
                found,
                wanted: "f16, bf16, f32 or f64".into(),
                remedy: "ask for another type".into(),
            })?;
            slot.set(values, dtype, device);
        }
        Ok(())
    }

    /// The tensors of the file.
    pub(crate) fn into_tensors(self) -> Vec<(String, TensorData)> {
        let mut tensors = Vec::new();
        let mut rows = self.rows.into_iter().peekable();
        while let Some((name, slot)) = rows.next() {
            let data = slot.data();
            let dtype = data.dtype();
            let mut bytes = data.into_bytes().to_vec();
            while let Some((_, next)) = rows.next_if(|(next, _)| *next == name) {
                bytes.extend_from_slice(next.data().as_bytes());
            }
            tensors.push((name, TensorData::from_bytes_vec(bytes, slot.stored, dtype)));
        }
        tensors
    }
}

fn missing(files: &WeightFiles, name: &str, shape: &[usize]) -> LoadError {
    LoadError::MissingTensor {
        path: files.path().into(),
        name: name.into(),
        wanted: format!("a tensor of shape {shape:?}"),
        remedy: "check that config.json belongs to these weights and that every shard is there".into(),
    }
}

/// Names that a note lists in full.
const LISTED: usize = 3;

/// The note about tensors that the model has no place for.
fn unused(files: &WeightFiles, names: &[&str], family: &str) -> String {
    let listed: Vec<String> = names
        .iter()
        .take(LISTED)
        .map(|name| format!("`{name}`"))
        .collect();
    let more = match names.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{}: a {family} model as config.json describes it has no place for {}{more}; passed over",
        files.path().display(),
        listed.join(", ")
    )
}

/// Returns `true` if the files hold a head of their own, under the canonical name `head`, that is not a copy of the embedding matrix.
/// Where a configuration ties the two, the stored head counts, and that is noted.
pub(crate) fn has_own_head(
    files: &WeightFiles,
    canonical: impl Fn(&str) -> Option<String>,
    head: &str,
    embedding: &str,
) -> Result<bool, LoadError> {
    let stored = |wanted: &str| {
        files
            .names()
            .find(|name| canonical(name).is_some_and(|known| known == wanted))
    };
    let (Some(head), Some(embedding)) = (stored(head), stored(embedding)) else {
        return Ok(false);
    };
    let own = !files.are_equal(head, embedding)?;
    if own {
        note(format!(
            "{}: config.json ties head and embedding, but the stored `{head}` differs from `{embedding}`; it is used",
            files.path().display()
        ));
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::save_safetensors;
    use burn::nn::LinearConfig;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn counted(rows: usize, columns: usize) -> TensorData {
        let values = (0..rows * columns).map(|i| i as f32).collect();
        TensorData::new(values, [rows, columns])
    }

    #[test]
    fn fused_layers_are_split_and_joined_again() -> Outcome {
        let device = Device::flex();
        let mut layers = [2, 1, 3].map(|d_output| LinearConfig::new(4, d_output).init(&device));
        let tensors = BTreeMap::from([
            (
                "qkv.bias".to_string(),
                TensorData::new(vec![0f32, 1., 2., 3., 4., 5.], [6]),
            ),
            ("qkv.weight".to_string(), counted(6, 4)),
        ]);
        let dir = tempfile::tempdir()?;
        save_safetensors(dir.path().join("model.safetensors"), tensors.clone(), DType::F32)?;
        let files = WeightFiles::open(&dir)?;
        let table = |layers: &'_ mut [Linear; 3]| -> Outcome {
            let mut table = Table::default();
            table.fused("qkv", layers.iter_mut().collect());
            table.load(&files, |name| Some(name.into()), "test", DType::F32, &device)?;
            Ok(())
        };
        table(&mut layers)?;
        let last = layers[2].weight.val().transpose().into_data();
        assert_eq!(
            last.try_to_vec::<f32>()?,
            (12..24).map(|i| i as f32).collect::<Vec<_>>()
        );
        let middle = layers[1].bias.as_ref().ok_or("a bias")?.val().into_data();
        assert_eq!(middle.try_to_vec::<f32>()?, [2.0]);
        let mut table = Table::default();
        table.fused("qkv", layers.iter_mut().collect());
        assert_eq!(BTreeMap::from_iter(table.into_tensors()), tensors);
        Ok(())
    }

    #[test]
    fn the_shape_of_the_whole_stored_tensor_counts() -> Outcome {
        let device = Device::flex();
        let mut vector = Param::from_tensor(Tensor::<1>::zeros([3], &device));
        let dir = tempfile::tempdir()?;
        let read = |shape: Vec<usize>, vector: &mut Param<Tensor<1>>| {
            let data = TensorData::new(vec![1f32, 2., 3.], shape);
            save_safetensors(
                dir.path().join("model.safetensors"),
                [("x".into(), data)],
                DType::F32,
            )?;
            let mut table = Table::default();
            table.push("x", Slot::vector(vector).behind_axes(2));
            table.load(
                &WeightFiles::open(&dir)?,
                |name| Some(name.into()),
                "test",
                DType::F32,
                &device,
            )
        };
        assert!(matches!(
            read(vec![3], &mut vector),
            Err(LoadError::TensorShape { wanted, .. }) if wanted == [1, 1, 3]
        ));
        read(vec![1, 1, 3], &mut vector)?;
        assert_eq!(vector.val().into_data().try_to_vec::<f32>()?, [1., 2., 3.]);
        Ok(())
    }

    #[test]
    fn two_names_of_one_parameter_are_refused() -> Outcome {
        let dir = tempfile::tempdir()?;
        let tensors = ["a", "b"].map(|name| (name.to_string(), TensorData::new(vec![1f32], [1])));
        save_safetensors(dir.path().join("model.safetensors"), tensors, DType::F32)?;
        let files = WeightFiles::open(&dir)?;
        let outcome =
            Table::default().load(&files, |_| Some("x".into()), "test", DType::F32, &Device::flex());
        assert!(matches!(outcome, Err(LoadError::Weights { found, .. }) if found.contains("`a` and `b`")));
        Ok(())
    }
}
