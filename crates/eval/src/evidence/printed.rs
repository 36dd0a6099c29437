//! Numbers of the printed cells, with what rounding of the cells leaves open.

use super::cells::{OURS, PrintedRow, Published};
use super::claims::Claims;
use crate::stats::{Estimate, Verdict, mean};

/// Which columns a mean is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Columns {
    /// Those that the row itself has, as the papers average.
    Ragged,
    /// Those that every row of both papers' table has; a quoted row is compared on what it has of them.
    Common,
}

impl Columns {
    /// Both, the one that decides between rows last.
    pub(crate) const BOTH: [Self; 2] = [Self::Ragged, Self::Common];

    /// Name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ragged => "each row's own columns",
            Self::Common => "columns that all rows have",
        }
    }
}

/// A row of a printed table with the unpruned row beside it.
#[derive(Debug, Clone)]
pub(crate) struct Printed {
    /// The row.
    pub(crate) row: PrintedRow,
    /// The unpruned row of its table.
    unpruned: PrintedRow,
}

/// Cells, claims, and arithmetic on them.
pub(crate) struct Cells<'a> {
    pub(crate) published: &'a Published,
    pub(crate) claims: &'a Claims,
}

/// A number of the cells: the values of all cells in their order, some perhaps moved.
type Formula<'f> = dyn Fn(&[f64]) -> f64 + 'f;

impl Cells<'_> {
    /// Every pruned row of both papers' table, one that both print alike once, the method's own first.
    pub(crate) fn rows(&self, table: usize) -> Vec<Printed> {
        let mut rows: Vec<Printed> = Vec::new();
        for paper in self.published.papers(table) {
            let (unpruned, pruned): (Vec<_>, Vec<_>) = self
                .published
                .rows(paper, table)
                .into_iter()
                .partition(|row| row.budget == "all");
            let Some(unpruned) = unpruned.into_iter().next() else {
                continue;
            };
            for row in pruned {
                let known = |other: &Printed| {
                    other.row.budget == row.budget
                        && self.name(&other.row) == self.name(&row)
                        && self.values(&other.row) == self.values(&row)
                };
                if !rows.iter().any(known) {
                    rows.push(Printed {
                        row,
                        unpruned: unpruned.clone(),
                    });
                }
            }
        }
        rows.sort_by_key(|printed| !self.is_ours(&printed.row));
        rows
    }

    /// The row's name, the same for every spelling.
    pub(crate) fn name<'r>(&'r self, row: &'r PrintedRow) -> &'r str {
        let known = self.claims.row(&row.method);
        match known {
            Some(known) => &known.name,
            None if self.is_ours(row) => "ours",
            None => &row.method,
        }
    }

    /// `true` if the row is the papers' own method.
    pub(crate) fn is_ours(&self, row: &PrintedRow) -> bool {
        OURS.contains(&row.method.as_str())
    }

    /// `true` if a row is quoted: no arm can stand for it.
    pub(crate) fn is_quoted(&self, method: &str) -> bool {
        self.claims.row(method).is_some_and(|row| row.arms.is_empty())
    }

    /// The columns that a mean of the row is over.
    pub(crate) fn columns(&self, table: usize, row: &PrintedRow, columns: Columns) -> Vec<String> {
        let own = row.columns().into_iter().map(String::from);
        match columns {
            Columns::Ragged => own.collect(),
            Columns::Common => {
                let common = self
                    .published
                    .common_columns(table, &|method| self.is_quoted(method));
                own.filter(|name| common.contains(name)).collect()
            }
        }
    }

    fn values(&self, row: &PrintedRow) -> Vec<(String, f64)> {
        let value = |(name, place): &(String, usize)| (name.clone(), self.published.cells[*place].value);
        row.cells.iter().map(value).collect()
    }

    /// A number of cells at these places with the interval that rounding of the cells leaves open: each cell moved by half of
    /// its last digit, the changes added up.
    pub(crate) fn bracket(&self, places: &[usize], formula: &Formula<'_>) -> Estimate {
        let cells = &self.published.cells;
        let mut values: Vec<f64> = cells.iter().map(|cell| cell.value).collect();
        let value = formula(&values);
        let mut open = 0.0;
        for &place in places {
            let half = cells[place].half_digit();
            let changes = [half, -half].map(|change| {
                values[place] = cells[place].value + change;
                (formula(&values) - value).abs()
            });
            values[place] = cells[place].value;
            open += changes[0].max(changes[1]);
        }
        // Sums of tenths are not exact in binary.
        let open = open * (1.0 + 1e-9) + 1e-12;
        Estimate {
            value,
            lo: value - open,
            hi: value + open,
        }
    }

    /// Weighted sum of the rows' mean retentions, percent.
    pub(crate) fn retention(&self, table: usize, columns: Columns, terms: &[(f64, &Printed)]) -> Estimate {
        let mut sets: Vec<Vec<String>> = terms
            .iter()
            .map(|(_, printed)| self.columns(table, &printed.row, columns))
            .collect();
        if columns == Columns::Common {
            // A quoted row may lack one of them: both sides of a difference then do without it.
            let all = sets.clone();
            for set in &mut sets {
                set.retain(|name| all.iter().all(|other| other.contains(name)));
            }
        }
        let quotients: Vec<(f64, Vec<(usize, usize)>)> = terms
            .iter()
            .zip(&sets)
            .map(|((weight, printed), set)| (*weight, printed.pairs(set)))
            .collect();
        let mut places: Vec<usize> = quotients
            .iter()
            .flat_map(|(_, pairs)| pairs.iter().flat_map(|pair| [pair.0, pair.1]))
            .collect();
        places.sort_unstable();
        places.dedup();
        self.bracket(&places, &|values| {
            let of_row = |(weight, pairs): &(f64, Vec<(usize, usize)>)| {
                weight * 100.0 * mean(pairs.iter().map(|&(cell, full)| values[cell] / values[full]))
            };
            quotients.iter().map(of_row).sum()
        })
    }
}

