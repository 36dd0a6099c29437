//! A question of a conversation, answered piece by piece, with the time of each stage.

use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use diffprune::Vlm;
use diffprune::vlm::{Conversation, GenerateOptions, Hooks, Question, Stage, TextStream, VlmError};
use serde::Serialize;

/// An answer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Asked {
    /// Its text.
    pub text: String,
    /// The time of each stage.
    pub times: StageTimes,
    /// Visual tokens that the language model worked on; of a method inside it the average over its layers.
    pub kept: usize,
    /// Visual tokens that entered each layer, of a method inside the language model.
    pub layers: Option<Vec<usize>>,
}

/// Milliseconds of the stages of one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StageTimes {
    /// Preprocessing and vision encoder; 0 where the pictures were encoded before.
    pub encode: f64,
    /// Choice of the tokens and projection.
    pub select: f64,
    /// Reading the prompt.
    pub prefill: f64,
    /// The new tokens.
    pub decode: f64,
}

/// Asks the next question of a conversation. `on_text` gets the answer piece by piece as it is made; its error ends the answer
/// early, as where the reader of a pipe has gone.
///
/// # Errors
/// When the model cannot take the pictures or the prompt, or the method cannot choose.
pub fn ask_timed(
    vlm: &dyn Vlm,
    conversation: &mut Conversation<'_>,
    question: Question<'_>,
    generate: &GenerateOptions,
    on_text: &mut dyn FnMut(&str) -> io::Result<()>,
) -> Result<Asked, VlmError> {
    let start = Instant::now();
    let waited = || {
        // A device that fails here fails again where the result is needed.
        let _ = vlm.device().sync();
        1e3 * start.elapsed().as_secs_f64()
    };
    let (mut encoded, mut selected, mut read) = (None, None, None);
    let mut on_stage = |stage: Stage| match stage {
        Stage::Encoded => encoded = Some(waited()),
        Stage::Projected => selected = Some(waited()),
        _ => {}
    };
    let mut on_prefill = || read = Some(1e3 * start.elapsed().as_secs_f64());
    let mut stream = TextStream::new(vlm);
    let mut on_token = |_: usize, id: u32| {
        let shown = stream.push(id).map_or(Ok(()), |piece| on_text(&piece));
        shown.map_or(ControlFlow::Break(()), ControlFlow::Continue)
    };
    let mut hooks = Hooks {
        on_stage: Some(&mut on_stage),
        on_prefill: Some(&mut on_prefill),
        on_token: Some(&mut on_token),
        ..Hooks::default()
    };
    let reply = conversation.ask(vlm, question, generate, &mut hooks)?;
    let report = hooks.report.take();
    drop(hooks);
    // A reader that has gone misses the end too.
    let _ = on_text(stream.rest(&reply.text));
    let end = 1e3 * start.elapsed().as_secs_f64();
    let encode = encoded.unwrap_or_default();
    let ready = selected.unwrap_or_default();
    let read = read.unwrap_or(ready);
    let images = conversation.images();
    let entered = (0..images.len()).map(|image| images.kept(image)).sum();
    // A method inside the language model keeps another number in each layer: the average is shown.
    let average = report.as_ref().and_then(|report| report.sequences.first());
    Ok(Asked {
        text: reply.text,
        times: StageTimes {
            encode,
            select: ready - encode,
            prefill: read - ready,
            decode: end - read,
        },
        kept: average.map_or(entered, |sequence| sequence.processed_average().round() as usize),
        layers: average.map(|sequence| sequence.visual_tokens.clone()),
    })
}
