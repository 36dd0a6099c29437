//! Pages as one HTML file that needs no other.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::markdown::slug;
use super::{Block, Page, Piece, Section, Sheet, pieces};
use crate::report::Figure;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// Cells with more characters than this are broken into lines.
const LONG: usize = 44;

/// The page with contents at its side.
pub(super) fn page(page: &Page) -> String {
    let mut anchors = Anchors::default();
    let (mut contents, mut body) = (String::new(), String::new());
    for section in &page.sections {
        let (link, text) = self::section(section, 2, &mut anchors);
        contents += &link;
        body += &text;
    }
    let title = escape(&page.title);
    let lead: String = page
        .lead
        .iter()
        .map(|paragraph| format!("<p>{}</p>\n", marked(paragraph)))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<nav aria-label=\"Contents\">\n<ul>\n{contents}</ul>\n</nav>\n<main>\n\
         <h1>{title}</h1>\n{lead}{body}</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

/// Names of places on the page, each once.
#[derive(Default)]
struct Anchors(BTreeSet<String>);

impl Anchors {
    fn of(&mut self, title: &str) -> String {
        let slug = slug(title);
        let numbered = (1..).map(|number| match number {
            1 => slug.clone(),
            number => format!("{slug}-{number}"),
        });
        let free = numbered.into_iter().find(|name| !self.0.contains(name));
        let free = free.unwrap_or(slug);
        self.0.insert(free.clone());
        free
    }
}

/// The entry of the contents, and the section.
fn section(section: &Section, depth: usize, anchors: &mut Anchors) -> (String, String) {
    let id = anchors.of(&section.title);
    let title = escape(&section.title);
    let mut inside: String = section.blocks.iter().map(block).collect();
    let mut links = String::new();
    for part in &section.parts {
        let (link, text) = self::section(part, depth + 1, anchors);
        links += &link;
        inside += &text;
    }
    if !links.is_empty() {
        links = format!("<ul>\n{links}</ul>");
    }
    let link = format!("<li><a href=\"#{id}\">{title}</a>{links}</li>\n");
    let text = match section.is_folded {
        true => format!(
            "<details id=\"{id}\">\n<summary><h{depth}>{title}</h{depth}></summary>\n{inside}</details>\n"
        ),
        false => format!("<section id=\"{id}\">\n<h{depth}>{title}</h{depth}>\n{inside}</section>\n"),
    };
    (link, text)
}

fn block(block: &Block) -> String {
    match block {
        Block::Text(text) => format!("<p>{}</p>\n", marked(text)),
        Block::Sheet(sheet) => self::sheet(sheet),
        Block::Plot(plot, _) => format!(
            "<figure class=\"plot\" role=\"img\" aria-label=\"{}\">\n{}\n</figure>\n",
            escape(&plot.title),
            plot.svg.trim()
        ),
        Block::Figure(Figure { title, png, .. }) => {
            let (title, data) = (escape(title), STANDARD.encode(png));
            format!(
                "<figure><img src=\"data:image/png;base64,{data}\" alt=\"{title}\"><figcaption>{title}</figcaption></figure>\n"
            )
        }
        Block::Code(text, _) => format!("<pre>{}</pre>\n", escape(text)),
    }
}

fn sheet(sheet: &Sheet) -> String {
    let class: Vec<&str> = (0..sheet.header.len())
        .map(
            |column| match (sheet.is_numeric(column), sheet.longest(column) > LONG) {
                (_, true) => " class=\"long\"",
                (true, _) => " class=\"n\"",
                _ => "",
            },
        )
        .collect();
    let head: String = sheet
        .header
        .iter()
        .zip(&class)
        .map(|(name, class)| format!("<th{class}>{}</th>", marked(name)))
        .collect();
    let row = |(place, cells): (usize, &Vec<String>)| {
        let cell = |(column, text): (usize, &String)| {
            let text = verdict(text);
            let text = match sheet.strong.contains(&(place, column)) {
                true => format!("<b>{text}</b>"),
                false => text,
            };
            format!("<td{}>{text}</td>", class.get(column).unwrap_or(&""))
        };
        let cells: String = cells.iter().enumerate().map(cell).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = sheet.rows.iter().enumerate().map(row).collect();
    format!(
        "<div class=\"wide\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )
}

/// One cell; verdicts get their colour.
fn verdict(text: &str) -> String {
    match text {
        "holds" | "fails" | "tie" | "better" | "worse" | "equivalent" | "untestable" => {
            format!("<span class=\"{text}\">{text}</span>")
        }
        _ => marked(text),
    }
}

/// Marked text.
fn marked(text: &str) -> String {
    let piece = |piece: Piece<'_>| match piece {
        Piece::Plain(text) => escape(text),
        Piece::Code(text) => format!("<code>{}</code>", escape(text)),
        Piece::Link(text, address) => format!("<a href=\"{}\">{}</a>", escape(address), escape(text)),
    };
    pieces(text).into_iter().map(piece).collect()
}

/// Text without markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_inside_and_text_is_escaped() {
        let figure = Figure {
            title: "1-random <b>".into(),
            path: "pictures/1-random.png".into(),
            png: b"\x89PNG".to_vec(),
        };
        let sheet = Sheet::new(["<i>"]).with([vec!["holds".into()], vec!["a & `b<`".into()]]);
        let html = Page {
            title: "a < b".into(),
            lead: vec!["<script>".into()],
            sections: vec![
                Section::new("Same", vec![Block::Figure(figure)]),
                Section::new("Same", vec![Block::Sheet(sheet)]).folded(),
            ],
        }
        .to_html();
        for part in [
            "src=\"data:image/png;base64,iVBORw==\"",
            "1-random &lt;b&gt;",
            "<title>a &lt; b</title>",
            "<p>&lt;script&gt;</p>",
            "<th>&lt;i&gt;</th>",
            "<span class=\"holds\">holds</span>",
            "a &amp; <code>b&lt;</code>",
            "name=\"viewport\"",
            "prefers-color-scheme:dark",
            "<a href=\"#same\">",
            "<a href=\"#same-2\">",
            "<details id=\"same-2\">",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert!(
            !html.contains("http:") && !html.contains("https:"),
            "no address outside"
        );
    }

    #[test]
    fn numbers_stand_at_the_right_and_long_texts_break() {
        let sheet =
            Sheet::new(["arm", "score", "why"]).with([vec!["a".into(), "1.0".into(), "x".repeat(80)]]);
        let html = super::sheet(&sheet);
        assert!(html.contains("<th>arm</th><th class=\"n\">score</th><th class=\"long\">why</th>"));
    }
}
