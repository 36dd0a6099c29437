//! The pilot studies as stages of an experiment.

use std::fs;
use std::path::{Path, PathBuf};

use diffprune::vlm::Vit;
use diffprune::{LoadOptions, VlmError};
use diffprune_eval::{TierVerdict, Verdict};
use diffprune_files::write_whole;
use diffprune_mini::{SceneDataset, Split, WorldConfig, render};
use diffprune_pilots::{
    CoherencePlan, DiversityPlan, Finding, LabelledImages, LandscapePlan, LlmFreePlan, Outcome, PilotError,
    ProxyPlan, SIZES, ScalesPlan, Study, proxy,
};
use serde::{Deserialize, Serialize};

use super::{Experiment, Learned, Ledger, STAGES, length};
use crate::checksums::verify_checksums;
use crate::digest::Digest;
use crate::error::LabError;
use crate::files::{folder_name, make_folder, read_json};
use crate::model::LoadedModel;
use crate::observer::{Observer, WithinStage};
use crate::pilots::{
    GeneratedCaptions, PilotModel, SCALE_BENCHMARKS, ScaleQuestions, read_classifiers, scale_study,
    sizes_beside, width_study,
};
use crate::scorer::SCORER;

/// Folder of the pages below that of the report.
pub const STUDIES: &str = "studies";
/// Arms whose gradients are looked at along their own trainings.
const ALONG: [&str; 4] = ["diffprune", "gumbel-noise", "gumbel-gathered", "gumbel-ste"];
/// Parts of a study in its display.
const PARTS: usize = 1000;

/// The sizes of the pilot studies; everything else has the studies' own defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StudySizes {
    /// Pictures of the studies with a classifier and of the one about likeness.
    pub images: usize,
    /// Batches of the study about coherence.
    pub batches: usize,
    /// Pictures of each batch.
    pub batch: usize,
    /// Noises on one batch.
    pub noises: usize,
    /// Scorers before any training.
    pub fresh: u64,
    /// Pairs of directions of the loss surface.
    pub directions: usize,
    /// Steps of the finest grid on a line, a multiple of 8.
    pub steps: usize,
    /// Points along a side of the surface; 0 draws none.
    pub surface: usize,
    /// Pictures behind each loss.
    pub pictures: usize,
    /// True looks at gradients along the trainings of DiffPrune and its contrasts, too.
    pub along: bool,
    /// Questions of each benchmark of the study about sizes, about.
    pub questions: usize,
}

impl Default for StudySizes {
    /// A few minutes on two cores.
    fn default() -> Self {
        Self {
            images: 400,
            batches: 8,
            batch: 16,
            noises: 4,
            fresh: 1,
            directions: 2,
            steps: 32,
            surface: 7,
            pictures: 8,
            along: false,
            questions: 120,
        }
    }
}

impl StudySizes {
    /// Below a minute.
    pub fn quick() -> Self {
        Self {
            images: 60,
            batches: 4,
            batch: 8,
            noises: 2,
            directions: 1,
            steps: 16,
            surface: 0,
            pictures: 4,
            questions: 40,
            ..Self::default()
        }
    }

    /// The sizes of the studies' definitions.
    pub fn full() -> Self {
        Self {
            images: 1000,
            batches: 32,
            batch: 32,
            noises: 16,
            fresh: 3,
            directions: 5,
            steps: 96,
            surface: 13,
            pictures: 8,
            along: true,
            questions: 400,
        }
    }

    /// Seconds; the numbers mean nothing.
    pub fn smallest() -> Self {
        Self {
            images: 4,
            batches: 3,
            batch: 2,
            noises: 0,
            directions: 1,
            steps: 8,
            surface: 0,
            pictures: 2,
            along: true,
            questions: 4,
            ..Self::default()
        }
    }
}

/// A study as it stands beside a report.
#[derive(Debug, Clone, PartialEq)]
pub struct StudyPage {
    /// Heading.
    pub title: String,
    /// The question that it answers.
    pub question: String,
    /// The page, relative to the folder of the report.
    pub page: String,
    /// Its verdicts.
    pub findings: Vec<Finding>,
}

/// What is read again of a data file.
#[derive(Deserialize)]
struct Stored {
    title: String,
    question: String,
    findings: Vec<Finding>,
}

/// The verdict of a study in the words of the ledger.
pub fn verdict_of(finding: &Finding) -> TierVerdict {
    let verdict = match finding.outcome {
        Outcome::Holds => Verdict::Holds,
        Outcome::Fails => Verdict::Fails,
        Outcome::Tie => Verdict::Tie,
        Outcome::Untestable => Verdict::Untestable,
    };
    let measured = match &finding.estimate {
        Some(estimate) => TierVerdict::of(verdict, estimate.value, estimate.lo, estimate.hi),
        None => TierVerdict {
            verdict,
            reason: None,
            ..TierVerdict::untestable("")
        },
    };
    measured.remarked(&finding.reason)
}

