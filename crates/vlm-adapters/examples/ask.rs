//! Asks a model about a picture, with all visual tokens and with a ninth of them.
//!
//! `cargo run --release --example ask -p diffprune-vlm-adapters -- --image a.png [--model DIR] [--keep 1/9] [QUESTION]`
//!
//! Without `--model` it is the small LLaVA-1.5 that ships in the repository, which knows drawn shapes on plain grounds and
//! questions such as "what colour is the circle?".

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use diffprune_pruner::{Budget, PruneError, Pruner, PruningContext, Selection, Signals};
use diffprune_vlm_adapters::{LoadOptions, PruneOptions, Turn, answer, load_image, load_vlm};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Keeps the tokens that the encoder attends to most: by `[CLS]` where it has one.
struct Attended;

impl Pruner for Attended {
    fn name(&self) -> &str {
        "attended"
    }

    fn signals(&self) -> Signals {
        Signals {
            cls_attention: true,
            received_attention: true,
            ..Signals::default()
        }
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let observed = &context.observed;
        let class = observed
            .cls_attention
            .clone()
            .map(|rows| rows.mean_dim(1).squeeze_dim(1));
        let attention = class.or_else(|| observed.received_attention.clone());
        let attention =
            attention.ok_or_else(|| PruneError::missing("attended", "attention of the encoder"))?;
        let [_, width] = attention.dims();
        let attention: Vec<f32> = attention.into_data().iter::<f32>().collect();
        let keep = |row: usize| {
            let own = &attention[row * width..][..context.n_tokens(row)];
            let mut order: Vec<usize> = (0..own.len()).collect();
            order.sort_by(|&a, &b| own[b].total_cmp(&own[a]));
            order.truncate(context.budget(row));
            order
        };
        Ok(Selection::keep((0..context.batch()).map(keep).collect()))
    }
}

/// The arguments of the command line.
struct Args {
    image: PathBuf,
    model: PathBuf,
    keep: Budget,
    question: String,
}

impl Args {
    fn read() -> Outcome<Self> {
        let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/mini-llava-1.5");
        let (mut image, mut model, mut keep) = (None, small, Budget::rate(1, 9));
        let mut question = "what colour is the circle?".to_string();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or(format!("{word}: found nothing behind it, expected a value"))
            };
            match word.as_str() {
                "--image" => image = Some(value()?.into()),
                "--model" => model = value()?.into(),
                "--keep" => keep = value()?.parse()?,
                _ => question = word,
            }
        }
        let image = image.ok_or("--image: found none, expected a picture")?;
        Ok(Self {
            image,
            model,
            keep,
            question,
        })
    }
}

fn main() -> Outcome<()> {
    let args = Args::read()?;
    let vlm = load_vlm(&args.model, &Device::flex(), LoadOptions::default())?;
    let images = [load_image(&args.image)?];
    let prompts = [vlm.prompt_ids(&[Turn::ask(args.question)])?];
    let generate = vlm.generate_options().with_max_new_tokens(32);
    for budget in [Budget::All, args.keep] {
        let options = PruneOptions::new(budget);
        let found = answer(vlm.as_ref(), &images, &prompts, &Attended, &options, &generate)?;
        let text = vlm.text_of(&found.ids[0]);
        let (kept, total) = (found.images.kept(0), found.images.total(0));
        println!("{kept} of {total} tokens: {}", text.trim());
    }
    Ok(())
}
