//! `diffprune ask`.

use std::io::{BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::bail;
use clap::Args;
use diffprune::vlm::{DecideOnce, DecoderPruning, Hooks, PruneOptions, Turn, VisualInput, load_image_with};
use diffprune::{Budget, Pruner, Vlm, prune};
use diffprune_lab::{LoadedModel, Method, default_method, timed};

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

/// What the pictures became.
struct Seen {
    visual: Option<VisualInput>,
    kept: usize,
    total: usize,
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
        let inside = pruner.decoder().map(DecideOnce::new);
        // Some methods read the question, so nothing is chosen before it is there.
        let Some(mut question) = self
            .question
            .clone()
            .map_or_else(read_line, |given| Ok(Some(given)))?
        else {
            return Ok(());
        };
        let mut times = Times::default();
        let mut seen = self.look(vlm, pictures, &question, pruner.as_ref(), &mut times)?;
        tell_idle(self.keep, seen.total / self.images.len().max(1));
        let mut turns = Vec::new();
        loop {
            // The pictures stand in the first turn; later ones find them there, pruned as they were.
            let n_images = if turns.is_empty() { self.images.len() } else { 0 };
            turns.push(Turn::ask(question).with_images(n_images));
            let answer = self.answer(vlm, &turns, &mut seen, inside.as_ref(), &mut times)?;
            self.tell(&model, name, &seen, &times);
            if !self.chat {
                return Ok(());
            }
            question = match read_line()? {
                Some(next) => next,
                None => return Ok(()),
            };
            times.encode = 0.0;
            times.select = 0.0;
            if let Some(turn) = turns.last_mut() {
                turn.answer = Some(answer);
            }
        }
    }

    /// Encodes and prunes the pictures, for the first question about them.
    fn look(
        &self,
        vlm: &dyn Vlm,
        pictures: Vec<image::RgbImage>,
        question: &str,
        pruner: &dyn Pruner,
        times: &mut Times,
    ) -> anyhow::Result<Seen> {
        if pictures.is_empty() {
            return Ok(Seen {
                visual: None,
                kept: 0,
                total: 0,
            });
        }
        let questions = vec![vlm.tokenizer().encode(question, false)?; pictures.len()];
        let options = PruneOptions {
            seed: self.seed,
            positions: self.positions.map(Into::into),
            questions: Some(questions),
            ..PruneOptions::new(self.keep)
        };
        let (encoded, encode) = timed(|| {
            let encoded = vlm
                .preprocess(&pictures)
                .map(|pixels| vlm.encode(pixels, pruner.signals()));
            vlm.device().sync().ok();
            encoded
        });
        let encoded = encoded?;
        let (pruned, select) = timed(|| {
            let pruned = prune(vlm, &encoded, pruner, &options);
            vlm.device().sync().ok();
            pruned
        });
        (times.encode, times.select) = (encode, select);
        let (visual, selection) = pruned?;
        Ok(Seen {
            visual: Some(visual),
            kept: (0..selection.batch()).map(|row| selection.count(row)).sum(),
            total: encoded.counts().iter().sum(),
        })
    }

    /// Answers the last turn, word by word on standard output.
    fn answer(
        &self,
        vlm: &dyn Vlm,
        turns: &[Turn],
        seen: &mut Seen,
        inside: Option<&DecideOnce<'_>>,
        times: &mut Times,
    ) -> anyhow::Result<String> {
        let prompt = vlm.prompt_ids(turns)?;
        let options = vlm.generate_options().with_max_new_tokens(self.max_new_tokens);
        let start = Instant::now();
        let (mut read, mut printed) = (None, String::new());
        let mut ids = Vec::new();
        let mut on_prefill = || read = Some(start.elapsed().as_secs_f64());
        let mut on_token = |_: usize, id: u32| {
            ids.push(id);
            match show_more(vlm, &ids, &mut printed) {
                Ok(()) => ControlFlow::Continue(()),
                // Nobody reads on (a closed pipe): no need to go on.
                Err(_) => ControlFlow::Break(()),
            }
        };
        let mut hooks = Hooks {
            on_prefill: Some(&mut on_prefill),
            on_token: Some(&mut on_token),
            decoder: inside
                .filter(|_| seen.visual.is_some())
                .map(|pruner| DecoderPruning {
                    pruner,
                    budget: self.keep,
                    positions: self.positions.map(Into::into),
                }),
            ..Hooks::default()
        };
        let answers = vlm.generate_with(&[prompt], seen.visual.as_ref(), &options, &mut hooks)?;
        if let Some(report) = hooks.report.take()
            && let Some(sequence) = report.sequences.first()
        {
            // A method inside the language model keeps another number in each layer: the average is told.
            seen.kept = sequence.processed_average().round() as usize;
        }
        times.prefill = read.unwrap_or_default();
        times.decode = start.elapsed().as_secs_f64() - times.prefill;
        let text = vlm.tokenizer().decode(&answers[0], true).trim().to_string();
        say!("{}", text.strip_prefix(printed.as_str()).unwrap_or_default());
        Ok(text)
    }

    /// The line of counts and times.
    fn tell(&self, model: &LoadedModel, pruner: &str, seen: &Seen, times: &Times) {
        let saved = model.vlm.kv_bytes_per_token() * (seen.total - seen.kept.min(seen.total)) as u64;
        let line = format!(
            "{} of {} visual tokens kept by {pruner}; encode {:.0} ms, select {:.0} ms, prefill {:.0} ms, decode {:.0} ms; \
             {} of KV cache saved",
            seen.kept,
            seen.total,
            1e3 * times.encode,
            1e3 * times.select,
            1e3 * times.prefill,
            1e3 * times.decode,
            arithmetic::bytes(saved),
        );
        eprintln!("{}", model.with_options(&line));
    }
}

/// Prints what is new of the decoded ids, except for an unfinished character at their end.
fn show_more(vlm: &dyn Vlm, ids: &[u32], printed: &mut String) -> std::io::Result<()> {
    let text = vlm.tokenizer().decode(ids, true);
    let text = text.trim_start();
    if text.ends_with(char::REPLACEMENT_CHARACTER) || text.ends_with(char::is_whitespace) {
        return Ok(());
    }
    if let Some(new) = text.strip_prefix(printed.as_str()) {
        let mut out = std::io::stdout().lock();
        out.write_all(new.as_bytes())?;
        out.flush()?;
        *printed = text.to_string();
    }
    Ok(())
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
