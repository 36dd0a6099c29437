//! The outcome of a claim in a run.

/// The rule by which the comparisons of a claim decide it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rule {
    /// The smallest is above zero.
    Smallest,
    /// Each lies within a bound.
    Within(f64),
    /// The number less a level is above zero.
    Level(f64),
    /// The error by pictures is above the standard deviation over seeds.
    Spread,
}

/// The comparisons of a claim.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Planned {
    pub(crate) rule: Rule,
    /// Places of the comparisons, and what each is.
    pub(crate) members: Vec<(usize, String)>,
    /// The same without TextVQA, which is read beside them.
    pub(crate) without: Vec<usize>,
    /// Remarks beside the verdict.
    pub(crate) remarks: Vec<String>,
    /// Training seeds behind the claim, the fewest at any budget.
    pub(crate) seeds: usize,
}

/// The outcome of a claim in this run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// Comparisons that decide.
    Planned(Planned),
    /// Why there is none.
    Cannot(String),
}
