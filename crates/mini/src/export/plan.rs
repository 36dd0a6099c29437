//! The plan of what is to be written.

use crate::MiniError;
use crate::world::Scene;
use serde::Serialize;
use std::path::Path;

/// A picture to draw.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    /// Path under the world's folder, with `/`.
    pub path: String,
    pub scene: Scene,
}

/// A text file to write.
#[derive(Debug, Clone)]
pub(super) struct TextFile {
    /// Path under the world's folder, with `/`.
    pub path: String,
    pub text: String,
}

/// Everything of one or more sets.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub pictures: Vec<Picture>,
    /// Pictures inside text files; the path is that of the file, a slash and the picture's name.
    pub inline: Vec<Picture>,
    pub texts: Vec<TextFile>,
}

impl Plan {
    /// Adds a picture.
    pub fn picture(&mut self, path: String, scene: Scene) {
        self.pictures.push(Picture { path, scene });
    }

    /// Adds a text file.
    pub fn text(&mut self, path: String, text: String) {
        self.texts.push(TextFile { path, text });
    }

    /// Adds a file with one JSON value per line.
    pub fn lines<T: Serialize>(&mut self, path: &str, rows: &[T]) -> Result<(), MiniError> {
        let lines: Result<Vec<String>, _> = rows.iter().map(serde_json::to_string).collect();
        let text = lines.map_err(MiniError::json(Path::new(path)))?.join("\n");
        self.texts.push(TextFile {
            path: path.to_owned(),
            text,
        });
        Ok(())
    }

    /// Adds a file that is one JSON value.
    pub fn json<T: Serialize>(&mut self, path: &str, value: &T) -> Result<(), MiniError> {
        let text = serde_json::to_string(value).map_err(MiniError::json(Path::new(path)))?;
        self.texts.push(TextFile {
            path: path.to_owned(),
            text,
        });
        Ok(())
    }

    /// Adds all of another plan.
    pub fn extend(&mut self, other: Self) {
        self.pictures.extend(other.pictures);
        self.inline.extend(other.inline);
        self.texts.extend(other.texts);
    }
}

/// A row of a question file as LLaVA's evaluation scripts read it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LlavaRow<Id> {
    pub question_id: Id,
    pub image: String,
    pub text: String,
    pub category: &'static str,
}

/// The question with the short-answer sentence on a line of its own.
pub(super) fn with_suffix(question: &str) -> String {
    format!("{question}\n{}", crate::text::SUFFIX_SHORT)
}
