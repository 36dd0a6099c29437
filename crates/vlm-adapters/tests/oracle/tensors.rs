//! The expected tensors of a case, with a record of which of them were looked at.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};

/// Absolute, on every tensor.
pub const TOLERANCE: f32 = 2e-4;

/// The tensors of one case. Every one of them has to be looked at.
pub struct Tensors {
    floats: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    ints: BTreeMap<String, (Vec<usize>, Vec<i64>)>,
    seen: RefCell<BTreeSet<String>>,
    worst: RefCell<(f32, String)>,
}

impl Tensors {
    pub fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (mut floats, mut ints) = (BTreeMap::new(), BTreeMap::new());
        for (name, view) in file.tensors() {
            let (shape, data) = (view.shape().to_vec(), view.data());
            match view.dtype() {
                Dtype::F32 => {
                    let values = data
                        .as_chunks::<4>()
                        .0
                        .iter()
                        .map(|b| f32::from_le_bytes(*b))
                        .collect();
                    floats.insert(name, (shape, values));
                }
                Dtype::I64 => {
                    let values = data
                        .as_chunks::<8>()
                        .0
                        .iter()
                        .map(|b| i64::from_le_bytes(*b))
                        .collect();
                    ints.insert(name, (shape, values));
                }
                Dtype::I32 => {
                    let values = data
                        .as_chunks::<4>()
                        .0
                        .iter()
                        .map(|b| i32::from_le_bytes(*b).into())
                        .collect();
                    ints.insert(name, (shape, values));
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        Self {
            floats,
            ints,
            seen: RefCell::default(),
            worst: RefCell::default(),
        }
    }

    /// `true` if the case has a tensor of floats called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.floats.contains_key(name)
    }

    /// The values of a tensor of floats.
    pub fn floats<const D: usize>(&self, name: &str) -> Option<Tensor<D>> {
        let (shape, values) = self.floats.get(name)?;
        let data = TensorData::new(values.clone(), shape.clone());
        Some(Tensor::from_data(data, &Device::flex()))
    }

    fn see(&self, name: &str) {
        self.seen.borrow_mut().insert(name.into());
    }

    /// The values of a tensor of integers.
    pub fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.see(name);
        self.ints.get(name).map(|(_, values)| values.clone())
    }

    /// Compares where the case has the tensor.
    pub fn check_ints(&self, name: &str, found: impl IntoIterator<Item = i64>) {
        if let Some(wanted) = self.ints(name) {
            assert_eq!(found.into_iter().collect::<Vec<_>>(), wanted, "{name}");
        }
    }

    /// Compares where the case has the tensor; shapes may differ by axes of length one.
    pub fn check<const D: usize>(&self, name: &str, found: &Tensor<D>) {
        self.see(name);
        let Some((shape, wanted)) = self.floats.get(name) else {
            return;
        };
        let long = |shape: &[usize]| shape.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
        assert_eq!(long(&found.dims()), long(shape), "shape of {name}");
        let found: Vec<f32> = found.clone().into_data().try_to_vec().unwrap();
        let differences = found.iter().zip(wanted).map(|(a, b)| (a - b).abs());
        // A NaN must not pass.
        let worst = differences.fold(
            0.0,
            |worst: f32, d| if d.is_nan() { f32::INFINITY } else { worst.max(d) },
        );
        if worst > self.worst.borrow().0 {
            *self.worst.borrow_mut() = (worst, name.into());
        }
        assert!(worst <= TOLERANCE, "{name}: off by {worst}");
    }

    /// Compares `[1, n, d]` with `name`, or with its rows where only those are stored.
    pub fn check_rows(&self, name: &str, rows: &str, at_rows: &str, found: &Tensor<3>) {
        self.check(name, found);
        if let Some(rows) = self.ints(rows) {
            let n = rows.len();
            let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [n]), &found.device());
            self.check(at_rows, &found.clone().select(1, rows));
        }
    }

    /// Fails when the case has a tensor that nothing was compared with.
    pub fn finish(self, case: &str) {
        let names: BTreeSet<String> = self.floats.keys().chain(self.ints.keys()).cloned().collect();
        let seen = self.seen.into_inner();
        let unknown: Vec<_> = names.difference(&seen).collect();
        assert!(
            unknown.is_empty(),
            "{case}: tensors that nothing was compared with: {unknown:?}"
        );
        let (worst, name) = self.worst.into_inner();
        println!(
            "{case}: {} tensors, worst difference {worst:.1e} ({name})",
            names.len()
        );
    }
}
