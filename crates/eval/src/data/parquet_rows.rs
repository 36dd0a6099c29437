//! Rows of parquet files, streamed.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::{Map, Value, json};

use diffprune_vlm_adapters::write_atomic;

use super::readers::id_text;
use crate::EvalError;

/// One row of a parquet file: its pictures apart from the rest.
#[derive(Debug)]
pub struct ParquetRow<'a> {
    path: &'a Path,
    number: usize,
    fields: Map<String, Value>,
    pictures: Vec<Vec<u8>>,
}

impl ParquetRow<'_> {
    /// A field as text.
    ///
    /// # Errors
    /// When the row has no such field or it is empty; file and row are named.
    pub fn text(&self, column: &str) -> Result<String, EvalError> {
        match self.fields.get(column) {
            Some(value) if !value.is_null() => Ok(id_text(value)),
            _ => Err(self.unfit(&format!("no {column}"))),
        }
    }

    /// A field as a whole number.
    ///
    /// # Errors
    /// When the row has no such field or it holds no whole number; file and row are named.
    pub fn number(&self, column: &str) -> Result<u64, EvalError> {
        self.text(column)?.parse().map_err(|error| self.unfit(&error))
    }

    /// The columns that hold no picture; names are in lower case.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// The columns, to be changed or taken.
    pub fn fields_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.fields
    }

    /// The first encoded picture of the row.
    pub fn picture(&self) -> Option<&[u8]> {
        self.pictures.first().map(Vec::as_slice)
    }

    /// The error that names file and row.
    pub fn unfit(&self, problem: &dyn std::fmt::Display) -> EvalError {
        unfit(self.path, self.number, problem)
    }
}

/// The parquet files of a split below a folder, by name; there is at least one.
pub(crate) struct SplitFiles {
    files: Vec<(PathBuf, SerializedFileReader<File>)>,
}

impl SplitFiles {
    /// Opens `split-*.parquet`. They lie in one folder, because a copy may hold several configurations of the same rows,
    /// unless folders for pictures and for questions are kept `apart`: then one whose name ends alike is too much.
    pub(crate) fn open(from: &Path, split: &str, apart: bool) -> Result<Self, EvalError> {
        let mut files = Vec::new();
        list(from, &mut files)?;
        files.retain(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.starts_with(&format!("{split}-")) && name.ends_with(".parquet"))
        });
        files.sort();
        if files.is_empty() {
            return Err(EvalError::NoFiles {
                root: from.into(),
                wanted: format!("{split}-*.parquet"),
            });
        }
        let mut folders: Vec<&Path> = files.iter().filter_map(|path| path.parent()).collect();
        folders.dedup();
        let kind = |folder: &Path| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            apart.then(|| name.rsplit('_').next().unwrap_or_default().to_string())
        };
        let pairs = (0..folders.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
        let mut pairs = pairs.map(|(first, second)| (folders[first], folders[second]));
        if let Some((first, second)) = pairs.find(|(first, second)| kind(first) == kind(second)) {
            return Err(EvalError::Setup {
                subject: from.display().to_string(),
                found: format!(
                    "{split}-*.parquet in {} and in {}",
                    first.display(),
                    second.display()
                ),
                wanted: "those of one configuration; give the folder of one".into(),
            });
        }
        let open = |path: PathBuf| {
            let file = File::open(&path).map_err(|source| EvalError::io(&path, "open", source))?;
            let reader = SerializedFileReader::new(file).map_err(|error| unfit(&path, 0, &error))?;
            Ok((path, reader))
        };
        let files: Result<Vec<_>, EvalError> = files.into_iter().map(open).collect();
        Ok(Self { files: files? })
    }

    /// Rows of all files.
    pub(crate) fn n_rows(&self) -> usize {
        let rows = |reader: &SerializedFileReader<File>| reader.metadata().file_metadata().num_rows();
        let rows = self.files.iter().map(|(_, reader)| rows(reader)).sum::<i64>();
        usize::try_from(rows).unwrap_or(0)
    }

    /// The rows of all files.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Result<ParquetRow<'_>, EvalError>> {
        self.files.iter().flat_map(|(path, reader)| {
            let (rows, broken): (Option<RowIter<'_>>, _) = match reader.get_row_iter(None) {
                Ok(rows) => (Some(rows), None),
                Err(error) => (None, Some(Err(unfit(path, 0, &error)))),
            };
            let rows = rows.into_iter().flatten().zip(1..);
            let rows = rows.map(move |(row, number)| match row {
                Ok(row) => Ok(parquet_row(path, number, row)),
                Err(error) => Err(unfit(path, number, &error)),
            });
            broken.into_iter().chain(rows)
        })
    }
}

/// Writes a file of the official layout. One with this content stays: an earlier call, which was stopped, wrote it.
pub(crate) fn place(to: &Path, name: &str, bytes: &[u8]) -> Result<(), EvalError> {
    let path = to.join(name);
    let is_plain = |part| matches!(part, Component::Normal(_));
    if !Path::new(name).components().all(is_plain) {
        let found = format!("the name `{name}`, which leaves the folder");
        return Err(EvalError::line(&path, 0, found, "a name below it"));
    }
    if std::fs::metadata(&path).is_ok_and(|found| found.len() == bytes.len() as u64)
        && std::fs::read(&path).is_ok_and(|found| found == bytes)
    {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|source| EvalError::io(folder, "create the folder", source))?;
    }
    Ok(write_atomic(&path, bytes)?)
}

/// The error about a row.
fn unfit(path: &Path, row: usize, error: &dyn std::fmt::Display) -> EvalError {
    EvalError::line(
        path,
        row,
        format!("unfit parquet ({error})"),
        "the published columns, snappy or uncompressed",
    )
}

/// Every file below a folder.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), EvalError> {
    let io = |source| EvalError::io(folder, "list", source);
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn parquet_row(path: &Path, number: usize, row: Row) -> ParquetRow<'_> {
    let mut pictures = Vec::new();
    let fields = row
        .into_columns()
        .into_iter()
        .map(|(name, field)| (name.to_lowercase(), value(&field, &mut pictures)))
        .collect();
    ParquetRow {
        path,
        number,
        fields,
        pictures,
    }
}

/// A field as JSON; bytes go to the pictures.
fn value(field: &Field, pictures: &mut Vec<Vec<u8>>) -> Value {
    match field {
        Field::Bool(value) => json!(value),
        Field::Byte(value) => json!(value),
        Field::Short(value) => json!(value),
        Field::Int(value) => json!(value),
        Field::Long(value) => json!(value),
        Field::UByte(value) => json!(value),
        Field::UShort(value) => json!(value),
        Field::UInt(value) => json!(value),
        Field::ULong(value) => json!(value),
        Field::Float(value) => json!(value),
        Field::Double(value) => json!(value),
        Field::Str(value) => json!(value),
        Field::Bytes(bytes) => {
            pictures.push(bytes.data().to_vec());
            Value::Null
        }
        Field::Group(row) => row
            .get_column_iter()
            .map(|(name, field)| (name.clone(), value(field, pictures)))
            .collect::<Map<_, _>>()
            .into(),
        Field::ListInternal(items) => items
            .elements()
            .iter()
            .map(|item| value(item, pictures))
            .collect::<Vec<_>>()
            .into(),
        _ => Value::Null,
    }
}
