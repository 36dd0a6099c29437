//! Vision tokens of captioned pictures, computed once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Bool, DType, Device, Tensor, TensorData, f16};
use diffprune_pruner::{Layout, Observed, Signals};
use diffprune_vlm::{Encoded, TextBatch, Vlm};

use crate::{CachePrecision, CaptionData, CaptionPrompt, TrainError};

/// Captioned pictures as the training sees them: vision tokens and captions.
///
/// The encoder is frozen, so tokens are kept in memory once they are computed, up to a limit. Every picture goes
/// through the encoder alone and every token through the same rounding: what is held and what is not, and in which
/// order pictures come, makes no difference to a single bit.
pub struct FeatureStore<'a> {
    data: Source<'a>,
    precision: CachePrecision,
    limit: u64,
    held: Mutex<Held>,
}

/// The data, lent or shared.
enum Source<'a> {
    Lent(&'a dyn CaptionData),
    Shared(SharedData),
}

/// Data that any thread may hold.
pub(crate) type SharedData = Arc<dyn CaptionData + Send + Sync>;

#[derive(Default)]
struct Held {
    pictures: HashMap<usize, Arc<StoredPicture>>,
    bytes: u64,
}

/// A captioned picture behind the encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPicture {
    /// Its caption.
    pub caption: String,
    /// How its tokens lie on it.
    pub layout: Layout,
    /// Width of a token.
    pub d_vision: usize,
    /// The numbers of all tokens, one token after the other.
    pub tokens: TokenValues,
    /// The share of each token that shows what matters, where the data knows; see [`CaptionData::relevance`].
    pub relevance: Option<Vec<f32>>,
}

/// Numbers of tokens in one of two precisions.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenValues {
    /// As computed.
    F32(Vec<f32>),
    /// Rounded to 11 bits.
    F16(Vec<f16>),
}

impl<'a> FeatureStore<'a> {
    /// A store that holds at most `limit` bytes of tokens.
    pub fn new(data: &'a dyn CaptionData, precision: CachePrecision, limit: u64) -> Self {
        Self::from_source(Source::Lent(data), precision, limit)
    }

    /// The same on data that is shared.
    pub(crate) fn shared(data: SharedData, precision: CachePrecision, limit: u64) -> Self {
        Self::from_source(Source::Shared(data), precision, limit)
    }

    fn from_source(data: Source<'a>, precision: CachePrecision, limit: u64) -> Self {
        Self {
            data,
            precision,
            limit,
            held: Mutex::default(),
        }
    }

    fn data(&self) -> &dyn CaptionData {
        match &self.data {
            Source::Lent(data) => *data,
            Source::Shared(data) => data.as_ref(),
        }
    }

    /// Bytes of tokens in memory.
    pub fn held_bytes(&self) -> u64 {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// Tokens (on the plain device of `vlm`) and captions of some samples, with their relevance where all of them know it.
    ///
    /// # Errors
    /// When a sample cannot be read.
    pub fn encode(&self, vlm: &dyn Vlm, indices: &[usize]) -> Result<(Encoded, Vec<String>), TrainError> {
        let pictures = indices
            .iter()
            .map(|&index| self.picture(vlm, index))
            .collect::<Result<Vec<_>, _>>()?;
        let captions = pictures.iter().map(|picture| picture.caption.clone()).collect();
        Ok((stack(&pictures, &vlm.device()), captions))
    }

    /// Sequences and targets of the captions of some samples.
    ///
    /// # Errors
    /// When a caption cannot be rendered or tokenised, with the place of its sample.
    pub(crate) fn text(
        &self,
        vlm: &dyn Vlm,
        prompt: &CaptionPrompt,
        indices: &[usize],
        captions: &[String],
    ) -> Result<TextBatch, TrainError> {
        let outcome = prompt.batch(vlm, captions);
        outcome.map_err(|error| {
            // Which of them it was is asked only now.
            let bad = |caption: &&String| prompt.batch(vlm, std::slice::from_ref(*caption)).is_err();
            let place = captions.iter().position(|caption| bad(&caption));
            let place = place.and_then(|i| self.data().place(*indices.get(i)?));
            TrainError::from(error).at(place)
        })
    }

    fn picture(&self, vlm: &dyn Vlm, index: usize) -> Result<Arc<StoredPicture>, TrainError> {
        let lock = || self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(picture) = lock().pictures.get(&index) {
            return Ok(picture.clone());
        }
        let picture = self.compute(vlm, index);
        let picture = Arc::new(picture.map_err(|error| error.at(self.data().place(index)))?);
        let mut held = lock();
        let bytes = picture.tokens.bytes();
        if held.bytes + bytes <= self.limit && held.pictures.insert(index, picture.clone()).is_none() {
            held.bytes += bytes;
        }
        Ok(picture)
    }

    fn compute(&self, vlm: &dyn Vlm, index: usize) -> Result<StoredPicture, TrainError> {
        let picture = match self.data().stored(index)? {
            Some(picture) => picture,
            None => encode(vlm, self.data(), index)?,
        };
        Ok(StoredPicture {
            tokens: picture.tokens.held_in(self.precision),
            ..picture
        })
    }
}

/// A sample behind the encoder, alone, as computed.
pub(crate) fn encode(
    vlm: &dyn Vlm,
    data: &dyn CaptionData,
    index: usize,
) -> Result<StoredPicture, TrainError> {
    let sample = data.sample(index)?;
    let pixels = vlm.preprocess(std::slice::from_ref(&sample.image))?;
    let encoded = vlm.encode(pixels, Signals::default());
    let layout = encoded.layouts[0].clone();
    let [_, _, d_vision] = encoded.tokens.dims();
    let tokens = encoded.tokens.slice([0..1, 0..layout.n_tokens()]).into_data();
    Ok(StoredPicture {
        caption: sample.caption,
        relevance: data.relevance(index, &layout)?,
        layout,
        d_vision,
        tokens: TokenValues::F32(tokens.iter::<f32>().collect()),
    })
}

impl TokenValues {
    /// Numbers in either precision, from f32.
    pub fn new(values: Vec<f32>, precision: CachePrecision) -> Self {
        match precision {
            CachePrecision::F32 => Self::F32(values),
            CachePrecision::F16 => Self::F16(values.into_iter().map(f16::from_f32).collect()),
        }
    }

