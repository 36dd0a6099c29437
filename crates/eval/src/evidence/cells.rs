//! The papers' printed cells.

use std::collections::BTreeSet;
use std::path::Path;

use crate::EvalError;

/// Name of the data, for errors.
const FILE: &str = "data/published.csv";
const TEXT: &str = include_str!("../../data/published.csv");
const HEADER: &str = "paper,table,model,kept,method,place,quantity,value";

/// Rows of the papers' own method.
pub(crate) const OURS: [&str; 5] = ["DiffPrune", "AutoSelect", "Full DiffPrune", "Base", "ours"];
/// The unpruned rows.
const UNPRUNED: [&str; 2] = ["Vanilla", "Full"];
/// The column of printed means.
pub(crate) const PRINTED_MEAN: &str = "avg";

/// One printed number.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedCell {
    /// `diffprune` or `autoselect`.
    pub paper: String,
    /// Number of the table.
    pub table: usize,
    /// The model.
    pub model: String,
    /// The tokens that stay: a count, `all`, or a share that was pruned.
    pub kept: String,
    /// The row.
    pub method: String,
    /// The place at which the row prunes, as printed.
    pub place: String,
    /// The column.
    pub quantity: String,
    /// The number.
    pub value: f64,
}

impl PublishedCell {
    /// Half of the last printed digit: MME is printed in whole points, times and FLOPs with two digits after the point,
    /// percents with one.
    pub fn half_digit(&self) -> f64 {
        match self.quantity.as_str() {
            "mme" => 0.5,
            quantity if quantity.ends_with("_ms") || quantity == "flops_t" => 0.005,
            _ => 0.05,
        }
    }

    /// The share of tokens that stay, as a budget: 1/3, 2/9, 1/9 or `all`; as printed where it is another.
    pub fn budget(&self) -> &str {
        match self.kept.as_str() {
            "192" | "66.7% pruned" => "1/3",
            "128" | "77.8% pruned" => "2/9",
            "64" | "320" | "88.9% pruned" => "1/9",
            "576" => "all",
            other => other,
        }
    }

    /// `true` if the row is the papers' own method.
    pub fn is_ours(&self) -> bool {
        OURS.contains(&self.method.as_str())
    }

    /// `true` if the row is the unpruned model.
    pub fn is_unpruned(&self) -> bool {
        UNPRUNED.contains(&self.method.as_str())
    }
}

/// All cells of the result tables of both papers.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The cells, in printed order.
    pub cells: Vec<PublishedCell>,
}

/// A row of a table: places of its cells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PrintedRow {
    /// The paper.
    pub(crate) paper: String,
    /// The row's name.
    pub(crate) method: String,
    /// The share that stays.
    pub(crate) budget: String,
    /// Column and place of each cell.
    pub(crate) cells: Vec<(String, usize)>,
}

impl PrintedRow {
    /// The place of a column's cell.
    pub(crate) fn place(&self, column: &str) -> Option<usize> {
        self.cells.iter().find(|cell| cell.0 == column).map(|cell| cell.1)
    }

    /// Columns of benchmarks: all but the printed mean.
    pub(crate) fn columns(&self) -> Vec<&str> {
        let names = self.cells.iter().map(|cell| cell.0.as_str());
        names.filter(|name| *name != PRINTED_MEAN).collect()
    }
}

impl Published {
    /// The cells of both papers.
    ///
    /// # Errors
    /// When the data of this crate are damaged.
    pub fn builtin() -> Result<Self, EvalError> {
        Self::parse(TEXT)
    }

    /// Cells from comma-separated values with the header `paper,table,model,kept,method,place,quantity,value`.
    ///
    /// # Errors
    /// [`EvalError::Line`] for a line that is no cell.
    pub fn parse(text: &str) -> Result<Self, EvalError> {
        let bad =
            |line: usize, found: &str, wanted: &str| EvalError::line(Path::new(FILE), line, found, wanted);
        let mut lines = text.lines().enumerate();
        match lines.next() {
            Some((_, HEADER)) => {}
            other => return Err(bad(1, other.map_or("nothing", |line| line.1), HEADER)),
        }
        let cell = |(number, line): (usize, &str)| {
            let fields: Vec<&str> = line.split(',').collect();
            let [paper, table, model, kept, method, place, quantity, value] = fields[..] else {
                return Err(bad(number + 1, line, HEADER));
            };
            let table = table.strip_prefix("table").and_then(|table| table.parse().ok());
            let value: Option<f64> = value.parse().ok().filter(|value: &f64| value.is_finite());
            let (Some(table), Some(value)) = (table, value) else {
                return Err(bad(number + 1, line, "tableN and a number"));
            };
            Ok(PublishedCell {
                paper: paper.into(),
                table,
                model: model.into(),
                kept: kept.into(),
                method: method.into(),
                place: place.into(),
                quantity: quantity.into(),
                value,
            })
        };
        let cells = lines.map(cell).collect::<Result<_, _>>()?;
        Ok(Self { cells })
    }

