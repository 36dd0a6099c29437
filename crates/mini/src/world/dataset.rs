//! An endless, addressable set of scenes.

use super::config::WorldConfig;
use super::scene::{Scene, stream};
use crate::MiniError;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// One scene in so many is out of focus in [`SceneDataset::get_or_blur`].
const BLURRED: u32 = 25;
/// The random stream that decides which; texts have the small numbers.
const BLUR_STREAM: u64 = u64::MAX;

/// Which of three disjoint sets of scenes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Scenes to train on.
    Train,
    /// Scenes to choose by.
    Val,
    /// Scenes to report on.
    Test,
}

impl Split {
    /// The folder's name.
    pub fn word(self) -> &'static str {
        ["train", "val", "test"][self as usize]
    }
}

/// Scenes by number: nothing is stored, each is generated when asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct SceneDataset {
    config: WorldConfig,
    seed: u64,
    split: Split,
}

impl SceneDataset {
    /// The scenes that `config`, `seed` and `split` stand for.
    ///
    /// # Errors
    /// [`MiniError::Config`] if no scene can be drawn with this configuration.
    pub fn new(config: WorldConfig, seed: u64, split: Split) -> Result<Self, MiniError> {
        config.validate()?;
        Ok(Self { config, seed, split })
    }

    /// The configuration of the scenes.
    pub fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// Which set this is.
    pub fn split(&self) -> Split {
        self.split
    }

    /// Scene number `index`; every number has one.
    pub fn get(&self, index: u64) -> Scene {
        Scene::generate(&self.config, self.split_seed(), index)
    }

    /// [`Self::get`] with one scene in 25 out of focus, for training that is to know when nothing can be told.
    pub fn get_or_blur(&self, index: u64) -> Scene {
        let blurred = stream(self.split_seed(), index, BLUR_STREAM).random_range(0..BLURRED) == 0;
        Scene {
            blurred,
            ..self.get(index)
        }
    }

    /// A random stream for captions and questions about scene number `index`; `epoch` gives fresh ones.
    pub fn text_rng(&self, index: u64, epoch: u64) -> ChaCha8Rng {
        stream(self.split_seed(), index, 1 + epoch)
    }

    fn split_seed(&self) -> u64 {
        split_seed(self.seed, self.split)
    }
}

/// A bijective mix of the seed, so that splits never share a stream by accident of small seeds.
pub(crate) fn split_seed(seed: u64, split: Split) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15u64.wrapping_mul(split as u64 + 1));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
