//! The claims that a report judges.

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
            estimate: estimate.value,
            lo: estimate.lo,
            hi: estimate.hi,
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

/// Every claim whose arms are there.
pub(crate) fn claims<'a>(matrix: &'a Matrix, options: &ReportOptions) -> Vec<Unestimated<'a, Draft>> {
    let mut claims = Vec::new();
    let rivals = [
        ("above-random", &options.random, "random tokens"),
        (
            "above-gumbel-ste",
            &options.gumbel,
            "the same scorer trained by Gumbel top-k with straight-through gradients",
        ),
        (
            "above-cls-attention",
            &options.cls_attention,
            "the tokens with the most [CLS] attention",
        ),
    ];
    for (id, rival, what) in rivals {
        above(matrix, options, id, rival, what, &mut claims);
    }
    gap_grows(matrix, options, &mut claims);
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

/// The method above a rival: on the mean over budgets, and at each budget.
fn above<'a>(
    matrix: &'a Matrix,
    options: &ReportOptions,
    id: &str,
    rival: &str,
    what: &str,
    claims: &mut Vec<Unestimated<'a, Draft>>,
) {
    let pairs = Pairs::new(matrix, &options.method, rival).cells;
    if pairs.is_empty() {
        return;
    }
    let method = &options.method;
    let all: Vec<(usize, usize)> = pairs.iter().map(|&(_, i, j)| (i, j)).collect();
    let mean = move |totals: &[f64]| {
        let differences = all
            .iter()
            .map(|&(i, j)| matrix.average(i, totals) - matrix.average(j, totals));
        differences.sum::<f64>() / all.len() as f64
    };
    push(
        claims,
        id.into(),
        format!("{method} is above {what} (points, mean over budgets)"),
        Box::new(mean),
    );
    for (budget, i, j) in pairs {
        let at_budget = move |totals: &[f64]| matrix.average(i, totals) - matrix.average(j, totals);
        let statement = format!("{method} is above {what} at budget {budget} (points)");
        push(claims, format!("{id}@{budget}"), statement, Box::new(at_budget));
    }
}

/// The lead over random tokens at the smallest budget minus that at the largest.
fn gap_grows<'a>(matrix: &'a Matrix, options: &ReportOptions, claims: &mut Vec<Unestimated<'a, Draft>>) {
    let pairs = Pairs::new(matrix, &options.method, &options.random).cells;
    let [(most, a, b), .., (least, c, d)] = pairs.as_slice() else {
        return;
    };
    let (a, b, c, d) = (*a, *b, *c, *d);
    let growth = move |totals: &[f64]| {
        let lead = |i, j| matrix.average(i, totals) - matrix.average(j, totals);
        lead(c, d) - lead(a, b)
    };
    let method = &options.method;
    let statement = format!(
        "the lead of {method} over random tokens is larger at budget {least} than at {most} (points)"
    );
    push(claims, "gap-grows".into(), statement, Box::new(growth));
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
