//! The chat template that a checkpoint brings along.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, context};
use serde_json::Value as Json;

use super::loops::without_loop_controls;
use super::python;
use crate::LoadError;
use crate::config::read_optional_json;

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// One image.
    Image,
    /// Some text.
    Text(String),
}

/// A message of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Images and texts, in order.
    pub content: Vec<Content>,
}

/// The template of the converted LLaVA-1.5 checkpoints: roles in capitals, images first, no system sentence.
const LLAVA: &str = "{% for message in messages %}\
    {% if message.role != 'system' %}{{ message.role.upper() }}: {% endif %}\
    {% for part in message.content if part.type == 'image' %}{{ '<image>\\n' }}{% endfor %}\
    {% for part in message.content if part.type == 'text' %}{{ part.text }} {% endfor %}\
    {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}";

/// The template of Qwen2.5-VL: turns between marks, and a system turn in front where none is given.
const QWEN: &str = "{% for message in messages %}\
    {% if loop.first and message.role != 'system' %}\
    <|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}\
    <|im_start|>{{ message.role }}{{ '\\n' }}\
    {% for part in message.content %}\
    {% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}\
    {% endfor %}<|im_end|>{{ '\\n' }}\
    {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif %}";

/// The one name under which the template is registered.
const NAME: &str = "chat";

/// A compiled chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    path: PathBuf,
    environment: Environment<'static>,
    /// `bos_token` and the like, which templates may mention.
    special_tokens: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Compile `source`; `path` is for messages.
    ///
    /// # Errors
    /// [`LoadError::Template`] with the line that does not compile.
    pub fn new(path: impl Into<PathBuf>, source: &str) -> Result<Self, LoadError> {
        let path = path.into();
        let mut environment = Environment::new();
        environment.set_syntax(syntax().map_err(|error| failure(&path, &error))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", python::to_json);
        environment.add_function("strftime_now", python::strftime_now);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned(
                NAME,
                without_loop_controls(&without_generation_tags(&with_line_feeds(source))),
            )
            .map_err(|error| failure(&path, &error))?;
        Ok(Self {
            path,
            environment,
            special_tokens: BTreeMap::new(),
        })
    }

    /// The template of the converted LLaVA-1.5 checkpoints, for folders that bring none.
    ///
    /// # Errors
    /// None in practice: the text is fixed and tested.
    pub fn llava() -> Result<Self, LoadError> {
        Self::new("built-in chat template", LLAVA)
    }

    /// The template of Qwen2.5-VL, for folders that bring none.
    ///
    /// # Errors
    /// None in practice: the text is fixed and tested.
    pub fn qwen() -> Result<Self, LoadError> {
        Self::new("built-in chat template", QWEN)
    }

    /// The template of the checkpoint in `dir`: `chat_template.jinja`, else `chat_template.json`, else the field
    /// `chat_template` of `processor_config.json`, else that of `tokenizer_config.json`; `None` when there is none of them.
    ///
    /// # Errors
    /// [`LoadError::Io`], [`LoadError::Json`] and [`LoadError::Template`].
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Option<Self>, LoadError> {
        let dir = dir.as_ref();
        let Some((path, source)) = find(dir)? else {
            return Ok(None);
        };
        let mut template = Self::new(path, &source)?;
        template.special_tokens = super::tokenizer::named_tokens(dir)?;
        Ok(Some(template))
    }

    /// The text of `messages`; with `add_generation_prompt` it ends where the assistant is to speak.
    ///
    /// # Errors
    /// [`LoadError::Template`], also for messages that the template itself refuses.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, LoadError> {
        let messages: Vec<Value> = messages.iter().map(message).collect();
        let tokens = Value::from(self.special_tokens.clone());
        let own = context! { messages, add_generation_prompt };
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(context! { ..own, ..tokens }))
            .map_err(|error| failure(&self.path, &error))
    }
}

/// Tags on lines of their own leave no blank lines, as the reference pipeline has it.
fn syntax() -> Result<SyntaxConfig, Error> {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
}