/// The studies.
#[derive(Clone, Copy)]
enum Kind {
    Coherence,
    Widths,
    Landscape,
    Proxy,
    LlmFree,
    Diversity,
    Length,
    Scales,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Coherence,
        Self::Widths,
        Self::Landscape,
        Self::Proxy,
        Self::LlmFree,
        Self::Diversity,
        Self::Length,
        Self::Scales,
    ];

    /// The id of the study.
    fn id(self) -> &'static str {
        match self {
            Self::Coherence => "coherence",
            Self::Widths => "widths",
            Self::Landscape => "landscape",
            Self::Proxy => "proxy",
            Self::LlmFree => "llm-free",
            Self::Diversity => "diversity",
            Self::Length => length::ID,
            Self::Scales => "scales",
        }
    }

    fn needs_classifier(self) -> bool {
        matches!(self, Self::Widths | Self::Proxy | Self::LlmFree)
    }
}

/// The models that pilot studies need beside the one that is studied.
#[derive(Debug, Clone, Default)]
pub struct StudyModels {
    /// Folder of a ViT that knows the classes of the small world.
    pub classifier: Option<PathBuf>,
    /// Folders of one model in [`SIZES`] sizes or more, each with a scorer beside its weights.
    pub sizes: Vec<PathBuf>,
}

impl StudyModels {
    /// What a study needs and these models lack, in words.
    fn lacks(&self, kind: Kind) -> Option<String> {
        match kind {
            Kind::Scales if self.sizes.len() < SIZES => Some(format!(
                "it needs {SIZES} sizes of a model, and {} are here",
                self.sizes.len()
            )),
            _ if kind.needs_classifier() && self.classifier.is_none() => Some("it needs a classifier".into()),
            _ => None,
        }
    }
}

/// Pictures looked at and questions answered by each study that is made with these models, with longer trainings or without.
pub(super) fn studies_work(sizes: &StudySizes, models: &StudyModels, has_longer: bool) -> Vec<[usize; 2]> {
    let made = Kind::ALL
        .into_iter()
        .filter(|kind| models.lacks(*kind).is_none() && (has_longer || !matches!(kind, Kind::Length)));
    made.map(|kind| match kind {
        Kind::Scales => {
            let rates = ScalesPlan::default().rates.len();
            [
                0,
                models.sizes.len() * rates * SCALE_BENCHMARKS.len() * sizes.questions,
            ]
        }
        _ => [sizes.images, 0],
    })
    .collect()
}

/// What the studies of an experiment are made from, beside its model.
struct StudyInputs<'a> {
    /// The trainings of DiffPrune.
    scorers: &'a [PathBuf],
    /// The trainings whose gradients are looked at along the way.
    runs: &'a [PathBuf],
    /// The classifier and its other widths.
    widths: &'a [PathBuf],
    models: &'a StudyModels,
    /// Folder of the answers of the study about sizes.
    answers: &'a Path,
}

