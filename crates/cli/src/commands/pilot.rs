//! `diffprune pilot`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use diffprune::CaptionData;
use diffprune::vlm::Vit;
use diffprune_eval::Stop;
use diffprune_lab::{
    CLASSIFIER, GeneratedCaptions, PilotModel, ScaleQuestions, find_shipped, read_captions, read_classifiers,
    scale_study, shipped_model, sizes_beside, study_pictures, verify_checksums, width_study,
};
use diffprune_mini::Family;
use diffprune_pilots::{
    CoherencePlan, DiversityPlan, LabelledImages, LandscapePlan, LlmFreePlan, ProxyPlan, ScalesPlan, Study,
    proxy,
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::model::ModelArgs;
use crate::print::{self, say};
use crate::signals::{self, Watch};
use crate::watch::Terminal;

/// The pilot studies of the papers. Each writes a page, its figures and a data file.
#[derive(Debug, Subcommand)]
pub enum Pilot {
    /// Agreement of the scorer's gradients over batches (claim f1.coherence).
    Coherence(CoherenceArgs),
    /// The same on classifiers of several widths (claim f1.size).
    Widths(WidthsArgs),
    /// The loss over the scorer's weights: smooth or in jumps (claim f2.smooth).
    Landscape(LandscapeArgs),
    /// Noise against dropping: accuracy of a classifier under random scores (claim f4.proxy).
    Proxy(ProxyArgs),
    /// Selection judged by a classifier that sees only the kept patches (claim f3.llm-free).
    LlmFree(LlmFreeArgs),
    /// Likeness of the highest-scored and the lowest-scored tokens (claim f5.diverse).
    Diversity(DiversityArgs),
    /// Scores over rates of pruning on several sizes of one model (claim a1.no-collapse).
    Scales(ScalesArgs),
}

/// Where a result goes.
#[derive(Debug, Args)]
pub struct OutArgs {
    /// Folder for the page, its figures and the data file.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed of everything that is drawn.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the data file on standard output, for programs.
    #[arg(long)]
    json: bool,
}

/// What studies of pictures take.
#[derive(Debug, Args)]
pub struct CommonArgs {
    #[command(flatten)]
    out: OutArgs,
    /// Pictures.
    #[arg(long, default_value_t = 1000)]
    images: usize,
}

/// What studies of trainings take.
#[derive(Debug, Args)]
pub struct TrainingArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    out: OutArgs,
    /// Folder of a scorer that `diffprune train` wrote for this model, a second point to look at; give it once for each
    /// training seed.
    #[arg(long = "scorer", value_name = "DIR")]
    scorers: Vec<PathBuf>,
    /// Folder with captions.jsonl, or with `train` and `val` that have one each [default: test scenes of the small world].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Temperature, the same for all arms.
    #[arg(long, default_value_t = 0.316)]
    tau: f64,
}

#[derive(Debug, Args)]
pub struct CoherenceArgs {
    #[command(flatten)]
    training: TrainingArgs,
    /// Folder of a training of an arm, to look at its gradients along the way; give it once for each.
    #[arg(long = "run", value_name = "DIR")]
    runs: Vec<PathBuf>,
    /// Disjoint batches.
    #[arg(long, default_value_t = 16)]
    batches: usize,
    /// Pictures of a batch.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Noises on one batch; below 2 leaves that part out.
    #[arg(long, default_value_t = 8)]
    noises: usize,
    /// Fresh scorers.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
}

#[derive(Debug, Args)]
pub struct WidthsArgs {
    #[command(flatten)]
    out: OutArgs,
    /// Folder of a ViT or DeiT; give it once for each width [default: the shipped small ones].
    #[arg(long = "classifier", value_name = "DIR")]
    classifiers: Vec<PathBuf>,
    /// Folder of an ImageNet validation set (val/<wnid>/*.JPEG) [default: generated pictures of the small world].
    #[arg(long, value_name = "DIR")]
    imagenet: Option<PathBuf>,
    /// cpu, wgpu, vulkan or cuda, with an index as in cuda:1.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Disjoint batches.
    #[arg(long, default_value_t = 16)]
    batches: usize,
    /// Pictures of a batch.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Fresh scorers for each classifier.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Temperature, the same for all arms.
    #[arg(long, default_value_t = CoherencePlan::default().tau)]
    tau: f64,
}

