//! The tensors of a checkpoint folder, wherever the shard index puts them.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;

use super::convert;
use crate::LoadError;
use crate::config::read_json;

const DOWNLOAD: &str = "download the file again; it is probably an interrupted copy";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// All tensors of a checkpoint folder, memory-mapped: `model.safetensors`, or the shards that
/// `model.safetensors.index.json` lists.
///
/// Opening reads the headers only and checks that they fit their files; values are read when asked for. A file
/// must not be shortened by another process while it is open.
#[derive(Debug)]
pub struct WeightFiles {
    root: PathBuf,
    shards: Vec<Shard>,
    /// Tensor name to shard, ordered by name.
    places: BTreeMap<String, usize>,
}

impl WeightFiles {
    /// Open the weights of the checkpoint in `dir`.
    ///
    /// # Errors
    /// [`LoadError::MissingFile`] without any weight file, [`LoadError::MissingShard`], and
    /// [`LoadError::Weights`] for files that are empty, cut off, or at odds with the index.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, LoadError> {
        let dir = dir.as_ref();
        let (single, index) = (dir.join(SINGLE), dir.join(INDEX));
        if single.exists() || !index.exists() {
            let shard = Shard::open(single)?;
            let places = shard.header.tensors().into_keys().map(|name| (name, 0)).collect();
            return Ok(Self {
                root: shard.path.clone(),
                shards: vec![shard],
                places,
            });
        }
        Self::open_shards(dir, index)
    }

    fn open_shards(dir: &Path, index: PathBuf) -> Result<Self, LoadError> {
        let listed: ShardIndex = read_json(&index, "a shard index with a weight_map")?;
        let mut files = Vec::new();
        let mut shards = Vec::new();
        let mut places = BTreeMap::new();
        for (name, file) in listed.weight_map {
            let known = files.iter().position(|known| *known == file);
            let shard = match known {
                Some(shard) => shard,
                None => {
                    shards.push(open_listed(dir, &index, &file)?);
                    files.push(file);
                    files.len() - 1
                }
            };
            if shards[shard].header.info(&name).is_none() {
                return Err(absent_from_shard(&index, &name, &files[shard]));
            }
            places.insert(name, shard);
        }
        if places.is_empty() {
            return Err(damaged(
                &index,
                "a weight_map without tensors",
                "at least one tensor",
            ));
        }
        Ok(Self {
            root: index,
            shards,
            places,
        })
    }

    /// The weight file or shard index that was opened (for messages).
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Every tensor's name, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// `true` if there is a tensor called `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The type in which most of the values are stored, for a model that is held as its files are: f16, bf16 or f32 (also
    /// for f64, in which no model computes). Read from the headers alone.
    pub fn dtype(&self) -> DType {
        let mut counts = [(DType::F16, 0), (DType::BF16, 0), (DType::F32, 0)];
        for info in self
            .places
            .keys()
            .filter_map(|name| Some(self.find(name).ok()?.1))
        {
            let row = match info.dtype {
                safetensors::Dtype::F16 => 0,
                safetensors::Dtype::BF16 => 1,
                safetensors::Dtype::F32 | safetensors::Dtype::F64 => 2,
                _ => continue,
            };
            counts[row].1 += info.shape.iter().product::<usize>();
        }
        // Of equal counts the last one, which is the more exact.
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        most.map_or(DType::F32, |(dtype, _)| dtype)
    }

    /// The number of values of all tensors, read from the headers alone.
    pub fn n_values(&self) -> u64 {
        let size = |name: &String| {
            let (_, info) = self.find(name).ok()?;
            Some(info.shape.iter().map(|&side| side as u64).product::<u64>())
        };
        self.places.keys().filter_map(size).sum()
    }

    /// The shape of `name`, read from the header alone.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`].
    pub fn shape(&self, name: &str) -> Result<&[usize], LoadError> {
        self.find(name).map(|(_, info)| info.shape.as_slice())
    }

    /// The shape and the values of `name` in row-major order, whatever its stored float type.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], and [`LoadError::TensorDtype`] unless f16, bf16, f32 or f64 is stored.
    pub fn tensor_f32(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), LoadError> {
        let (shard, info) = self.find(name)?;
        let values = convert::to_f32(shard.bytes(info), info.dtype)
            .ok_or_else(|| not_a_float(&shard.path, name, info.dtype))?;
        Ok((info.shape.clone(), values))
    }

    /// The tensor `name` as `dtype` (f16, bf16, f32 or f64), ready for `Tensor::from_data`. Where the stored type
    /// is the wanted one the bytes are copied unchanged.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`]; [`LoadError::TensorDtype`] for types that are no floats, and for finite values
    /// that would become infinite in a narrower type.
    pub fn tensor_data(&self, name: &str, dtype: DType) -> Result<TensorData, LoadError> {
        let (shard, info) = self.find(name)?;
        shard.read(name, info, shard.bytes(info), info.shape.clone(), dtype)
    }

    /// The values of a part of `name`, indices `part` of its first axis, as a flat vector of type `dtype`.
    ///
    /// # Errors
    /// As [`tensor_data`](Self::tensor_data).
    ///
    /// # Panics
    /// When the tensor is not as long as `part` asks for; compare its [`shape`](Self::shape) first.
    pub(crate) fn values(
        &self,
        name: &str,
        part: Range<usize>,
        dtype: DType,
    ) -> Result<TensorData, LoadError> {
        let (shard, info) = self.find(name)?;
        let stride: usize = info.shape[1..].iter().product();
        let n_bytes = stride * info.dtype.bitsize() / 8;
        let bytes = &shard.bytes(info)[part.start * n_bytes..part.end * n_bytes];
        shard.read(name, info, bytes, vec![part.len() * stride], dtype)
    }

    /// Returns `true` if two tensors hold the same numbers in the same shape.
    ///
    /// # Errors
    /// As [`tensor_f32`](Self::tensor_f32).
    pub(crate) fn are_equal(&self, left: &str, right: &str) -> Result<bool, LoadError> {
        let ((a, left_info), (b, right_info)) = (self.find(left)?, self.find(right)?);
        if left_info.shape != right_info.shape {
            return Ok(false);
        }
        if left_info.dtype == right_info.dtype {
            let (left, right) = (a.bytes(left_info), b.bytes(right_info));
            let equal = left == right;
            a.release(left);
            b.release(right);
            return Ok(equal);
        }
        Ok(self.tensor_f32(left)?.1 == self.tensor_f32(right)?.1)
    }

    fn find(&self, name: &str) -> Result<(&Shard, &TensorInfo), LoadError> {
        let place = self.places.get(name).map(|&shard| &self.shards[shard]);
        place
            .and_then(|shard| shard.header.info(name).map(|info| (shard, info)))
            .ok_or_else(|| LoadError::MissingTensor {
                path: self.root.clone(),
                name: name.into(),
                wanted: "a tensor that this model's configuration asks for".into(),
                remedy: "check that config.json belongs to these weights".into(),
            })
    }
}

