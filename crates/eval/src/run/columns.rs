//! Records column by column: what repeats in a column is next to itself, so that it packs a few times smaller than lines do.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use diffprune_files::write_whole;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::record::Record;
use crate::EvalError;

/// The file: one column for each field of the records, all of one length.
#[derive(Serialize, Deserialize)]
struct Columns {
    records: usize,
    columns: BTreeMap<String, Column>,
}

/// The values of a field; `null` where a record lacks it. Runs ask the same questions once for each arm, further apart than the
/// compression looks back, so that what repeats has to be said in fewer letters before.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Column {
    /// As they are.
    Plain(Vec<Value>),
    /// Each text once, and for each record how far its place is from the place of the record before.
    Distinct { distinct: Vec<Value>, steps: Vec<i64> },
}

impl Column {
    fn of(values: Vec<Value>) -> Self {
        if values.iter().any(|value| !value.is_string() && !value.is_null()) {
            return Self::Plain(values);
        }
        let (mut places, mut distinct, mut steps) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut before = 0;
        for value in values {
            let text = value.as_str().map(String::from);
            let place = *places.entry(text).or_insert_with(|| {
                distinct.push(value);
                distinct.len() as i64 - 1
            });
            steps.push(place - before);
            before = place;
        }
        Self::Distinct { distinct, steps }
    }

    /// The values again; `None` when a step leads to no text.
    fn values(self) -> Option<Vec<Value>> {
        match self {
            Self::Plain(values) => Some(values),
            Self::Distinct { distinct, steps } => {
                let mut place: i64 = 0;
                let mut value = |step: i64| {
                    place = place.checked_add(step)?;
                    distinct.get(usize::try_from(place).ok()?).cloned()
                };
                steps.into_iter().map(&mut value).collect()
            }
        }
    }
}

/// The packed file in place of a file of records.
pub(crate) fn packed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".columns.gz");
    name.into()
}

/// Writes records, whole or not at all. The same records give the same bytes: no clock and no name is stored.
pub(crate) fn write(records: &[Record], target: &Path) -> Result<(), EvalError> {
    let damaged = |error: serde_json::Error| EvalError::io(target, "encode a record", error.into());
    // One record at a time as a map of its fields: all of them at once would take far more memory than the columns.
    let mut columns: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (place, record) in records.iter().enumerate() {
        let row: Map<String, Value> = serde_json::to_value(record)
            .and_then(serde_json::from_value)
            .map_err(damaged)?;
        for (name, value) in row {
            let column = columns.entry(name).or_default();
            column.resize(place, Value::Null);
            column.push(value);
        }
    }
    columns
        .values_mut()
        .for_each(|column| column.resize(records.len(), Value::Null));
    let columns = Columns {
        records: records.len(),
        columns: columns
            .into_iter()
            .map(|(name, values)| (name, Column::of(values)))
            .collect(),
    };
    let text = serde_json::to_vec(&columns).map_err(damaged)?;
    let io = |source| EvalError::io(target, "compress the records", source);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&text).map_err(io)?;
    Ok(write_whole(target, &encoder.finish().map_err(io)?)?)
}

/// Reads records, in their order.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>, EvalError> {
    let file = File::open(path).map_err(|source| EvalError::io(path, "read", source))?;
    let unfit = |found: String| {
        EvalError::line(
            path,
            1,
            found,
            "columns of records, as `diffprune report --archive` writes them",
        )
    };
    let Columns { records, columns } = serde_json::from_reader(BufReader::new(GzDecoder::new(file)))
        .map_err(|error| unfit(error.to_string()))?;
    let values = |(name, column): (String, Column)| match column.values() {
        Some(values) => Ok((name, values)),
        None => Err(unfit(format!("a step out of the texts of `{name}`"))),
    };
    let columns: Vec<(String, Vec<Value>)> = columns.into_iter().map(values).collect::<Result<_, _>>()?;
    if let Some((name, column)) = columns.iter().find(|(_, column)| column.len() != records) {
        return Err(unfit(format!(
            "{} values of `{name}` for {records} records",
            column.len()
        )));
    }
    let mut columns: Vec<_> = columns
        .into_iter()
        .map(|(name, column)| (name, column.into_iter()))
        .collect();
    let mut record = || {
        let fields = columns
            .iter_mut()
            .map(|(name, column)| (name.clone(), column.next().unwrap_or_default()));
        let row: Map<String, Value> = fields.filter(|(_, value)| !value.is_null()).collect();
        serde_json::from_value(row.into())
    };
    (0..records)
        .map(|_| record())
        .collect::<Result<_, _>>()
        .map_err(|error| unfit(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let record = |id: u32| -> Record {
            let mut value = serde_json::json!({
                "arm": "random", "budget": "1/9", "seed": id % 2, "question": id.to_string(), "benchmark": "pope",
                "subset": "random", "kind": "all", "image": "1.png", "kept": 16, "total": 144, "answer": "yes", "score": 1.0,
            });
            if id.is_multiple_of(3) {
                value["probability"] = (f64::from(id) / 7.0).fract().into();
                value["layers"] = serde_json::json!([[2, 144], [2, 16]]);
            }
            serde_json::from_value(value).unwrap()
        };
        (0..200).map(record).collect()
    }

    #[test]
    fn records_come_back_bit_by_bit_and_small() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl.columns.gz");
        let records = records();
        write(&records, &path).unwrap();
        assert_eq!(read(&path).unwrap(), records);
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(size < 8 * records.len() as u64, "{size} bytes");
        let first = std::fs::read(&path).unwrap();
        write(&records, &path).unwrap();
        assert!(first == std::fs::read(&path).unwrap());
    }

    #[test]
    fn damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.columns.gz");
        let pack = |text: &str| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            std::fs::write(&path, encoder.finish().unwrap()).unwrap();
            read(&path).unwrap_err().to_string()
        };
        assert!(pack(r#"{"records":2,"columns":{"arm":["a"]}}"#).contains("1 values of `arm` for 2 records"));
        assert!(pack(r#"{"records":1,"columns":{"arm":["a"]}}"#).contains("r.columns.gz"));
        let step = r#"{"records":1,"columns":{"arm":{"distinct":["a"],"steps":[1]}}}"#;
        assert!(pack(step).contains("a step out of the texts of `arm`"));
        assert!(pack("nothing").contains("columns of records"));
    }
}