impl Experiment<'_> {
    /// The pilot studies of the plan, with the scorers that the experiment has trained, in `out`; each is a stage. A study that
    /// needs models that are not given, or cannot be made on the model, is left out; gives a sentence for each of them, which the
    /// observer is told, too.
    ///
    /// # Errors
    /// When a training of DiffPrune is not complete, the classifier cannot be read, a study fails, the observer asks to stop, or
    /// the disk refuses.
    pub fn studies(
        &self,
        out: &Path,
        models: &StudyModels,
        observer: &mut dyn Observer,
    ) -> Result<Vec<String>, LabError> {
        let classifier = models.classifier.as_deref();
        let sizes = &self.plan.studies;
        let mut left_out = Vec::new();
        let stages = out.join(STAGES);
        make_folder(&stages)?;
        let mut ledger = Ledger::open(&stages.join(Ledger::FILE), self.revision.into())?;
        let scorers = self.folders_of(|learned| learned.arm == "diffprune")?;
        let runs = match sizes.along {
            true => self.folders_of(|learned| ALONG.contains(&learned.arm.as_str()))?,
            false => Vec::new(),
        };
        let trained: Vec<Option<String>> = scorers.iter().map(|dir| folder_name(dir)).collect();
        let judge = classifier
            .map(|dir| Digest::of_folder(dir, &["config.json"]))
            .transpose()?;
        let judge = judge.map_or(String::new(), |digest| digest.short());
        let widths = classifier.map(sizes_beside).transpose()?.unwrap_or_default();
        let beside: Vec<Option<String>> = widths.iter().map(|dir| folder_name(dir)).collect();
        let lengths = self.lengths()?;
        for kind in Kind::ALL {
            if matches!(kind, Kind::Length) && lengths.is_empty() {
                continue;
            }
            let label = format!("{}: study {}", self.model.name(), kind.id());
            if let Some(lack) = models.lacks(kind) {
                let sentence = format!("{label} is left out: {lack}.");
                observer.note(&sentence);
                left_out.push(sentence);
                continue;
            }
            let judge = match kind {
                Kind::Widths => format!("{judge} {beside:?}"),
                Kind::Length => {
                    let names: Vec<&str> = lengths.iter().map(|training| training.stage.as_str()).collect();
                    names.join(" ")
                }
                Kind::Scales => digests(&models.sizes)?.join(" "),
                _ if kind.needs_classifier() => judge.clone(),
                _ => String::new(),
            };
            let model = self.model.fingerprint()?;
            let settings = (
                sizes,
                self.seed,
                &model,
                &trained,
                judge.as_str(),
                self.device_and_weights(),
            );
            let digest = Digest::of_settings(&settings)?.short();
            let stage = format!("study-{}-{digest}", kind.id());
            let answers = stages.join(format!("answers-{}-{digest}", kind.id()));
            let dir = stages.join(&stage);
            observer.stage(&label, ledger.has(&stage));
            if !ledger.has(&stage) {
                let made = ledger.time(&stage, || {
                    let inputs = StudyInputs {
                        scorers: &scorers,
                        runs: &runs,
                        widths: &widths,
                        models,
                        answers: &answers,
                    };
                    self.study(kind, sizes, &inputs, observer)?.write(&dir)?;
                    Ok(())
                });
                if let Err(error) = made {
                    if !is_about_the_model(&error) {
                        return Err(error);
                    }
                    let sentence = format!("{label} is left out: {}.", error.with_causes());
                    observer.note(&sentence);
                    left_out.push(sentence);
                    continue;
                }
            }
            publish(&dir, &out.join(STUDIES))?;
        }
        Ok(left_out)
    }

    /// The folders of the trainings of some arms that serve all budgets, one for each seed.
    fn folders_of(&self, is_asked: impl Fn(&Learned) -> bool) -> Result<Vec<PathBuf>, LabError> {
        let trainings = self.trainings()?;
        let own = trainings
            .iter()
            .filter(|training| training.budget.is_none() && is_asked(&training.learned));
        Ok(own
            .map(|training| self.out.join(STAGES).join(&training.stage))
            .collect())
    }

    fn study(
        &self,
        kind: Kind,
        sizes: &StudySizes,
        inputs: &StudyInputs<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Study, LabError> {
        let classifier = inputs.models.classifier.as_deref();
        let vlm = self.model.vlm.as_ref();
        let mut progress = observer.progress(kind.id(), PARTS);
        let stop = observer.stop();
        let mut advance = |share: f64| {
            progress.step((share * PARTS as f64) as usize, &[]);
            !stop.is_requested()
        };
        let pilot = PilotModel {
            vlm,
            name: self.model.name(),
            scorers: inputs.scorers.to_vec(),
            runs: inputs.runs.to_vec(),
        };
        let seed = self.seed;
        let judge = || -> Result<(Vit, String, LabelledImages), LabError> {
            let dir = classifier.unwrap_or(Path::new(""));
            verify_checksums(dir)?;
            let vit = Vit::load(dir, &vlm.device()).map_err(PilotError::from)?;
            let data = LabelledImages::generated(sizes.images, seed)?;
            if data.n_classes != vit.config.n_classes {
                return Err(LabError::Setup {
                    subject: format!("classifier {}", dir.display()),
                    found: format!("{} classes", vit.config.n_classes),
                    wanted: format!("the {} of the small world", data.n_classes),
                });
            }
            Ok((vit, folder_name(dir).unwrap_or_default(), data))
        };
        match kind {
            Kind::Coherence => {
                let plan = CoherencePlan {
                    batches: sizes.batches,
                    batch: sizes.batch,
                    noises: sizes.noises,
                    seed,
                    ..CoherencePlan::default()
                };
                let data = GeneratedCaptions::new(sizes.batches * sizes.batch, seed)?;
                pilot.coherence(&data, sizes.fresh, &plan, &mut advance)
            }
            Kind::Widths => {
                let plan = CoherencePlan {
                    batches: sizes.batches,
                    batch: sizes.batch,
                    noises: 0,
                    seed,
                    ..CoherencePlan::default()
                };
                let data = LabelledImages::generated(sizes.batches * sizes.batch, seed)?;
                let classifiers = read_classifiers(inputs.widths, &vlm.device())?;
                width_study(&classifiers, &data, sizes.fresh, &plan, &mut advance)
            }
            Kind::Landscape => {
                let plan = LandscapePlan {
                    directions: sizes.directions,
                    steps: sizes.steps,
                    surface: sizes.surface,
                    pictures: sizes.pictures,
                    seed,
                    ..LandscapePlan::default()
                };
                pilot.landscape(
                    &GeneratedCaptions::new(sizes.pictures, seed)?,
                    &plan,
                    &mut advance,
                )
            }
            Kind::Proxy => {
                let (vit, name, data) = judge()?;
                let plan = ProxyPlan {
                    seed,
                    ..ProxyPlan::default()
                };
                Ok(proxy(&vit, &name, &data, &plan, &mut advance)?)
            }
            Kind::LlmFree => {
                let (vit, name, data) = judge()?;
                let plan = LlmFreePlan {
                    seed,
                    ..LlmFreePlan::default()
                };
                pilot.llm_free(&vit, &name, &data, &plan, &mut advance)
            }
            Kind::Diversity => {
                let scenes = SceneDataset::new(WorldConfig::default(), seed, Split::Test)?;
                let images: Vec<_> = (0..sizes.images as u64)
                    .map(|index| render(&scenes.get(index)))
                    .collect();
                let plan = DiversityPlan {
                    seed,
                    ..DiversityPlan::default()
                };
                pilot.diversity(&images, &plan, &mut advance)
            }
            Kind::Length => self.length(&self.lengths()?),
            Kind::Scales => {
                let plan = ScalesPlan {
                    seed,
                    ..ScalesPlan::default()
                };
                let questions = ScaleQuestions::Generated(sizes.questions);
                let load = |dir: &Path| LoadedModel::load(dir, &vlm.device(), LoadOptions::f32());
                let observer = &mut WithinStage(observer);
                scale_study(
                    &inputs.models.sizes,
                    load,
                    &questions,
                    &plan,
                    inputs.answers,
                    observer,
                )
            }
        }
    }
}

