//! Between the float types that checkpoints store and those that tensors hold.

use burn::tensor::{DType, TensorData};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use safetensors::Dtype;

/// Elements converted by one task: large enough to amortise the task, small enough to spread over the cores.
const CHUNK: usize = 1 << 16;

/// Bytes of an element, for the float types of 16 bits or more.
fn width(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::F16 | Dtype::BF16 => Some(2),
        Dtype::F32 => Some(4),
        Dtype::F64 => Some(8),
        _ => None,
    }
}

/// Little-endian `bytes` of type `dtype` as f32; `None` when that is not a float type of 16 bits or more.
pub(super) fn to_f32(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    let width = width(dtype)?;
    let mut values = vec![0.0; bytes.len() / width];
    values
        .par_chunks_mut(CHUNK)
        .zip(bytes.par_chunks(CHUNK * width))
        .for_each(|(values, bytes)| widen(bytes, dtype, values));
    Some(values)
}

/// One task's part of [`to_f32`].
fn widen(bytes: &[u8], dtype: Dtype, values: &mut [f32]) {
    match dtype {
        Dtype::F16 => each(bytes, values, |[a, b]| f16::from_le_bytes([a, b]).to_f32()),
        Dtype::BF16 => each(bytes, values, |[a, b]| bf16::from_le_bytes([a, b]).to_f32()),
        Dtype::F64 => each(bytes, values, |bytes| f64::from_le_bytes(bytes) as f32),
        _ => each(bytes, values, f32::from_le_bytes),
    }
}

fn each<const N: usize, T>(bytes: &[u8], values: &mut [T], convert: impl Fn([u8; N]) -> T) {
    for (value, element) in values.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *value = convert(*element);
    }
}

/// Little-endian `bytes` of type `stored` as a tensor of type `wanted`, without a copy in between; `None` when `stored`
/// is not a float type of 16 bits or more, an error that describes the first value that does not fit.
pub(super) fn cast(
    bytes: &[u8],
    stored: Dtype,
    shape: &[usize],
    wanted: DType,
) -> Option<Result<TensorData, String>> {
    let width = width(stored)?;
    Some(match wanted {
        DType::F16 if stored == Dtype::F16 => Ok(TensorData::new(copy(bytes, f16::from_le_bytes), shape)),
        DType::BF16 if stored == Dtype::BF16 => Ok(TensorData::new(copy(bytes, bf16::from_le_bytes), shape)),
        DType::F64 if stored == Dtype::F64 => Ok(TensorData::new(copy(bytes, f64::from_le_bytes), shape)),
        DType::F16 => {
            let mut halves = vec![f16::ZERO; bytes.len() / width];
            recode(bytes, stored, width, &mut halves, to_f16).map(|()| TensorData::new(halves, shape))
        }
        DType::BF16 => {
            let mut halves = vec![bf16::ZERO; bytes.len() / width];
            recode(bytes, stored, width, &mut halves, to_bf16).map(|()| TensorData::new(halves, shape))
        }
        _ => from_f32(to_f32(bytes, stored)?, shape, wanted),
    })
}

/// The stored values, unchanged, where tensors of their type may lie (bytes alone would be copied again for that).
fn copy<const N: usize, T: Default + Clone + Send>(
    bytes: &[u8],
    read: impl Fn([u8; N]) -> T + Sync,
) -> Vec<T> {
    let mut values = vec![T::default(); bytes.len() / N];
    values
        .par_chunks_mut(CHUNK)
        .zip(bytes.par_chunks(CHUNK * N))
        .for_each(|(values, bytes)| each(bytes, values, &read));
    values
}

fn recode<H: Send>(
    bytes: &[u8],
    stored: Dtype,
    width: usize,
    halves: &mut [H],
    narrow: impl Fn(&[f32], &mut [H]) -> Result<(), String> + Sync,
) -> Result<(), String> {
    halves
        .par_chunks_mut(CHUNK)
        .zip(bytes.par_chunks(CHUNK * width))
        .try_for_each(|(halves, bytes)| {
            let mut values = vec![0.0; halves.len()];
            widen(bytes, stored, &mut values);
            narrow(&values, halves)
        })
}

fn to_f16(values: &[f32], halves: &mut [f16]) -> Result<(), String> {
    fits(values, f16::MAX.to_f32())?;
    halves.convert_from_f32_slice(values);
    Ok(())
}

fn to_bf16(values: &[f32], halves: &mut [bf16]) -> Result<(), String> {
    fits(values, bf16::MAX.to_f32())?;
    halves.convert_from_f32_slice(values);
    Ok(())
}

/// Finite values must stay finite.
fn fits(values: &[f32], max: f32) -> Result<(), String> {
    match values.iter().find(|value| value.is_finite() && value.abs() > max) {
        Some(value) => Err(format!("the value {value}")),
        None => Ok(()),
    }
}

