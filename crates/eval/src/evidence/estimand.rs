//! The numbers that decide a claim, as data.

use serde::{Deserialize, Serialize};

/// The number of an arm that a claim compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Number {
    /// Mean over benchmarks of the quotient to the unpruned score, percent: the papers' "Avg.".
    #[default]
    Retention,
    /// Mean over benchmarks of their numbers in percent of the most.
    Average,
}

/// The one number that decides a claim: it holds above zero (of kinds with a bound: within it). Budgets are shares of the
/// tokens, as [`Budget`](diffprune_pruner::Budget) writes them; an empty list means every budget of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Estimand {
    /// Retention of the method less a printed level.
    Level {
        /// The table.
        table: usize,
        /// The budget.
        budget: String,
        /// The number that the papers print, percent.
        printed: f64,
    },
    /// Retention of the method less that of each row of these tables at these budgets: the smallest.
    LeadOverRows {
        /// The tables.
        tables: Vec<usize>,
        /// The budgets; a table counts at those that it has.
        budgets: Vec<String>,
    },
    /// Retention of the method less that of one row, within a bound.
    EqualToRow {
        /// The table.
        table: usize,
        /// The row.
        row: String,
        /// The budget.
        budget: String,
        /// Points within which the two are equivalent.
        bound: f64,
    },
    /// The lead over one row at the budget `to` less that at `from`.
    LeadOverRowGrows {
        /// The table.
        table: usize,
        /// The row.
        row: String,
        /// The larger budget.
        from: String,
        /// The smaller budget.
        to: String,
    },
    /// Scores of the method less those of each row, benchmark by benchmark, in percent of the unpruned score: the smallest.
    EveryCell {
        /// The table.
        table: usize,
        /// The budgets.
        budgets: Vec<String>,
    },
    /// A number of the subject less that of each arm of these roles at each budget: the smallest.
    LeadOver {
        /// The role whose arm is judged.
        #[serde(default = "ours")]
        subject: String,
        /// The roles that it is compared with.
        roles: Vec<String>,
        /// The budgets.
        budgets: Vec<String>,
        /// The number.
        #[serde(default)]
        number: Number,
        /// The benchmarks of the number; empty for all that count.
        #[serde(default)]
        columns: Vec<String>,
    },
    /// The lead over a role's arms at the budget `to` less that at `from`: the smallest.
    LeadGrows {
        /// The role.
        rival: String,
        /// The larger budget.
        from: String,
        /// The smaller budget.
        to: String,
        /// The benchmarks of the retention; empty for all that count.
        #[serde(default)]
        columns: Vec<String>,
    },
    /// The loss by a variant, and that loss less those by other variants, at each budget: the smallest.
    LargestLoss {
        /// The role of the variant.
        variant: String,
        /// The roles of the other variants.
        others: Vec<String>,
        /// The budgets.
        budgets: Vec<String>,
        /// The benchmarks of the retention; empty for all that count.
        #[serde(default)]
        columns: Vec<String>,
    },
    /// A number of the subject less that of each arm of a role, each within a bound.
    EqualTo {
        /// The role whose arm is judged.
        subject: String,
        /// The role that it is compared with.
        role: String,
        /// The budgets.
        budgets: Vec<String>,
        /// The number.
        #[serde(default)]
        number: Number,
        /// Points within which two arms are equivalent.
        bound: f64,
    },
    /// Standard error of the method's average by pictures less its standard deviation over training seeds: the smallest.
    Spread {
        /// The budgets.
        budgets: Vec<String>,
    },
    /// A time of the unpruned row over that of the method, less a printed factor (within its last digit).
    SpeedUp {
        /// The column.
        quantity: String,
        /// The printed factor.
        printed: f64,
        /// Its digits after the point.
        digits: u32,
    },
    /// A time of each row less that of the method: the smallest.
    Lowest {
        /// The column.
        quantity: String,
    },
    /// A share of one time less another time.
    SmallShare {
        /// The time that is to be small.
        quantity: String,
        /// The time beside it.
        of: String,
        /// The share.
        share: f64,
    },
    /// Differences of neighbours in a descending order: the smallest.
    Order {
        /// The column.
        quantity: String,
        /// Rows from the largest to the smallest.
        rows: Vec<String>,
    },
    /// A time of each row over that of the unpruned one, less 1, within a bound.
    Flat {
        /// The column.
        quantity: String,
        /// Percent within which all are the same.
        bound: f64,
    },
    /// Arithmetic of the published shape against the printed numbers, within a bound.
    Flops {
        /// TFLOPs.
        bound: f64,
    },
    /// Judged by something that hands its verdict over.
    Outside {
        /// The judge of the claim.
        by: String,
        /// The bound of a claim of equivalence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bound: Option<f64>,
    },
}

fn ours() -> String {
    "ours".into()
}
