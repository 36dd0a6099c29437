//! Tables of texts.

use std::collections::BTreeSet;

/// A table of texts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sheet {
    /// Names of the columns.
    pub header: Vec<String>,
    /// Cells.
    pub rows: Vec<Vec<String>>,
    /// Cells that stand out: row and column.
    pub strong: BTreeSet<(usize, usize)>,
}

impl Sheet {
    /// A table without rows.
    pub fn new(header: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            header: header.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// The same table with these rows.
    #[must_use]
    pub fn with(mut self, rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        self.rows.extend(rows);
        self
    }

    /// Puts a column in front of column `at`; its cells follow from the rows.
    pub fn insert_column(&mut self, at: usize, name: &str, cell: impl Fn(&[String]) -> String) {
        for row in &mut self.rows {
            let new = cell(row);
            row.insert(at, new);
        }
        self.header.insert(at, name.into());
        let moved = |&(row, column): &(usize, usize)| (row, column + usize::from(column >= at));
        self.strong = self.strong.iter().map(moved).collect();
    }

    /// Whether a column holds numbers, or marks that stand for one.
    pub(crate) fn is_numeric(&self, column: usize) -> bool {
        let is_number = |text: &str| {
            let text = text.trim_start_matches(['-', '\u{2212}', '<', '>']);
            text.starts_with(|first: char| first.is_ascii_digit())
        };
        let is_mark = |text: &str| matches!(text, "–" | "" | "cannot");
        let mut cells = self.rows.iter().filter_map(|row| row.get(column));
        let numbers = cells.clone().filter(|cell| is_number(cell)).count();
        numbers > 0 && cells.all(|cell| is_number(cell) || is_mark(cell))
    }

    /// Characters of the longest cell of a column.
    pub(crate) fn longest(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inserted_column_moves_what_stands_out() {
        let mut sheet =
            Sheet::new(["arm", "score"]).with([vec!["a".into(), "–".into()], vec!["b".into(), "2".into()]]);
        sheet.strong.insert((1, 1));
        assert!(sheet.is_numeric(1) && !sheet.is_numeric(0));
        sheet.insert_column(1, "twice", |row| row[0].repeat(2));
        assert_eq!(sheet.header, ["arm", "twice", "score"]);
        assert_eq!(sheet.rows[1], ["b", "bb", "2"]);
        assert_eq!(sheet.strong, BTreeSet::from([(1, 2)]));
    }
}
