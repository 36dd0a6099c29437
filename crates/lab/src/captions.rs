//! What a training reads: captions with their pictures, or with features that were encoded before.

use std::path::{Path, PathBuf};

use diffprune::{
    CaptionData, FEATURES_FILE, FeatureFolder, FeatureOptions, FeaturePlan, FeatureReport, Subset,
    write_features,
};

use crate::data::read_caption_column;
use crate::error::LabError;
use crate::model::LoadedModel;

/// Names of the folders for what is trained on and for what is held out.
const SPLITS: [&str; 2] = ["train", "val"];

/// Data that any thread may hold.
type AnyData = Box<dyn CaptionData + Send + Sync>;

/// Captions to train on and, when there are some, held-out ones.
pub struct TrainingData {
    /// What is trained on.
    pub train: AnyData,
    /// What is held out.
    pub held_out: Option<AnyData>,
}

impl TrainingData {
    /// Captions and pictures of a folder, as [`read_captions`](crate::read_captions) finds them; with the captions in a column of
    /// that name if one is given.
    ///
    /// # Errors
    /// When a list is missing or damaged.
    pub fn pictures(dir: &Path, boxes: bool, column: Option<&str>) -> Result<Self, LabError> {
        let (train, held_out) = read_caption_column(dir, boxes, column)?;
        Ok(Self {
            train: Box::new(train),
            held_out: held_out.map(|captions| Box::new(captions) as AnyData),
        })
    }

    /// Features of a folder that [`encode_captions`] wrote, made by this model; with `pictures` from these very ones.
    ///
    /// # Errors
    /// When a file is missing or damaged, or they are features of another model or of other data.
    pub fn features(dir: &Path, model: &LoadedModel, pictures: Option<&Self>) -> Result<Self, LabError> {
        let fingerprint = model.fingerprint()?;
        let open = |folder: PathBuf, pictures: Option<&AnyData>| -> Result<AnyData, LabError> {
            let features = FeatureFolder::open(folder)?;
            let digest = match pictures {
                Some(pictures) => pictures.digest()?,
                None => None,
            };
            features.expect(model.vlm.as_ref(), Some(&fingerprint), digest.as_deref())?;
            Ok(Box::new(features))
        };
        let train = pictures.map(|pictures| &pictures.train);
        if dir.join(FEATURES_FILE).is_file() {
            return Ok(Self {
                train: open(dir.into(), train)?,
                held_out: None,
            });
        }
        let held_out = dir.join(SPLITS[1]);
        Ok(Self {
            train: open(dir.join(SPLITS[0]), train)?,
            held_out: match held_out.is_dir() {
                true => {
                    let pictures = pictures.and_then(|pictures| pictures.held_out.as_ref());
                    Some(open(held_out, pictures)?)
                }
                false => None,
            },
        })
    }

    /// The same share of every class of what is trained on, drawn by a seed; what is held out stays.
    ///
    /// # Errors
    /// When the share is none, or samples have no class.
    pub fn with_class_share(self, share: f64, seed: u64) -> Result<Self, LabError> {
        Ok(Self {
            train: Box::new(Subset::of_classes(self.train, share, seed)?),
            ..self
        })
    }

    /// The splits by their names.
    pub fn splits(&self) -> impl Iterator<Item = (&'static str, &(dyn CaptionData + Send + Sync))> {
        let all = [Some(&self.train), self.held_out.as_ref()];
        let named = SPLITS.into_iter().zip(all);
        named.filter_map(|(name, data)| Some((name, data?.as_ref())))
    }
}

/// Encodes one split of captions into the folder of its name below `out`. `planned` is told what will be written before
/// anything is; `progress` is called with the samples done and those in all.
///
/// # Errors
/// See [`write_features`].
pub fn encode_captions(
    model: &LoadedModel,
    (name, data): (&str, &dyn CaptionData),
    out: &Path,
    options: &FeatureOptions,
    planned: impl FnOnce(&FeaturePlan) -> Result<(), LabError>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<FeatureReport, LabError> {
    let options = options.clone().with_model_digest(model.fingerprint()?);
    let (folder, vlm) = (out.join(name), model.vlm.as_ref());
    planned(&FeaturePlan::new(vlm, data, &folder, &options)?)?;
    Ok(write_features(vlm, data, folder, &options, progress)?)
}
