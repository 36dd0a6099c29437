//! The samples of a data set that a model can learn from.

use diffprune_pruner::Layout;
use diffprune_vlm::Vlm;

use crate::{CaptionData, CaptionPrompt, CaptionSample, DataError, StoredPicture, TrainError};
use diffprune_files::Fnv64;

/// A data set without the samples that a model cannot take: pictures that cannot be read or have a shape that it refuses,
/// captions that cannot be asked for.
pub struct Usable<'a> {
    data: &'a dyn CaptionData,
    indices: Vec<usize>,
}

/// A sample that was left out.
#[derive(Debug)]
pub struct Skipped {
    /// Its number in the data.
    pub index: usize,
    /// The problem, with its place.
    pub reason: TrainError,
}

impl<'a> Usable<'a> {
    /// Looks at every sample; the usable ones and those that were left out.
    ///
    /// # Errors
    /// When no sample is usable.
    pub fn of(
        vlm: &dyn Vlm,
        data: &'a dyn CaptionData,
        prompt: &CaptionPrompt,
    ) -> Result<(Self, Vec<Skipped>), TrainError> {
        let (mut indices, mut skipped) = (Vec::new(), Vec::new());
        for index in 0..data.len() {
            match look(vlm, data, prompt, index) {
                Ok(()) => indices.push(index),
                Err(reason) => skipped.push(Skipped {
                    index,
                    reason: reason.at(data.place(index)),
                }),
            }
        }
        match skipped.pop() {
            Some(last) if indices.is_empty() => Err(TrainError::NoneUsable {
                n: data.len(),
                source: Box::new(last.reason),
            }),
            last => {
                skipped.extend(last);
                Ok((Self { data, indices }, skipped))
            }
        }
    }

    fn inner(&self, index: usize) -> Result<usize, DataError> {
        self.indices.get(index).copied().ok_or(DataError::Index {
            found: index,
            wanted: self.indices.len(),
        })
    }
}

fn look(
    vlm: &dyn Vlm,
    data: &dyn CaptionData,
    prompt: &CaptionPrompt,
    index: usize,
) -> Result<(), TrainError> {
    if let Some(stored) = data.stored(index)? {
        prompt.batch(vlm, &[stored.caption])?;
        return Ok(());
    }
    let sample = data.sample(index)?;
    vlm.preprocess(std::slice::from_ref(&sample.image))?;
    prompt.batch(vlm, &[sample.caption])?;
    Ok(())
}

impl CaptionData for Usable<'_> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
        self.data.sample(self.inner(index)?)
    }

    fn digest(&self) -> Result<Option<String>, DataError> {
        let Some(whole) = self.data.digest()? else {
            return Ok(None);
        };
        if self.indices.len() == self.data.len() {
            return Ok(Some(whole));
        }
        let digest = Fnv64::new().text(&whole).text(&format!("{:?}", self.indices));
        Ok(Some(digest.hex()))
    }

    fn place(&self, index: usize) -> Option<String> {
        self.data.place(*self.indices.get(index)?)
    }

    fn class(&self, index: usize) -> Option<String> {
        self.data.class(*self.indices.get(index)?)
    }

    fn stored(&self, index: usize) -> Result<Option<StoredPicture>, DataError> {
        self.data.stored(self.inner(index)?)
    }

    fn relevance(&self, index: usize, layout: &Layout) -> Result<Option<Vec<f32>>, DataError> {
        self.data.relevance(self.inner(index)?, layout)
    }
}
