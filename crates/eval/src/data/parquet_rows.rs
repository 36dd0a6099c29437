//! Rows of parquet files, streamed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::{Map, Value, json};

use diffprune_files::write_whole;
use diffprune_images::image_kind;

use super::readers::{file_stem, id_text};
use crate::EvalError;

/// One row of a parquet file: the bytes of its columns apart from the rest.
#[derive(Debug)]
pub struct ParquetRow<'a> {
    path: &'a Path,
    number: usize,
    fields: Map<String, Value>,
    /// Bytes, each with the column that has it.
    bytes: Vec<(String, Vec<u8>)>,
}

/// Names of the columns that pictures are in.
const PICTURES: [&str; 4] = ["image", "images", "jpg", "png"];

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

    /// `true` if a column of pictures has bytes.
    pub fn has_picture(&self) -> bool {
        self.bytes
            .iter()
            .any(|(column, _)| PICTURES.contains(&column.as_str()))
    }

    /// The first encoded picture of the row, from a column of pictures; other columns may hold bytes of any kind.
    ///
    /// # Errors
    /// When there are no bytes, or they are no JPEG or PNG file; file, row and column are named.
    pub fn picture(&self) -> Result<&[u8], EvalError> {
        let of = |column: &str| self.bytes.iter().find(|(name, _)| name == column);
        let refuse = |found: String, wanted: &str| EvalError::line(self.path, self.number, found, wanted);
        let Some((column, bytes)) = PICTURES.iter().find_map(|column| of(column)) else {
            let found = match PICTURES.iter().find(|column| self.fields.contains_key(**column)) {
                Some(column) => format!("no bytes in column {column}"),
                None => format!("none of the columns {}", PICTURES.join(", ")),
            };
            return Err(refuse(found, "a picture"));
        };
        let found = match image_kind(bytes) {
            Some("jpeg" | "png") => return Ok(bytes),
            Some(kind) => format!("a {kind} file in column {column}"),
            None => format!("{} bytes in column {column} that are no picture", bytes.len()),
        };
        Err(refuse(
            found,
            "a JPEG or PNG file, as the published files have them",
        ))
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
    /// Opens `split-*.parquet`, or `split/0000.parquet` and so on; every part must be there. They lie in one
    /// folder, because a copy may hold several configurations of the same rows, unless folders for pictures and for questions are kept `apart`: then one whose name ends alike is too much.
    pub(crate) fn open(from: &Path, split: &str, apart: bool) -> Result<Self, EvalError> {
        let found = Self::open_some(from, split, apart)?;
        let paths: Vec<&Path> = found.files.iter().map(|(path, _)| path.as_path()).collect();
        check_parts(&paths)?;
        Ok(found)
    }

    /// As [`Self::open`], of whatever parts are there.
    pub(crate) fn open_some(from: &Path, split: &str, apart: bool) -> Result<Self, EvalError> {
        let mut files = Vec::new();
        list(from, &mut files)?;
        files.retain(|path| is_of_split(path, split));
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
            let mut file = File::open(&path).map_err(|source| EvalError::io(&path, "open", source))?;
            let mut first = Vec::new();
            let read = (&mut file).take(SIGNATURE).read_to_end(&mut first);
            read.and_then(|_| file.rewind())
                .map_err(|source| EvalError::io(&path, "read", source))?;
            EvalError::check_pointer(&path, &first)?;
            let reader = guarded(&path, 0, || SerializedFileReader::new(file))?;
            Ok((path, reader))
        };
        let files: Result<Vec<_>, EvalError> = files.into_iter().map(open).collect();
        Ok(Self { files: files? })
    }

    /// Rows of all files.
    pub(crate) fn n_rows(&self) -> usize {
        let rows = |reader: &SerializedFileReader<File>| reader.metadata().file_metadata().num_rows();
        let rows = self.files.iter().map(|(_, reader)| rows(reader));
        rows.map(|rows| usize::try_from(rows).unwrap_or(0))
            .fold(0, usize::saturating_add)
    }

    /// The rows of all files.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Result<ParquetRow<'_>, EvalError>> {
        self.files.iter().flat_map(|(path, reader)| {
            let opened = guarded(path, 0, || reader.get_row_iter(None));
            let (rows, broken): (Option<RowIter<'_>>, _) = match opened {
                Ok(rows) => (Some(rows), None),
                Err(error) => (None, Some(Err(error))),
            };
            let (mut rows, mut number) = (rows.into_iter().flatten(), 0);
            let mut is_over = false;
            let rows = std::iter::from_fn(move || {
                number += 1;
                let row = match is_over {
                    true => return None,
                    false => guarded(path, number, || rows.next().transpose()).transpose()?,
                };
                is_over = row.is_err();
                Some(row.map(|row| parquet_row(path, number, row)))
            });
            broken.into_iter().chain(rows)
        })
    }
}

