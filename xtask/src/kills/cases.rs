//! The commands that are broken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use diffprune_test_hub::{MODEL, Server, Trouble};

/// Counts of the world: a few questions of three benchmarks.
const COUNTS: &str = "--images 32 --val-images 4 --pope-images 4 --gqa-per-kind 1 --textvqa-questions 2 --vqav2-questions 0 \
                      --vizwiz-questions 0 --mme-pictures 2 --mmbench-questions 0 --mmbench-cn-questions 0 \
                      --seed-bench-questions 0 --scienceqa-questions 0";
/// A training with few updates and a checkpoint after each third one.
const TRAIN: &str =
    "batch = 4\nsteps = 24\ncheckpoint_every = 3\n\n[diffprune]\nbudget = \"1/9\"\nscorer = \"mini\"\n";
/// The smallest plan that has every stage.
const PLAN: &str = "rounds = 0\nsteps = 2\nbatch = 4\ncheckpoint_every = 1\ntraining_seeds = 1\nrival_seeds = 1\n\
                    untrained_seeds = 1\nrandom_seeds = 1\nablations = \"none\"\nown_budgets = false\ntuned_contrasts = false\noracle_questions = 1\n\
                    resamples = 50\nmax_new_tokens = 2\npope_per_image = 1\npictures = 1\n[counts]\n\
                    pope_images = 1\ngqa_per_kind = 1\ntextvqa_questions = 1\nvqav2_questions = 1\n\
                    vizwiz_questions = 1\nmme_pictures = 1\nmmbench_questions = 1\nmmbench_cn_questions = 1\n\
                    seed_bench_questions = 1\nscienceqa_questions = 1\ntrain_captions = 8\nval_captions = 4\n[studies]\n\
                    images = 4\nbatches = 3\nbatch = 2\nnoises = 0\ndirections = 1\nsteps = 8\nsurface = 0\npictures = 2\n";
/// Copies of a parquet file, as parts of one.
const PARTS: usize = 600;

/// A command that can be gone on with.
pub struct Case {
    /// Its name here.
    pub name: &'static str,
    /// Its share of the kills, in parts of the sum.
    pub weight: usize,
    /// True when a signal asks it to end after the running step.
    pub is_asked: bool,
    /// The program.
    pub binary: PathBuf,
    /// The folder in which it runs: one that is in no repository.
    pub dir: PathBuf,
    words: Vec<String>,
    /// The hub that it asks, which writes its files to the folder of the run.
    hub: Option<Server>,
}

impl Case {
    /// Every command, with its data below `dir`.
    ///
    /// # Errors
    /// When the data cannot be made.
    pub fn all(binary: &Path, dir: &Path, root: &Path) -> anyhow::Result<Vec<Self>> {
        let at = |name: &str| dir.join(name).display().to_string();
        let model = root.join("assets/mini-llava-1.5");
        let shown = model.display();
        let made = Command::new(binary)
            .args(["mini", "data", "--quiet", "--out", &at("world")])
            .args(COUNTS.split_whitespace())
            .status()
            .with_context(|| binary.display().to_string())?;
        ensure!(made.success(), "the small world: {made}");
        std::fs::write(dir.join("train.toml"), TRAIN)?;
        std::fs::write(dir.join("plan.toml"), PLAN)?;
        parts(
            &root.join("fixtures/eval/datasets/parquet/textvqa/data"),
            &dir.join("parquet"),
        )?;
        let hub = Server::start(files(&model)?)?;
        hub.trouble(Trouble {
            pause: Duration::from_millis(5),
            ..Trouble::default()
        });
        let case = |name, weight, is_asked, line: String| Self {
            name,
            weight,
            is_asked,
            binary: binary.to_path_buf(),
            dir: dir.to_path_buf(),
            words: line.split_whitespace().map(str::to_string).collect(),
            hub: None,
        };
        let (world, scene) = (at("world"), root.join("assets/scene.png"));
        let scene = scene.display();
        Ok(vec![
            case(
                "train",
                30,
                true,
                format!(
                    "train --model {shown} --data {world} --config {} --out OUT",
                    at("train.toml")
                ),
            ),
            case(
                "eval",
                25,
                true,
                format!(
                    "eval --model {shown} --data {world} --arms full,random,cls,fastv-kept --budgets 1/3,1/9 --random-seeds 2 \
                     --max-new-tokens 2 --pictures 1 --out OUT"
                ),
            ),
            case(
                "unpack",
                20,
                false,
                format!(
                    "unpack captions --from {} --caption-column question --out OUT",
                    at("parquet")
                ),
            ),
            Self {
                hub: Some(hub),
                ..case(
                    "hub",
                    15,
                    false,
                    format!("ask what? --model {MODEL} --image {scene} --keep 16 --max-new-tokens 2"),
                )
            },
            case(
                "repro",
                10,
                false,
                format!(
                    "run repro --model {shown} --plan {} --seed 3 --out OUT",
                    at("plan.toml")
                ),
            ),
        ])
    }

    /// The arguments of a run in a folder.
    pub fn arguments(&self, out: &Path) -> Vec<String> {
        let word = |word: &String| match word.as_str() {
            "OUT" => out.display().to_string(),
            other => other.to_string(),
        };
        self.words.iter().map(word).collect()
    }

    /// The environment of a run in a folder. Only the case with a hub asks one.
    pub fn environment(&self, out: &Path) -> Vec<(&'static str, String)> {
        match &self.hub {
            None => vec![("HF_HUB_OFFLINE", "1".into())],
            Some(hub) => vec![
                ("HF_HUB_OFFLINE", "0".into()),
                ("HF_ENDPOINT", hub.endpoint.clone()),
                ("HF_HUB_CACHE", out.display().to_string()),
            ],
        }
    }
}

/// The files of a model, for the hub.
fn files(model: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(model)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let (Some(name), true) = (name, path.is_file()) {
            files.insert(name.to_string(), std::fs::read(&path)?);
        }
    }
    Ok(files)
}

/// Copies the one parquet file of a folder so often, as parts.
fn parts(from: &Path, to: &Path) -> anyhow::Result<()> {
    let file = std::fs::read_dir(from)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "parquet"))
        .with_context(|| format!("{}: found no parquet file", from.display()))?;
    std::fs::create_dir_all(to)?;
    for part in 0..PARTS {
        std::fs::copy(&file, to.join(format!("train-{part:05}-of-{PARTS:05}.parquet")))?;
    }
    Ok(())
}
