//! The unit's pictures and prompts while arms work on them.

use std::collections::HashMap;

use diffprune_pruner::PositionRule;
use diffprune_vlm::Encoded;

use super::arm::ArmInput;

/// The unit's prompts, and its pictures encoded when somebody first needs them.
#[derive(Default)]
pub(crate) struct Prepared {
    pub(super) pictures: Option<Encoded>,
    /// Width and height of what the encoder looks at of each of [`Self::pictures`].
    pub(super) inputs: Vec<[f64; 2]>,
    pub(super) blanks: Option<Encoded>,
    /// The worth of each token of a question's picture to its answer, by position rule and place in the unit.
    pub(super) importance: HashMap<(PositionRule, usize), Vec<f32>>,
    pub(super) prompts: Option<Vec<Vec<u32>>>,
    pub(super) bare_prompts: Option<Vec<Vec<u32>>>,
    pub(super) encoding: EncodingTimes,
    /// Seconds spent on pictures since the last selection began, reading and preparing included.
    pub(super) on_pictures_s: f64,
}

/// Seconds that the vision tower took for the pictures of a unit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EncodingTimes {
    pub(super) pictures: f64,
    pub(super) blanks: f64,
    /// For the last setting that shrinks pictures.
    pub(super) shrunk: f64,
}

impl EncodingTimes {
    /// The seconds for what an arm sees.
    pub(super) fn of(&self, input: ArmInput) -> f64 {
        match input {
            ArmInput::Downsampled => self.shrunk,
            ArmInput::BlankImage => self.blanks,
            ArmInput::Image | ArmInput::TextOnly => self.pictures,
        }
    }
}
