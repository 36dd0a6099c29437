//! The output of a method.

use burn::tensor::{Int, Tensor, TensorData};

/// The kept tokens of a batch: ascending indices for each image or, when the method merges, the merged tokens with the
/// place at which each of them stands.
///
/// Counts may differ between the images of a batch.
#[derive(Debug, Clone)]
pub struct Selection {
    keep_indices: Vec<Vec<usize>>,
    merged: Option<(Tensor<3>, Space)>,
}

/// On which side of the projector merged tokens lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// As the encoder gives them, `d_vision` wide: they go through the projector.
    Vision,
    /// As the language model takes them, `d_model` wide: the projector is skipped.
    Language,
}

impl Selection {
    /// Plain selection; indices are sorted here.
    pub fn keep(mut keep_indices: Vec<Vec<usize>>) -> Self {
        keep_indices.iter_mut().for_each(|row| row.sort_unstable());
        Self {
            keep_indices,
            merged: None,
        }
    }

    /// Selection with merged tokens `[b, k, d_vision]`, in the method's own order: row `j` of an image stands at the
    /// place of its `j`-th index. Indices may come in any order, and more than once.
    ///
    /// # Panics
    /// When indices do not fit the merged tokens.
    pub fn merge(keep_indices: Vec<Vec<usize>>, merged: Tensor<3>) -> Self {
        Self::merge_in(Space::Vision, keep_indices, merged)
    }

    /// As [`Self::merge`], with tokens of either side of the projector.
    ///
    /// # Panics
    /// As [`Self::merge`].
    pub fn merge_in(space: Space, keep_indices: Vec<Vec<usize>>, merged: Tensor<3>) -> Self {
        let [batch, width, _] = merged.dims();
        assert_eq!(batch, keep_indices.len(), "one row of indices per image");
        for row in &keep_indices {
            assert!(row.len() <= width, "more indices than merged tokens");
        }
        Self {
            keep_indices,
            merged: Some((merged, space)),
        }
    }

    /// Number of images.
    pub fn batch(&self) -> usize {
        self.keep_indices.len()
    }

    /// Kept indices of image `row`: ascending, or in the order of the merged tokens.
    pub fn keep_indices(&self, row: usize) -> &[usize] {
        &self.keep_indices[row]
    }

    /// Kept indices of every image.
    pub fn rows(&self) -> &[Vec<usize>] {
        &self.keep_indices
    }

    /// Number of kept tokens of image `row`.
    pub fn count(&self, row: usize) -> usize {
        self.keep_indices[row].len()
    }

    /// True when tokens were merged.
    pub fn is_merged(&self) -> bool {
        self.merged.is_some()
    }

    /// The side of the projector on which [`Self::gather`] gives tokens.
    pub fn space(&self) -> Space {
        self.merged.as_ref().map_or(Space::Vision, |(_, space)| *space)
    }

    /// The kept (or merged) tokens: Eq. (11) of `docs/method.md`.
    ///
    /// # Shapes
    /// - tokens: `[b, n, d_vision]`
    /// - output: `[b, k_max, d_vision]` (`d_model` in [`Space::Language`]); a row with fewer tokens repeats its last one, to be masked by its count
    pub fn gather(&self, tokens: Tensor<3>) -> Tensor<3> {
        if let Some((merged, _)) = &self.merged {
            return merged.clone();
        }
        let [batch, _, width] = tokens.dims();
        let k_max = self.keep_indices.iter().map(Vec::len).max().unwrap_or(0);
        let padded = |row: &Vec<usize>| {
            let last = row.last().copied().unwrap_or(0) as i64;
            let mut indices: Vec<i64> = row.iter().map(|&index| index as i64).collect();
            indices.resize(k_max, last);
            indices
        };
        let indices: Vec<i64> = self.keep_indices.iter().flat_map(padded).collect();
        let indices = Tensor::<2, Int>::from_data(TensorData::new(indices, [batch, k_max]), &tokens.device());
        tokens.gather(1, indices.unsqueeze_dim::<3>(2).expand([batch, k_max, width]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn gather_takes_rows_in_ascending_order() {
        let tokens = Tensor::<1, Int>::arange(0..24, &Device::flex())
            .float()
            .reshape([2, 6, 2]);
        let selection = Selection::keep(vec![vec![4, 1], vec![0]]);
        let kept = selection.gather(tokens);
        assert_eq!(kept.dims(), [2, 2, 2]);
        let values = kept.into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(values, [2., 3., 8., 9., 12., 13., 12., 13.]);
        assert_eq!(selection.count(1), 1);
    }

    #[test]
    #[should_panic(expected = "more indices")]
    fn merged_tokens_need_a_row_per_index() {
        let merged = Tensor::zeros([1, 2, 3], &Device::flex());
        Selection::merge(vec![vec![3, 1, 1]], merged);
    }
}