#[derive(Debug, Args)]
pub struct LandscapeArgs {
    #[command(flatten)]
    training: TrainingArgs,
    /// Pictures, the same everywhere.
    #[arg(long, default_value_t = 8)]
    pictures: usize,
    /// Pairs of directions.
    #[arg(long, default_value_t = 3)]
    directions: usize,
    /// Steps of the finest grid on a line, a multiple of 8.
    #[arg(long, default_value_t = 64)]
    steps: usize,
    /// Points along a side of the surface; 0 draws none.
    #[arg(long, default_value_t = 11)]
    surface: usize,
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
    /// Shares of the patches that are kept.
    #[arg(long, value_delimiter = ',', default_values_t = ProxyPlan::default().kept)]
    kept: Vec<f64>,
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

#[derive(Debug, Args)]
pub struct ScalesArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The sizes, each named as for --model and with a scorer beside its weights [default: the shipped sizes of Qwen2.5-VL].
    #[arg(long, value_delimiter = ',', value_name = "A,B,C", conflicts_with = "model")]
    models: Vec<String>,
    #[command(flatten)]
    out: OutArgs,
    /// Folder with mme, scienceqa and mmbench (or some of them) in their official formats [default: the small world].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Questions of each benchmark of the small world, about.
    #[arg(long, default_value_t = 200, conflicts_with = "data")]
    questions: usize,
}

impl Pilot {
    /// Runs the study.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Coherence(args) => args.run(),
            Self::Widths(args) => args.run(),
            Self::Landscape(args) => args.run(),
            Self::Proxy(args) => args.run(),
            Self::LlmFree(args) => args.run(),
            Self::Diversity(args) => args.run(),
            Self::Scales(args) => args.run(),
        }
    }
}

impl TrainingArgs {
    /// `count` captions or more.
    fn captions(&self, count: usize) -> anyhow::Result<Box<dyn CaptionData>> {
        Ok(match &self.data {
            Some(dir) => Box::new(read_captions(dir, false)?.0),
            None => Box::new(GeneratedCaptions::new(count, self.out.seed)?),
        })
    }
}

impl CoherenceArgs {
    fn run(self) -> anyhow::Result<()> {
        let training = self.training;
        let model = training.model.load()?;
        let data = training.captions(self.batches * self.batch)?;
        let plan = CoherencePlan {
            batches: self.batches,
            noises: self.noises,
            batch: self.batch,
            tau: training.tau,
            seed: training.out.seed,
        };
        let mut pilot = PilotModel::new(&model, training.scorers);
        pilot.runs = self.runs;
        let bar = Bar::new("coherence")?;
        let study = pilot.coherence(data.as_ref(), self.seeds, &plan, &mut |share| bar.advance(share))?;
        training.out.finish(&study)
    }
}

impl WidthsArgs {
    fn run(self) -> anyhow::Result<()> {
        let dirs = match self.classifiers.is_empty() {
            true => sizes_beside(&find_shipped(CLASSIFIER, "deit")?)?,
            false => self.classifiers,
        };
        let classifiers = read_classifiers(&dirs, &diffprune_devices::parse(&self.device)?)?;
        let plan = CoherencePlan {
            batches: self.batches,
            noises: 0,
            batch: self.batch,
            tau: self.tau,
            seed: self.out.seed,
        };
        let data = match &self.imagenet {
            Some(root) => LabelledImages::imagenet(root, plan.batches * plan.batch)?,
            None => LabelledImages::generated(plan.batches * plan.batch, plan.seed)?,
        };
        let bar = Bar::new("widths")?;
        let study = width_study(&classifiers, &data, self.seeds, &plan, &mut |share| {
            bar.advance(share)
        })?;
        self.out.finish(&study)
    }
}

impl LandscapeArgs {
    fn run(self) -> anyhow::Result<()> {
        let training = self.training;
        let model = training.model.load()?;
        let data = training.captions(self.pictures)?;
        let plan = LandscapePlan {
            directions: self.directions,
            steps: self.steps,
            surface: self.surface,
            pictures: self.pictures,
            tau: training.tau,
            seed: training.out.seed,
            ..LandscapePlan::default()
        };
        let pilot = PilotModel::new(&model, training.scorers);
        let bar = Bar::new("landscape")?;
        let study = pilot.landscape(data.as_ref(), &plan, &mut |share| bar.advance(share))?;
        training.out.finish(&study)
    }
}

