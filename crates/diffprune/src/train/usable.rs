//! The samples of a data set that a model can learn from.

use diffprune_vlm::Vlm;

use super::subset::Subset;
use crate::{CaptionData, CaptionPrompt, TrainError};

/// A sample that was left out.
#[derive(Debug)]
pub struct Skipped {
    /// Its number in the data.
    pub index: usize,
    /// The problem, with its place.
    pub reason: TrainError,
}

/// Looks at every sample: those that the model can take, and those that it cannot, because the picture cannot be read or has
/// a shape that it refuses, or the caption cannot be asked for.
///
/// # Errors
/// When no sample is usable.
pub fn usable<'a>(
    vlm: &dyn Vlm,
    data: &'a dyn CaptionData,
    prompt: &CaptionPrompt,
) -> Result<(Subset<&'a dyn CaptionData>, Vec<Skipped>), TrainError> {
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
            Ok((Subset::new(data, indices), skipped))
        }
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
