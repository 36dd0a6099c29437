//! JSON documents and JSON lines with the line number of every element.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::EvalError;

/// A text file without its byte order mark.
pub(crate) struct TextFile {
    /// The path of the file.
    pub(crate) path: PathBuf,
    /// Its text.
    pub(crate) text: String,
}

/// One element of an array or object: its key (empty in arrays), its text and the line where it starts.
#[derive(Debug, PartialEq)]
pub(crate) struct Element<'a> {
    /// Unescaped key; empty for array elements and lines.
    pub(crate) key: String,
    /// The element's JSON.
    pub(crate) text: &'a str,
    /// Line where it starts, counted from 1.
    pub(crate) line: usize,
}

impl TextFile {
    /// Reads a file as UTF-8.
    pub(crate) fn read(path: &Path) -> Result<Self, EvalError> {
        let bytes = std::fs::read(path).map_err(|source| EvalError::io(path, "read", source))?;
        EvalError::check_pointer(path, &bytes)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
            EvalError::line(path, line, "bytes that are not UTF-8", "UTF-8 text")
        })?;
        let text = text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text);
        Ok(Self {
            path: path.into(),
            text,
        })
    }

    /// The rows of a table: JSON lines, or the elements of one JSON array.
    pub(crate) fn rows(&self) -> Result<Vec<Element<'_>>, EvalError> {
        if self.text.trim_start().starts_with('[') {
            self.elements()
        } else {
            Ok(self.lines())
        }
    }

    /// The elements of the top-level array or object.
    pub(crate) fn elements(&self) -> Result<Vec<Element<'_>>, EvalError> {
        self.elements_of(&Element {
            key: String::new(),
            text: &self.text,
            line: 1,
        })
    }

    /// The elements of the list that a top-level object has under `key`.
    pub(crate) fn elements_below(&self, key: &str) -> Result<Vec<Element<'_>>, EvalError> {
        let top = self.elements()?;
        let list = top.iter().find(|element| element.key == key).ok_or_else(|| {
            EvalError::line(
                &self.path,
                1,
                format!("no `{key}` list"),
                format!("an object with a `{key}` list"),
            )
        })?;
        self.elements_of(list)
    }

    /// The elements of an array or object inside the file.
    pub(crate) fn elements_of<'a>(&self, element: &Element<'a>) -> Result<Vec<Element<'a>>, EvalError> {
        let mut scanner = Scanner {
            text: element.text,
            at: 0,
        };
        let found = scanner.elements().map_err(|wanted| {
            let line = line_at(element, scanner.at);
            let found = scanner.peek().map_or("the end of the file".to_string(), |byte| {
                format!("`{}`", byte as char)
            });
            EvalError::line(&self.path, line, found, wanted)
        })?;
        Ok(found
            .into_iter()
            .map(|inner| Element {
                line: inner.line + element.line,
                ..inner
            })
            .collect())
    }

    /// The element parsed as `T`.
    pub(crate) fn parse<T: DeserializeOwned>(&self, element: &Element<'_>) -> Result<T, EvalError> {
        serde_json::from_str(element.text).map_err(|error| {
            let line = element.line + error.line().saturating_sub(1);
            EvalError::line(
                &self.path,
                line,
                format!("unfit JSON ({error})"),
                "the published fields",
            )
        })
    }

    /// The lines that are not blank.
    pub(crate) fn lines(&self) -> Vec<Element<'_>> {
        let element = |(number, text)| Element {
            key: String::new(),
            text,
            line: number + 1,
        };
        self.text
            .lines()
            .enumerate()
            .map(element)
            .filter(|element| !element.text.trim().is_empty())
            .collect()
    }
}

/// The line of a place inside an element.
fn line_at(element: &Element<'_>, at: usize) -> usize {
    let before = &element.text.as_bytes()[..at.min(element.text.len())];
    element.line + before.iter().filter(|&&byte| byte == b'\n').count()
}

