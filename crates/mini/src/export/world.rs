//! All sets of one small world, written once.

use super::boxes::Boxes;
use super::encode::png;
use super::plan::{Picture, Plan};
use super::{captions, gqa, mmbench, mme, pope, scienceqa, seed, textvqa, vizwiz, vqav2};
use crate::MiniError;
use crate::files::{write_bytes, write_text};
use crate::text::Style;
use crate::world::{SceneDataset, Split, WorldConfig};
use diffprune_files::Stop;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Raised when the same parameters give other files.
const VERSION: u32 = 2;
/// Each benchmark draws from its own numbers of test scenes.
const NUMBERS_PER_SET: u64 = 1_000_000;
const MANIFEST: &str = "manifest.json";
const UNFINISHED: &str = "unfinished.json";

/// The size of the world's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MiniCounts {
    /// Pictures of POPE; each has up to six questions in each of the three sets.
    pub pope_images: usize,
    /// Questions of GQA per kind (colour, shape, position, count, relation, multiple choice); a ninth of their sum
    /// of unanswerable ones comes on top.
    pub gqa_per_kind: usize,
    /// Questions of TextVQA, one per picture.
    pub textvqa_questions: usize,
    /// Questions of VQAv2, up to three per picture.
    pub vqav2_questions: usize,
    /// Questions of VizWiz, one per picture.
    pub vizwiz_questions: usize,
    /// Pictures of each of the five subtasks of MME that the world has; each has two questions.
    pub mme_pictures: usize,
    /// Questions of MMBench; each is a row for every rotation of its two to four options.
    pub mmbench_questions: usize,
    /// The same of MMBench-CN.
    pub mmbench_cn_questions: usize,
    /// Questions of SEED-Bench, up to three per picture.
    pub seed_bench_questions: usize,
    /// Questions of ScienceQA, one per picture.
    pub scienceqa_questions: usize,
    /// Captioned pictures to train on.
    pub train_captions: usize,
    /// Captioned pictures to validate on.
    pub val_captions: usize,
}

impl MiniCounts {
    /// Nothing at all, to name what is wanted on top.
    pub fn none() -> Self {
        Self {
            pope_images: 0,
            gqa_per_kind: 0,
            textvqa_questions: 0,
            vqav2_questions: 0,
            vizwiz_questions: 0,
            mme_pictures: 0,
            mmbench_questions: 0,
            mmbench_cn_questions: 0,
            seed_bench_questions: 0,
            scienceqa_questions: 0,
            train_captions: 0,
            val_captions: 0,
        }
    }
}

impl Default for MiniCounts {
    fn default() -> Self {
        Self {
            pope_images: 60,
            gqa_per_kind: 100,
            textvqa_questions: 100,
            vqav2_questions: 100,
            vizwiz_questions: 100,
            mme_pictures: 10,
            mmbench_questions: 100,
            mmbench_cn_questions: 100,
            seed_bench_questions: 100,
            scienceqa_questions: 100,
            train_captions: 4000,
            val_captions: 256,
        }
    }
}

/// A small world as files: benchmarks in their official formats, captions, and the truth.
///
/// ```text
/// pope/     coco/coco_pope_{random,popular,adversarial}.json  llava_pope_test.jsonl  val2014/COCO_val2014_*.png
/// gqa/      data/questions1.2/testdev_balanced_questions.json  llava_gqa_testdev_balanced.jsonl  data/images/n*.png
/// textvqa/  TextVQA_0.5.1_val.json  TextVQA_Rosetta_OCR_v0.2_val.json  llava_textvqa_val_v051_ocr.jsonl  train_images/*.png
/// vqav2/    v2_OpenEnded_mscoco_val2014_questions.json  v2_mscoco_val2014_annotations.json  val2014/COCO_val2014_*.png
/// vizwiz/   Annotations/val.json  val/VizWiz_val_*.png
/// mme/      MME_Benchmark_release_version/{existence,count,position,color,OCR}/*.{txt,png}
/// mmbench/  MMBench_DEV_EN.tsv            mmbench_cn/  MMBench_DEV_CN.tsv
/// seed_bench/ SEED-Bench.json  SEED-Bench-image/*
/// scienceqa/  problems.json  pid_splits.json  images/test/*/image.png
/// captions/ {train,val}/captions.jsonl  {train,val}/images/*.png
/// boxes.json  manifest.json
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MiniWorld {
    /// The configuration of the scenes.
    pub config: WorldConfig,
    /// The number of pictures and questions.
    pub counts: MiniCounts,
    /// The seed of everything.
    pub seed: u64,
}

