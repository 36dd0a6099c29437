//! Tables and rows by the texts that `report.json` has.

use diffprune_eval::{Report, Row, Table};

pub trait ByName {
    fn table_named(&self, id: &str) -> Option<&Table>;
    fn row_named(&self, table: &str, arm: &str, budget: &str, metric: &str) -> Option<&Row>;
}

impl ByName for Report {
    fn table_named(&self, id: &str) -> Option<&Table> {
        self.table(id.parse().unwrap())
    }

    fn row_named(&self, table: &str, arm: &str, budget: &str, metric: &str) -> Option<&Row> {
        let mut rows = self.table_named(table)?.rows.iter();
        rows.find(|row| row.arm == arm && row.budget == budget && row.metric.to_string() == metric)
    }
}
