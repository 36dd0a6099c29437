//! Pictures at the end of a report.

/// One picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// Title, in a word or two.
    pub title: String,
    /// Its path as seen from the report.
    pub path: String,
    /// The PNG file.
    pub png: Vec<u8>,
}

/// Pictures with their common explanation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// The explanation of every picture.
    pub legend: String,
    /// The pictures.
    pub figures: Vec<Figure>,
}