/// The only part of the shard index that matters.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// One mapped safetensors file.
#[derive(Debug)]
struct Shard {
    path: PathBuf,
    map: Mmap,
    header: Metadata,
    /// The offset of the tensors' bytes.
    data_start: usize,
}

impl Shard {
    fn open(path: PathBuf) -> Result<Self, LoadError> {
        let wanted = "the model's weights as safetensors";
        let remedy =
            "download model.safetensors (or its shards and their index), or convert the weights to it";
        let file = File::open(&path).map_err(|source| LoadError::read(&path, wanted, remedy, source))?;
        let is_empty = file
            .metadata()
            .map(|metadata| metadata.len() == 0)
            .unwrap_or(false);
        if is_empty {
            return Err(damaged(&path, "an empty file", "a safetensors file"));
        }
        // Safety: the map is read-only and private to this struct. Another process that truncates the file while it
        // is mapped would make reads fault; the type's documentation rules that out.
        let map = unsafe { Mmap::map(&file) }.map_err(|source| LoadError::Io {
            path: path.clone(),
            action: "map",
            remedy: DOWNLOAD.into(),
            source,
        })?;
        LoadError::check_pointer(&path, &map, wanted)?;
        let (n, header) = SafeTensors::read_metadata(&map).map_err(|error| {
            damaged(
                &path,
                &format!("{error} ({} bytes)", map.len()),
                "a safetensors file",
            )
        })?;
        Ok(Self {
            path,
            map,
            header,
            data_start: size_of::<u64>() + n,
        })
    }