fn message(message: &Message) -> Value {
    let content: Vec<Value> = message.content.iter().map(part).collect();
    python::dict([
        ("role", message.role.as_str().into()),
        ("content", content.into()),
    ])
}

fn part(content: &Content) -> Value {
    match content {
        Content::Image => python::dict([("type", "image".into())]),
        Content::Text(text) => python::dict([("type", "text".into()), ("text", text.as_str().into())]),
    }
}

/// Line ends of any system become line feeds, as the reference pipeline has it.
fn with_line_feeds(source: &str) -> String {
    source.replace("\r\n", "\n").replace('\r', "\n")
}

/// The template's text and the file it stands in.
fn find(dir: &Path) -> Result<Option<(PathBuf, String)>, LoadError> {
    let path = dir.join("chat_template.jinja");
    match std::fs::read_to_string(&path) {
        Ok(source) => {
            LoadError::check_pointer(&path, source.as_bytes(), "a chat template")?;
            return Ok(Some((path, source)));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(LoadError::read(
                &path,
                "a chat template",
                "restore the file",
                error,
            ));
        }
    }
    for file in [
        "chat_template.json",
        "processor_config.json",
        "tokenizer_config.json",
    ] {
        let path = dir.join(file);
        let json: Option<Json> = read_optional_json(&path, "a chat template")?;
        if let Some(source) = json
            .as_ref()
            .and_then(|json| json.get("chat_template"))
            .and_then(text_of)
        {
            return Ok(Some((path, source.into())));
        }
    }
    Ok(None)
}

/// A template is a string, or one of several named ones, of which `default` counts.
fn text_of(field: &Json) -> Option<&str> {
    match field {
        Json::Array(named) => {
            let default = named
                .iter()
                .find(|entry| entry.get("name").is_some_and(|name| name == "default"))?;
            default.get("template")?.as_str()
        }
        other => other.as_str(),
    }
}

/// Training templates mark the assistant's words by `{% generation %}` blocks, which mean nothing here. They become
/// comments with the same blank handling.
fn without_generation_tags(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(len) = rest[start + 2..].find("%}") else {
            break;
        };
        let end = start + 2 + len;
        let tag = &rest[start + 2..end];
        text += &rest[..start];
        match tag.trim_matches(['-', '+', ' ', '\t', '\n']) {
            "generation" | "endgeneration" => {
                let left = if tag.starts_with('-') { "-" } else { "" };
                let right = if tag.ends_with('-') { "-" } else { "" };
                text += &format!("{{#{left} {right}#}}");
            }
            _ => text += &rest[start..end + 2],
        }
        rest = &rest[end + 2..];
    }
    text + rest
}

