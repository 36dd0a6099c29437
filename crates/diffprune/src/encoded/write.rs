//! Encoding of captioned pictures into a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use burn::tensor::Device;
use diffprune_training::{Stop, Workers};
use diffprune_vlm::Vlm;

use super::file::{FeatureFile, write};
use super::{FeatureError, FeatureIndex};
use crate::train::encode;
use crate::{CachePrecision, CaptionData, StoredPicture, TrainError};

/// Bytes of numbers that a file should hold at most.
const FILE_BYTES: usize = 256 << 20;

/// One of several parts of the work, each for a job of its own: part `index` of `count`, counted from 1, written `1/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardOf {
    index: usize,
    count: usize,
}

impl ShardOf {
    /// All of the work.
    pub const WHOLE: Self = Self { index: 1, count: 1 };

    /// Part `index` of `count`, counted from 1.
    ///
    /// # Errors
    /// When there is no such part.
    pub fn new(index: usize, count: usize) -> Result<Self, FeatureError> {
        match (1..=count).contains(&index) {
            true => Ok(Self { index, count }),
            false => Err(FeatureError::Shard { index, count }),
        }
    }

    fn has(self, file: usize) -> bool {
        file % self.count == self.index - 1
    }
}

impl FromStr for ShardOf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("found `{text}`, expected i/n with 1 <= i <= n, as in 1/8");
        let (index, count) = text.split_once('/').ok_or_else(wrong)?;
        let number = |part: &str| part.parse::<usize>().map_err(|_| wrong());
        Self::new(number(index)?, number(count)?).map_err(|_| wrong())
    }
}

/// How features are written.
#[derive(Debug, Clone)]
pub struct FeatureOptions {
    precision: CachePrecision,
    shard: ShardOf,
    samples_per_file: Option<usize>,
    model: Option<String>,
    threads: usize,
    stop: Stop,
}

impl Default for FeatureOptions {
    fn default() -> Self {
        Self {
            precision: CachePrecision::F16,
            shard: ShardOf::WHOLE,
            samples_per_file: None,
            model: None,
            threads: 0,
            stop: Stop::default(),
        }
    }
}

impl FeatureOptions {
    /// The same in another precision; f16 without.
    pub fn with_precision(mut self, precision: CachePrecision) -> Self {
        self.precision = precision;
        self
    }

    /// The same for one part of the files.
    pub fn with_shard(mut self, shard: ShardOf) -> Self {
        self.shard = shard;
        self
    }

    /// The same with so many samples in a file; without, what fits into 256 MiB, and at least one file for each shard.
    pub fn with_samples_per_file(mut self, n_samples: usize) -> Self {
        self.samples_per_file = Some(n_samples);
        self
    }

    /// The same with the digest of the model's files, to which the features then belong.
    pub fn with_model_digest(mut self, digest: impl Into<String>) -> Self {
        self.model = Some(digest.into());
        self
    }

    /// The same on so many threads of a CPU; 0 takes all of the machine. Changes nothing in the result.
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// The same; ends after the file during which `stop` is requested.
    pub fn with_stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }
}

/// What is going to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeaturePlan {
    /// What is encoded, and with what.
    pub index: FeatureIndex,
    /// Files of this shard.
    pub files: Vec<usize>,
    /// Bytes that the files of this shard take, if all pictures have as many tokens as the first one.
    pub n_bytes: u64,
    /// Bytes of all files, on the same condition.
    pub all_bytes: u64,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureReport {
    /// The folder.
    pub folder: PathBuf,
    /// Files that this call wrote.
    pub written: usize,
    /// Files of this shard that were there already.
    pub kept: usize,
    /// Bytes that this call wrote.
    pub n_bytes: u64,
}

