//! Counting tokens and bytes without reading weights.

use std::path::{Path, PathBuf};

use anyhow::Context;
use diffprune::vlm::{ImageOrientation, Turn, VisualSequence, VlmPlan, image_size, plan_vlm};
use diffprune::{Budget, PositionRule};

use diffprune_lab::{check_method, default_method, describe_options};

use crate::model::{ModelArgs, tell_notes};
use crate::print::say;

/// A question whose tokens are counted.
pub struct Request<'a> {
    /// The model.
    pub model: &'a ModelArgs,
    /// The pictures.
    pub images: &'a [PathBuf],
    /// Which way up they are read.
    pub orientation: ImageOrientation,
    /// The question, if there is one.
    pub question: Option<&'a str>,
    /// Tokens that stay of each picture.
    pub keep: Budget,
    /// The method that chooses; `None` takes the family's default.
    pub pruner: Option<&'a str>,
    /// Position ids of kept tokens; `None` takes the method's own rule.
    pub positions: Option<PositionRule>,
}

/// Tokens of the pictures.
#[derive(Default)]
struct Count {
    all: usize,
    left: usize,
    sequences: Vec<VisualSequence>,
}

/// Prints, for each picture, its tokens before and after pruning and the cache that they take.
///
/// # Errors
/// When something is wrong with the settings, a picture or the method, and, after the counts, when the language model has
/// fewer positions than the prompt needs.
pub fn print(request: &Request<'_>) -> anyhow::Result<()> {
    let dir = request.model.settings_dir()?;
    let options = request.model.options(&dir)?;
    let plan = plan_vlm(dir, options)?;
    let name = request.pruner.unwrap_or(default_method(plan.family()));
    let pruner = check_method(name, plan.family())?;
    let rule = match &pruner {
        Some(pruner) => request.positions.unwrap_or(pruner.positions()),
        None => request.positions.unwrap_or_default(),
    };
    // A method inside the language model lets every token into it.
    let inside = pruner.is_some_and(|pruner| pruner.decoder().is_some());
    let rule = if inside { PositionRule::Keep } else { rule };
    let special = match describe_options(&options).as_str() {
        "" => String::new(),
        special => format!("; {special}"),
    };
    say!(
        "{}: {} layers, {} of KV cache per token{special}",
        plan.family(),
        plan.n_layers(),
        bytes(plan.kv_bytes_per_token())
    );
    let mut count = Count::default();
    for path in request.images {
        count.add(&plan, path, request.orientation, request.keep, inside, rule)?;
    }
    say!(
        "{} of {} visual tokens stay; {} of KV cache saved",
        count.left,
        count.all,
        bytes(plan.kv_bytes_per_token() * (count.all - count.left) as u64)
    );
    let n_text = match request.question {
        Some(question) => text_tokens(&plan, question, request.images.len())?,
        None => 0,
    };
    tell_notes();
    let span = plan.check_context(n_text, &count.sequences)?;
    if request.question.is_some() {
        say!(
            "with {n_text} tokens of text the prompt takes {span} of {} positions",
            plan.max_positions()
        );
    }
    Ok(())
}

impl Count {
    /// Counts and prints the tokens of one picture.
    fn add(
        &mut self,
        plan: &VlmPlan,
        path: &Path,
        orientation: ImageOrientation,
        keep: Budget,
        inside: bool,
        rule: PositionRule,
    ) -> anyhow::Result<()> {
        let (width, height) = image_size(path, orientation)?;
        let layout = plan
            .layout(width, height)
            .with_context(|| format!("{}", path.display()))?;
        let total = layout.n_tokens();
        let kept = keep.resolve(total)?;
        let rasters: Vec<String> = layout
            .segments
            .iter()
            .map(|segment| format!("{}x{}", segment.grid.rows, segment.grid.cols))
            .collect();
        let every: Vec<usize> = (0..total).collect();
        let slots = plan.sequence(&layout, &every, PositionRule::Keep).slots.len();
        say!(
            "{}: {width}x{height} pixels, {} tokens in {} view(s) ({}), {slots} places in the sequence; {kept} stay",
            path.display(),
            total,
            layout.views.len(),
            rasters.join(" + ")
        );
        self.all += total;
        self.left += kept;
        let read = if inside { total } else { kept };
        // The chosen ones are not known: spread evenly, they have a part in every row.
        let spread: Vec<usize> = (0..read).map(|i| i * total / read).collect();
        self.sequences.push(plan.sequence(&layout, &spread, rule));
        Ok(())
    }
}

/// Tokens of a question in its prompt, placeholders of pictures not counted.
fn text_tokens(plan: &VlmPlan, question: &str, n_images: usize) -> anyhow::Result<usize> {
    let ids = plan.prompt_ids(&[Turn::ask(question).with_images(n_images)])?;
    Ok(ids.len().saturating_sub(n_images))
}

/// A number of bytes as people read it.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{n} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_readable() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(512 * 1024 * 512), "256.0 MiB");
    }
}