/// `manifest.json`: which world this is.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Manifest {
    format: String,
    version: u32,
    world: MiniWorld,
}

/// The progress of the writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Pictures written or found.
    pub done: usize,
    /// Pictures in total.
    pub total: usize,
}

/// The outcome of [`MiniWorld::write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The folder held this very world already.
    AlreadyThere,
    /// The world is new; so many pictures were drawn, the others were left from an interrupted run.
    New {
        /// Pictures drawn now.
        drawn: usize,
    },
}

impl MiniWorld {
    /// Writes the world to `dir`. Everything is written to a hidden folder beside it that is renamed at the end, so
    /// `dir` is complete or absent; an interrupted run is taken up where it stopped; the same world is not written twice.
    /// `stop` ends the writing after the pictures that are being drawn.
    ///
    /// # Errors
    /// [`MiniError::Unfinished`] when it is stopped, [`MiniError::Config`] and [`MiniError::TooFew`] for impossible wishes, [`MiniError::Occupied`] if `dir` holds
    /// anything else, [`MiniError::Io`] if a file cannot be written.
    pub fn write(
        &self,
        dir: &Path,
        stop: &Stop,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Written, MiniError> {
        self.config.validate()?;
        if self.is_at(dir)? {
            return Ok(Written::AlreadyThere);
        }
        let unfinished = self.open_unfinished(dir)?;
        let plan = self.plan()?;
        let unfinished_error = || MiniError::Unfinished { folder: dir.into() };
        let drawn = write_plan(&plan, &unfinished, stop, progress)?.ok_or_else(unfinished_error)?;
        self.write_manifest(&unfinished.join(MANIFEST))?;
        if dir.exists() {
            fs::remove_dir(dir).map_err(MiniError::io("replace the empty folder", dir))?;
        }
        fs::rename(&unfinished, dir).map_err(MiniError::io("rename to", dir))?;
        let marker = dir.join(UNFINISHED);
        fs::remove_file(&marker).map_err(MiniError::io("remove", &marker))?;
        Ok(Written::New { drawn })
    }

    /// The scenes of a split of this world.
    ///
    /// # Errors
    /// [`MiniError::Config`] if no scene can be drawn.
    pub fn scenes(&self, split: Split) -> Result<SceneDataset, MiniError> {
        SceneDataset::new(self.config.clone(), self.seed, split)
    }

    /// Every file of the world.
    fn plan(&self) -> Result<Plan, MiniError> {
        let test = self.scenes(Split::Test)?;
        let numbers = |set: u64| set * NUMBERS_PER_SET..(set + 1) * NUMBERS_PER_SET;
        let of = |set: u64, enough: usize| {
            let range = numbers(set);
            range.start..range.end.min(range.start + 1000 + 100 * enough as u64)
        };
        let counts = &self.counts;
        let mut plan = pope::plan(&test, numbers(0).take(counts.pope_images))?;
        plan.extend(gqa::plan(&test, of(1, counts.gqa_per_kind), counts.gqa_per_kind)?);
        plan.extend(textvqa::plan(
            &test,
            of(2, counts.textvqa_questions),
            counts.textvqa_questions,
        )?);
        let n = counts.vqav2_questions;
        plan.extend(vqav2::plan(&test, of(3, n), n)?);
        let n = counts.vizwiz_questions;
        plan.extend(vizwiz::plan(&test, of(4, n), n)?);
        plan.extend(mme::plan(&test, of(5, counts.mme_pictures), counts.mme_pictures)?);
        let n = counts.mmbench_questions;
        plan.extend(mmbench::plan(&test, of(6, n), Style::MmBench, n)?);
        let n = counts.mmbench_cn_questions;
        plan.extend(mmbench::plan(&test, of(7, n), Style::MmBenchCn, n)?);
        let n = counts.seed_bench_questions;
        plan.extend(seed::plan(&test, of(8, n), n)?);
        let n = counts.scienceqa_questions;
        plan.extend(scienceqa::plan(&test, of(9, n), n)?);
        plan.extend(captions::plan(
            &self.scenes(Split::Train)?,
            counts.train_captions,
        )?);
        plan.extend(captions::plan(&self.scenes(Split::Val)?, counts.val_captions)?);
        let boxes = Boxes::of(
            plan.pictures.iter().chain(&plan.inline),
            self.config.image_size,
            self.config.grid(),
        );
        plan.json("boxes.json", &boxes)?;
        Ok(plan)
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            format: "diffprune-mini-world".to_owned(),
            version: VERSION,
            world: self.clone(),
        }
    }

