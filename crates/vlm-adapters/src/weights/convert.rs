//! Between the float types that checkpoints store and those that tensors hold.

use burn::tensor::{DType, TensorData};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

/// Elements converted by one task: large enough to amortise the task, small enough to spread over the cores.
const CHUNK: usize = 1 << 16;

/// Whether the stored type is the wanted one.
pub(super) fn same(stored: Dtype, wanted: DType) -> bool {
    matches!(
        (stored, wanted),
        (Dtype::F16, DType::F16)
            | (Dtype::BF16, DType::BF16)
            | (Dtype::F32, DType::F32)
            | (Dtype::F64, DType::F64)
    )
}

/// Little-endian `bytes` of type `dtype` as f32; `None` when that is not a float type of 16 bits or more.
pub(super) fn to_f32(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F16 => Some(widen(bytes, |[a, b]| f16::from_le_bytes([a, b]).to_f32())),
        Dtype::BF16 => Some(widen(bytes, |[a, b]| bf16::from_le_bytes([a, b]).to_f32())),
        Dtype::F32 => Some(widen(bytes, f32::from_le_bytes)),
        Dtype::F64 => Some(widen(bytes, |bytes| f64::from_le_bytes(bytes) as f32)),
        _ => None,
    }
}

fn widen<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32 + Sync) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / N];
    values
        .par_chunks_mut(CHUNK)
        .zip(bytes.par_chunks(CHUNK * N))
        .for_each(|(values, bytes)| {
            for (value, element) in values.iter_mut().zip(bytes.as_chunks::<N>().0) {
                *value = convert(*element);
            }
        });
    values
}

/// `values` as a tensor of type `dtype`; the error describes the first value that does not fit.
pub(super) fn from_f32(values: Vec<f32>, shape: &[usize], dtype: DType) -> Result<TensorData, String> {
    match dtype {
        DType::F32 => Ok(TensorData::new(values, shape)),
        DType::F64 => Ok(TensorData::new(
            values.into_iter().map(f64::from).collect(),
            shape,
        )),
        DType::F16 => {
            let mut halves = vec![f16::ZERO; values.len()];
            narrow(&values, &mut halves, f16::MAX.to_f32(), |from, to| {
                to.convert_from_f32_slice(from)
            })?;
            Ok(TensorData::new(halves, shape))
        }
        DType::BF16 => {
            let mut halves = vec![bf16::ZERO; values.len()];
            narrow(&values, &mut halves, bf16::MAX.to_f32(), |from, to| {
                to.convert_from_f32_slice(from)
            })?;
            Ok(TensorData::new(halves, shape))
        }
        other => Err(format!(
            "a request for {other:?}, which is not a float type of 16 bits or more"
        )),
    }
}

fn narrow<H: Send>(
    values: &[f32],
    halves: &mut [H],
    max: f32,
    convert: impl Fn(&[f32], &mut [H]) + Sync,
) -> Result<(), String> {
    halves
        .par_chunks_mut(CHUNK)
        .zip(values.par_chunks(CHUNK))
        .try_for_each(|(halves, values)| {
            match values.iter().find(|value| value.is_finite() && value.abs() > max) {
                Some(value) => Err(format!("the value {value}")),
                None => {
                    convert(values, halves);
                    Ok(())
                }
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_type_widens_exactly() {
        let wanted = [1.5f32, -0.25, 2.0, 0.0];
        let f16s: Vec<u8> = wanted
            .iter()
            .flat_map(|&x| f16::from_f32(x).to_le_bytes())
            .collect();
        let bf16s: Vec<u8> = wanted
            .iter()
            .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
            .collect();
        let f32s: Vec<u8> = wanted.iter().flat_map(|x| x.to_le_bytes()).collect();
        let f64s: Vec<u8> = wanted.iter().flat_map(|&x| f64::from(x).to_le_bytes()).collect();
        for (bytes, dtype) in [
            (f16s, Dtype::F16),
            (bf16s, Dtype::BF16),
            (f32s, Dtype::F32),
            (f64s, Dtype::F64),
        ] {
            assert_eq!(to_f32(&bytes, dtype).as_deref(), Some(&wanted[..]), "{dtype}");
        }
        assert_eq!(to_f32(&[0; 8], Dtype::I64), None);
    }

    #[test]
    fn a_value_too_large_for_f16_is_an_error_and_infinity_is_not() {
        let values = vec![1.0, 7e4];
        assert!(from_f32(values.clone(), &[2], DType::F16).is_err_and(|found| found.contains("70000")));
        assert!(from_f32(values, &[2], DType::BF16).is_ok());
        assert!(from_f32(vec![f32::INFINITY], &[1], DType::F16).is_ok());
        assert!(from_f32(vec![1.0], &[1], DType::I32).is_err());
    }
}
