//! Options that only one family of models has.

use std::path::Path;

use clap::Args;
use diffprune::vlm::{
    Family, ImageMode, Newlines, NextOptions, NextTokens, PromptStyle, PruningSite, plan_vlm,
};
use diffprune::{LoadError, LoadOptions};
use serde::de::DeserializeOwned;

/// LLaVA of either kind.
const LLAVAS: &[Family] = &[Family::Llava15, Family::LlavaNext];
const LLAVA: &[Family] = &[Family::Llava15];
const NEXT: &[Family] = &[Family::LlavaNext];
const QWEN: &[Family] = &[Family::Qwen25Vl];
/// The heading of these options in the help.
const FAMILY: &str = "One family of models";

/// Options of one family of models; given to a model of another family, they are an error.
#[derive(Debug, Clone, Default, Args)]
pub struct FamilyArgs {
    /// LLaVA-1.5: how a picture becomes square, pad-square (as the original evaluation) or center-crop (as the converted
    /// checkpoints' own settings) [default: pad-square].
    #[arg(long, help_heading = FAMILY, value_name = "MODE", value_parser = image_mode)]
    image_mode: Option<ImageMode>,
    /// LLaVA: words around the question, hf (the checkpoint's chat template), vicuna-v1, vicuna-v1-human or mistral
    /// [default: hf].
    #[arg(long, help_heading = FAMILY, value_name = "STYLE", value_parser = prompt_style)]
    prompt_style: Option<PromptStyle>,
    /// LLaVA-NeXT: which features are tokens, unpadded or all (576 for each view, as papers count) [default: unpadded].
    #[arg(long, help_heading = FAMILY, value_name = "WHICH", value_parser = next_tokens)]
    next_tokens: Option<NextTokens>,
    /// LLaVA-NeXT: which newline vectors stand in the sequence, all, kept-rows or none [default: all].
    #[arg(long, help_heading = FAMILY, value_name = "WHICH", value_parser = newlines)]
    newlines: Option<Newlines>,
    /// LLaVA-NeXT: the sequence of pruning papers, --next-tokens all --newlines none.
    #[arg(long, help_heading = FAMILY)]
    next_papers: bool,
    /// Qwen2.5-VL: where tokens are chosen, before-merger or after-merger [default: before-merger].
    #[arg(long, help_heading = FAMILY, value_name = "WHERE", value_parser = site)]
    site: Option<PruningSite>,
    /// Qwen2.5-VL: fewest pixels of a resized picture [default: the checkpoint's].
    #[arg(long, help_heading = FAMILY, value_name = "N", value_parser = pixels)]
    min_pixels: Option<u64>,
    /// Qwen2.5-VL: most pixels of a resized picture [default: the checkpoint's].
    #[arg(long, help_heading = FAMILY, value_name = "N", value_parser = pixels)]
    max_pixels: Option<u64>,
    /// Qwen2.5-VL: centre pictures on a square of the mean colour first, so that all have the same number of tokens.
    #[arg(long, help_heading = FAMILY)]
    pad_square: bool,
}

impl FamilyArgs {
    /// `options` with these on top.
    ///
    /// # Errors
    /// When some contradict each other.
    pub fn onto(&self, options: LoadOptions) -> Result<LoadOptions, LoadError> {
        let beside = match (self.next_tokens, self.newlines) {
            (Some(_), _) => Some("--next-tokens"),
            (_, Some(_)) => Some("--newlines"),
            _ => None,
        };
        if let Some(beside) = beside.filter(|_| self.next_papers) {
            return Err(LoadError::Request {
                subject: "option --next-papers".into(),
                found: format!("{beside} beside it"),
                wanted: "one of them".into(),
                remedy: "leave one out: --next-papers is --next-tokens all --newlines none".into(),
            });
        }
        let mut options = options;
        if self.next_papers {
            options.next = NextOptions::papers();
        } else {
            options.next.tokens = self.next_tokens.unwrap_or(options.next.tokens);
            options.next.newlines = self.newlines.unwrap_or(options.next.newlines);
        }
        options.image_mode = self.image_mode.unwrap_or(options.image_mode);
        options.prompt_style = self.prompt_style.unwrap_or(options.prompt_style);
        options.qwen.site = self.site.unwrap_or(options.qwen.site);
        options.qwen.min_pixels = self.min_pixels.or(options.qwen.min_pixels);
        options.qwen.max_pixels = self.max_pixels.or(options.qwen.max_pixels);
        options.qwen.pad_square |= self.pad_square;
        Ok(options)
    }