impl FeaturePlan {
    /// Looks at the data, the first picture and what the folder holds already.
    ///
    /// # Errors
    /// When there is no sample, the first one cannot be encoded, or the folder holds other features.
    pub fn new(
        vlm: &dyn Vlm,
        data: &dyn CaptionData,
        folder: &Path,
        options: &FeatureOptions,
    ) -> Result<Self, FeatureError> {
        let first = encode(vlm, data, 0).map_err(|error| error.at(data.place(0)))?;
        let size = bytes_of(&first, options.precision).max(1);
        let per_shard = data.len().div_ceil(options.shard.count).max(1);
        let own = (FILE_BYTES / size).clamp(1, per_shard);
        let found = FeatureIndex::read(folder)?;
        // An earlier call, or another shard, has decided.
        let kept = found.as_ref().map(|index| index.samples_per_file);
        let per_file = kept.or(options.samples_per_file).unwrap_or(own);
        let model = options.model.clone();
        let wanted = FeatureIndex::new(
            vlm,
            model,
            data.digest()?,
            options.precision,
            data.len(),
            per_file,
        )?;
        let index = match found {
            Some(found) => {
                found.expect(folder, &wanted)?;
                found
            }
            None => wanted,
        };
        let files: Vec<usize> = (0..index.n_files())
            .filter(|&file| options.shard.has(file))
            .collect();
        let n_samples: usize = files.iter().map(|&file| index.samples(file).len()).sum();
        Ok(Self {
            n_bytes: (n_samples * size) as u64,
            all_bytes: (index.n_samples * size) as u64,
            files,
            index,
        })
    }
}

/// Encodes the samples of one shard into a folder, each picture alone, on one thread of a CPU each or on the model's device.
///
/// A file is written whole or not at all, and one that is whole stays: a call that was stopped is gone on with by the same call.
/// Several shards may write into one folder at the same time. `progress` is called with the samples done and those in all.
///
/// # Errors
/// When the folder holds other features, a sample cannot be encoded, the disk refuses, or the work is stopped.
pub fn write_features(
    vlm: &dyn Vlm,
    data: &dyn CaptionData,
    folder: impl AsRef<Path>,
    options: &FeatureOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<FeatureReport, FeatureError> {
    let folder = folder.as_ref();
    fs::create_dir_all(folder).map_err(|source| FeatureError::Read {
        action: "create",
        path: folder.into(),
        source,
    })?;
    let plan = FeaturePlan::new(vlm, data, folder, options)?;
    let FeaturePlan { index, files, .. } = &plan;
    if FeatureIndex::read(folder)?.is_none() {
        index.write(folder)?;
    }
    let threads = match options.threads {
        // A GPU computes for one thread at a time.
        _ if vlm.device() != Device::flex() => 1,
        0 => available_parallelism().map_or(1, |count| count.get()),
        threads => threads,
    };
    let workers = Workers::new(threads);
    let copies: Vec<_> = (0..workers.n_threads())
        .map(|_| Mutex::new(vlm.clone_box()))
        .collect();
    let total: usize = files.iter().map(|&file| index.samples(file).len()).sum();
    let mut report = FeatureReport {
        folder: folder.into(),
        written: 0,
        kept: 0,
        n_bytes: 0,
    };
    let mut done = 0;
    for (nth, &file) in files.iter().enumerate() {
        if options.stop.is_requested() {
            return Err(FeatureError::Stopped {
                done: nth,
                total: files.len(),
            });
        }
        let samples = index.samples(file);
        if FeatureFile::open(folder, index, file).is_ok() {
            report.kept += 1;
        } else {
            let pictures = workers.run(samples.len(), |i| {
                let free = copies.iter().find_map(|vlm| vlm.try_lock().ok());
                let vlm = free.unwrap_or_else(|| copies[0].lock().unwrap_or_else(PoisonError::into_inner));
                let sample = samples.start + i;
                let picture = encode(vlm.as_ref(), data, sample);
                let picture = picture.map_err(|error| error.at(data.place(sample)))?;
                Ok((picture, data.class(sample)))
            });
            let pictures = pictures.into_iter().collect::<Result<Vec<_>, TrainError>>()?;
            report.n_bytes += write(folder, index, file, &pictures)?;
            report.written += 1;
        }
        done += samples.len();
        progress(done, total);
    }
    Ok(report)
}

/// Bytes of a picture's numbers in a file.
fn bytes_of(picture: &StoredPicture, precision: CachePrecision) -> usize {
    let rows = picture.layout.n_tokens();
    let size = match precision {
        CachePrecision::F32 => 4,
        CachePrecision::F16 => 2,
    };
    let relevance = picture.relevance.as_ref().map_or(0, |_| 4 * rows);
    rows * picture.d_vision * size + relevance
}
