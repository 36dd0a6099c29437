//! Pages as values: a title, sentences, sections of tables and drawings. Every format shows the same page.

mod html;
mod latex;
mod markdown;
mod sheet;

pub use sheet::Sheet;

use crate::report::{Figure, Plot};

/// A page.
///
/// Texts and cells are plain but for two marks: `` `code` `` and `[text](address)` with an address inside the folder of the page.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// The headline.
    pub title: String,
    /// What a reader must know before the rest, a paragraph each.
    pub lead: Vec<String>,
    /// The sections.
    pub sections: Vec<Section>,
}

/// A part of a page under a heading.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// What stands under it.
    pub blocks: Vec<Block>,
    /// The parts of the section.
    pub parts: Vec<Section>,
    /// Closed at first where the format can open it.
    pub is_folded: bool,
}

/// A piece of a page.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A table.
    Sheet(Sheet),
    /// A drawing: inside pages that can hold it, linked by this address elsewhere.
    Plot(Plot, String),
    /// A picture, the same way.
    Figure(Figure),
    /// A text as it is, in that language.
    Code(String, &'static str),
}

impl Section {
    /// A section without parts.
    pub fn new(title: impl Into<String>, blocks: Vec<Block>) -> Self {
        Self {
            title: title.into(),
            blocks,
            ..Self::default()
        }
    }

    /// A section that is closed at first.
    #[must_use]
    pub fn folded(mut self) -> Self {
        self.is_folded = true;
        self
    }

    /// True when there is nothing under the heading.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.parts.is_empty()
    }
}

impl Page {
    /// The page in Markdown, with contents.
    pub fn to_markdown(&self) -> String {
        markdown::page(self)
    }

    /// The page as one HTML file that needs no other: contents, tables that sort, drawings and pictures inside, readable on a
    /// telephone and in the dark.
    pub fn to_html(&self) -> String {
        html::page(self)
    }
}

pub(crate) use latex::{Table as LatexTable, document as latex_document};

/// A piece of marked text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece<'t> {
    Plain(&'t str),
    Code(&'t str),
    Link(&'t str, &'t str),
}

/// The pieces of a marked text. A mark that is not closed, and an address that leaves the folder, are plain text.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut plain, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        let found = code(rest).or_else(|| link(rest));
        match found {
            Some((piece, length)) => {
                if plain < at {
                    pieces.push(Piece::Plain(&text[plain..at]));
                }
                pieces.push(piece);
                at += length;
                plain = at;
            }
            None => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    if plain < text.len() {
        pieces.push(Piece::Plain(&text[plain..]));
    }
    pieces
}

fn code(text: &str) -> Option<(Piece<'_>, usize)> {
    let (inside, _) = text.strip_prefix('`')?.split_once('`')?;
    (!inside.is_empty()).then_some((Piece::Code(inside), inside.len() + 2))
}

fn link(text: &str) -> Option<(Piece<'_>, usize)> {
    let (shown, rest) = text.strip_prefix('[')?.split_once("](")?;
    let (address, _) = rest.split_once(')')?;
    let is_inside = !address.is_empty() && !address.contains([':', ' ']) && !address.starts_with('/');
    (is_inside && !shown.contains(['[', ']']))
        .then_some((Piece::Link(shown, address), shown.len() + address.len() + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_and_all_else_is_plain() {
        use Piece::{Code, Link, Plain};
        assert_eq!(
            pieces("see `a` and [b](c/d.md), 1.0 [0.5, 1.5]"),
            [
                Plain("see "),
                Code("a"),
                Plain(" and "),
                Link("b", "c/d.md"),
                Plain(", 1.0 [0.5, 1.5]")
            ]
        );
        for text in [
            "[x](javascript:alert(1))",
            "[x](/etc)",
            "an open ` mark",
            "",
            "[a](b c)",
        ] {
            assert!(
                pieces(text).iter().all(|piece| matches!(piece, Plain(_))),
                "{text}"
            );
        }
    }
}
