//! One file of features: whole samples, one after the other.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use burn::tensor::f16;
use diffprune_files::{Fnv64, write_whole};
use diffprune_pruner::Layout;
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo, TensorView, serialize};
use serde::{Deserialize, Serialize};

use super::{FeatureError, FeatureIndex};
use crate::{CachePrecision, StoredPicture, TokenValues};

const TOKENS: &str = "tokens";
const RELEVANCE: &str = "relevance";
const HEADER: &str = "diffprune";

/// What a file says of itself, in the header of the safetensors file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    /// Digest of the index that the file belongs to.
    index: String,
    /// Number of the file.
    file: usize,
    /// The layouts that occur.
    layouts: Vec<Layout>,
    samples: Vec<Sample>,
}

/// A sample of a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sample {
    caption: String,
    /// Its class, where the data has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    /// Which of the layouts it has.
    layout: usize,
    /// Whether its rows of the relevance mean something.
    boxes: bool,
    /// Digest of its caption and of its numbers as they lie in the file.
    digest: String,
}

/// Writes the samples of a file, in order, whole or not at all. Gives its size in bytes.
pub(super) fn write(
    folder: &Path,
    index: &FeatureIndex,
    file: usize,
    pictures: &[(StoredPicture, Option<String>)],
) -> Result<u64, FeatureError> {
    let (mut tokens, mut relevance) = (Vec::new(), Vec::new());
    let (mut layouts, mut samples): (Vec<Layout>, Vec<Sample>) = (Vec::new(), Vec::new());
    for (picture, class) in pictures {
        let first = (tokens.len(), relevance.len());
        append(&mut tokens, &picture.tokens, index.precision);
        let rows = picture.layout.n_tokens();
        let known = picture.relevance.clone().unwrap_or_else(|| vec![0.0; rows]);
        relevance.extend(known.iter().flat_map(|value| value.to_le_bytes()));
        let layout = layouts.iter().position(|known| *known == picture.layout);
        samples.push(Sample {
            layout: layout.unwrap_or_else(|| {
                layouts.push(picture.layout.clone());
                layouts.len() - 1
            }),
            boxes: picture.relevance.is_some(),
            digest: digest(&picture.caption, &tokens[first.0..], &relevance[first.1..]),
            caption: picture.caption.clone(),
            class: class.clone(),
        });
    }
    let path = index.path(folder, file);
    let n_rows = relevance.len() / size_of::<f32>();
    let has_boxes = samples.iter().any(|sample| sample.boxes);
    let header = Header {
        index: index.digest(),
        file,
        layouts,
        samples,
    };
    let damaged = |found: String| damaged(&path, found, "features that can be stored");
    let header = serde_json::to_string(&header).map_err(|error| damaged(error.to_string()))?;
    let view = |dtype, shape, bytes| {
        TensorView::new(dtype, shape, bytes).map_err(|error| damaged(error.to_string()))
    };
    let shape = vec![n_rows, index.d_vision];
    let mut tensors = vec![(TOKENS, view(dtype(index.precision), shape, tokens.as_slice())?)];
    if has_boxes {
        tensors.push((RELEVANCE, view(Dtype::F32, vec![n_rows], relevance.as_slice())?));
    }
    // One entry, so that equal features give equal bytes.
    let header = HashMap::from([(HEADER.to_string(), header)]);
    let bytes = serialize(tensors, Some(header)).map_err(|error| damaged(error.to_string()))?;
    write_whole(&path, &bytes)?;
    Ok(bytes.len() as u64)
}

fn append(out: &mut Vec<u8>, values: &TokenValues, precision: CachePrecision) {
    let mut one = |value: f32| match precision {
        CachePrecision::F32 => out.extend(value.to_le_bytes()),
        CachePrecision::F16 => out.extend(f16::from_f32(value).to_le_bytes()),
    };
    match values {
        TokenValues::F32(values) => values.iter().for_each(|value| one(*value)),
        TokenValues::F16(values) => values.iter().for_each(|value| one(value.to_f32())),
    }
}

fn digest(caption: &str, tokens: &[u8], relevance: &[u8]) -> String {
    Fnv64::new().text(caption).bytes(tokens).bytes(relevance).hex()
}

fn dtype(precision: CachePrecision) -> Dtype {
    match precision {
        CachePrecision::F32 => Dtype::F32,
        CachePrecision::F16 => Dtype::F16,
    }
}

fn damaged(path: &Path, found: impl ToString, wanted: impl ToString) -> FeatureError {
    FeatureError::Damaged {
        path: path.to_path_buf(),
        found: found.to_string(),
        wanted: wanted.to_string(),
    }
}

/// A file of features, mapped into memory.
#[derive(Debug)]
pub(super) struct FeatureFile {
    path: PathBuf,
    map: Mmap,
    /// Where the numbers begin.
    start: usize,
    tokens: TensorInfo,
    relevance: Option<TensorInfo>,
    layouts: Vec<Layout>,
    samples: Vec<Sample>,
    /// First row of each sample.
    first: Vec<usize>,
    d_vision: usize,
    precision: CachePrecision,
}