    /// The same in another precision; nothing comes back that was rounded away.
    fn held_in(self, precision: CachePrecision) -> Self {
        match (self, precision) {
            (Self::F32(values), CachePrecision::F16) => Self::new(values, precision),
            // Half the memory for the same numbers.
            (held, _) => held,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::F32(values) => 4 * values.len() as u64,
            Self::F16(values) => 2 * values.len() as u64,
        }
    }

    fn append_to(&self, out: &mut Vec<f32>) {
        match self {
            Self::F32(values) => out.extend_from_slice(values),
            Self::F16(values) => out.extend(values.iter().map(|value| value.to_f32())),
        }
    }
}

/// Pictures side by side; shorter ones are padded with zeros at the end.
fn stack(pictures: &[Arc<StoredPicture>], device: &Device) -> Encoded {
    let layouts: Vec<Layout> = pictures.iter().map(|picture| picture.layout.clone()).collect();
    let counts: Vec<usize> = layouts.iter().map(Layout::n_tokens).collect();
    let n_tokens = counts.iter().copied().max().unwrap_or(0);
    let (batch, d_vision) = (
        pictures.len(),
        pictures.first().map_or(0, |picture| picture.d_vision),
    );
    let mut values = Vec::with_capacity(batch * n_tokens * d_vision);
    for (row, picture) in pictures.iter().enumerate() {
        picture.tokens.append_to(&mut values);
        values.resize((row + 1) * n_tokens * d_vision, 0.0);
    }
    let ragged = counts.iter().any(|&count| count != n_tokens);
    let mask = ragged.then(|| {
        let real: Vec<bool> = counts
            .iter()
            .flat_map(|&count| (0..n_tokens).map(move |i| i < count))
            .collect();
        Tensor::<2, Bool>::from_data(TensorData::new(real, [batch, n_tokens]), device)
    });
    let relevance: Option<Vec<f32>> = pictures
        .iter()
        .map(|picture| {
            let mut row = picture.relevance.clone()?;
            row.resize(n_tokens, 0.0);
            Some(row)
        })
        .collect::<Option<Vec<_>>>()
        .map(|rows| rows.concat());
    let relevance = relevance.map(|values| {
        let values = TensorData::new(values, [batch, n_tokens]);
        Tensor::from_data(values, (device, DType::F32))
    });
    let tokens = TensorData::new(values, [batch, n_tokens, d_vision]);
    Encoded {
        tokens: Tensor::from_data(tokens, (device, DType::F32)),
        mask,
        layouts,
        observed: Observed {
            relevance,
            ..Observed::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffprune_pruner::Grid;

    #[test]
    fn shorter_pictures_are_padded_and_masked() {
        let picture = |rows: usize, tokens: TokenValues| {
            Arc::new(StoredPicture {
                caption: String::new(),
                layout: Grid { rows, cols: 1 }.into(),
                d_vision: 2,
                tokens,
                relevance: (rows > 1).then(|| vec![0.5; rows]),
            })
        };
        let long = picture(3, TokenValues::F32(vec![1., 2., 3., 4., 5., 6.]));
        let short = picture(1, TokenValues::F16(vec![f16::from_f32(7.), f16::from_f32(8.)]));
        let encoded = stack(&[short, long.clone()], &Device::flex());
        let values = encoded.tokens.into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(values, [7., 8., 0., 0., 0., 0., 1., 2., 3., 4., 5., 6.]);
        let mask: Vec<bool> = encoded.mask.unwrap().into_data().iter::<bool>().collect();
        assert_eq!(mask, [true, false, false, true, true, true]);
        // One of them does not know what matters.
        assert!(encoded.observed.relevance.is_none());
        let alone = stack(&[long], &Device::flex());
        assert!(alone.mask.is_none());
        let relevance = alone.observed.relevance.unwrap().into_data();
        assert_eq!(relevance.try_to_vec::<f32>().unwrap(), [0.5; 3]);
    }
}
