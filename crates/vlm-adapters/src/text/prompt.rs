//! Conversation formats.

use serde::{Deserialize, Serialize};

use super::{ChatTemplate, Content, Message};
use crate::{LoadError, Turn};

/// The format that turns a conversation into one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptStyle {
    /// The checkpoint's chat template; without one, the template of the converted LLaVA-1.5 checkpoints. Answers end
    /// as the template ends them.
    #[default]
    Hf,
    /// The original evaluation format, `vicuna_v1`: a system sentence about a curious user, then
    /// `USER: <image>\n{question} ASSISTANT: {answer}</s>` for each turn.
    VicunaV1,
    /// The same with the system sentence about a curious human (`llava_v1`; the v1.6 model cards).
    VicunaV1Human,
    /// `[INST] <image>\n{question} [/INST] {answer}</s> ` for each turn, without a system sentence: LLaVA-NeXT on
    /// Mistral.
    Mistral,
}

impl PromptStyle {
    /// The sentence that stands in front of the first turn.
    fn system(self) -> Option<String> {
        let who = match self {
            Self::Hf | Self::Mistral => return None,
            Self::VicunaV1 => "user",
            Self::VicunaV1Human => "human",
        };
        Some(format!(
            "A chat between a curious {who} and an artificial intelligence assistant. The assistant gives helpful, \
             detailed, and polite answers to the {who}'s questions."
        ))
    }
}

/// The text of a conversation, ending where the model is to speak (or, if the last turn is answered, after its
/// answer). `template` is the checkpoint's, for [`PromptStyle::Hf`].
///
/// # Errors
/// [`LoadError::Request`] without turns, for an unanswered turn before the last, and for texts that contain the image
/// placeholder; [`LoadError::Template`] where the template itself fails.
pub fn render_prompt(
    style: PromptStyle,
    template: Option<&ChatTemplate>,
    turns: &[Turn],
) -> Result<String, LoadError> {
    match (style.system(), template) {
        (Some(system), _) => {
            check(turns, IMAGE)?;
            Ok(vicuna(&system, turns))
        }
        (None, _) if style == PromptStyle::Mistral => {
            check(turns, IMAGE)?;
            Ok(mistral(turns))
        }
        (None, Some(template)) => render_template(template, IMAGE, turns),
        (None, None) => render_template(&ChatTemplate::llava()?, IMAGE, turns),
    }
}

/// The text of a conversation in the format of `template`, whose images are written as `placeholder`.
///
/// # Errors
/// As [`render_prompt`].
pub(crate) fn render_template(
    template: &ChatTemplate,
    placeholder: &str,
    turns: &[Turn],
) -> Result<String, LoadError> {
    check(turns, placeholder)?;
    let open = turns.last().is_some_and(|turn| turn.answer.is_none());
    template.render(&messages(turns), open)
}

/// The text that stands for one image.
const IMAGE: &str = "<image>";

fn check(turns: &[Turn], placeholder: &str) -> Result<(), LoadError> {
    let refuse = |found: String, wanted: &str, remedy: &str| LoadError::Request {
        subject: "prompt".into(),
        found,
        wanted: wanted.into(),
        remedy: remedy.into(),
    };
    let Some((_, earlier)) = turns.split_last() else {
        return Err(refuse(
            "no turns".into(),
            "at least one question",
            "ask something",
        ));
    };
    if let Some(i) = earlier.iter().position(|turn| turn.answer.is_none()) {
        let found = format!("turn {i} of {} without an answer", turns.len());
        return Err(refuse(
            found,
            "answers in all turns but the last",
            "give the earlier answers",
        ));
    }
    let texts = turns
        .iter()
        .flat_map(|turn| turn.answer.iter().chain([&turn.question]));
    match texts.into_iter().find(|text| text.contains(placeholder)) {
        Some(_) => Err(refuse(
            format!("the placeholder {placeholder} inside a text"),
            "texts without it",
            "remove it and say how many images the turn has",
        )),
        None => Ok(()),
    }
}

/// `vicuna_v1`: roles and texts separated by blanks, answers closed by the end token.
fn vicuna(system: &str, turns: &[Turn]) -> String {
    let mut text = format!("{system} ");
    for turn in turns {
        let images = format!("{IMAGE}\n").repeat(turn.n_images);
        text += &format!("USER: {images}{} ASSISTANT:", turn.question);
        if let Some(answer) = &turn.answer {
            text += &format!(" {answer}</s>");
        }
    }
    text
}

/// Questions between marks, answers closed by the end token and a blank.
fn mistral(turns: &[Turn]) -> String {
    let mut text = String::new();
    for turn in turns {
        let images = format!("{IMAGE}\n").repeat(turn.n_images);
        text += &format!("[INST] {images}{} [/INST]", turn.question);
        if let Some(answer) = &turn.answer {
            text += &format!(" {answer}</s> ");
        }
    }
    text
}

/// The same turns as a chat template takes them.
fn messages(turns: &[Turn]) -> Vec<Message> {
    let mut messages = Vec::new();
    for turn in turns {
        let mut content = vec![Content::Image; turn.n_images];
        content.push(Content::Text(turn.question.clone()));
        messages.push(Message {
            role: "user".into(),
            content,
        });
        if let Some(answer) = &turn.answer {
            let content = vec![Content::Text(answer.clone())];
            messages.push(Message {
                role: "assistant".into(),
                content,
            });
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vicuna_closes_each_answer() -> Result<(), LoadError> {
        let turns = [Turn::ask("A?").with_answer("b."), Turn::ask("C?").with_images(0)];
        let text = render_prompt(PromptStyle::VicunaV1, None, &turns)?;
        assert!(text.starts_with("A chat between a curious user and"));
        assert!(
            text.ends_with("the user's questions. USER: <image>\nA? ASSISTANT: b.</s>USER: C? ASSISTANT:")
        );
        let human = render_prompt(PromptStyle::VicunaV1Human, None, &turns)?;
        assert_eq!(
            human,
            text.replace("curious user", "curious human")
                .replace("user's", "human's")
        );
        Ok(())
    }

    #[test]
    fn mistral_puts_questions_between_marks() -> Result<(), LoadError> {
        let turns = [Turn::ask("A?").with_answer("b."), Turn::ask("C?").with_images(0)];
        let text = render_prompt(PromptStyle::Mistral, None, &turns)?;
        assert_eq!(text, "[INST] <image>\nA? [/INST] b.</s> [INST] C? [/INST]");
        Ok(())
    }

    #[test]
    fn the_built_in_template_has_no_system_sentence() -> Result<(), LoadError> {
        let turns = [
            Turn::ask("A?").with_images(2).with_answer("b."),
            Turn::ask("C?").with_images(0),
        ];
        let text = render_prompt(PromptStyle::Hf, None, &turns)?;
        assert_eq!(
            text,
            "USER: <image>\n<image>\nA? ASSISTANT: b. USER: C? ASSISTANT:"
        );
        let closed = render_prompt(PromptStyle::Hf, None, &turns[..1])?;
        assert_eq!(closed, "USER: <image>\n<image>\nA? ASSISTANT: b. ");
        Ok(())
    }

    #[test]
    fn conversations_that_make_no_sense_are_refused() {
        let open = Turn::ask("A?");
        for turns in [
            vec![],
            vec![open.clone(), open],
            vec![Turn::ask("see <image> here")],
        ] {
            let outcome = render_prompt(PromptStyle::VicunaV1, None, &turns);
            assert!(matches!(outcome, Err(LoadError::Request { .. })), "{turns:?}");
        }
    }
}
