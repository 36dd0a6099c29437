//! Reading the fixtures, and comparing with them.

use burn::tensor::{DType, Device, Tensor, TensorData};
use diffprune_test_support::fixtures;
use safetensors::SafeTensors;
use serde_json::Value;

/// One fixture: its description and its arrays.
pub(crate) struct Fixture {
    pub(crate) meta: Value,
    bytes: Vec<u8>,
}

impl Fixture {
    pub(crate) fn open(name: &str) -> Self {
        let path = |extension: &str| fixtures().join("softtopk").join(format!("{name}.{extension}"));
        let meta = std::fs::read_to_string(path("json")).expect("fixture description");
        let bytes = std::fs::read(path("safetensors")).expect("fixture arrays");
        Self {
            meta: serde_json::from_str(&meta).expect("json"),
            bytes,
        }
    }

    pub(crate) fn cases(&self) -> &[Value] {
        let cases = self.meta["cases"].as_array().expect("a list of cases");
        assert!(!cases.is_empty(), "no cases found");
        cases
    }

    pub(crate) fn array(&self, name: &str) -> Option<(Vec<f64>, Vec<usize>)> {
        let file = SafeTensors::deserialize(&self.bytes).expect("safetensors");
        let view = file.tensor(name).ok()?;
        assert_eq!(view.dtype(), safetensors::Dtype::F64, "{name}");
        let values = view
            .data()
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes(b.try_into().unwrap()));
        Some((values.collect(), view.shape().to_vec()))
    }

    pub(crate) fn tensor<const D: usize>(&self, name: &str, device: &Device, dtype: DType) -> Tensor<D> {
        let (values, shape) = self
            .array(name)
            .unwrap_or_else(|| panic!("array {name} is missing"));
        Tensor::from_data(TensorData::new(values, shape), (device, dtype))
    }
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Largest difference, absolute up to the size `unit` and relative above it.
pub(crate) fn assert_close(what: &str, found: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
        assert!(
            (f - w).abs() <= tolerance,
            "{what}[{i}]: found {f:e}, expected {w:e}, tolerance {tolerance:e}"
        );
    }
}

pub(crate) fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, x| most.max(x.abs()))
}
