//! Arguments about questions.

use clap::Args;
use diffprune_eval::{Protocol, Protocols};
use diffprune_lab::Reading;

/// The questions and their wording.
#[derive(Debug, Clone, Args)]
pub struct QuestionArgs {
    /// In whose words is asked and by whose rules scored: llava, lmms-eval, papers (LLaVA's, but lmms-eval's for SEED-Bench
    /// and VizWiz), or one of these with exceptions as in llava,seed_bench=lmms-eval [default: those behind the model's
    /// published numbers].
    #[arg(long, value_name = "PROTOCOLS")]
    prompts: Option<Protocols>,
    /// TextVQA without OCR tokens in the prompt.
    #[arg(long)]
    no_ocr: bool,
    /// SEED-Bench without its questions about videos.
    #[arg(long)]
    no_video: bool,
    /// Ask what a server scores (VQAv2 test-dev, VizWiz test, MMBench test) and write its files in place of a report.
    #[arg(long)]
    pub upload: bool,
}

impl QuestionArgs {
    /// The reading for a model whose numbers are published under the protocol `usual`.
    pub fn reading(&self, usual: Protocol) -> Reading {
        Reading {
            protocols: self.prompts.clone().unwrap_or_else(|| usual.into()),
            ocr: !self.no_ocr,
            video: !self.no_video,
            upload: self.upload,
        }
    }
}

/// A count that is not nothing.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("expected a count of at least 1, found `{text}`")),
    }
}
