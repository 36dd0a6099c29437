//! Records column by column: what repeats in a column is next to itself, so that it packs a few times smaller than lines do.

use std::collections::{BTreeMap, BTreeSet};
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

/// The file: one array for each field of the records, all of one length; `null` where a record lacks the field.
#[derive(Serialize, Deserialize)]
struct Columns {
    records: usize,
    columns: BTreeMap<String, Vec<Value>>,
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
    let rows: Vec<Map<String, Value>> = records
        .iter()
        .map(|record| serde_json::from_value(serde_json::to_value(record)?))
        .collect::<Result<_, _>>()
        .map_err(damaged)?;
    let names: BTreeSet<&String> = rows.iter().flat_map(Map::keys).collect();
    let column = |name: &String| -> Vec<Value> {
        let values = rows.iter().map(|row| row.get(name).cloned());
        values.map(Option::unwrap_or_default).collect()
    };
    let columns = Columns {
        records: rows.len(),
        columns: names.iter().map(|&name| (name.clone(), column(name))).collect(),
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
    if let Some((name, column)) = columns.iter().find(|(_, column)| column.len() != records) {
        return Err(unfit(format!(
            "{} values of `{name}` for {records} records",
            column.len()
        )));
    }
    let mut rows = vec![Map::new(); records];
    for (name, column) in columns {
        for (row, value) in rows.iter_mut().zip(column).filter(|(_, value)| !value.is_null()) {
            row.insert(name.clone(), value);
        }
    }
    let record = |row: Map<String, Value>| serde_json::from_value(row.into());
    rows.into_iter()
        .map(record)
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
        assert!(pack("nothing").contains("columns of records"));
    }
}
