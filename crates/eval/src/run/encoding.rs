//! Pictures and prompts of a unit, made once.

use std::time::Instant;

use diffprune_pruner::Signals;
use diffprune_vlm::{Encoded, Turn};
use image::{Rgb, RgbImage};

use super::arm::{Arm, ArmInput};
use super::downsample::{downsampled, inputs};
use super::prepared::Prepared;
use super::runner::Setting;
use super::worker::Worker;
use crate::EvalError;
use crate::data::Question;

/// Colour of blank pictures: the mean of CLIP's training pictures, as LLaVA pads with it.
const BLANK: Rgb<u8> = Rgb([122, 116, 104]);

impl Worker<'_> {
    /// Waits until the device has nothing left to do, where somebody asks for times.
    pub(super) fn wait(&self) {
        if self.shared.run.options.times.is_some() {
            // A device that fails here fails again where the result is needed.
            let _ = self.vlm.device().sync();
        }
    }

    /// The unit's pictures (or blanks of their sizes), encoded once with the signals of every arm.
    pub(crate) fn encoded<'p>(
        &self,
        input: ArmInput,
        prepared: &'p mut Prepared,
    ) -> Result<&'p Encoded, EvalError> {
        let blank = input == ArmInput::BlankImage;
        let slot = if blank {
            &mut prepared.blanks
        } else {
            &mut prepared.pictures
        };
        if let Some(encoded) = slot {
            return Ok(encoded);
        }
        let start = Instant::now();
        let mut pictures = self.load()?;
        if blank {
            pictures.iter_mut().for_each(|picture| {
                *picture = RgbImage::from_pixel(picture.width(), picture.height(), BLANK);
            });
        }
        let signals = self
            .shared
            .settings
            .iter()
            .map(|setting| Arm::signals(setting.arm));
        let signals = signals.fold(Signals::default(), Signals::union);
        let pixels = self.vlm.preprocess(&pictures)?;
        if !blank {
            prepared.inputs = inputs(&pixels);
        }
        let encoding = Instant::now();
        let encoded = self.vlm.encode(pixels, signals);
        self.wait();
        let seconds = encoding.elapsed().as_secs_f64();
        if blank {
            prepared.encoding.blanks = seconds;
        } else {
            prepared.encoding.pictures = seconds;
        }
        prepared.on_pictures_s += start.elapsed().as_secs_f64();
        Ok(slot.insert(encoded))
    }

    /// The unit's pictures, each shrunk until it is worth the setting's budget.
    pub(super) fn downsampled(
        &self,
        setting: &Setting<'_>,
        prepared: &mut Prepared,
    ) -> Result<Encoded, EvalError> {
        let totals = self.encoded(setting.arm.input, prepared)?.counts();
        let shrunk = |(place, image): (usize, RgbImage)| {
            let total = totals[place];
            let kept = setting
                .budget
                .resolve(total)
                .map_err(|error| EvalError::Model(error.into()))?;
            Ok(downsampled(&image, prepared.inputs[place], kept, total))
        };
        let start = Instant::now();
        let pictures: Vec<RgbImage> = self
            .load()?
            .into_iter()
            .enumerate()
            .map(shrunk)
            .collect::<Result<_, EvalError>>()?;
        let pixels = self.vlm.preprocess(&pictures)?;
        let encoding = Instant::now();
        let encoded = self.vlm.encode(pixels, setting.arm.signals());
        self.wait();
        prepared.encoding.shrunk = encoding.elapsed().as_secs_f64();
        prepared.on_pictures_s += start.elapsed().as_secs_f64();
        Ok(encoded)
    }

    /// The unit's pictures, read from their files.
    fn load(&self) -> Result<Vec<RgbImage>, EvalError> {
        let load = |question: &&Question| question.load_image().map_err(EvalError::from);
        self.unit.pictures.iter().map(load).collect()
    }

    /// The prompts of all questions of the unit.
    pub(crate) fn prompts<'p>(
        &self,
        input: ArmInput,
        prepared: &'p mut Prepared,
    ) -> Result<&'p [Vec<u32>], EvalError> {
        let bare = input == ArmInput::TextOnly;
        let slot = if bare {
            &mut prepared.bare_prompts
        } else {
            &mut prepared.prompts
        };
        if let Some(prompts) = slot {
            return Ok(prompts);
        }
        let prompt = |(question, _): &(&Question, usize)| {
            self.vlm
                .prompt_ids(&[Turn::ask(question.text.clone()).with_images(usize::from(!bare))])
        };
        let prompts = self
            .unit
            .questions
            .iter()
            .map(prompt)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(slot.insert(prompts))
    }
}