/// Bytes that tell a parquet file from a pointer to one.
const SIGNATURE: u64 = 64;

/// `true` if a file is a part of a split: `test-00000-of-00003.parquet`, or `0000.parquet` in a folder `test` as the hub's
/// conversion has it.
fn is_of_split(path: &Path, split: &str) -> bool {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let folder = path.parent().and_then(name).unwrap_or_default();
    let name = name(path).unwrap_or_default();
    let Some(stem) = name.strip_suffix(".parquet") else {
        return false;
    };
    let is_number = !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_digit());
    stem.strip_prefix(split).is_some_and(|rest| rest.starts_with('-')) || (is_number && folder == split)
}

/// Refuses parts of a data set some of which are absent: names say how many there are (`test-00000-of-00003`), or are
/// numbers without a gap.
fn check_parts(files: &[&Path]) -> Result<(), EvalError> {
    let mut sets: BTreeMap<(PathBuf, Option<usize>), BTreeSet<usize>> = BTreeMap::new();
    for path in files {
        let stem = file_stem(path);
        let words: Vec<&str> = stem.split('-').collect();
        let number = |word: Option<&&str>| word.and_then(|word| word.parse::<usize>().ok());
        let of = words
            .iter()
            .rposition(|word| *word == "of")
            .filter(|place| *place > 0);
        let (part, whole) = match of {
            Some(place) => (number(words.get(place - 1)), number(words.get(place + 1))),
            None => (number(words.first()).filter(|_| words.len() == 1), None),
        };
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        if let Some(part) = part {
            sets.entry((folder, whole)).or_default().insert(part);
        }
    }
    for ((folder, whole), parts) in sets {
        let last = parts.last().map_or(0, |last| last + 1);
        let absent: Vec<String> = (0..whole.unwrap_or(last).max(last))
            .filter(|part| !parts.contains(part))
            .take(5)
            .map(|part| format!("{part:05}"))
            .collect();
        if !absent.is_empty() {
            let n = whole.map_or("more".into(), |whole| whole.to_string());
            return Err(EvalError::Setup {
                subject: folder.display().to_string(),
                found: format!(
                    "{} of {n} parquet files, without part {}",
                    parts.len(),
                    absent.join(", ")
                ),
                wanted: "every part; download those that are missing".into(),
            });
        }
    }
    Ok(())
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
    Ok(write_whole(&path, bytes)?)
}

/// What the library reads; it panics at numbers that no file can have, as well as giving errors.
fn guarded<T>(
    path: &Path,
    row: usize,
    work: impl FnOnce() -> parquet::errors::Result<T>,
) -> Result<T, EvalError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(|error| unfit(path, row, &error)),
        Err(_) => Err(unfit(path, row, &"numbers that no file can have")),
    }
}

/// The error about a row.
fn unfit(path: &Path, row: usize, error: &dyn std::fmt::Display) -> EvalError {
    EvalError::line(
        path,
        row,
        format!("unfit parquet ({error})"),
        "the published columns",
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
    let mut bytes = Vec::new();
    let mut fields = Map::new();
    for (name, field) in row.into_columns() {
        let name = name.to_lowercase();
        let mut own = Vec::new();
        fields.insert(name.clone(), value(&field, &mut own));
        bytes.extend(own.into_iter().map(|bytes| (name.clone(), bytes)));
    }
    ParquetRow {
        path,
        number,
        fields,
        bytes,
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
