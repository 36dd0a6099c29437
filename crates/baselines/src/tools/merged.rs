//! Answers with tokens that were merged, or that come in an order of their own.

use burn::tensor::{DType, Tensor, TensorData};
use diffprune_pruner::{PruneError, PruningContext, Selection, Space};

use crate::tools::host::{Matrix, matrices};

/// The tokens that one image is left with, each with its place.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tokens {
    places: Vec<usize>,
    values: Vec<f32>,
}

impl Tokens {
    /// All tokens as they are.
    pub(crate) fn all(features: &Matrix) -> Self {
        Self {
            places: (0..features.n_rows()).collect(),
            values: features.values().to_vec(),
        }
    }

    /// Adds a token at the end.
    pub(crate) fn push(&mut self, place: usize, values: &[f32]) {
        self.places.push(place);
        self.values.extend_from_slice(values);
    }
}

/// The answer for a batch, on the device and in the dtype of `like`, with the width of its last dimension.
pub(crate) fn selection(images: Vec<Tokens>, space: Space, like: &Tensor<3>) -> Selection {
    let width = like.dims()[2];
    let k_max = images.iter().map(|image| image.places.len()).max().unwrap_or(0);
    let mut values = Vec::with_capacity(images.len() * k_max * width);
    let mut keep_indices = Vec::with_capacity(images.len());
    for image in images {
        values.extend_from_slice(&image.values);
        values.resize((keep_indices.len() + 1) * k_max * width, 0.0);
        keep_indices.push(image.places);
    }
    let data = TensorData::new(values, [keep_indices.len(), k_max, width]);
    let merged = Tensor::<3>::from_data(data, (&like.device(), DType::F32)).cast(like.dtype());
    Selection::merge_in(space, keep_indices, merged)
}

/// The tokens that a method leaves of one crop.
#[derive(Debug, Clone, PartialEq)]
pub struct CropTokens<T> {
    /// The `[CLS]` row.
    pub class: Option<T>,
    /// Patches with the index of their token, in the method's order.
    pub patches: Vec<(usize, T)>,
    /// Tokens made of several patches.
    pub contextual: Vec<T>,
}

/// The order in which the crops of an image go to the language model in the code of VisionZip and PruneSID.
///
/// The first crop (the whole image) comes as it is: `[CLS]`, patches, contextual tokens. Then come the patches of all
/// tiles in the raster order of the whole image, the `[CLS]` rows of the tiles, and their contextual tokens tile by tile.
pub fn pack_crops<T>(crops: impl IntoIterator<Item = CropTokens<T>>) -> Vec<T> {
    let mut crops = crops.into_iter();
    let mut packed = Vec::new();
    if let Some(whole) = crops.next() {
        packed.extend(whole.class);
        packed.extend(whole.patches.into_iter().map(|(_, token)| token));
        packed.extend(whole.contextual);
    }
    let (mut patches, mut classes, mut contextual) = (Vec::new(), Vec::new(), Vec::new());
    for tile in crops {
        patches.extend(tile.patches);
        classes.extend(tile.class);
        contextual.extend(tile.contextual);
    }
    patches.sort_by_key(|(index, _)| *index);
    packed.extend(patches.into_iter().map(|(_, token)| token));
    packed.extend(classes);
    packed.extend(contextual);
    packed
}

/// A row of the answer: its place and its values.
pub(crate) type Placed = (usize, Vec<f32>);

/// The crops of an image as one row of the answer.
pub(crate) fn packed(crops: impl IntoIterator<Item = CropTokens<Placed>>) -> Tokens {
    let mut tokens = Tokens::default();
    for (place, values) in pack_crops(crops) {
        tokens.push(place, &values);
    }
    tokens
}

/// The `[CLS]` rows of each image's views; `None` where the encoder has no `[CLS]`.
pub(crate) fn class_rows(context: &PruningContext, method: &str) -> Result<Option<Vec<Matrix>>, PruneError> {
    let counts: Vec<usize> = context
        .layouts
        .iter()
        .map(|layout| layout.views.len().max(1))
        .collect();
    let rows = |classes| matrices(classes, method, "[CLS] tokens", &counts);
    context.observed.class_tokens.as_ref().map(rows).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn short_rows_are_padded() {
        let mut one = Tokens::default();
        one.push(4, &[1.0, 2.0]);
        let two = Tokens::all(&Matrix::new(vec![3.0, 4.0, 5.0, 6.0], 2));
        let like = Tensor::<3>::zeros([2, 5, 2], &Device::flex());
        let found = selection(vec![one, two], Space::Vision, &like);
        assert_eq!(found.rows(), [vec![4], vec![0, 1]]);
        let values = found.gather(like).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(values, [1., 2., 0., 0., 3., 4., 5., 6.]);
    }

    #[test]
    fn tiles_follow_the_whole_image_in_raster_order() {
        let crop = |class, patches: &[usize], contextual| CropTokens {
            class: Some(class),
            patches: patches.iter().map(|&index| (index, index)).collect(),
            contextual: vec![contextual],
        };
        let packed = pack_crops([
            crop(100, &[3, 1], 200),
            crop(101, &[9, 5], 201),
            crop(102, &[7], 202),
        ]);
        assert_eq!(packed, [100, 3, 1, 200, 5, 7, 9, 101, 102, 201, 202]);
    }
}
