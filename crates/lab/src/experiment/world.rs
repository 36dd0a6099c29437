//! The data of the experiments, written once.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use diffprune::{CaptionData, DataError, Grid, Layout};
use diffprune_eval::Protocol;
use diffprune_mini::{MiniWorld, Written};

use super::Plan;
use super::ledger::{Ledger, Stage};
use crate::data::{self, QuestionSet, Reading};
use crate::digest::Digest;
use crate::error::LabError;
use crate::evaluation::{FULL, MINI};
use crate::files::make_folder;
use crate::observer::Observer;

/// The data of experiments: the small world, or a folder in the official formats.
#[derive(Debug, Clone)]
pub struct World {
    /// Name of its stage.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// The entry of its stage.
    pub stage: Stage,
    /// `true` for a small world, whose numbers are of the tier `mini`, `false` for a folder of somebody's.
    pub is_small: bool,
    /// At most so many questions of each benchmark.
    pub limit: Option<usize>,
    /// Number of questions; of a small world roughly, before it is read.
    pub n_questions: usize,
    /// `true` when the captions know where objects are, which some methods learn from.
    pub has_boxes: bool,
}

impl World {
    /// Writes the world of a plan into a folder below `stages`, or finds it there.
    ///
    /// # Errors
    /// When the disk refuses, or the folder holds something else.
    pub fn write(
        plan: &Plan,
        seed: u64,
        stages: &Path,
        revision: &str,
        observer: &mut dyn Observer,
    ) -> Result<Self, LabError> {
        make_folder(stages)?;
        let world = plan.world(seed);
        let name = format!("data-{}", Digest::of_settings(&world)?.short());
        let folder = stages.join(&name);
        let mut ledger = Ledger::open(&stages.join(Ledger::FILE), revision.into())?;
        observer.stage("data", ledger.has(&name));
        ledger.time(&name, || write_world(&world, &folder, observer))?;
        Ok(Self {
            stage: ledger.stage(&name),
            name,
            folder,
            is_small: true,
            limit: None,
            n_questions: super::outline::questions(&plan.counts, plan.pope_per_image),
            has_boxes: true,
        })
    }

    /// The data of a folder: benchmarks in their official formats, and captions in `captions/train` and `captions/val` (or
    /// directly in `train` and `val`). Nothing is written there. Its name follows the content of every question, caption and
    /// picture.
    ///
    /// # Errors
    /// When there are no questions or no captions, or a file is damaged.
    pub fn of_folder(folder: &Path, limit: Option<usize>, revision: &str) -> Result<Self, LabError> {
        let digest = |error: DataError| LabError::from(error);
        let (captions, held_out) = data::read_captions(folder, true)?;
        let set = QuestionSet::read(folder, &Reading::from(Protocol::Llava), false, &[])?;
        let questions = data::limited(set.questions, limit);
        let names = [Some(&captions), held_out.as_ref()].into_iter().flatten();
        let names = names.map(|captions| captions.digest().map_err(digest));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let name = Digest::of_settings(&(data::question_digest(&questions)?, names))?;
        let one = Layout::from(Grid { rows: 1, cols: 1 });
        Ok(Self {
            name: format!("data-{}", name.short()),
            folder: folder.into(),
            stage: Stage {
                seconds: Some(0.0),
                revisions: vec![revision.into()],
                resumed: false,
            },
            is_small: folder.join("manifest.json").is_file(),
            limit,
            n_questions: questions.len(),
            has_boxes: captions.relevance(0, &one).map_err(digest)?.is_some(),
        })
    }

    /// The questions in the words of a protocol, and those that cannot be used.
    pub(super) fn questions(
        &self,
        protocol: Protocol,
        pope_per_image: usize,
    ) -> Result<QuestionSet, LabError> {
        let mut set = QuestionSet::read(&self.folder, &protocol.into(), false, &[])?;
        let questions = data::limited(std::mem::take(&mut set.questions), self.limit);
        // Pictures of the small world have more questions of POPE than a plan asks; official ones are asked as they are.
        set.questions = match self.is_small {
            true => data::thinned(questions, pope_per_image),
            false => questions,
        };
        Ok(set)
    }

    /// The name of the tier of its numbers.
    pub(super) fn tier(&self) -> &'static str {
        match self.is_small {
            true => MINI,
            false => FULL,
        }
    }
}

/// Writes a small world, with the progress of its pictures.
///
/// # Errors
/// When the disk refuses, or the folder holds something else.
pub fn write_world(world: &MiniWorld, out: &Path, observer: &mut dyn Observer) -> Result<Written, LabError> {
    let total = world.counts.train_captions;
    let stop = observer.stop();
    // The number of GQA's pictures is known only later; the display corrects itself at the first call.
    let display = Mutex::new((observer.progress("pictures", total), 0, observer));
    let written = world.write(out, &stop, &|progress| {
        if let Ok(mut display) = display.lock() {
            if display.1 != progress.total {
                display.0 = display.2.progress("pictures", progress.total);
                display.1 = progress.total;
            }
            display.0.step(progress.done, &[]);
        }
    })?;
    if let Ok(display) = display.lock() {
        display.0.finish();
    }
    Ok(written)
}