impl FeatureFile {
    /// Maps a file and compares its header with the index and with its own length. Its numbers are not read.
    ///
    /// # Errors
    /// When it is missing, damaged, or belongs to another index.
    pub(super) fn open(folder: &Path, index: &FeatureIndex, file: usize) -> Result<Self, FeatureError> {
        let path = index.path(folder, file);
        let io = |action: &'static str| {
            let path = path.clone();
            move |source| FeatureError::Read { action, path, source }
        };
        let opened = File::open(&path).map_err(io("open"))?;
        if opened.metadata().map_err(io("read"))?.len() == 0 {
            return Err(damaged(&path, "an empty file", "a file of features"));
        }
        // SAFETY: the map is read-only and private to this struct; files of features are replaced whole and never written
        // in place, and whoever truncates one by hand while a training reads it is told so in `docs/training.md`.
        let map = unsafe { Mmap::map(&opened) }.map_err(io("map"))?;
        let (length, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|error| damaged(&path, format!("{error} ({} bytes)", map.len()), "a whole file"))?;
        let header = header_of(&metadata).map_err(|found| damaged(&path, found, "a file of features"))?;
        let wanted = index.digest();
        if (header.index.as_str(), header.file) != (wanted.as_str(), file) {
            let found = format!("file {} of the features {}", header.file, header.index);
            return Err(damaged(&path, found, format!("file {file} of {wanted}")));
        }
        let wrong = |found: String| damaged(&path, found, "what its header says");
        let tensors = metadata.tensors();
        let Some(tokens) = tensors.get(TOKENS) else {
            return Err(wrong("no tokens".into()));
        };
        let mut first = vec![0];
        for sample in &header.samples {
            let Some(layout) = header.layouts.get(sample.layout) else {
                return Err(wrong(format!("layout {}", sample.layout)));
            };
            first.push(first[first.len() - 1] + layout.n_tokens());
        }
        let n_rows = first[first.len() - 1];
        let relevance = tensors.get(RELEVANCE).map(|info| (*info).clone());
        let fits = header.samples.len() == index.samples(file).len()
            && tokens.shape == [n_rows, index.d_vision]
            && tokens.dtype == dtype(index.precision)
            && relevance
                .as_ref()
                .is_none_or(|info| info.shape == [n_rows] && info.dtype == Dtype::F32);
        if !fits {
            let found = format!(
                "{} samples, {:?} tokens of {:?}",
                header.samples.len(),
                tokens.shape,
                tokens.dtype
            );
            return Err(wrong(found));
        }
        Ok(Self {
            tokens: (*tokens).clone(),
            relevance,
            start: size_of::<u64>() + length,
            layouts: header.layouts,
            samples: header.samples,
            first,
            d_vision: index.d_vision,
            precision: index.precision,
            map,
            path,
        })
    }

    /// Reads a sample, and compares its digest.
    ///
    /// # Errors
    /// When its numbers are not those that were written.
    pub(super) fn read(&self, place: usize) -> Result<StoredPicture, FeatureError> {
        let sample = &self.samples[place];
        let layout = &self.layouts[sample.layout];
        let (first, n_rows) = (self.first[place], layout.n_tokens());
        let size = match self.precision {
            CachePrecision::F32 => size_of::<f32>(),
            CachePrecision::F16 => size_of::<f16>(),
        };
        let tokens = self.bytes(
            &self.tokens,
            first * self.d_vision * size,
            n_rows * self.d_vision * size,
        );
        let relevance = self.relevance.as_ref();
        let nothing = vec![0; n_rows * size_of::<f32>()];
        let relevance = relevance.map_or(nothing.as_slice(), |info| {
            self.bytes(info, first * size_of::<f32>(), n_rows * size_of::<f32>())
        });
        if digest(&sample.caption, tokens, relevance) != sample.digest {
            let found = format!("other numbers in sample {place} of the file than were written");
            return Err(damaged(&self.path, found, "those of its digest"));
        }
        Ok(StoredPicture {
            caption: sample.caption.clone(),
            layout: layout.clone(),
            d_vision: self.d_vision,
            tokens: match self.precision {
                CachePrecision::F32 => TokenValues::F32(f32s(tokens)),
                CachePrecision::F16 => {
                    let (values, _) = tokens.as_chunks();
                    TokenValues::F16(values.iter().map(|bytes| f16::from_le_bytes(*bytes)).collect())
                }
            },
            relevance: sample.boxes.then(|| f32s(relevance)),
        })
    }

    /// How the tokens of a sample lie, and whether it has boxes.
    pub(super) fn facts(&self, place: usize) -> (&Layout, bool) {
        let sample = &self.samples[place];
        (&self.layouts[sample.layout], sample.boxes)
    }

    /// The class of a sample.
    pub(super) fn class(&self, place: usize) -> Option<String> {
        self.samples[place].class.clone()
    }

    /// Its path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in bytes.
    pub(super) fn n_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    fn bytes(&self, info: &TensorInfo, first: usize, length: usize) -> &[u8] {
        let first = self.start + info.data_offsets.0 + first;
        &self.map[first..first + length]
    }
}

fn header_of(metadata: &Metadata) -> Result<Header, String> {
    let header = metadata.metadata().as_ref().and_then(|all| all.get(HEADER));
    let header = header.ok_or_else(|| format!("no `{HEADER}` in its header"))?;
    serde_json::from_str(header).map_err(|error| error.to_string())
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks();
    values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
