//! Writing files so that a reader never sees half of one.

use std::collections::HashMap;
use std::path::Path;

use burn::tensor::{DType, TensorData};
use diffprune_files::write_whole;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::convert;
use crate::LoadError;

/// Write `tensors` as one safetensors file in which every tensor has type `dtype` (f16, bf16, f32 or f64).
///
/// The file carries the `format` entry that other readers of the layout ask for, appears under its name only when
/// complete, and is the same byte for byte for the same tensors.
///
/// # Errors
/// [`LoadError::TensorDtype`] for values that are no floats or do not fit `dtype`, [`LoadError::Io`].
pub fn save_safetensors(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (String, TensorData)>,
    dtype: DType,
) -> Result<(), LoadError> {
    let path = path.as_ref();
    let mut converted = Vec::new();
    for (name, data) in tensors {
        converted.push(convert_to(path, name, data, dtype)?);
    }
    let views = converted
        .iter()
        .map(|(name, data)| view(path, name, data))
        .collect::<Result<Vec<_>, _>>()?;
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| unwritable(path, error))?;
    write_atomic(path, &bytes)
}

/// Write `bytes` to a temporary file beside `path`, make it durable, then rename it to `path`.
///
/// # Errors
/// [`LoadError::Io`] naming `path`, also where it is a symbolic link, a device or a folder; what had that name is then
/// untouched.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), LoadError> {
    let path = path.as_ref();
    write_whole(path, bytes).map_err(|error| LoadError::write(path, error.into()))
}

fn convert_to(
    path: &Path,
    name: String,
    data: TensorData,
    dtype: DType,
) -> Result<(String, TensorData), LoadError> {
    let refuse = |found: String| LoadError::TensorDtype {
        path: path.into(),
        name: name.clone(),
        found,
        wanted: format!("float values that {dtype:?} can hold"),
        remedy: "save as f32".into(),
    };
    if data.dtype() == dtype {
        return stored(dtype)
            .map(|_| (name.clone(), data))
            .ok_or_else(|| refuse(format!("{dtype:?}")));
    }
    let found = data.dtype();
    let values = stored(found)
        .and_then(|kind| convert::to_f32(data.as_bytes(), kind))
        .ok_or_else(|| refuse(format!("{found:?}")))?;
    let converted = convert::from_f32(values, data.shape(), dtype).map_err(&refuse)?;
    Ok((name, converted))
}

/// The file's name for a tensor's type, if it is a float type of 16 bits or more.
fn stored(dtype: DType) -> Option<Dtype> {
    match dtype {
        DType::F16 => Some(Dtype::F16),
        DType::BF16 => Some(Dtype::BF16),
        DType::F32 => Some(Dtype::F32),
        DType::F64 => Some(Dtype::F64),
        _ => None,
    }
}

fn view<'a>(
    path: &Path,
    name: &'a str,
    data: &'a TensorData,
) -> Result<(&'a str, TensorView<'a>), LoadError> {
    let kind = stored(data.dtype()).unwrap_or(Dtype::F32);
    TensorView::new(kind, data.shape().to_vec(), data.as_bytes())
        .map(|view| (name, view))
        .map_err(|error| unwritable(path, error))
}

fn unwritable(path: &Path, error: safetensors::SafeTensorError) -> LoadError {
    LoadError::Weights {
        path: path.into(),
        found: error.to_string(),
        wanted: "tensors that fit the safetensors format".into(),
        remedy: "check names and shapes".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WeightFiles;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn what_is_saved_reads_back() -> Outcome {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("model.safetensors");
        let a = TensorData::new(vec![1.0f32, -2.5, 0.125, 3.0, 0.0, 4.0], [2, 3]);
        let b = TensorData::new(vec![0.5f32], [1]);
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
            save_safetensors(
                &path,
                [("b".to_string(), b.clone()), ("a".to_string(), a.clone())],
                dtype,
            )?;
            let files = WeightFiles::open(&dir)?;
            assert_eq!(files.names().collect::<Vec<_>>(), ["a", "b"]);
            assert_eq!(files.shape("a")?, [2, 3]);
            assert_eq!(files.tensor_data("a", DType::F32)?, a);
            assert_eq!(files.tensor_data("a", dtype)?.dtype(), dtype);
            assert_eq!(files.tensor_f32("b")?, (vec![1], vec![0.5]));
        }
        assert_eq!(std::fs::read_dir(&dir)?.count(), 1, "temporary files stay behind");
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_left_alone() -> Outcome {
        let dir = tempfile::tempdir()?;
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "old")?;
        std::os::unix::fs::symlink("file", &link)?;
        for path in [Path::new("/dev/null"), dir.path(), &link] {
            let outcome = write_atomic(path, b"new");
            assert!(matches!(outcome, Err(LoadError::Io { .. })), "{}", path.display());
        }
        assert_eq!(std::fs::read_to_string(&file)?, "old");
        assert!(link.symlink_metadata()?.is_symlink() && !Path::new("/dev/null").metadata()?.is_file());
        Ok(())
    }

    #[test]
    fn values_that_do_not_fit_leave_the_old_file_alone() -> Outcome {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("model.safetensors");
        write_atomic(&path, b"old")?;
        let large = TensorData::new(vec![1e6f32], [1]);
        let outcome = save_safetensors(&path, [("x".to_string(), large)], DType::F16);
        assert!(matches!(outcome, Err(LoadError::TensorDtype { .. })));
        assert_eq!(std::fs::read(&path)?, b"old");
        let nowhere = dir.path().join("absent").join("file");
        assert!(matches!(write_atomic(&nowhere, b"x"), Err(LoadError::Io { .. })));
        Ok(())
    }
}
