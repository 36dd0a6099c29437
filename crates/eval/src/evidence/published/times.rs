//! Times of table 4.

use super::super::ledger::TierVerdict;
use super::super::printed::{Printed, smallest};
use super::{Judge, Judged, distance};
use crate::stats::{Estimate, Verdict};

/// The table of times.
const TIMES: usize = 4;

impl Judge<'_> {
    /// Rows of the table of times, the method's own first.
    fn timed(&self) -> Vec<Printed> {
        self.0.rows(TIMES)
    }

    pub(super) fn speed_up(&self, quantity: &str, printed: f64, digits: u32) -> Option<TierVerdict> {
        let rows = self.timed();
        let (own, full) = rows.first()?.pair(quantity)?;
        let found = self.0.bracket(&[own, full], &|values| values[full] / values[own]);
        let half = 0.5 / 10f64.powi(digits as i32);
        let bracket = distance(&found, printed, half);
        let verdict = match Verdict::of(bracket.lo, bracket.hi) {
            Verdict::Fails => Verdict::Fails,
            _ => Verdict::Holds,
        };
        let remark = format!("the cells give {:.3}", found.value);
        Some(
            Judged {
                bracket,
                verdict,
                remark,
            }
            .entered(),
        )
    }

    pub(super) fn lowest(&self, quantity: &str) -> Option<TierVerdict> {
        let rows = self.timed();
        let (ours, others): (Vec<&Printed>, Vec<&Printed>) =
            rows.iter().partition(|row| self.0.is_ours(&row.row));
        let mut leads = Vec::new();
        let mut names = Vec::new();
        for own in &ours {
            let (own, full) = own.pair(quantity)?;
            let places = others
                .iter()
                .filter_map(|other| Some((self.0.name(&other.row), other.row.place(quantity)?)));
            for (name, place) in places.chain([("the unpruned model", full)]) {
                leads.push(
                    self.0
                        .bracket(&[own, place], &|values| values[place] - values[own]),
                );
                names.push(name);
            }
        }
        let (place, bracket) = smallest(&leads)?;
        Some(Judged::above(bracket, format!("least against {}", names[place])).entered())
    }

    pub(super) fn small_share(&self, quantity: &str, of: &str, share: f64) -> Option<TierVerdict> {
        let rows = self.timed();
        let ours = rows.first()?;
        let (small, whole) = (ours.row.place(quantity)?, ours.row.place(of)?);
        let bracket = self
            .0
            .bracket(&[small, whole], &|values| share * values[whole] - values[small]);
        let cells = &self.0.published.cells;
        let remark = format!("{} of {} ms", cells[small].value, cells[whole].value);
        Some(Judged::above(bracket, remark).entered())
    }

    pub(super) fn order(&self, quantity: &str, order: &[String]) -> Option<TierVerdict> {
        let rows = self.timed();
        let place = |name: &String| {
            let ours = super::super::cells::OURS.contains(&name.as_str());
            let fits = |printed: &&Printed| match ours {
                true => self.0.is_ours(&printed.row),
                false => self.0.name(&printed.row) == name,
            };
            rows.iter().find(fits)?.row.place(quantity)
        };
        let places: Vec<usize> = order.iter().map(place).collect::<Option<_>>()?;
        let steps: Vec<Estimate> = places
            .windows(2)
            .map(|pair| self.0.bracket(pair, &|values| values[pair[0]] - values[pair[1]]))
            .collect();
        let (_, bracket) = smallest(&steps)?;
        Some(Judged::above(bracket, String::new()).entered())
    }

    pub(super) fn flat(&self, quantity: &str, bound: f64) -> Option<TierVerdict> {
        let rows = self.timed();
        let brackets: Vec<(&str, Estimate)> = rows
            .iter()
            .filter_map(|printed| {
                let (place, full) = (printed.row.place(quantity)?, printed.unpruned_place(quantity)?);
                let share = |values: &[f64]| 100.0 * (values[place] / values[full] - 1.0);
                Some((self.0.name(&printed.row), self.0.bracket(&[place, full], &share)))
            })
            .collect();
        let (name, widest) = brackets
            .into_iter()
            .max_by(|a, b| a.1.value.abs().total_cmp(&b.1.value.abs()))?;
        Some(Judged::bound(widest, bound, format!("most: {name}")).entered())
    }
}
