//! Messages as turns of a conversation, and the pictures in them.

use diffprune_vlm::Turn;

use super::chat::{ChatRequest, Content, ImageUrl, Message, Part};
use crate::budget::PictureChoice;
use crate::config::Limits;
use crate::error::ApiError;

/// A conversation as a model takes it.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The turns; the last one is to be answered.
    pub turns: Vec<Turn>,
    /// The pictures of all turns, in order.
    pub images: Vec<ImageAsked>,
}

/// A picture of a conversation.
#[derive(Debug)]
pub(crate) struct ImageAsked {
    /// Its address: `data:`, `http:`, `https:` or `file:`.
    pub url: String,
    /// Where it stands in the request, for messages: `messages[0].content[1]`.
    pub place: String,
    /// Number of its turn.
    pub turn: usize,
    /// What is to be kept of it.
    pub choice: PictureChoice,
}

/// The turns and pictures of a request.
///
/// Words of the roles `system` and `developer` stand in front of the next question: the prompt formats of these models
/// have no place for them. Messages of one role that follow each other are one turn, and a turn's pictures stand in front
/// of its words.
pub(crate) fn conversation(request: &mut ChatRequest, limits: &Limits) -> Result<Asked, ApiError> {
    let messages = std::mem::take(&mut request.messages);
    if messages.is_empty() || messages.len() > limits.messages {
        let message = format!(
            "messages: found {}, expected 1 to {}",
            messages.len(),
            limits.messages
        );
        return Err(ApiError::invalid("messages", message));
    }
    let mut reading = Reading {
        request,
        turns: Vec::new(),
        images: Vec::new(),
        words: Vec::new(),
        n_images: 0,
    };
    for (number, message) in messages.into_iter().enumerate() {
        reading.message(number, message)?;
    }
    let asked = reading.finish()?;
    if asked.images.len() > limits.images {
        let message = format!(
            "messages: found {} pictures, expected at most {}",
            asked.images.len(),
            limits.images
        );
        return Err(ApiError::invalid("messages", message).with_code("too_many_images"));
    }
    Ok(asked)
}

/// Messages read so far.
struct Reading<'a> {
    request: &'a ChatRequest,
    turns: Vec<Turn>,
    images: Vec<ImageAsked>,
    /// Words of the question that is being read.
    words: Vec<String>,
    /// Its pictures.
    n_images: usize,
}

impl Reading<'_> {
    fn message(&mut self, number: usize, message: Message) -> Result<(), ApiError> {
        let place = format!("messages[{number}]");
        match message.role.as_str() {
            "user" | "system" | "developer" => {
                let asks = message.role == "user";
                self.content(message.content, &place, asks)
            }
            "assistant" => self.answer(message.content, &place),
            role => {
                let message = format!(
                    "{place}.role: found `{role}`, expected system, developer, user or assistant; tools are not known here"
                );
                Err(ApiError::unsupported(format!("{place}.role"), message))
            }
        }
    }

    /// The words and pictures of a question.
    fn content(&mut self, content: Option<Content>, place: &str, asks: bool) -> Result<(), ApiError> {
        let parts = match content {
            None => return Ok(()),
            Some(Content::Text(text)) => {
                self.words.push(text);
                return Ok(());
            }
            Some(Content::Parts(parts)) => parts,
        };
        for (number, part) in parts.into_iter().enumerate() {
            let place = format!("{place}.content[{number}]");
            match (part.kind.as_str(), asks) {
                ("text", _) => self.words.push(text_of(part, &place)?),
                ("image_url", true) => self.image(part, place)?,
                (kind, _) => return Err(unknown_part(kind, &place, asks)),
            }
        }
        Ok(())
    }

    fn image(&mut self, part: Part, place: String) -> Result<(), ApiError> {
        let Some(image) = part.image_url else {
            let message = format!("{place}: found no `image_url`, expected an object with a `url`");
            return Err(ApiError::invalid(place, message));
        };
        let (url, detail, tokens, pruner) = match image {
            ImageUrl::Url(url) => (url, None, None, None),
            ImageUrl::Object {
                url,
                detail,
                visual_tokens,
                pruner,
            } => (url, detail, visual_tokens, pruner),
        };
        let own = part.visual_tokens.or(tokens);
        let pruner = part.pruner.or(pruner).or_else(|| self.request.pruner.clone());
        let budget = PictureChoice::budget_of(own, detail, self.request.visual_tokens);
        self.images.push(ImageAsked {
            url,
            place,
            turn: self.turns.len(),
            choice: PictureChoice { budget, pruner },
        });
        self.n_images += 1;
        Ok(())
    }

    /// The answer to the question read so far.
    fn answer(&mut self, content: Option<Content>, place: &str) -> Result<(), ApiError> {
        let text = match content {
            None => String::new(),
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => {
                let mut words = Vec::new();
                for (number, part) in parts.into_iter().enumerate() {
                    let place = format!("{place}.content[{number}]");
                    match part.kind.as_str() {
                        "text" => words.push(text_of(part, &place)?),
                        kind => return Err(unknown_part(kind, &place, false)),
                    }
                }
                words.join("\n")
            }
        };
        match (self.question(), self.turns.last_mut()) {
            (Some(turn), _) => self.turns.push(turn.with_answer(text)),
            (None, Some(last)) => {
                let answer = last.answer.get_or_insert_default();
                *answer = format!("{answer}\n{text}");
            }
            (None, None) => {
                let message =
                    format!("{place}: found an answer, expected a question of the role user before it");
                return Err(ApiError::invalid(place, message));
            }
        }
        Ok(())
    }

    /// The question read so far, if there is one.
    fn question(&mut self) -> Option<Turn> {
        if self.words.is_empty() && self.n_images == 0 {
            return None;
        }
        let words = std::mem::take(&mut self.words);
        let words: Vec<&str> = words
            .iter()
            .map(String::as_str)
            .filter(|words| !words.is_empty())
            .collect();
        let n_images = std::mem::take(&mut self.n_images);
        Some(Turn::ask(words.join("\n")).with_images(n_images))
    }

    fn finish(mut self) -> Result<Asked, ApiError> {
        let Some(last) = self.question() else {
            let message =
                "messages: found no question at the end, expected the last message to be of the role user";
            return Err(ApiError::invalid("messages", message));
        };
        if last.question.trim().is_empty() && last.n_images == 0 {
            let message = "messages: found an empty question, expected words or a picture";
            return Err(ApiError::invalid("messages", message));
        }
        self.turns.push(last);
        Ok(Asked {
            turns: self.turns,
            images: self.images,
        })
    }
}

