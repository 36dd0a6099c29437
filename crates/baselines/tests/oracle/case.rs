//! Reading a case: numbers that the authors' code made, and what they were made from.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use diffprune_baselines::Matrix;
use diffprune_pruner::{Budget, Layout, Pruner, PruningContext, Selection};
use diffprune_test_support::fixtures;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

pub struct Case {
    pub name: String,
    pub meta: Value,
    floats: HashMap<String, (Vec<f32>, Vec<usize>)>,
    integers: HashMap<String, Vec<i64>>,
}

/// The folder of the cases.
pub fn folder() -> PathBuf {
    fixtures().join("pruners/pre_llm")
}

impl Case {
    pub fn read(json: &Path) -> Self {
        let meta: Value = serde_json::from_slice(&std::fs::read(json).expect("case")).expect("json");
        let (mut floats, mut integers) = (HashMap::new(), HashMap::new());
        if meta.get("tensors").is_some() {
            let bytes = std::fs::read(json.with_extension("safetensors")).expect("arrays of a case");
            let file = SafeTensors::deserialize(&bytes).expect("safetensors");
            for (name, view) in file.tensors() {
                let data = view.data();
                match view.dtype() {
                    Dtype::F32 => {
                        let values = data
                            .chunks_exact(4)
                            .map(|b| f32::from_le_bytes(b.try_into().unwrap()));
                        floats.insert(name, (values.collect(), view.shape().to_vec()));
                    }
                    Dtype::I64 => {
                        let values = data
                            .chunks_exact(8)
                            .map(|b| i64::from_le_bytes(b.try_into().unwrap()));
                        integers.insert(name, values.collect());
                    }
                    Dtype::U8 => {
                        integers.insert(name, data.iter().map(|&b| i64::from(b)).collect());
                    }
                    other => panic!("{}: no reader for {other:?} in {name}", json.display()),
                }
            }
        }
        Self {
            name: json.file_stem().unwrap().to_string_lossy().into_owned(),
            meta,
            floats,
            integers,
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.floats.contains_key(name) || self.integers.contains_key(name)
    }

    fn float(&self, name: &str) -> &(Vec<f32>, Vec<usize>) {
        self.floats
            .get(name)
            .unwrap_or_else(|| panic!("{}: no numbers {name}", self.name))
    }

    pub fn shape(&self, name: &str) -> &[usize] {
        &self.float(name).1
    }

    pub fn vector(&self, name: &str) -> Vec<f32> {
        self.float(name).0.clone()
    }

    /// An array as rows of its last dimension.
    pub fn matrix(&self, name: &str) -> Matrix {
        let (values, shape) = self.float(name);
        Matrix::new(values.clone(), *shape.last().unwrap())
    }

    pub fn signed(&self, name: &str) -> &[i64] {
        self.integers
            .get(name)
            .unwrap_or_else(|| panic!("{}: no integers {name}", self.name))
    }

    pub fn indices(&self, name: &str) -> Vec<usize> {
        self.signed(name).iter().map(|&i| i as usize).collect()
    }

    pub fn param(&self, name: &str) -> &Value {
        &self.meta["params"][name]
    }

    pub fn number(&self, name: &str) -> usize {
        self.param(name)
            .as_u64()
            .unwrap_or_else(|| panic!("{}: no number {name}", self.name)) as usize
    }

    pub fn budgets(&self) -> Vec<usize> {
        list(self.param("budgets"))
            .iter()
            .map(|k| k.as_u64().unwrap() as usize)
            .collect()
    }

    pub fn cases(&self) -> &[Value] {
        list(self.param("cases"))
    }

    /// The `[CLS]` row of each head without its own column, `[heads, n]`.
    pub fn heads(&self, name: &str) -> Matrix {
        let rows = self.matrix(name);
        let values = rows.rows().flat_map(|row| &row[1..]).copied().collect();
        Matrix::new(values, rows.width() - 1)
    }

    pub fn assert_indices(&self, what: &str, found: &[usize]) {
        assert_eq!(found, self.indices(what), "{}: {what}", self.name);
    }

    pub fn assert_close(&self, what: &str, found: &[f32]) {
        let wanted = &self.float(what).0;
        assert_eq!(found.len(), wanted.len(), "{}: length of {what}", self.name);
        for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
            let tolerance = 1e-4 * w.abs().max(1.0);
            assert!(
                (f - w).abs() <= tolerance,
                "{}: {what}[{i}]: found {f}, expected {w}",
                self.name
            );
        }
    }
}

/// A list that has entries.
pub fn list(value: &Value) -> &[Value] {
    let list = value.as_array().expect("a list");
    assert!(!list.is_empty(), "an empty list");
    list
}

/// Mean over the rows.
pub fn mean(heads: &Matrix) -> Vec<f32> {
    let n_heads = heads.n_rows() as f32;
    (0..heads.width())
        .map(|i| heads.rows().map(|row| row[i]).sum::<f32>() / n_heads)
        .collect()
}

/// The rows from the second on.
pub fn without_first(rows: &Matrix) -> Matrix {
    rows.select(&(1..rows.n_rows()).collect::<Vec<_>>())
}

/// As a batch of one.
pub fn batch(rows: &Matrix) -> Tensor<3> {
    let data = TensorData::new(rows.values().to_vec(), [1, rows.n_rows(), rows.width()]);
    Tensor::from_data(data, &Device::flex())
}

/// As scores of a batch of one.
pub fn scores(values: &[f32]) -> Tensor<2> {
    Tensor::from_data(
        TensorData::new(values.to_vec(), [1, values.len()]),
        &Device::flex(),
    )
}

/// A context of one image with a budget of `k`.
pub fn context(tokens: &Matrix, layout: impl Into<Layout>, k: usize) -> PruningContext {
    PruningContext::new(batch(tokens), layout, &Budget::Tokens(k)).unwrap()
}

/// The answer and its tokens.
pub fn answer(method: &dyn Pruner, context: &PruningContext) -> (Selection, Vec<f32>) {
    let selection = method.select(context).unwrap();
    let tokens = selection.gather(context.tokens.clone());
    (selection, tokens.into_data().try_to_vec().unwrap())
}
