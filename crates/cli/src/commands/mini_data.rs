//! `diffprune mini data`.

use std::path::PathBuf;

use clap::Args;
use diffprune_lab::write_world;
use diffprune_mini::{MiniCounts, MiniWorld, Written};

use crate::print::say;
use crate::signals;
use crate::watch::Terminal;

/// Writes the small world.
///
/// The folder is complete or absent; an interrupted run is taken up again, and the same world is not written twice.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// Folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed of everything in it.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Captioned pictures to train on.
    #[arg(long, default_value_t = MiniCounts::default().train_captions)]
    images: usize,
    /// Captioned pictures held out.
    #[arg(long, default_value_t = MiniCounts::default().val_captions)]
    val_images: usize,
    /// Pictures of the existence questions (POPE), up to 18 questions each.
    #[arg(long, default_value_t = MiniCounts::default().pope_images)]
    pope_images: usize,
    /// Questions of each of the six kinds in GQA's format.
    #[arg(long, default_value_t = MiniCounts::default().gqa_per_kind)]
    gqa_per_kind: usize,
    /// Reading questions in TextVQA's format.
    #[arg(long, default_value_t = MiniCounts::default().textvqa_questions)]
    textvqa_questions: usize,
    /// Questions in VQAv2's format.
    #[arg(long, default_value_t = MiniCounts::default().vqav2_questions)]
    vqav2_questions: usize,
    /// Questions in VizWiz's format, some about blurred pictures.
    #[arg(long, default_value_t = MiniCounts::default().vizwiz_questions)]
    vizwiz_questions: usize,
    /// Pictures of each of the five subtasks in MME's format, two questions each.
    #[arg(long, default_value_t = MiniCounts::default().mme_pictures)]
    mme_pictures: usize,
    /// Questions in MMBench's format, each with all rotations of its options.
    #[arg(long, default_value_t = MiniCounts::default().mmbench_questions)]
    mmbench_questions: usize,
    /// Chinese questions in MMBench-CN's format, each with all rotations of its options.
    #[arg(long, default_value_t = MiniCounts::default().mmbench_cn_questions)]
    mmbench_cn_questions: usize,
    /// Questions in SEED-Bench's format.
    #[arg(long, default_value_t = MiniCounts::default().seed_bench_questions)]
    seed_bench_questions: usize,
    /// Questions in ScienceQA's format.
    #[arg(long, default_value_t = MiniCounts::default().scienceqa_questions)]
    scienceqa_questions: usize,
}

impl DataArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let counts = MiniCounts {
            pope_images: self.pope_images,
            gqa_per_kind: self.gqa_per_kind,
            textvqa_questions: self.textvqa_questions,
            vqav2_questions: self.vqav2_questions,
            vizwiz_questions: self.vizwiz_questions,
            mme_pictures: self.mme_pictures,
            mmbench_questions: self.mmbench_questions,
            mmbench_cn_questions: self.mmbench_cn_questions,
            seed_bench_questions: self.seed_bench_questions,
            scienceqa_questions: self.scienceqa_questions,
            train_captions: self.images,
            val_captions: self.val_images,
        };
        let world = MiniWorld {
            counts,
            seed: self.seed,
            ..MiniWorld::default()
        };
        let (_watch, stop) = signals::after("pictures")?;
        match write_world(&world, &self.out, &mut Terminal::new("mini", stop))? {
            Written::AlreadyThere => say!("{} holds this world already", self.out.display()),
            Written::New { drawn } => say!("{}: {drawn} pictures drawn", self.out.display()),
        }
        Ok(())
    }
}