/// The weights and scorers of models.
fn digests(models: &[PathBuf]) -> Result<Vec<String>, LabError> {
    let parts = models.iter().flat_map(|dir| [dir.clone(), dir.join(SCORER)]);
    parts
        .map(|dir| Ok(Digest::of_folder(&dir, &["config.json"])?.short()))
        .collect()
}

/// True for errors that say that a study cannot be made on a model, or by one of its methods there.
fn is_about_the_model(error: &LabError) -> bool {
    matches!(
        error,
        LabError::Prune(_)
            | LabError::Pilot(
                PilotError::Plan { .. } | PilotError::Prune(_) | PilotError::Vlm(VlmError::Prune(_))
            )
    )
}

/// Puts the files of a finished study among the pages of the report.
pub(super) fn publish(stage: &Path, pages: &Path) -> Result<(), LabError> {
    make_folder(pages)?;
    for entry in fs::read_dir(stage).map_err(LabError::io(stage, "read"))? {
        let path = entry.map_err(LabError::io(stage, "read"))?.path();
        let bytes = fs::read(&path).map_err(LabError::io(&path, "read"))?;
        write_whole(pages.join(path.file_name().unwrap_or_default()), &bytes)?;
    }
    Ok(())
}

/// A note with links to the pages of the studies, as they stand below the folder of a report.
pub(super) fn note_about(studies: &[StudyPage]) -> Option<String> {
    let links: Vec<String> = studies
        .iter()
        .map(|study| format!("[{}]({})", study.title, study.page))
        .collect();
    (!links.is_empty()).then(|| format!("Pilot studies beside this report: {}.", links.join(", ")))
}

/// The studies whose pages stand beside a report in `out`.
///
/// # Errors
/// When a data file of a study is there and cannot be read.
pub fn studies_beside(out: &Path) -> Result<Vec<StudyPage>, LabError> {
    let pages = out.join(STUDIES);
    let data = |kind: Kind| (kind, pages.join(format!("{}.json", kind.id())));
    let there = Kind::ALL.into_iter().map(data).filter(|(_, path)| path.is_file());
    there
        .map(|(kind, path)| {
            let stored: Stored = read_json(&path, "no data file of a study; remove the file")?;
            Ok(StudyPage {
                title: stored.title,
                question: stored.question,
                page: format!("{STUDIES}/{}.md", kind.id()),
                findings: stored.findings,
            })
        })
        .collect()
}
