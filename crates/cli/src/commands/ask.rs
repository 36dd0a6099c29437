//! `diffprune ask`.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use diffprune::vlm::{Conversation, PreparedImages, PruneOptions, Question, load_image_with};
use diffprune::{Budget, Vlm};
use diffprune_lab::{Asked, CountRequest, LoadedModel, ask_timed, readable_bytes};
use serde_json::json;

use super::dry_run;
use crate::method::{HELP, Positions};
use crate::model::{ModelArgs, tell_foreign, tell_idle};
use crate::picture::PictureArgs;
use crate::print::{self, say, tell};

/// Asks about pictures; the answer comes as it is made, then a line of counts and times.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The question; may be left out with --chat and --dry-run.
    question: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// A picture (PNG, JPEG, WebP, GIF, BMP or TIFF); give it again for further pictures.
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    pictures: PictureArgs,
    /// Tokens that stay of each picture: a count (64), a fraction (1/9), a percentage (11%) or all.
    #[arg(
        long,
        default_value = "all",
        allow_negative_numbers = true,
        help_heading = "Pruning"
    )]
    keep: Budget,
    /// How tokens are chosen.
    #[arg(long, value_name = "METHOD", help = HELP, help_heading = "Pruning")]
    pruner: Option<String>,
    /// Position ids of kept tokens: keep or reindex [default: as the method was published].
    #[arg(long, help_heading = "Pruning")]
    positions: Option<Positions>,
    /// Longest answer in new tokens.
    #[arg(long, default_value_t = 64)]
    max_new_tokens: usize,
    /// Seed of methods that draw at random.
    #[arg(long, default_value_t = 0, help_heading = "Pruning")]
    seed: u64,
    /// Go on asking, a line for each question; pictures are encoded and pruned once, for the first question, also by
    /// methods inside the language model. An empty line ends.
    #[arg(long)]
    chat: bool,
    /// Only count tokens, from the checkpoint's settings and the pictures' sizes; no weights are read or fetched.
    #[arg(long)]
    dry_run: bool,
    /// Print one line of JSON for each answer, with the kept tokens and the times (docs/json.md).
    #[arg(long, help_heading = "Output", conflicts_with = "dry_run")]
    json: bool,
}

impl AskArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        if self.dry_run {
            let request = CountRequest {
                images: &self.images,
                orientation: self.pictures.orientation(),
                question: self.question.as_deref(),
                keep: self.keep,
                pruner: self.pruner.as_deref(),
                positions: self.positions.map(Into::into),
            };
            return dry_run::print(&self.model, &request);
        }
        let is_blank = |question: &String| question.trim().is_empty();
        if self.question.as_ref().map_or(!self.chat, is_blank) {
            bail!("question: expected a text, found none; ask one, or start a conversation with --chat");
        }
        if self.images.is_empty() {
            tell!("note: no picture is given (--image FILE), so the question is asked without one");
        }
        let pictures = self
            .images
            .iter()
            .map(|path| load_image_with(path, self.pictures.orientation()))
            .collect::<Result<Vec<_>, _>>()?;
        let model = self.model.load()?;
        let vlm: &dyn Vlm = model.vlm.as_ref();
        let (name, method) = model.method(self.pruner.as_deref(), self.seed)?;
        tell_foreign(&name.resolved, vlm.family());
        let (name, pruner) = (name.shown.as_str(), method.pruner());
        let options = PruneOptions::new(self.keep)
            .with_seed(self.seed)
            .with_positions(self.positions.map(Into::into));
        let mut conversation = Conversation::new(pruner.as_ref(), options);
        let generate = vlm.generate_options().with_max_new_tokens(self.max_new_tokens);
        // The pictures come with the first question; later ones find them pruned as they were.
        let mut images = pictures.as_slice();
        let mut given = self.question.clone();
        while let Some(text) = given.take().map_or_else(read_line, |text| Ok(Some(text)))? {
            let question = Question { text: &text, images };
            let mut show = |piece: &str| if self.json { Ok(()) } else { show(piece) };
            let answered = ask_timed(vlm, &mut conversation, question, &generate, &mut show)?;
            images = &[];
            if !self.json {
                say!("");
            }
            let prepared = conversation.images();
            let total: usize = (0..prepared.len()).map(|image| prepared.total(image)).sum();
            tell_idle(self.keep, total / prepared.len().max(1));
            if self.json {
                self.print_json(&model, name, &text, conversation.images(), &answered)?;
            } else {
                self.print_counts(&model, name, conversation.images(), &answered);
            }
            if !self.chat {
                break;
            }
        }
        Ok(())
    }

    /// The line of counts and times.
    fn print_counts(&self, model: &LoadedModel, pruner: &str, images: &PreparedImages<'_>, answered: &Asked) {
        let (kept, times) = (answered.kept, &answered.times);
        let total: usize = (0..images.len()).map(|image| images.total(image)).sum();
        let saved = saved_bytes(model, total, kept);
        let line = format!(
            "{} of {} visual tokens kept by {pruner}; encode {:.0} ms, select {:.0} ms, prefill {:.0} ms, decode {:.0} ms; \
             {} of KV cache saved",
            kept,
            total,
            times.encode,
            times.select,
            times.prefill,
            times.decode,
            readable_bytes(saved),
        );
        tell!("{}", model.with_options(&line));
    }

    /// The answer and all that the line of counts and times says.
    fn print_json(
        &self,
        model: &LoadedModel,
        pruner: &str,
        question: &str,
        images: &PreparedImages<'_>,
        answered: &Asked,
    ) -> anyhow::Result<()> {
        let total: usize = (0..images.len()).map(|image| images.total(image)).sum();
        let of_image = |(number, path): (usize, &PathBuf)| {
            json!({
                "file": path, "total": images.total(number), "kept": images.kept(number),
                "indices": images.keep_indices(number),
            })
        };
        print::json(&json!({
            "question": question,
            "answer": answered.text,
            "model": model.name(),
            "dtype": model.dtype.name(),
            "device": self.model.device,
            "method": pruner,
            "keep": self.keep,
            "seed": self.seed,
            "images": self.images.iter().enumerate().map(of_image).collect::<Vec<_>>(),
            "total": total,
            "kept": answered.kept,
            "tokens_per_layer": answered.layers,
            "ms": answered.times,
            "kv_bytes_saved": saved_bytes(model, total, answered.kept),
        }))
    }
}

/// Bytes of the cache that the dropped tokens would take.
fn saved_bytes(model: &LoadedModel, total: usize, kept: usize) -> u64 {
    model.vlm.kv_bytes_per_token() * total.saturating_sub(kept) as u64
}

/// Prints a piece of the answer at once.
fn show(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The next question; `None` at an empty line or the end of input.
fn read_line() -> anyhow::Result<Option<String>> {
    let input = std::io::stdin();
    if input.is_terminal() {
        eprint!("> ");
    }
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    let line = line.trim();
    Ok((!line.is_empty()).then(|| line.to_string()))
}
