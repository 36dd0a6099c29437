//! Checks of the instrument: claims that are about the small world and not about a method.

use super::cell::Unestimated;
use super::matrix::Matrix;
use super::options::ReportOptions;
use super::result::Claim;
use crate::stats::{Estimate, Statistic, Verdict};

/// A claim without its verdict.
pub(crate) struct Draft {
    id: String,
    statement: String,
}

impl Draft {
    /// The claim with its verdict: it holds when the whole interval is above zero.
    pub(crate) fn judge(self, estimate: &Estimate) -> Claim {
        Claim {
            id: self.id,
            statement: self.statement,
            verdict: Verdict::of(estimate.lo, estimate.hi),
            estimate: Some(estimate.value),
            lo: Some(estimate.lo),
            hi: Some(estimate.hi),
            tiers: Default::default(),
            reason: None,
        }
    }
}

/// Cells of two arms at the same budget, from the largest budget to the smallest.
struct Pairs {
    /// The budget and the places of the two cells.
    cells: Vec<(String, usize, usize)>,
}

impl Pairs {
    fn new(matrix: &Matrix, a: &str, b: &str) -> Self {
        let place = |arm: &str, budget: &str| {
            matrix
                .cells
                .iter()
                .position(|cell| cell.arm == arm && cell.budget == budget)
        };
        let of_a = matrix.cells.iter().enumerate().filter(|(_, cell)| cell.arm == a);
        let cells = of_a
            .filter_map(|(i, cell)| {
                let j = place(b, &cell.budget).or_else(|| place(b, "all"))?;
                Some((cell.budget.clone(), i, j))
            })
            .collect();
        Self { cells }
    }
}

/// Every check whose arms are there. The claims of the papers are judged elsewhere.
pub(crate) fn claims<'a>(matrix: &'a Matrix, options: &ReportOptions) -> Vec<Unestimated<'a, Draft>> {
    let mut claims = Vec::new();
    oracles(matrix, options, &mut claims);
    claims
}

fn push<'a>(
    claims: &mut Vec<Unestimated<'a, Draft>>,
    id: String,
    statement: String,
    statistic: Statistic<'a>,
) {
    claims.push(Unestimated {
        target: Draft { id, statement },
        statistic,
    });
}

/// Dropping background costs little, dropping objects costs much, both at the largest budget.
fn oracles<'a>(matrix: &'a Matrix, options: &ReportOptions, claims: &mut Vec<Unestimated<'a, Draft>>) {
    let keep = Pairs::new(matrix, &options.oracle_keep, &options.full).cells;
    if let Some((budget, keep, full)) = keep.into_iter().next() {
        let limit = options.background_cost;
        let margin =
            move |totals: &[f64]| limit - (matrix.average(full, totals) - matrix.average(keep, totals));
        let statement = format!(
            "dropping background tokens down to {budget} costs less than {limit} points ({limit} minus the cost)"
        );
        push(
            claims,
            "background-costs-little".into(),
            statement,
            Box::new(margin),
        );
    }
    let drop = Pairs::new(matrix, &options.oracle_drop, &options.full).cells;
    if let Some((budget, drop, full)) = drop.into_iter().next() {
        let floor = options.object_cost;
        let margin =
            move |totals: &[f64]| matrix.average(full, totals) - matrix.average(drop, totals) - floor;
        let statement = format!(
            "dropping object tokens first, down to {budget}, costs more than {floor} points (the cost minus {floor})"
        );
        push(claims, "objects-cost-much".into(), statement, Box::new(margin));
    }
}