/// Splits one level of JSON without parsing what is inside.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// The elements, or what was wanted at `self.at`.
    fn elements(&mut self) -> Result<Vec<Element<'a>>, &'static str> {
        self.skip_space();
        let close = match self.peek() {
            Some(b'[') => b']',
            Some(b'{') => b'}',
            _ => return Err("an array or object"),
        };
        self.at += 1;
        let mut elements = Vec::new();
        let (mut line, mut counted) = (0, 0);
        self.skip_space();
        while self.peek() != Some(close) || !elements.is_empty() {
            let key = if close == b'}' { self.key()? } else { String::new() };
            let start = self.at;
            self.value()?;
            line += self.text.as_bytes()[counted..start]
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count();
            counted = start;
            elements.push(Element {
                key,
                text: &self.text[start..self.at],
                line,
            });
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == close => break,
                _ => return Err("`,` or the closing bracket"),
            }
            self.skip_space();
        }
        self.at += 1;
        self.skip_space();
        if self.peek().is_some() {
            Err("nothing after the closing bracket")
        } else {
            Ok(elements)
        }
    }

    fn key(&mut self) -> Result<String, &'static str> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err("a key in quotes");
        }
        self.string()?;
        let key = serde_json::from_str(&self.text[start..self.at]).map_err(|_| "a sound key")?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err("`:` after the key");
        }
        self.at += 1;
        self.skip_space();
        Ok(key)
    }

    fn string(&mut self) -> Result<(), &'static str> {
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err("the closing quote of a string"),
                Some(b'"') => break,
                Some(b'\\') => self.at = (self.at + 2).min(self.text.len()),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self) -> Result<(), &'static str> {
        let (start, mut depth) = (self.at, 0usize);
        loop {
            match self.peek() {
                None if depth > 0 || self.at == start => return Err("the rest of the document"),
                Some(b'"') => self.string()?,
                Some(b'[' | b'{') => (depth, self.at) = (depth + 1, self.at + 1),
                Some(b']' | b'}') if depth > 0 => (depth, self.at) = (depth - 1, self.at + 1),
                None | Some(b',' | b']' | b'}') if depth == 0 => {
                    return if self.at > start { Ok(()) } else { Err("a value") };
                }
                _ => self.at += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> TextFile {
        TextFile {
            path: "x.json".into(),
            text: text.into(),
        }
    }

    #[test]
    fn elements_carry_their_lines() {
        let file = file("{\n \"a\": [1,\n 2],\n\n \"b\\n\": \"x,]}\\\"\"\n}\n");
        let elements = file.elements().unwrap();
        let seen: Vec<_> = elements
            .iter()
            .map(|e| (e.key.as_str(), e.text.trim(), e.line))
            .collect();
        assert_eq!(seen, [("a", "[1,\n 2]", 2), ("b\n", "\"x,]}\\\"\"", 5)]);
        let inner: Vec<_> = file
            .elements_of(&elements[0])
            .unwrap()
            .iter()
            .map(|e| e.line)
            .collect();
        assert_eq!(inner, [2, 3]);
    }

    #[test]
    fn damage_names_its_line() {
        for (text, line) in [
            ("[1,\n{\"a\": 2", 2),
            ("{\"a\"\n 1}", 2),
            ("[1,\n]", 2),
            ("[1]\n]", 2),
            ("\n\n\"abc", 3),
            ("[\"abc\n", 2),
            ("", 1),
        ] {
            let error = file(text).elements().unwrap_err().to_string();
            assert!(error.starts_with(&format!("x.json:{line}:")), "{text:?}: {error}");
        }
    }

    #[test]
    fn lines_skip_blanks_and_carriage_returns() {
        let file = file("{\"a\":1}\r\n\r\n{\"a\":x}\r\n");
        let rows = file.rows().unwrap();
        assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 3]);
        assert!(file.parse::<serde_json::Value>(&rows[0]).is_ok());
        let error = file.parse::<serde_json::Value>(&rows[1]).unwrap_err().to_string();
        assert!(error.starts_with("x.json:3:"), "{error}");
    }

    #[test]
    fn empty_containers_have_no_elements() {
        assert!(file("[ ]").elements().unwrap().is_empty());
        assert!(file("{}").elements().unwrap().is_empty());
    }
}
