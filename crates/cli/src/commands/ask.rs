//! `diffprune ask`.

use std::path::PathBuf;

use clap::Args;
use diffprune::vlm::{PruneOptions, Turn, load_image};
use diffprune::{Budget, Vlm, prune};

use crate::clock::timed;
use crate::model::ModelArgs;
use crate::pruners::{HELP, Method};

/// Asks one question about one picture.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The question.
    question: String,
    #[command(flatten)]
    model: ModelArgs,
    /// The picture, PNG or JPEG.
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// Tokens that stay: a count (64), a fraction (1/9), a percentage (11%) or all.
    #[arg(long, default_value = "all")]
    keep: Budget,
    /// How tokens are chosen.
    #[arg(long, default_value = "cls", help = HELP)]
    pruner: String,
    /// Longest answer in new tokens.
    #[arg(long, default_value_t = 64)]
    max_new_tokens: usize,
    /// Seed of methods that draw at random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl AskArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let picture = load_image(&self.image)?;
        let model = self.model.load()?;
        let vlm: &dyn Vlm = model.vlm.as_ref();
        let pruner = Method::parse(&self.pruner, vlm, self.seed)?.pruner();
        let prompt = vlm.prompt_ids(&[Turn::ask(self.question.clone())])?;
        let options = PruneOptions {
            seed: self.seed,
            ..PruneOptions::new(self.keep)
        };
        let (encoded, encode_s) = timed(|| {
            let encoded = vlm
                .preprocess(&[picture])
                .map(|pixels| vlm.encode(pixels, pruner.signals()));
            vlm.device().sync().ok();
            encoded
        });
        let encoded = encoded?;
        let (pruned, prune_s) = timed(|| prune(vlm, &encoded, pruner.as_ref(), &options));
        let (visual, selection) = pruned?;
        let generate = vlm.generate_options().with_max_new_tokens(self.max_new_tokens);
        let (ids, generate_s) = timed(|| vlm.generate(&[prompt], Some(&visual), &generate));
        println!("{}", vlm.tokenizer().decode(&ids?[0], true).trim());
        eprintln!(
            "{} of {} tokens kept; encode {:.0} ms, choose and project {:.0} ms, answer {:.0} ms",
            selection.count(0),
            encoded.counts()[0],
            1e3 * encode_s,
            1e3 * prune_s,
            1e3 * generate_s
        );
        Ok(())
    }
}
