//! Pictures at the end of a report.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::html::escape;

/// One picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// What it shows, in a word or two.
    pub title: String,
    /// Its path as seen from the report.
    pub path: String,
    /// The PNG file.
    pub png: Vec<u8>,
}

/// Pictures with their common explanation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// What every picture shows.
    pub legend: String,
    /// The pictures.
    pub figures: Vec<Figure>,
}

impl Figures {
    /// A section with links; nothing without pictures.
    pub(crate) fn markdown(&self) -> String {
        let figure = |Figure { title, path, .. }: &Figure| format!("{title}\n\n![{title}]({path})\n\n");
        self.section(|legend| format!("\n## Pictures\n\n{legend}\n\n"), figure)
    }

    /// A section that holds the pictures themselves; nothing without pictures.
    pub(crate) fn html(&self) -> String {
        let figure = |Figure { title, png, .. }: &Figure| {
            let (title, data) = (escape(title), STANDARD.encode(png));
            format!("<p>{title}<br><img src=\"data:image/png;base64,{data}\" alt=\"{title}\"></p>\n")
        };
        let head = |legend: &str| format!("<h2>Pictures</h2>\n<p>{}</p>\n", escape(legend));
        self.section(head, figure)
    }

    fn section(&self, head: impl Fn(&str) -> String, figure: impl Fn(&Figure) -> String) -> String {
        if self.figures.is_empty() {
            return String::new();
        }
        head(&self.legend) + &self.figures.iter().map(figure).collect::<String>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_what_markdown_links() {
        let figures = Figures {
            legend: "left < right".into(),
            figures: vec![Figure {
                title: "1-random".into(),
                path: "pictures/1-random.png".into(),
                png: b"\x89PNG".to_vec(),
            }],
        };
        assert!(figures.markdown().contains("![1-random](pictures/1-random.png)"));
        let html = figures.html();
        assert!(html.contains("src=\"data:image/png;base64,iVBORw==\"") && html.contains("left &lt; right"));
        assert!(Figures::default().html().is_empty() && Figures::default().markdown().is_empty());
    }
}
