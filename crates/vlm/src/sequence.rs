//! The parts of an image in the language model's sequence, and their places.

use burn::tensor::{Int, Tensor, TensorData};
use diffprune_pruner::{Grid, PositionRule};

/// The part of a sequence that belongs to one image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VisualSequence {
    /// The places, in sequence order.
    pub slots: Vec<VisualSlot>,
    /// The number of positions from the image's start to the text after it.
    pub span: usize,
}

/// One place of a [`VisualSequence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisualSlot {
    /// The content of the place.
    pub source: VisualSource,
    /// Position relative to the image's start: (time, row, column), three times the same number for models with one
    /// position axis.
    pub offset: [usize; 3],
}

/// The content of a place of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisualSource {
    /// This row of the image's features.
    Feature(usize),
    /// The model's separator vector (LLaVA-NeXT's newline).
    Separator,
}

impl VisualSequence {
    /// Features in raster order on one position axis: row `j` of the features stands at place `keep[j]` of `n_full`.
    pub fn raster(keep: &[usize], n_full: usize, rule: PositionRule) -> Self {
        let slot = |(row, &place): (usize, &usize)| VisualSlot {
            source: VisualSource::Feature(row),
            offset: [place; 3],
        };
        let sequence = Self {
            slots: keep.iter().enumerate().map(slot).collect(),
            span: n_full,
        };
        match rule {
            PositionRule::Keep => sequence,
            PositionRule::Reindex => sequence.reindexed(),
        }
    }

    /// Features on three position axes: row `j` of the features is the cell `keep[j]` of a raster and stands at (0, row,
    /// column) from the image's start. The text goes on after the longer side of the raster, not after its cells.
    pub fn cells(grid: Grid, keep: &[usize], rule: PositionRule) -> Self {
        let slot = |(row, &cell): (usize, &usize)| VisualSlot {
            source: VisualSource::Feature(row),
            offset: [0, cell / grid.cols, cell % grid.cols],
        };
        let sequence = Self {
            slots: keep.iter().enumerate().map(slot).collect(),
            span: grid.rows.max(grid.cols),
        };
        match rule {
            PositionRule::Keep => sequence,
            PositionRule::Reindex => sequence.reindexed(),
        }
    }

    /// The same places, numbered 0, 1, 2, … on every axis.
    pub fn reindexed(mut self) -> Self {
        for (i, slot) in self.slots.iter_mut().enumerate() {
            slot.offset = [i; 3];
        }
        self.span = self.slots.len();
        self
    }

    /// Number of rows of features that the sequence uses.
    pub fn n_features(&self) -> usize {
        self.slots
            .iter()
            .filter(|slot| matches!(slot.source, VisualSource::Feature(_)))
            .count()
    }
}

/// Visual features of a batch of images as the language model takes them.
#[derive(Debug, Clone)]
pub struct VisualInput {
    /// Projected features, `[images, k_max, d_model]`.
    pub features: Tensor<3>,
    /// For each image, where its features stand.
    pub sequences: Vec<VisualSequence>,
    /// The separator vector, `[d_model]`, where sequences use one.
    pub separator: Option<Tensor<1>>,
}

impl VisualInput {
    /// Features of unpruned images on one position axis, `[images, n, d_model]`.
    pub fn full(features: Tensor<3>) -> Self {
        let [images, n_tokens, _] = features.dims();
        let all: Vec<usize> = (0..n_tokens).collect();
        Self::raster(features, &vec![all; images], n_tokens, PositionRule::Keep)
    }

    /// Features `[images, k_max, d_model]` that stand at the places `keep` of rasters of `n_full` tokens, on one
    /// position axis and without separators.
    pub fn raster(features: Tensor<3>, keep: &[Vec<usize>], n_full: usize, rule: PositionRule) -> Self {
        Self {
            features,
            sequences: keep
                .iter()
                .map(|keep| VisualSequence::raster(keep, n_full, rule))
                .collect(),
            separator: None,
        }
    }