    /// The options that were given, each with the family that has it.
    fn given(&self) -> impl Iterator<Item = (&'static str, &'static [Family])> {
        [
            (self.image_mode.is_some(), "--image-mode", LLAVA),
            (self.prompt_style.is_some(), "--prompt-style", LLAVAS),
            (self.next_tokens.is_some(), "--next-tokens", NEXT),
            (self.newlines.is_some(), "--newlines", NEXT),
            (self.next_papers, "--next-papers", NEXT),
            (self.site.is_some(), "--site", QWEN),
            (self.min_pixels.is_some(), "--min-pixels", QWEN),
            (self.max_pixels.is_some(), "--max-pixels", QWEN),
            (self.pad_square, "--pad-square", QWEN),
        ]
        .into_iter()
        .filter_map(|(given, option, family)| given.then_some((option, family)))
    }

    /// Refuses options that the model in `dir` does not have, before its weights are read.
    ///
    /// # Errors
    /// When there are some, and when the settings of the checkpoint cannot be read.
    pub fn check(&self, dir: &Path) -> Result<(), LoadError> {
        if self.given().next().is_none() {
            return Ok(());
        }
        let found = plan_vlm(dir, LoadOptions::default())?.family();
        match self.given().find(|(_, families)| !families.contains(&found)) {
            None => Ok(()),
            Some((option, wanted)) => Err(LoadError::Request {
                subject: format!("option {option}"),
                found: format!("a model of the family {found}"),
                wanted: wanted
                    .iter()
                    .map(Family::to_string)
                    .collect::<Vec<_>>()
                    .join(" or "),
                remedy: "leave the option out or name another --model".into(),
            }),
        }
    }

    /// Refuses all of them, for commands that measure a model as it is published.
    ///
    /// # Errors
    /// When one was given.
    pub fn refuse(&self, command: &str) -> Result<(), LoadError> {
        match self.given().next() {
            None => Ok(()),
            Some((option, _)) => Err(LoadError::Request {
                subject: format!("options of {command}"),
                found: option.into(),
                wanted: "the model as it is published".into(),
                remedy: "leave the option out".into(),
            }),
        }
    }
}

fn parse<T: DeserializeOwned>(text: &str, wanted: &str) -> Result<T, String> {
    let refuse = || format!("found `{text}`, expected {wanted}");
    if text.contains('_') {
        return Err(refuse());
    }
    serde_json::from_value(text.replace('-', "_").into()).map_err(|_| refuse())
}

fn image_mode(text: &str) -> Result<ImageMode, String> {
    parse(text, "pad-square or center-crop")
}

fn prompt_style(text: &str) -> Result<PromptStyle, String> {
    parse(text, "hf, vicuna-v1, vicuna-v1-human or mistral")
}

fn next_tokens(text: &str) -> Result<NextTokens, String> {
    parse(text, "unpadded or all")
}

fn newlines(text: &str) -> Result<Newlines, String> {
    parse(text, "all, kept-rows or none")
}

fn site(text: &str) -> Result<PruningSite, String> {
    parse(text, "before-merger or after-merger")
}

fn pixels(text: &str) -> Result<u64, String> {
    let wanted = || format!("found `{text}`, expected a number of pixels, 1 or more");
    text.parse().ok().filter(|&count| count > 0).ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use diffprune_lab::describe_options;

    use super::*;

    #[test]
    fn options_are_described_as_they_are_typed() {
        assert_eq!(describe_options(&LoadOptions::default()), "");
        let of = |args: FamilyArgs| describe_options(&args.onto(LoadOptions::default()).unwrap());
        assert_eq!(of(FamilyArgs::default()), "");
        let papers = FamilyArgs {
            next_papers: true,
            ..FamilyArgs::default()
        };
        assert_eq!(of(papers), "next-tokens all, newlines none");
        let words = FamilyArgs {
            image_mode: image_mode("center-crop").ok(),
            prompt_style: prompt_style("vicuna-v1").ok(),
            ..FamilyArgs::default()
        };
        assert_eq!(of(words), "image-mode center-crop, prompt-style vicuna-v1");
        let rows = FamilyArgs {
            next_tokens: next_tokens("unpadded").ok(),
            newlines: newlines("kept-rows").ok(),
            ..FamilyArgs::default()
        };
        assert_eq!(of(rows), "newlines kept-rows");
        let qwen = FamilyArgs {
            site: site("after-merger").ok(),
            min_pixels: pixels("784").ok(),
            max_pixels: pixels("50176").ok(),
            pad_square: true,
            ..FamilyArgs::default()
        };
        assert_eq!(
            of(qwen),
            "site after-merger, min-pixels 784, max-pixels 50176, pad-square"
        );
    }

    #[test]
    fn other_words_are_refused_with_those_that_would_do() {
        assert_eq!(
            newlines("kept_rows").unwrap_err(),
            "found `kept_rows`, expected all, kept-rows or none"
        );
        assert!(site("merger").is_err() && next_tokens("").is_err());
        for text in ["0", "-1", "a", "1.5"] {
            assert!(pixels(text).is_err(), "{text}");
        }
    }
}
