//! Some of the samples of a data set.

use std::collections::BTreeMap;

use diffprune_files::Fnv64;
use diffprune_pruner::Layout;
use diffprune_training::rng;
use rand::Rng;

use crate::{CaptionData, CaptionSample, DataError, StoredPicture};

/// Stream of the draws, apart from those of a run.
const SHARE: u64 = 7;

/// Some of the samples of a data set, in its order: those that [a model can learn from](crate::usable), or
/// [a share of every class](Self::of_classes). Its digest is that of the data when nothing is left out.
pub struct Subset<D> {
    data: D,
    indices: Vec<usize>,
}

impl<D: CaptionData> Subset<D> {
    /// The samples with these numbers, which rise.
    pub(super) fn new(data: D, indices: Vec<usize>) -> Self {
        Self { data, indices }
    }

    /// The same share of every class, above 0 and at most 1, drawn by a seed, at least one sample of each.
    ///
    /// A larger share with the same seed contains a smaller one.
    ///
    /// # Errors
    /// When the share is something else, or a sample has no class.
    pub fn of_classes(data: D, share: f64, seed: u64) -> Result<Self, DataError> {
        if !(share > 0.0 && share <= 1.0) {
            return Err(DataError::Share { found: share });
        }
        let mut classes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for index in 0..data.len() {
            let class = data.class(index).ok_or_else(|| DataError::NoClass {
                place: data.place(index).unwrap_or_else(|| format!("sample {index}")),
            })?;
            classes.entry(class).or_default().push(index);
        }
        let mut indices = Vec::new();
        for (class, mut members) in classes {
            let mut rng = rng(seed, SHARE, Fnv64::new().text(&class).value());
            for i in (1..members.len()).rev() {
                // Classes are far below 2^32 samples, so the remainder is even enough.
                members.swap(i, (rng.next_u64() % (i as u64 + 1)) as usize);
            }
            let wanted = (share * members.len() as f64).round() as usize;
            indices.extend(members.iter().take(wanted.max(1)));
        }
        indices.sort_unstable();
        Ok(Self::new(data, indices))
    }

    fn inner(&self, index: usize) -> Result<usize, DataError> {
        self.indices.get(index).copied().ok_or(DataError::Index {
            found: index,
            wanted: self.indices.len(),
        })
    }
}

impl<D: CaptionData> CaptionData for Subset<D> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
        self.data.sample(self.inner(index)?)
    }

    fn stored(&self, index: usize) -> Result<Option<StoredPicture>, DataError> {
        self.data.stored(self.inner(index)?)
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

    fn class(&self, index: usize) -> Option<String> {
        self.data.class(*self.indices.get(index)?)
    }

    fn place(&self, index: usize) -> Option<String> {
        self.data.place(*self.indices.get(index)?)
    }

    fn relevance(&self, index: usize, layout: &Layout) -> Result<Option<Vec<f32>>, DataError> {
        self.data.relevance(self.inner(index)?, layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;

    /// Forty samples of three classes, one of which has two.
    struct Classes;

    impl CaptionData for Classes {
        fn len(&self) -> usize {
            40
        }

        fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
            let caption = index.to_string();
            let image = RgbImage::new(1, 1);
            Ok(CaptionSample { image, caption })
        }

        fn class(&self, index: usize) -> Option<String> {
            let class = ["a", "b"][index % 2];
            Some(if index < 2 { "rare" } else { class }.to_string())
        }

        fn digest(&self) -> Result<Option<String>, DataError> {
            Ok(Some("forty".into()))
        }
    }

    #[test]
    fn every_class_keeps_its_share_and_a_larger_one_contains_it() {
        let of = |share, seed| Subset::of_classes(Classes, share, seed).unwrap();
        let (small, large) = (of(0.2, 3), of(0.5, 3));
        let count = |share: &Subset<Classes>, class| {
            let classes = (0..share.len()).filter_map(|i| share.class(i));
            classes.filter(|own| own == class).count()
        };
        assert_eq!(
            [count(&small, "a"), count(&small, "b"), count(&small, "rare")],
            [4, 4, 1]
        );
        assert_eq!(
            [count(&large, "a"), count(&large, "b"), count(&large, "rare")],
            [10, 10, 1]
        );
        assert!(small.indices.iter().all(|index| large.indices.contains(index)));
        assert!(small.indices.is_sorted());
        assert_ne!(small.indices, of(0.2, 4).indices, "another seed");
        assert_eq!(small.sample(0).unwrap().caption, small.indices[0].to_string());
        assert_ne!(small.digest().unwrap(), large.digest().unwrap());
        assert_eq!(of(1.0, 3).digest().unwrap().unwrap(), "forty");
        assert!(matches!(small.sample(9), Err(DataError::Index { .. })));
        for share in [0.0, -1.0, 1.5, f64::NAN] {
            assert!(matches!(
                Subset::of_classes(Classes, share, 0),
                Err(DataError::Share { .. })
            ));
        }
    }
}
