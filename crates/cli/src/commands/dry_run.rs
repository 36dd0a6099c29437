//! `diffprune ask --dry-run`: counts tokens and bytes, reads no weights.

use diffprune_lab::{CountRequest, TokenCounts, describe_options, readable_bytes};

use crate::model::{ModelArgs, tell_notes};
use crate::print::say;

/// Prints, for each picture, its tokens before and after pruning and the cache that they take.
///
/// # Errors
/// When something is wrong with the settings, a picture or the method, and, after the counts, when the language model has
/// fewer positions than the prompt needs.
pub fn print(model: &ModelArgs, request: &CountRequest<'_>) -> anyhow::Result<()> {
    let dir = model.settings_dir()?;
    let options = model.options(&dir)?;
    let counts = TokenCounts::of(&dir, options, request)?;
    let special = match describe_options(&options).as_str() {
        "" => String::new(),
        special => format!("; {special}"),
    };
    say!(
        "{}: {} layers, {} of KV cache per token{special}",
        counts.family,
        counts.n_layers,
        readable_bytes(counts.kv_bytes_per_token)
    );
    for image in &counts.images {
        let rasters: Vec<String> = image
            .rasters
            .iter()
            .map(|(rows, cols)| format!("{rows}x{cols}"))
            .collect();
        say!(
            "{}: {}x{} pixels, {} tokens in {} view(s) ({}), {} places in the sequence; {} stay",
            image.path.display(),
            image.size.0,
            image.size.1,
            image.total,
            image.views,
            rasters.join(" + "),
            image.slots,
            image.kept
        );
    }
    say!(
        "{} of {} visual tokens stay; {} of KV cache saved",
        counts.kept(),
        counts.total(),
        readable_bytes(counts.kv_bytes_saved())
    );
    tell_notes();
    let (text, of) = (counts.text, counts.max_positions);
    let span = counts.span?;
    if request.question.is_some() {
        say!("with {text} tokens of text the prompt takes {span} of {of} positions");
    }
    Ok(())
}
