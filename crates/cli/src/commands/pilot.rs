//! `diffprune pilot`.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use diffprune::vlm::{Vit, load_image};
use diffprune_lab::PilotModel;
use diffprune_mini::{SceneDataset, Split, WorldConfig, render};
use diffprune_pilots::{DiversityPlan, LabelledImages, LlmFreePlan, ProxyPlan, Study, proxy};
use image::RgbImage;
use indicatif::{ProgressBar, ProgressStyle};

use crate::device;
use crate::model::{ModelArgs, shipped_as};

/// The small classifier below `assets`.
const CLASSIFIER: &str = "mini-deit";

/// The pilot studies of the papers. Each writes a page, its figures and a data file.
#[derive(Debug, Subcommand)]
pub enum Pilot {
    /// Noise against dropping: accuracy of a classifier under random scores (claim f4.proxy).
    Proxy(ProxyArgs),
    /// Selection judged by a classifier that sees only the kept patches (claim f3.llm-free).
    LlmFree(LlmFreeArgs),
    /// Likeness of the highest-scored and the lowest-scored tokens (claim f5.diverse).
    Diversity(DiversityArgs),
}

/// What every study takes.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// Folder for the page, its figures and the data file.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Pictures.
    #[arg(long, default_value_t = 1000)]
    images: usize,
    /// Seed of pictures, scores, noise and intervals.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the data file on standard output, for programs.
    #[arg(long)]
    json: bool,
}

/// The classifier and its pictures.
#[derive(Debug, Args)]
pub struct ClassifierArgs {
    /// Folder of a ViT or DeiT, as timm or transformers publish it [default: the shipped small one].
    #[arg(long, value_name = "DIR")]
    classifier: Option<PathBuf>,
    /// Folder of an ImageNet validation set (val/<wnid>/*.JPEG) [default: generated pictures of the small world].
    #[arg(long, value_name = "DIR")]
    imagenet: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ProxyArgs {
    #[command(flatten)]
    classifier: ClassifierArgs,
    #[command(flatten)]
    common: CommonArgs,
    /// cpu, wgpu, vulkan or cuda, with an index as in cuda:1.
    #[arg(long, default_value = "cpu")]
    device: String,
}

#[derive(Debug, Args)]
pub struct LlmFreeArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    classifier: ClassifierArgs,
    #[command(flatten)]
    common: CommonArgs,
    /// Folder of a scorer that `diffprune train` wrote for this model; give it once for each training seed.
    #[arg(long = "scorer", value_name = "DIR")]
    scorers: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DiversityArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    common: CommonArgs,
    /// Folder of a scorer that `diffprune train` wrote for this model; give it once for each training seed.
    #[arg(long = "scorer", value_name = "DIR")]
    scorers: Vec<PathBuf>,
    /// A folder of pictures [default: test scenes of the small world].
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
}

impl Pilot {
    /// Runs the study.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Proxy(args) => args.run(),
            Self::LlmFree(args) => args.run(),
            Self::Diversity(args) => args.run(),
        }
    }
}

impl ProxyArgs {
    fn run(self) -> anyhow::Result<()> {
        let (vit, name) = self.classifier.load(&self.device)?;
        let data = self.classifier.data(&self.common, &vit)?;
        let plan = ProxyPlan {
            seed: self.common.seed,
            ..ProxyPlan::default()
        };
        let bar = Bar::new("proxy");
        let study = proxy(&vit, &name, &data, &plan, &mut |share| bar.advance(share))?;
        self.common.finish(&study)
    }
}

impl LlmFreeArgs {
    fn run(self) -> anyhow::Result<()> {
        let model = self.model.load()?;
        let (vit, classifier) = self.classifier.load(&self.model.device)?;
        let data = self.classifier.data(&self.common, &vit)?;
        let plan = LlmFreePlan {
            seed: self.common.seed,
            ..LlmFreePlan::default()
        };
        let pilot = PilotModel {
            vlm: model.vlm.as_ref(),
            name: model.name(),
            scorers: self.scorers,
        };
        let bar = Bar::new("llm-free");
        let study = pilot.llm_free(&vit, &classifier, &data, &plan, &mut |share| bar.advance(share))?;
        self.common.finish(&study)
    }
}

impl DiversityArgs {
    fn run(self) -> anyhow::Result<()> {
        let model = self.model.load()?;
        let images = self.images()?;
        let plan = DiversityPlan {
            seed: self.common.seed,
            ..DiversityPlan::default()
        };
        let pilot = PilotModel {
            vlm: model.vlm.as_ref(),
            name: model.name(),
            scorers: self.scorers,
        };
        let bar = Bar::new("diversity");
        let study = pilot.diversity(&images, &plan, &mut |share| bar.advance(share))?;
        self.common.finish(&study)
    }

    fn images(&self) -> anyhow::Result<Vec<RgbImage>> {
        let count = self.common.images;
        let Some(dir) = &self.pictures else {
            let scenes = SceneDataset::new(WorldConfig::default(), self.common.seed, Split::Test)?;
            return Ok((0..count as u64)
                .map(|index| render(&scenes.get(index)))
                .collect());
        };
        let mut files: Vec<PathBuf> = std::fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.retain(|file| file.is_file());
        files.sort();
        files.truncate(count);
        if files.is_empty() {
            bail!("{}: found no files, expected a folder of pictures", dir.display());
        }
        Ok(files.iter().map(load_image).collect::<Result<_, _>>()?)
    }
}

impl ClassifierArgs {
    fn load(&self, device: &str) -> anyhow::Result<(Vit, String)> {
        let dir = match &self.classifier {
            Some(dir) => dir.clone(),
            None => shipped_as(CLASSIFIER, "deit")?,
        };
        let name = dir
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok((Vit::load(&dir, &device::parse(device)?)?, name))
    }

    fn data(&self, common: &CommonArgs, vit: &Vit) -> anyhow::Result<LabelledImages> {
        let data = match &self.imagenet {
            Some(root) => LabelledImages::imagenet(root, common.images)?,
            None => LabelledImages::generated(common.images, common.seed)?,
        };
        if data.n_classes != vit.config.n_classes {
            bail!(
                "classifier: found {} classes, expected the {} of the pictures; give --classifier and --imagenet together",
                vit.config.n_classes,
                data.n_classes
            );
        }
        Ok(data)
    }
}

impl CommonArgs {
    fn finish(&self, study: &Study) -> anyhow::Result<()> {
        let page = study.write(&self.out)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&study.to_json())?);
            return Ok(());
        }
        for finding in &study.findings {
            println!("{}: {}. {}", finding.claim, finding.outcome, finding.reason);
        }
        println!("{}", page.display());
        Ok(())
    }
}

/// Progress of the whole study on standard error.
struct Bar(ProgressBar);

impl Bar {
    fn new(name: &'static str) -> Self {
        let bar = ProgressBar::new(1000);
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:40}] {percent} % {eta}") {
            bar.set_style(style);
        }
        bar.set_message(name);
        Self(bar)
    }

    fn advance(&self, share: f64) -> bool {
        self.0.set_position((1000.0 * share) as u64);
        true
    }
}