    /// The bytes of one tensor; the header was checked against the file's length when it was opened.
    fn bytes(&self, info: &TensorInfo) -> &[u8] {
        let (start, end) = info.data_offsets;
        &self.map[self.data_start + start..self.data_start + end]
    }

    /// Gives the memory of mapped `bytes` back; they are read from the file again when needed.
    fn release(&self, bytes: &[u8]) {
        #[cfg(unix)]
        {
            let start = bytes.as_ptr().addr() - self.map.as_ptr().addr();
            // Safety: the map is of a file and read-only, so that its pages can be dropped and come back the same.
            // An error means that they stay, which does no harm.
            let _ = unsafe {
                self.map
                    .unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, bytes.len())
            };
        }
        #[cfg(not(unix))]
        let _ = bytes;
    }

    /// Some `bytes` of the tensor `name` as `dtype`.
    fn read(
        &self,
        name: &str,
        info: &TensorInfo,
        bytes: &[u8],
        shape: Vec<usize>,
        dtype: DType,
    ) -> Result<TensorData, LoadError> {
        let data = convert::cast(bytes, info.dtype, &shape, dtype);
        self.release(bytes);
        let data = data.ok_or_else(|| not_a_float(&self.path, name, info.dtype))?;
        data.map_err(|problem| LoadError::TensorDtype {
            path: self.path.clone(),
            name: name.into(),
            found: problem,
            wanted: format!("values that {dtype:?} can hold"),
            remedy: "load as f32 (or bf16) instead".into(),
        })
    }
}

/// Open a shard that the index names; names that leave the folder are refused.
fn open_listed(dir: &Path, index: &Path, file: &str) -> Result<Shard, LoadError> {
    let plain = Path::new(file).file_name().is_some_and(|name| name == file);
    if !plain {
        return Err(damaged(
            index,
            &format!("the shard name `{file}`"),
            "plain file names beside the index",
        ));
    }
    match Shard::open(dir.join(file)) {
        Err(LoadError::MissingFile { .. }) => Err(LoadError::MissingShard {
            path: index.into(),
            shard: file.into(),
            remedy: "download every shard that the index lists".into(),
        }),
        other => other,
    }
}

fn absent_from_shard(index: &Path, name: &str, file: &str) -> LoadError {
    LoadError::MissingTensor {
        path: index.into(),
        name: name.into(),
        wanted: format!("it in {file}, where the index puts it"),
        remedy: "download index and shards of the same revision".into(),
    }
}

fn damaged(path: &Path, found: &str, wanted: &str) -> LoadError {
    LoadError::Weights {
        path: path.into(),
        found: found.into(),
        wanted: wanted.into(),
        remedy: DOWNLOAD.into(),
    }
}

fn not_a_float(path: &Path, name: &str, dtype: safetensors::Dtype) -> LoadError {
    LoadError::TensorDtype {
        path: path.into(),
        name: name.into(),
        found: dtype.to_string(),
        wanted: "F16, BF16, F32 or F64".into(),
        remedy: "use a checkpoint that is not quantised".into(),
    }
}