/// `n` values drawn uniformly with mean zero and standard deviation `std`, as a flat tensor of type `dtype`. They depend
/// on `seed` and `stream` alone.
pub(super) fn random(n: usize, std: f32, seed: u64, stream: u64, dtype: DType) -> Result<TensorData, String> {
    match dtype {
        DType::F16 => {
            let mut halves = vec![f16::ZERO; n];
            draw(&mut halves, std, seed, stream, to_f16).map(|()| TensorData::new(halves, [n]))
        }
        DType::BF16 => {
            let mut halves = vec![bf16::ZERO; n];
            draw(&mut halves, std, seed, stream, to_bf16).map(|()| TensorData::new(halves, [n]))
        }
        _ => {
            let mut values = vec![0.0; n];
            draw(&mut values, std, seed, stream, |from, to| {
                to.copy_from_slice(from);
                Ok(())
            })?;
            from_f32(values, &[n], dtype)
        }
    }
}

fn draw<H: Send>(
    out: &mut [H],
    std: f32,
    seed: u64,
    stream: u64,
    convert: impl Fn(&[f32], &mut [H]) -> Result<(), String> + Sync,
) -> Result<(), String> {
    // A uniform distribution of this half-width has the deviation `std`.
    let half_width = f64::from(std) * 3f64.sqrt();
    let scale = (half_width / f64::from(1u32 << 31)) as f32;
    out.par_chunks_mut(CHUNK).enumerate().try_for_each(|(i, out)| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        rng.set_word_pos((i * CHUNK) as u128);
        let mut bytes = vec![0; out.len() * size_of::<u32>()];
        rng.fill_bytes(&mut bytes);
        let mut values = vec![0.0; out.len()];
        each(&bytes, &mut values, |bytes| {
            i32::from_le_bytes(bytes) as f32 * scale
        });
        convert(&values, out)
    })
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
            narrow(&values, &mut halves, to_f16).map(|()| TensorData::new(halves, shape))
        }
        DType::BF16 => {
            let mut halves = vec![bf16::ZERO; values.len()];
            narrow(&values, &mut halves, to_bf16).map(|()| TensorData::new(halves, shape))
        }
        other => Err(format!(
            "a request for {other:?}, which is not a float type of 16 bits or more"
        )),
    }
}

fn narrow<H: Send>(
    values: &[f32],
    halves: &mut [H],
    convert: impl Fn(&[f32], &mut [H]) -> Result<(), String> + Sync,
) -> Result<(), String> {
    halves
        .par_chunks_mut(CHUNK)
        .zip(values.par_chunks(CHUNK))
        .try_for_each(|(halves, values)| convert(values, halves))
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

    #[test]
    fn casting_is_widening_and_narrowing() -> Result<(), String> {
        let wanted = [1.5f32, -0.25, 2.0, 7e4];
        let bytes: Vec<u8> = wanted.iter().flat_map(|x| x.to_le_bytes()).collect();
        for dtype in [DType::BF16, DType::F32, DType::F64] {
            let found = cast(&bytes, Dtype::F32, &[4], dtype).ok_or("a float type")??;
            assert_eq!(found, from_f32(wanted.to_vec(), &[4], dtype)?);
        }
        let exact: Vec<u8> = [1.0 + 1e-12, f64::MAX]
            .iter()
            .flat_map(|x: &f64| x.to_le_bytes())
            .collect();
        let found = cast(&exact, Dtype::F64, &[2], DType::F64).ok_or("a float type")??;
        assert_eq!(found.as_bytes(), exact, "stored in the expected type: unchanged");
        let large = cast(&bytes, Dtype::F32, &[4], DType::F16);
        assert!(large.is_some_and(|found| found.is_err_and(|found| found.contains("70000"))));
        assert!(cast(&bytes, Dtype::I32, &[4], DType::F32).is_none());
        Ok(())
    }

    #[test]
    fn random_values_have_the_asked_deviation_and_depend_on_the_seed() -> Result<(), String> {
        let n = 3 * CHUNK + 5;
        let values = |seed, stream, dtype| {
            let data = random(n, 0.02, seed, stream, dtype)?;
            data.convert::<f32>()
                .try_to_vec::<f32>()
                .map_err(|error| error.to_string())
        };
        let found = values(7, 1, DType::F32)?;
        let mean = found.iter().sum::<f32>() / n as f32;
        let variance = found.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n as f32;
        assert!(
            mean.abs() < 2e-4 && (variance.sqrt() - 0.02).abs() < 2e-4,
            "{mean} {variance}"
        );
        assert_eq!(found, values(7, 1, DType::F32)?);
        let halves = values(7, 1, DType::F16)?;
        assert!(found.iter().zip(&halves).all(|(a, b)| (a - b).abs() < 2e-5));
        for (seed, stream) in [(8, 1), (7, 2)] {
            let other = values(seed, stream, DType::F32)?;
            assert!(found.iter().zip(&other).filter(|(a, b)| a == b).count() < 100);
        }
        assert!(
            found[..100] != found[CHUNK..CHUNK + 100],
            "every task draws its own"
        );
        assert!(random(4, 0.02, 1, 1, DType::I32).is_err());
        Ok(())
    }
}