fn failure(path: &Path, error: &Error) -> LoadError {
    LoadError::Template {
        path: path.into(),
        found: error.to_string(),
        wanted: "a template in the common subset of jinja".into(),
        remedy: "choose another prompt style (`--prompt-style vicuna-v1`), or simplify the template".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> Vec<Message> {
        vec![Message {
            role: "user".into(),
            content: vec![Content::Image, Content::Text(text.into())],
        }]
    }

    #[test]
    fn tags_of_any_length_are_looked_at() {
        for source in ["{%}", "a {%}{% endfor %}", "{%%}", "{%", "%}{%"] {
            assert_eq!(without_generation_tags(source), source);
        }
    }

    #[test]
    fn generation_blocks_vanish() -> Result<(), LoadError> {
        let source = "{% for m in messages %}{% generation %}{{ m['role'].upper() + ': ' }}{%- endgeneration -%}\n\
                      {{ m.content | selectattr('type', 'equalto', 'image') | list | length }}{% endfor %}";
        assert_eq!(
            ChatTemplate::new("t", source)?.render(&user("x"), true)?,
            "USER: 1"
        );
        Ok(())
    }

    #[test]
    fn the_built_in_template_of_qwen_brings_its_system_turn() -> Result<(), LoadError> {
        let mut messages = user("Who?");
        messages.push(Message {
            role: "assistant".into(),
            content: vec![Content::Text("I.".into())],
        });
        let text = ChatTemplate::qwen()?.render(&messages, true)?;
        assert_eq!(
            text,
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n\
             <|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Who?<|im_end|>\n\
             <|im_start|>assistant\nI.<|im_end|>\n<|im_start|>assistant\n"
        );
        messages[0].role = "system".into();
        assert!(
            ChatTemplate::qwen()?
                .render(&messages, false)?
                .starts_with("<|im_start|>system\n<|vision")
        );
        Ok(())
    }

    /// Published templates count images, ask what a part holds, and may be given nothing to count for.
    #[test]
    fn counters_and_membership_render() -> Result<(), LoadError> {
        let source = "{% set seen = namespace(images=0) %}{% for m in messages %}{% for c in m['content'] %}\
            {% if c['type'] == 'image' or 'image' in c or 'image_url' in c %}\
            {% set seen.images = seen.images + 1 %}{% if numbered %}{{ seen.images }}{% endif %}I\
            {% elif 'text' in c %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}{{ seen.images }}";
        assert_eq!(ChatTemplate::new("t", source)?.render(&user("x"), true)?, "Ix1");
        Ok(())
    }

    #[test]
    fn line_ends_are_those_of_the_reference() -> Result<(), LoadError> {
        let source = "{% for m in messages %}\n{{ m.role }}: {{ m.content[1].text }}\n{% endfor %}\nend\n";
        let wanted = ChatTemplate::new("t", source)?.render(&user("x"), true)?;
        for ends in ["\r\n", "\r"] {
            let found = ChatTemplate::new("t", &source.replace('\n', ends))?.render(&user("x"), true)?;
            assert_eq!(found, wanted, "{ends:?}");
        }
        Ok(())
    }

    #[test]
    fn filters_and_functions_of_the_reference_are_there() -> Result<(), LoadError> {
        let render = |source: &str| ChatTemplate::new("t", source)?.render(&user("a \"é\"\n<b>"), true);
        assert_eq!(render("{{ messages[0].role | tojson }}")?, "\"user\"");
        assert_eq!(
            render("{{ messages | tojson }}")?,
            r#"[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a \"é\"\n<b>"}]}]"#
        );
        assert_eq!(
            render("{{ [1, 2.0, true, none] | tojson(indent=2) }}")?,
            "[\n  1,\n  2.0,\n  true,\n  null\n]"
        );
        let date = render("{{ strftime_now('%d %b %Y|%Y-%m-%d') }}")?;
        let (words, numbers) = date.split_once('|').unwrap_or_default();
        assert_eq!((words.len(), numbers.len()), (11, 10), "{date}");
        assert_eq!(words[7..], numbers[..4]);
        Ok(())
    }

    #[test]
    fn failures_name_the_file() {
        let broken = ChatTemplate::new("dir/broken.jinja", "{% for %}").err();
        assert!(broken.is_some_and(|error| error.to_string().contains("dir/broken.jinja")));
        let refusing = ChatTemplate::new("dir/a.jinja", "{{ raise_exception('no images here') }}");
        let message = refusing
            .and_then(|template| template.render(&user("x"), true))
            .err();
        assert!(message.is_some_and(|error| error.to_string().contains("no images here")));
    }

    #[test]
    fn files_are_tried_in_order() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        assert!(ChatTemplate::from_dir(&dir)?.is_none());
        let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text);
        let named = r#"{"eos_token": {"content": "</s>"}, "chat_template":
            [{"name": "tool", "template": "t"}, {"name": "default", "template": "third{{ eos_token }}"}]}"#;
        for (file, text, wanted) in [
            ("tokenizer_config.json", named, "third</s>"),
            (
                "processor_config.json",
                r#"{"chat_template": "of the processor"}"#,
                "of the processor",
            ),
            ("chat_template.json", r#"{"chat_template": "second"}"#, "second"),
            ("chat_template.jinja", "first", "first"),
        ] {
            write(file, text)?;
            let template = ChatTemplate::from_dir(&dir)?.ok_or("no template")?;
            assert_eq!(template.render(&user("x"), false)?, wanted);
        }
        Ok(())
    }
}
