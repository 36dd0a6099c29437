//! Pages in Markdown.

use super::{Block, Page, Section, Sheet};

/// The page with its contents.
pub(super) fn page(page: &Page) -> String {
    let mut text = format!("# {}\n", page.title);
    for paragraph in &page.lead {
        text += &format!("\n{paragraph}\n");
    }
    if page.sections.len() > 3 {
        text.push_str("\n## Contents\n\n");
        for section in &page.sections {
            text += &format!("- [{}](#{})\n", section.title, slug(&section.title));
        }
    }
    for section in &page.sections {
        text += &self::section(section, 2);
    }
    text
}

fn section(section: &Section, depth: usize) -> String {
    let mut text = format!("\n{} {}\n", "#".repeat(depth), section.title);
    for block in &section.blocks {
        text.push('\n');
        text += &self::block(block);
    }
    let parts = section.parts.iter().map(|part| self::section(part, depth + 1));
    text + &parts.collect::<String>()
}

fn block(block: &Block) -> String {
    match block {
        Block::Text(text) => format!("{text}\n"),
        Block::Sheet(sheet) => table(sheet),
        Block::Plot(plot, path) => format!("![{}]({path})\n", plot.title),
        Block::Figure(figure) => format!("{}\n\n![{}]({})\n", figure.title, figure.title, figure.path),
        Block::Code(text, language) => format!("```{language}\n{text}\n```\n"),
    }
}

/// A table; cells that stand out are bold.
fn table(sheet: &Sheet) -> String {
    let line = |cells: Vec<String>| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let row = |(place, cells): (usize, &Vec<String>)| {
        let cell = |(column, cell): (usize, &String)| match sheet.strong.contains(&(place, column)) {
            true => format!("**{cell}**"),
            false => cell.clone(),
        };
        line(cells.iter().enumerate().map(cell).collect())
    };
    let rule = format!("|{}\n", "---|".repeat(sheet.header.len()));
    let rows: String = sheet.rows.iter().enumerate().map(row).collect();
    line(sheet.header.clone()) + &rule + &rows
}

/// The anchor of a heading, as GitHub and mdBook make it.
pub(super) fn slug(title: &str) -> String {
    let kept = title.chars().filter_map(|character| match character {
        ' ' => Some('-'),
        '-' | '_' => Some(character),
        other if other.is_alphanumeric() => Some(other),
        _ => None,
    });
    kept.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Figure;

    #[test]
    fn sections_pictures_and_contents() {
        let figure = Figure {
            title: "1-random".into(),
            path: "pictures/1-random.png".into(),
            png: b"\x89PNG".to_vec(),
        };
        let mut sheet = Sheet::new(["a|b"]).with([vec!["1".into()]]);
        sheet.strong.insert((0, 0));
        let one = Section {
            parts: vec![Section::new("Inside", vec![Block::Sheet(sheet)])],
            ..Section::new("One, two", vec![Block::Figure(figure)])
        };
        let page = Page {
            title: "T".into(),
            lead: vec!["first".into()],
            sections: vec![one.clone(), one.clone(), one.clone(), one],
        };
        let text = page.to_markdown();
        for part in [
            "# T\n\nfirst\n",
            "- [One, two](#one-two)\n",
            "\n## One, two\n",
            "![1-random](pictures/1-random.png)",
            "\n### Inside\n\n| a\\|b |\n|---|\n| **1** |\n",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }
}
