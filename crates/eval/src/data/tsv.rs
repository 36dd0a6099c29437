//! Tab-separated tables with quoted fields, as pandas reads them.

use std::collections::HashMap;
use std::path::Path;

use csv_core::ReadRecordResult;

use super::json::TextFile;
use crate::EvalError;

/// Texts that pandas takes for a missing value.
const MISSING: [&str; 17] = [
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "null",
];

/// One row with its line.
pub(crate) struct Row {
    /// Line where it starts, counted from 1.
    pub(crate) line: usize,
    fields: Vec<String>,
}

/// A table: named columns and its rows, or what is wrong with a row.
pub(crate) struct Table {
    columns: HashMap<String, usize>,
    /// The rows in file order.
    pub(crate) rows: Vec<Result<Row, EvalError>>,
}

impl Table {
    /// Reads a table that has at least the columns `wanted`; names of columns are compared in lower case.
    pub(crate) fn read(path: &Path, wanted: &[&str]) -> Result<Self, EvalError> {
        let file = TextFile::read(path)?;
        let mut records = Records::new(&file.text);
        let header = records.next().map(|row| row.fields).unwrap_or_default();
        let n_columns = header.len();
        let columns: HashMap<String, usize> = header
            .iter()
            .enumerate()
            .map(|(place, name)| (name.trim().to_lowercase(), place))
            .collect();
        let absent: Vec<&str> = wanted
            .iter()
            .copied()
            .filter(|name| !columns.contains_key(&name.to_lowercase()))
            .collect();
        if !absent.is_empty() {
            let found = format!("no column {}", absent.join(", "));
            return Err(EvalError::line(path, 1, found, "the published columns"));
        }
        let whole = |row: Row| {
            if row.fields.len() == n_columns {
                return Ok(row);
            }
            let found = format!("{} fields", row.fields.len());
            Err(EvalError::line(
                path,
                row.line,
                found,
                format!("{n_columns} fields"),
            ))
        };
        let rows = records.map(whole).collect();
        Ok(Self { columns, rows })
    }

    /// `true` if a field has any text, be it one that stands for a missing value.
    pub(crate) fn has_text(&self, row: &Row, column: &str) -> bool {
        let place = self.columns.get(&column.to_lowercase());
        let field = place.and_then(|place| row.fields.get(*place));
        field.is_some_and(|field| !field.trim().is_empty())
    }

    /// A field; `None` when the column is absent or the value missing.
    pub(crate) fn get<'a>(&self, row: &'a Row, column: &str) -> Option<&'a str> {
        let place = self.columns.get(&column.to_lowercase())?;
        let value = row.fields.get(*place)?.as_str();
        (!is_missing(value)).then_some(value)
    }
}

/// The records of a text, one after the other.
struct Records<'a> {
    reader: csv_core::Reader,
    rest: &'a [u8],
    line: usize,
    fields: Vec<u8>,
    ends: Vec<usize>,
}

impl<'a> Records<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            reader: csv_core::ReaderBuilder::new().delimiter(b'\t').build(),
            rest: text.as_bytes(),
            line: 1,
            fields: vec![0; 1 << 12],
            ends: vec![0; 32],
        }
    }

    /// Moves past `n` bytes.
    fn skip(&mut self, n: usize) {
        let (past, rest) = self.rest.split_at(n);
        self.line += past.iter().filter(|&&byte| byte == b'\n').count();
        self.rest = rest;
    }
}

impl Iterator for Records<'_> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let blank = |byte: &&u8| matches!(**byte, b'\n' | b'\r');
        self.skip(self.rest.iter().take_while(blank).count());
        let line = self.line;
        let (mut n_bytes, mut n_fields) = (0, 0);
        loop {
            let (result, taken, written, ended) =
                self.reader
                    .read_record(self.rest, &mut self.fields[n_bytes..], &mut self.ends[n_fields..]);
            self.skip(taken);
            (n_bytes, n_fields) = (n_bytes + written, n_fields + ended);
            match result {
                // The end of the input is told by an empty one.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.fields.resize(2 * self.fields.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return None,
            }
        }
        let starts = [0].into_iter().chain(self.ends[..n_fields].iter().copied());
        let fields = starts
            .zip(&self.ends[..n_fields])
            .map(|(start, &end)| String::from_utf8_lossy(&self.fields[start..end]).into_owned())
            .collect();
        Some(Row { line, fields })
    }
}

/// Empty, one of pandas' marks, or the `nan` and `none` of any case that LLaVA adds.
fn is_missing(value: &str) -> bool {
    value.is_empty()
        || MISSING.contains(&value)
        || value.eq_ignore_ascii_case("nan")
        || value.eq_ignore_ascii_case("none")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<Table, EvalError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tsv");
        std::fs::write(&path, text).unwrap();
        Table::read(&path, &["a", "B"])
    }

    #[test]
    fn quotes_tabs_and_newlines_stay_in_their_field() {
        let table =
            table("\u{feff}a\tB\r\n\"x\ty\"\t\"two \"\"quoted\"\"\nlines\"\r\nNA\tnone\r\n5\" disk\tNone of them\r\n")
                .unwrap();
        let rows: Vec<&Row> = table.rows.iter().map(|row| row.as_ref().unwrap()).collect();
        assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 4, 5]);
        assert_eq!(table.get(rows[0], "a"), Some("x\ty"));
        assert_eq!(table.get(rows[0], "b"), Some("two \"quoted\"\nlines"));
        assert_eq!((table.get(rows[1], "a"), table.get(rows[1], "B")), (None, None));
        assert_eq!(table.get(rows[2], "a"), Some("5\" disk"));
        assert_eq!(table.get(rows[2], "B"), Some("None of them"));
        assert_eq!(table.get(rows[2], "c"), None);
    }

    #[test]
    fn damage_names_its_line() {
        let error = table("a\tc\n1\t2\n").err().unwrap().to_string();
        assert!(error.contains("x.tsv:1: found no column B"), "{error}");
        let table = table("a\tB\n1\t2\n\"x\ny\"\t2\t3\n4\t\"cut\n5\t6\n").unwrap();
        let error = table.rows[1].as_ref().err().unwrap().to_string();
        assert!(error.contains("x.tsv:3: found 3 fields"), "{error}");
        assert!(table.rows[0].is_ok());
    }
}