    /// The input of chosen images, in the order given; an image may be chosen more than once.
    ///
    /// # Panics
    /// When there is no image of that number.
    pub fn rows(&self, images: &[usize]) -> Self {
        let indices: Vec<i64> = images.iter().map(|&image| image as i64).collect();
        let indices = TensorData::new(indices, [images.len()]);
        let indices = Tensor::<1, Int>::from_data(indices, &self.features.device());
        Self {
            features: self.features.clone().select(0, indices),
            sequences: images
                .iter()
                .map(|&image| self.sequences[image].clone())
                .collect(),
            separator: self.separator.clone(),
        }
    }

    /// The images of both inputs, those of `self` first.
    pub fn and(self, other: Self) -> Self {
        let wide = self.features.dims()[1].max(other.features.dims()[1]);
        let widen = |features: Tensor<3>| {
            let [images, k, d_model] = features.dims();
            match wide - k {
                0 => features,
                missing => {
                    let options = (&features.device(), features.dtype());
                    let zeros = Tensor::zeros([images, missing, d_model], options);
                    Tensor::cat(vec![features, zeros], 1)
                }
            }
        };
        Self {
            features: Tensor::cat(vec![widen(self.features), widen(other.features)], 0),
            sequences: [self.sequences, other.sequences].concat(),
            separator: self.separator.or(other.separator),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use proptest::prelude::*;

    #[test]
    fn images_can_be_joined_and_chosen() {
        let ones = VisualInput::full(Tensor::ones([1, 3, 2], &Device::flex()));
        let short = VisualInput::raster(
            Tensor::ones([1, 1, 2], &Device::flex()) * 2.0,
            &[vec![2]],
            4,
            PositionRule::Keep,
        );
        let both = ones.and(short);
        assert_eq!(both.features.dims(), [2, 3, 2]);
        assert_eq!(both.sequences[1].slots[0].offset, [2; 3]);
        assert_eq!((both.sequences[1].n_features(), both.sequences[1].span), (1, 4));
        let twice = both.rows(&[1, 1, 0]);
        assert_eq!(twice.sequences[2].n_features(), 3);
        let sums: Vec<f32> = twice
            .features
            .sum_dim(2)
            .sum_dim(1)
            .into_data()
            .try_to_vec()
            .unwrap();
        assert_eq!(sums, [4.0, 4.0, 6.0]);
    }

    #[test]
    fn reindexed_places_count_from_zero() {
        let sequence = VisualSequence::raster(&[3, 5], 9, PositionRule::Reindex);
        assert_eq!(sequence.slots[1].offset, [1; 3]);
        assert_eq!(sequence.span, 2);
    }

    proptest! {
        #[test]
        fn cells_keep_their_coordinates_whatever_is_dropped(
            rows in 1usize..20, cols in 1usize..20, step in 1usize..9
        ) {
            let grid = Grid { rows, cols };
            let keep: Vec<usize> = (0..rows * cols).step_by(step).collect();
            let full = VisualSequence::cells(grid, &(0..rows * cols).collect::<Vec<_>>(), PositionRule::Keep);
            let kept = VisualSequence::cells(grid, &keep, PositionRule::Keep);
            prop_assert_eq!(kept.span, full.span);
            prop_assert_eq!(full.slots[0].offset, [0; 3]);
            let last = full.slots[rows * cols - 1].offset;
            prop_assert_eq!(last, [0, rows - 1, cols - 1]);
            // No position of the image reaches that of the text after it.
            prop_assert!(full.slots.iter().all(|slot| slot.offset.iter().all(|&axis| axis < full.span)));
            for (row, (slot, &cell)) in kept.slots.iter().zip(&keep).enumerate() {
                prop_assert_eq!(slot.offset, full.slots[cell].offset);
                prop_assert_eq!(slot.source, VisualSource::Feature(row));
            }
            let reindexed = VisualSequence::cells(grid, &keep, PositionRule::Reindex);
            prop_assert_eq!(reindexed.span, keep.len());
            let counted = |(i, slot): (usize, &VisualSlot)| slot.offset == [i; 3];
            prop_assert!(reindexed.slots.iter().enumerate().all(counted));
        }
    }
}