    /// The benchmarks that a table prints.
    pub fn benchmarks(&self, table: usize) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for cell in self
            .cells
            .iter()
            .filter(|cell| cell.table == table && cell.quantity != PRINTED_MEAN)
        {
            if !names.contains(&cell.quantity) {
                names.push(cell.quantity.clone());
            }
        }
        names
    }

    /// The papers that have a table.
    pub(crate) fn papers(&self, table: usize) -> Vec<&str> {
        let mut papers: Vec<&str> = Vec::new();
        for cell in self.cells.iter().filter(|cell| cell.table == table) {
            if !papers.contains(&cell.paper.as_str()) {
                papers.push(&cell.paper);
            }
        }
        papers
    }

    /// The rows of a paper's table, the unpruned one first.
    pub(crate) fn rows(&self, paper: &str, table: usize) -> Vec<PrintedRow> {
        let mut rows: Vec<PrintedRow> = Vec::new();
        let own = |cell: &&PublishedCell| cell.paper == paper && cell.table == table;
        for (place, cell) in self.cells.iter().enumerate().filter(|(_, cell)| own(cell)) {
            let entry = (cell.quantity.clone(), place);
            let same = |row: &&mut PrintedRow| row.method == cell.method && row.budget == cell.budget();
            match rows.iter_mut().find(same) {
                Some(row) => row.cells.push(entry),
                None => rows.push(PrintedRow {
                    paper: cell.paper.clone(),
                    method: cell.method.clone(),
                    budget: cell.budget().to_string(),
                    cells: vec![entry],
                }),
            }
        }
        rows
    }

    /// The columns that every row of both papers' table has, but for quoted rows.
    pub(crate) fn common_columns(&self, table: usize, is_quoted: &dyn Fn(&str) -> bool) -> Vec<String> {
        let rows: Vec<PrintedRow> = self
            .papers(table)
            .into_iter()
            .flat_map(|paper| self.rows(paper, table))
            .filter(|row| !is_quoted(&row.method))
            .collect();
        let Some(first) = rows.first() else {
            return Vec::new();
        };
        let sets: Vec<BTreeSet<&str>> = rows
            .iter()
            .map(|row| row.columns().into_iter().collect())
            .collect();
        let common = |name: &&str| sets.iter().all(|set| set.contains(name));
        first
            .columns()
            .into_iter()
            .filter(common)
            .map(String::from)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_copy_is_the_published_one() {
        let own = Published::builtin().unwrap();
        assert_eq!(own.cells.len(), 887);
        if let Some(folder) = std::env::var_os("DIFFPRUNE_PUBLISHED") {
            let path = Path::new(&folder).join("tables.csv");
            let published = Published::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
            assert_eq!(own, published, "{}", path.display());
        }
    }

    #[test]
    fn no_number_has_more_digits_than_its_column_prints() {
        for cell in Published::builtin().unwrap().cells {
            let steps = cell.value / (2.0 * cell.half_digit());
            assert!((steps - steps.round()).abs() < 1e-6, "{cell:?}");
        }
    }

    #[test]
    fn budgets_of_pruned_rows_are_shares() {
        for cell in Published::builtin().unwrap().cells {
            let known = ["all", "1/3", "2/9", "1/9"].contains(&cell.budget());
            assert!(
                known && (cell.budget() == "all") == cell.is_unpruned(),
                "{cell:?}"
            );
        }
    }

    #[test]
    fn damage_is_named_with_its_line() {
        for text in [
            "",
            "paper\n",
            &format!("{HEADER}\na,b,c\n"),
            &format!("{HEADER}\na,table1,m,64,x,-,gqa,nan\n"),
        ] {
            assert!(
                Published::parse(text)
                    .unwrap_err()
                    .to_string()
                    .contains("published.csv:"),
                "{text}"
            );
        }
    }
}