impl Printed {
    /// Places of the row's cells and the unpruned ones beside them.
    fn pairs(&self, columns: &[String]) -> Vec<(usize, usize)> {
        let pair = |name: &String| Some((self.row.place(name)?, self.unpruned.place(name)?));
        columns.iter().filter_map(pair).collect()
    }

    /// Places of one column's cells: the row's and the unpruned one.
    pub(crate) fn pair(&self, column: &str) -> Option<(usize, usize)> {
        Some((self.row.place(column)?, self.unpruned.place(column)?))
    }

    /// Place of the unpruned row's cell.
    pub(crate) fn unpruned_place(&self, column: &str) -> Option<usize> {
        self.unpruned.place(column)
    }
}

/// The smallest of several brackets, with the place of the smallest value: from the smallest lower end to the smallest upper
/// end.
pub(crate) fn smallest(brackets: &[Estimate]) -> Option<(usize, Estimate)> {
    let place = (0..brackets.len()).min_by(|&a, &b| brackets[a].value.total_cmp(&brackets[b].value))?;
    let least = |of: fn(&Estimate) -> f64| brackets.iter().map(of).fold(f64::INFINITY, f64::min);
    Some((
        place,
        Estimate {
            value: brackets[place].value,
            lo: least(|bracket| bracket.lo),
            hi: least(|bracket| bracket.hi),
        },
    ))
}

/// The verdict of a bracket that is to lie within a bound.
pub(crate) fn within(bracket: &Estimate, bound: f64) -> Verdict {
    if -bound < bracket.lo && bracket.hi < bound {
        Verdict::Equivalent
    } else if bracket.lo >= bound || bracket.hi <= -bound {
        Verdict::Fails
    } else {
        Verdict::Tie
    }
}
