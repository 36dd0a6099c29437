//! Losses by variants, from table 5.

use super::super::cells::PrintedRow;
use super::super::ledger::TierVerdict;
use super::super::printed::smallest;
use super::{Judge, Judged};

/// Column of table 5.
const ABLATION: &str = "retention_gqa_mmbench_pope_mme";
/// The table of ablations.
const ABLATIONS: usize = 5;

/// Rows of table 5 by the part that they play in claims.
const VARIANTS: [(&str, [&str; 2]); 3] = [
    ("gumbel", ["Gumbel-STE Throttler", ""]),
    ("scale", ["Scale-gate Throttler", "Scale gating"]),
    ("global", ["Global-attention Denoiser", "Global attention"]),
];

impl Judge<'_> {
    /// Cell of table 5: of the full method, or of the variant that plays a part.
    fn ablation(&self, role: Option<&str>, budget: &str) -> Option<usize> {
        let papers = self.0.published.papers(ABLATIONS);
        let rows = papers
            .into_iter()
            .flat_map(|paper| self.0.published.rows(paper, ABLATIONS));
        let names = role.and_then(|role| VARIANTS.iter().find(|variant| variant.0 == role));
        let fits = |row: &PrintedRow| match (role, names) {
            (None, _) => self.0.is_ours(row),
            (Some(_), Some((_, names))) => names.contains(&row.method.as_str()),
            _ => false,
        };
        rows.filter(|row| row.budget == budget && fits(row))
            .find_map(|row| row.place(ABLATION))
    }

    /// The smallest loss by these variants, and of each less those by others.
    pub(super) fn losses(
        &self,
        variants: &[String],
        others: &[String],
        budgets: &[String],
    ) -> Option<TierVerdict> {
        let (mut losses, mut names) = (Vec::new(), Vec::new());
        for budget in budgets {
            let full = self.ablation(None, budget)?;
            for variant in variants {
                let own = self.ablation(Some(variant), budget)?;
                losses.push(self.0.bracket(&[full, own], &|values| values[full] - values[own]));
                names.push(format!("{variant} at {budget}"));
                for other in others {
                    let other_place = self.ablation(Some(other), budget)?;
                    losses.push(
                        self.0
                            .bracket(&[own, other_place], &|values| values[other_place] - values[own]),
                    );
                    names.push(format!("{variant} beside {other} at {budget}"));
                }
            }
        }
        let (place, bracket) = smallest(&losses)?;
        Some(Judged::above(bracket, format!("least: {}", names[place])).entered())
    }

    pub(super) fn loss_grows(&self, role: &str, from: &str, to: &str) -> Option<TierVerdict> {
        let place = |role, budget: &str| self.ablation(role, budget);
        let places = [
            place(None, to)?,
            place(Some(role), to)?,
            place(None, from)?,
            place(Some(role), from)?,
        ];
        let growth = |values: &[f64]| {
            let [a, b, c, d] = places.map(|place| values[place]);
            (a - b) - (c - d)
        };
        let lead = |of: [usize; 2]| self.0.published.cells[of[0]].value - self.0.published.cells[of[1]].value;
        let mut remark = format!(
            "{:.1} at {from}, {:.1} at {to}",
            lead([places[2], places[3]]),
            lead([places[0], places[1]])
        );
        if let (Some(full), Some(own)) = (place(None, "2/9"), place(Some(role), "2/9")) {
            remark += &format!(", {:.1} at 2/9 between them", lead([full, own]));
        }
        Some(Judged::above(self.0.bracket(&places, &growth), remark).entered())
    }
}
