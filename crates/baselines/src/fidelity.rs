//! Whose word counts where a publication's code and text differ.

use std::fmt;

/// Which of the two a method follows where the published code departs from the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fidelity {
    /// The published code: it made the published numbers.
    #[default]
    Reference,
    /// The paper's text.
    Corrected,
}

impl fmt::Display for Fidelity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reference => "reference",
            Self::Corrected => "corrected",
        })
    }
}
