//! The forms of a report.

use std::fmt;
use std::str::FromStr;

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Everything, to be read again.
    Json,
    /// Tables for people.
    Markdown,
    /// One page with tables, plots and pictures.
    Html,
    /// Tables for papers.
    Latex,
    /// One line per number.
    Csv,
    /// The plots.
    Svg,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] = [
        Self::Json,
        Self::Markdown,
        Self::Html,
        Self::Latex,
        Self::Csv,
        Self::Svg,
    ];

    /// Ending of its files.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Markdown => "md",
            Self::Html => "html",
            Self::Latex => "tex",
            Self::Csv => "csv",
            Self::Svg => "svg",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.ending())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "markdown" => Ok(Self::Markdown),
            "latex" => Ok(Self::Latex),
            _ => Self::ALL
                .into_iter()
                .find(|format| format.ending() == text)
                .ok_or_else(|| format!("found `{text}`, expected json, md, html, tex, csv or svg")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!("latex".parse(), Ok(Format::Latex));
        assert!("pdf".parse::<Format>().unwrap_err().contains("`pdf`"));
    }
}
