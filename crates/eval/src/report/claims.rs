//! Checks of the instrument: claims that are about the small world and not about a method.

use super::build::Pending;
use super::layout::Layout;
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
    fn new(layout: &Layout, a: &str, b: &str) -> Self {
        let place = |arm: &str, budget: &str| {
            layout
                .cells
                .iter()
                .position(|cell| cell.arm == arm && cell.budget == budget)
        };
        let of_a = layout.cells.iter().enumerate().filter(|(_, cell)| cell.arm == a);
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
pub(crate) fn claims<'a>(layout: &'a Layout, options: &ReportOptions) -> Vec<Pending<'a, Draft>> {
    let mut claims = Vec::new();
    oracles(layout, options, &mut claims);
    claims
}

fn push<'a>(claims: &mut Vec<Pending<'a, Draft>>, id: String, statement: String, statistic: Statistic<'a>) {
    claims.push(Pending {
        target: Draft { id, statement },
        statistic,
    });
}

/// Dropping background costs little, dropping objects costs much, both at the largest budget.
fn oracles<'a>(layout: &'a Layout, options: &ReportOptions, claims: &mut Vec<Pending<'a, Draft>>) {
    let keep = Pairs::new(layout, &options.oracle_keep, &options.full).cells;
    if let Some((budget, keep, full)) = keep.into_iter().next() {
        let limit = options.background_cost;
        let margin =
            move |totals: &[f64]| limit - (layout.average(full, totals) - layout.average(keep, totals));
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
    let drop = Pairs::new(layout, &options.oracle_drop, &options.full).cells;
    if let Some((budget, drop, full)) = drop.into_iter().next() {
        let floor = options.object_cost;
        let margin =
            move |totals: &[f64]| layout.average(full, totals) - layout.average(drop, totals) - floor;
        let statement = format!(
            "dropping object tokens first, down to {budget}, costs more than {floor} points (the cost minus {floor})"
        );
        push(claims, "objects-cost-much".into(), statement, Box::new(margin));
    }
}