    fn write_manifest(&self, path: &Path) -> Result<(), MiniError> {
        let text = serde_json::to_string_pretty(&self.manifest()).map_err(MiniError::json(path))?;
        write_text(path, &text)
    }

    /// `true` if the file says that this is the world beside it.
    fn is_named_by(&self, path: &Path) -> bool {
        let text = fs::read_to_string(path).unwrap_or_default();
        serde_json::from_str::<Manifest>(&text).is_ok_and(|found| found == self.manifest())
    }

    /// `true` if `dir` holds this world, `false` if it is free.
    fn is_at(&self, dir: &Path) -> Result<bool, MiniError> {
        let manifest = dir.join(MANIFEST);
        if self.is_named_by(&manifest) {
            return Ok(true);
        }
        let occupied = |found: &str| {
            Err(MiniError::Occupied {
                path: dir.to_path_buf(),
                found: found.to_owned(),
            })
        };
        if manifest.exists() {
            occupied("a small world with other parameters")
        } else if dir.exists() && !dir.is_dir() {
            occupied("a file")
        } else if dir.exists() && !is_empty(dir)? {
            occupied("other files")
        } else {
            Ok(false)
        }
    }

    /// The hidden folder beside `dir`, with what an interrupted run of the same world left in it.
    fn open_unfinished(&self, dir: &Path) -> Result<PathBuf, MiniError> {
        let Some(name) = dir.file_name().map(|name| name.to_string_lossy()) else {
            let found = "a path that does not end in a name".to_owned();
            return Err(MiniError::Occupied {
                path: dir.to_path_buf(),
                found,
            });
        };
        let folder = dir.with_file_name(format!(".{name}.unfinished"));
        let marker = folder.join(UNFINISHED);
        if folder.exists() && !self.is_named_by(&marker) {
            if !marker.exists() && !is_empty(&folder)? {
                return Err(MiniError::Occupied {
                    path: folder,
                    found: "other files".to_owned(),
                });
            }
            fs::remove_dir_all(&folder).map_err(MiniError::io("remove the old", &folder))?;
        }
        fs::create_dir_all(&folder).map_err(MiniError::io("create", &folder))?;
        self.write_manifest(&marker)?;
        Ok(folder)
    }
}

fn is_empty(dir: &Path) -> Result<bool, MiniError> {
    let mut entries = fs::read_dir(dir).map_err(MiniError::io("list", dir))?;
    Ok(entries.next().is_none())
}

/// Writes pictures (those that are missing) and texts under `root`; returns how many pictures were drawn, or nothing when it
/// was stopped.
fn write_plan(
    plan: &Plan,
    root: &Path,
    stop: &Stop,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Option<usize>, MiniError> {
    for path in plan
        .pictures
        .iter()
        .map(|p| &p.path)
        .chain(plan.texts.iter().map(|t| &t.path))
    {
        let folder = root
            .join(path)
            .parent()
            .map_or(root.to_path_buf(), Path::to_path_buf);
        if !folder.is_dir() {
            fs::create_dir_all(&folder).map_err(MiniError::io("create", &folder))?;
        }
    }
    let total = plan.pictures.len();
    let (done, drawn) = (AtomicUsize::new(0), AtomicUsize::new(0));
    plan.pictures.par_iter().try_for_each(|picture| {
        if stop.is_requested() {
            return Ok(());
        }
        let path = root.join(&picture.path);
        if !path.exists() {
            draw(picture, &path)?;
            drawn.fetch_add(1, Ordering::Relaxed);
        }
        progress(Progress {
            done: done.fetch_add(1, Ordering::Relaxed) + 1,
            total,
        });
        Ok::<(), MiniError>(())
    })?;
    if done.load(Ordering::Relaxed) < total {
        return Ok(None);
    }
    for text in &plan.texts {
        write_text(&root.join(&text.path), &text.text)?;
    }
    Ok(Some(drawn.into_inner()))
}

fn draw(picture: &Picture, path: &Path) -> Result<(), MiniError> {
    write_bytes(path, &png(&picture.scene, path)?)
}
