//! `diffprune ask`.

use std::io::{BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::bail;
use clap::Args;
use diffprune::vlm::{
    Conversation, Hooks, PreparedImages, PruneOptions, Question, Stage, TextStream, load_image_with,
};
use diffprune::{Budget, Vlm};
use diffprune_lab::{LoadedModel, Method, default_method};

use crate::arithmetic::{self, Request};
use crate::method::{HELP, Positions};
use crate::model::{ModelArgs, tell_foreign, tell_idle};
use crate::picture::PictureArgs;
use crate::print::say;

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
    #[arg(long, default_value = "all")]
    keep: Budget,
    /// How tokens are chosen.
    #[arg(long, value_name = "METHOD", help = HELP)]
    pruner: Option<String>,
    /// Position ids of kept tokens: keep or reindex [default: as the method was published].
    #[arg(long)]
    positions: Option<Positions>,
    /// Longest answer in new tokens.
    #[arg(long, default_value_t = 64)]
    max_new_tokens: usize,
    /// Seed of methods that draw at random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Go on asking, a line for each question; pictures are encoded and pruned once, for the first question, also by
    /// methods inside the language model. An empty line ends.
    #[arg(long)]
    chat: bool,
    /// Only count tokens, from the checkpoint's settings and the pictures' sizes; no weights are read or fetched.
    #[arg(long)]
    dry_run: bool,
}

/// Seconds of the stages of one answer.
#[derive(Default)]
struct Times {
    encode: f64,
    select: f64,
    prefill: f64,
    decode: f64,
}

impl AskArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        if self.dry_run {
            return arithmetic::print(&Request {
                model: &self.model,
                images: &self.images,
                orientation: self.pictures.orientation(),
                question: self.question.as_deref(),
                keep: self.keep,
                pruner: self.pruner.as_deref(),
                positions: self.positions.map(Into::into),
            });
        }
        if self.question.is_none() && !self.chat {
            bail!("question: found none, wanted a text; ask one, or start a conversation with --chat");
        }
        if self.images.is_empty() {
            eprintln!("note: no picture is given (--image FILE), so the question is asked without one");
        }
        let pictures = self
            .images
            .iter()
            .map(|path| load_image_with(path, self.pictures.orientation()))
            .collect::<Result<Vec<_>, _>>()?;
        let model = self.model.load()?;
        let vlm: &dyn Vlm = model.vlm.as_ref();
        let name = self.pruner.as_deref().unwrap_or(default_method(vlm.family()));
        tell_foreign(name, vlm.family());
        let pruner = Method::parse(name, vlm, self.seed)?.pruner();
        let options = PruneOptions {
            seed: self.seed,
            positions: self.positions.map(Into::into),
            ..PruneOptions::new(self.keep)
        };
        let mut conversation = Conversation::new(pruner.as_ref(), options);
        // The pictures come with the first question; later ones find them pruned as they were.
        let mut images = pictures.as_slice();
        let mut given = self.question.clone();
        while let Some(text) = given.take().map_or_else(read_line, |text| Ok(Some(text)))? {
            let question = Question { text: &text, images };
            let (times, kept) = self.answer(vlm, &mut conversation, question)?;
            images = &[];
            self.print_counts(&model, name, conversation.images(), kept, &times);
            if !self.chat {
                break;
            }
        }
        Ok(())
    }

    /// Answers a question, word by word on standard output. Gives the times and the visual tokens that the language model
    /// worked on.
    fn answer(
        &self,
        vlm: &dyn Vlm,
        conversation: &mut Conversation<'_>,
        question: Question<'_>,
    ) -> anyhow::Result<(Times, usize)> {
        let generate = vlm.generate_options().with_max_new_tokens(self.max_new_tokens);
        let start = Instant::now();
        let waited = || {
            // A device that fails here fails again where the result is needed.
            let _ = vlm.device().sync();
            start.elapsed().as_secs_f64()
        };
        let (mut encoded, mut selected, mut read) = (None, None, None);
        let mut on_stage = |stage: Stage| match stage {
            Stage::Encoded => encoded = Some(waited()),
            Stage::Projected => selected = Some(waited()),
            _ => {}
        };
        let mut on_prefill = || read = Some(start.elapsed().as_secs_f64());
        let mut stream = TextStream::new(vlm);
        let mut on_token = |_: usize, id: u32| {
            let shown = stream.push(id).map_or(Ok(()), show);
            // A closed pipe: there is no need to go on.
            shown.map_or(ControlFlow::Break(()), ControlFlow::Continue)
        };
        let mut hooks = Hooks {
            on_stage: Some(&mut on_stage),
            on_prefill: Some(&mut on_prefill),
            on_token: Some(&mut on_token),
            ..Hooks::default()
        };
        let reply = conversation.ask(vlm, question, &generate, &mut hooks)?;
        let report = hooks.report.take();
        drop(hooks);
        say!("{}", stream.rest(&reply.text));
        let end = start.elapsed().as_secs_f64();
        let encode = encoded.unwrap_or_default();
        let ready = selected.unwrap_or_default();
        let read = read.unwrap_or(ready);
        let times = Times {
            encode,
            select: ready - encode,
            prefill: read - ready,
            decode: end - read,
        };
        let images = conversation.images();
        let entered = (0..images.len()).map(|image| images.kept(image)).sum();
        // A method inside the language model keeps another number in each layer: the average is shown.
        let average = report.as_ref().and_then(|report| report.sequences.first());
        let kept = average.map_or(entered, |sequence| sequence.processed_average().round() as usize);
        Ok((times, kept))
    }

    /// The line of counts and times.
    fn print_counts(
        &self,
        model: &LoadedModel,
        pruner: &str,
        images: &PreparedImages<'_>,
        kept: usize,
        times: &Times,
    ) {
        let total: usize = (0..images.len()).map(|image| images.total(image)).sum();
        tell_idle(self.keep, total / images.len().max(1));
        let saved = model.vlm.kv_bytes_per_token() * (total - kept.min(total)) as u64;
        let line = format!(
            "{} of {} visual tokens kept by {pruner}; encode {:.0} ms, select {:.0} ms, prefill {:.0} ms, decode {:.0} ms; \
             {} of KV cache saved",
            kept,
            total,
            1e3 * times.encode,
            1e3 * times.select,
            1e3 * times.prefill,
            1e3 * times.decode,
            arithmetic::bytes(saved),
        );
        eprintln!("{}", model.with_options(&line));
    }
}

/// Prints a piece of the answer at once.
fn show(text: String) -> std::io::Result<()> {
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
