//! The check that a folder without a chat template may be asked in a built-in format.

use std::path::Path;

use serde_json::Value;

use super::{ChatTemplate, PromptStyle};
use crate::LoadError;
use crate::config::read_json;
use crate::notes::note;

/// Most rows of a vocabulary that Vicuna's can have: Llama's 32000 and what vision models add.
const VICUNA_ROWS: u64 = 33_000;

/// Refuses to choose a conversation format for a LLaVA in `dir` that has no `template`, unless its decoder is Vicuna, whose
/// format is known; that it was chosen is noted. Other styles than [`PromptStyle::Hf`] need no template.
///
/// # Errors
/// [`LoadError::MissingFile`].
pub(crate) fn check_built_in(
    dir: &Path,
    template: Option<&ChatTemplate>,
    style: PromptStyle,
) -> Result<(), LoadError> {
    if template.is_some() || style != PromptStyle::Hf {
        return Ok(());
    }
    let config: Value = read_json(&dir.join("config.json"), "a model configuration")?;
    let text = |field: &str| config.pointer(&format!("/text_config/{field}"));
    let kind = text("model_type").and_then(Value::as_str).unwrap_or("llama");
    let rows = text("vocab_size").and_then(Value::as_u64).unwrap_or(32_000);
    let path = dir.join("chat_template.jinja");
    if kind != "llama" || rows > VICUNA_ROWS {
        return Err(LoadError::MissingFile {
            path,
            wanted: format!(
                "the chat template of a {kind} decoder with {rows} ids, whose format is not known"
            ),
            remedy:
                "copy the published file there, or name the format by `--prompt-style` (mistral, for one)"
                    .into(),
        });
    }
    note(format!(
        "{}: absent, and no other file has a chat template; that of LLaVA-1.5 on Vicuna is assumed",
        path.display()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_vicuna_has_a_built_in_format() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let check = |config: &str, style| {
            std::fs::write(dir.path().join("config.json"), config)?;
            Ok::<_, std::io::Error>(check_built_in(dir.path(), None, style))
        };
        for config in [
            "{}",
            r#"{"text_config": {"model_type": "llama"}}"#,
            r#"{"text_config": {"vocab_size": 32064}}"#,
        ] {
            assert!(check(config, PromptStyle::Hf)?.is_ok(), "{config}");
            assert_eq!(crate::take_notes().len(), 1);
        }
        for config in [
            r#"{"text_config": {"model_type": "mistral"}}"#,
            r#"{"text_config": {"model_type": "llama", "vocab_size": 128320}}"#,
        ] {
            let outcome = check(config, PromptStyle::Hf)?;
            assert!(
                matches!(&outcome, Err(LoadError::MissingFile { path, .. }) if path.ends_with("chat_template.jinja")),
                "{config}: {outcome:?}"
            );
            assert!(check(config, PromptStyle::Mistral)?.is_ok(), "{config}");
        }
        Ok(())
    }
}