fn text_of(part: Part, place: &str) -> Result<String, ApiError> {
    part.text.ok_or_else(|| {
        let message = format!("{place}: found no `text`, expected one");
        ApiError::invalid(place, message)
    })
}

fn unknown_part(kind: &str, place: &str, asks: bool) -> ApiError {
    let wanted = if asks {
        "text or image_url"
    } else {
        "text (pictures come from the role user)"
    };
    let message = format!("{place}.type: found `{kind}`, expected {wanted}");
    ApiError::unsupported(format!("{place}.type"), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffprune_pruner::Budget;
    use serde_json::{Value, json};

    fn read(messages: Value) -> Result<Asked, ApiError> {
        let body = json!({"messages": messages, "visual_tokens": 7, "pruner": "random"});
        let mut request = serde_json::from_value(body).unwrap();
        conversation(&mut request, &Limits::default())
    }

    #[test]
    fn messages_become_turns() {
        let asked = read(json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:a"}},
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "data:b", "detail": "low"}, "pruner": "cls"},
            ]},
            {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
            {"role": "user", "content": "And"},
            {"role": "user", "content": "now?"},
        ]))
        .unwrap();
        let wanted = [
            Turn::ask("Be brief.\nWhat is it?")
                .with_images(2)
                .with_answer("A cat."),
            Turn::ask("And\nnow?").with_images(0),
        ];
        assert_eq!(asked.turns, wanted);
        let images: Vec<_> = asked
            .images
            .iter()
            .map(|image| {
                (
                    image.url.as_str(),
                    image.turn,
                    image.choice.budget,
                    image.choice.pruner.as_deref(),
                )
            })
            .collect();
        let wanted = [
            ("data:a", 0, Some(Budget::Tokens(7)), Some("random")),
            ("data:b", 0, Some(Budget::rate(1, 9)), Some("cls")),
        ];
        assert_eq!(images, wanted);
        assert_eq!(asked.images[1].place, "messages[1].content[2]");
    }

    #[test]
    fn fields_may_stand_in_the_part_or_in_its_picture() {
        let asked = read(json!([{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:a", "visual_tokens": "1/4", "pruner": "x"}},
            {"type": "image_url", "image_url": {"url": "data:b", "visual_tokens": 3}, "visual_tokens": 5},
            {"type": "image_url", "image_url": "data:c"},
        ]}]))
        .unwrap();
        let budgets: Vec<_> = asked
            .images
            .iter()
            .map(|image| image.choice.budget.unwrap())
            .collect();
        assert_eq!(
            budgets,
            [Budget::rate(1, 4), Budget::Tokens(5), Budget::Tokens(7)]
        );
        assert_eq!(asked.images[0].choice.pruner.as_deref(), Some("x"));
    }

    #[test]
    fn messages_without_a_question_are_refused() {
        let image = json!({"type": "image_url", "image_url": {"url": "data:a"}});
        let many = vec![image.clone(); 9];
        for (messages, words) in [
            (json!([]), "expected 1 to 256"),
            (json!([{"role": "assistant", "content": "x"}]), "found an answer"),
            (
                json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "x"}]),
                "at the end",
            ),
            (json!([{"role": "user", "content": "  "}]), "empty question"),
            (json!([{"role": "tool", "content": "x"}]), "`tool`"),
            (
                json!([{"role": "user", "content": [{"type": "input_audio"}]}]),
                "`input_audio`",
            ),
            (
                json!([{"role": "user", "content": [{"type": "text"}]}]),
                "no `text`",
            ),
            (
                json!([{"role": "user", "content": [{"type": "image_url"}]}]),
                "no `image_url`",
            ),
            (json!([{"role": "system", "content": [image]}]), "role user"),
            (json!([{"role": "user", "content": many}]), "found 9 pictures"),
        ] {
            let error = read(messages).unwrap_err();
            assert!(error.message.contains(words), "{}", error.message);
        }
    }
}