impl ProxyArgs {
    fn run(self) -> anyhow::Result<()> {
        let (vit, name) = self.classifier.load(&self.device)?;
        let data = self.classifier.data(&self.common, &vit)?;
        let plan = ProxyPlan {
            kept: self.kept,
            seed: self.common.out.seed,
            ..ProxyPlan::default()
        };
        let bar = Bar::new("proxy")?;
        let study = proxy(&vit, &name, &data, &plan, &mut |share| bar.advance(share))?;
        self.common.out.finish(&study)
    }
}

impl LlmFreeArgs {
    fn run(self) -> anyhow::Result<()> {
        let model = self.model.load()?;
        let (vit, classifier) = self.classifier.load(&self.model.device)?;
        let data = self.classifier.data(&self.common, &vit)?;
        let plan = LlmFreePlan {
            seed: self.common.out.seed,
            ..LlmFreePlan::default()
        };
        let pilot = PilotModel::new(&model, self.scorers);
        let bar = Bar::new("llm-free")?;
        let study = pilot.llm_free(&vit, &classifier, &data, &plan, &mut |share| bar.advance(share))?;
        self.common.out.finish(&study)
    }
}

impl DiversityArgs {
    fn run(self) -> anyhow::Result<()> {
        let model = self.model.load()?;
        let images = study_pictures(self.pictures.as_deref(), self.common.images, self.common.out.seed)?;
        let plan = DiversityPlan {
            seed: self.common.out.seed,
            ..DiversityPlan::default()
        };
        let pilot = PilotModel::new(&model, self.scorers);
        let bar = Bar::new("diversity")?;
        let study = pilot.diversity(&images, &plan, &mut |share| bar.advance(share))?;
        self.common.out.finish(&study)
    }
}

impl ScalesArgs {
    fn run(self) -> anyhow::Result<()> {
        let dirs = match (self.model.model.is_some(), self.models.is_empty()) {
            (true, _) => vec![self.model.dir()?],
            (_, false) => self.model.dirs(&self.models)?,
            (_, true) => sizes_beside(&shipped_model(Family::Qwen25Vl)?)?,
        };
        let questions = match self.data {
            Some(folder) => ScaleQuestions::Folder(folder),
            None => ScaleQuestions::Generated(self.questions),
        };
        let plan = ScalesPlan {
            seed: self.out.seed,
            ..ScalesPlan::default()
        };
        let (_watch, stop) = signals::after("answer")?;
        let mut terminal = Terminal::new("scales", stop);
        let load = |dir: &Path| self.model.load_from(dir);
        let study = scale_study(&dirs, load, &questions, &plan, &self.out.out, &mut terminal)?;
        self.out.finish(&study)
    }
}

impl ClassifierArgs {
    fn load(&self, device: &str) -> anyhow::Result<(Vit, String)> {
        let dir = match &self.classifier {
            Some(dir) => dir.clone(),
            None => find_shipped(CLASSIFIER, "deit")?,
        };
        let name = dir
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        verify_checksums(&dir)?;
        Ok((Vit::load(&dir, &diffprune_devices::parse(device)?)?, name))
    }

    fn data(&self, common: &CommonArgs, vit: &Vit) -> anyhow::Result<LabelledImages> {
        let data = match &self.imagenet {
            Some(root) => LabelledImages::imagenet(root, common.images)?,
            None => LabelledImages::generated(common.images, common.out.seed)?,
        };
        Ok(data.for_classes(vit.config.n_classes)?)
    }
}

impl OutArgs {
    fn finish(&self, study: &Study) -> anyhow::Result<()> {
        let page = study.write(&self.out)?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&study.to_json())?);
            return Ok(());
        }
        for finding in &study.findings {
            say!("{}: {}. {}", finding.claim, finding.outcome, finding.reason);
        }
        say!("{}", page.display());
        Ok(())
    }
}

/// Progress of the whole study on standard error; a signal ends the study between two batches.
struct Bar {
    bar: ProgressBar,
    stop: Stop,
    _watch: Watch,
}

impl Bar {
    fn new(name: &'static str) -> anyhow::Result<Self> {
        let bar = print::bar(1000);
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:40}] {percent} % {eta}") {
            bar.set_style(style);
        }
        bar.set_message(name);
        let (_watch, stop) = signals::after("batch")?;
        Ok(Self { bar, stop, _watch })
    }

    fn advance(&self, share: f64) -> bool {
        self.bar.set_position((1000.0 * share) as u64);
        !self.stop.is_requested()
    }
}
