//! Writes captioned pictures of the small world in the two layouts of ImageNet-1K-VL-Enriched, to try the whole way to a trained scorer
//! on: parquet files with `image_id`, `image` and `caption_enriched`, and an image folder with a folder for each class and
//! `metadata.jsonl`.
//!
//! ```sh
//! cargo run -r -p diffprune-benches --bin enriched-copy -- --images 5000 --out runs/enriched
//! diffprune unpack captions --from runs/enriched/parquet --out runs/captions
//! diffprune train --data runs/captions --class-share 0.1 --skip-unusable --out runs/scorer
//! diffprune train --data runs/enriched/folder --class-share 0.1 --skip-unusable --out runs/scorer-of-folder
//! ```
//!
//! The class of a picture is its first shape. One picture in a thousand is cut off in its middle: a sample that nobody can use.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diffprune_mini::{Scene, SceneDataset, Split, WorldConfig, caption, render};
use image::codecs::jpeg::JpegEncoder;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;

type Failure = Box<dyn std::error::Error>;

/// The columns that training reads.
const SCHEMA: &str = "message schema { required binary image_id (UTF8); required group image { required binary bytes; \
                      optional binary path (UTF8); } optional binary caption_enriched (UTF8); }";
/// Pictures of a parquet file.
const PER_FILE: usize = 1000;
/// One picture in so many is cut off.
const DAMAGED: usize = 1000;

/// A row of the data set.
struct Row {
    class: String,
    /// File name, as ImageNet's: class, underscore, number.
    id: String,
    jpeg: Vec<u8>,
    caption: String,
}

fn main() -> Result<(), Failure> {
    let (mut images, mut seed, mut out) = (5000, 0, PathBuf::from("runs/enriched"));
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word}: a value is missing"))?;
        match word.as_str() {
            "--images" => images = value.parse()?,
            "--seed" => seed = value.parse()?,
            "--out" => out = value.into(),
            _ => return Err(format!("found {word}, expected --images, --seed or --out").into()),
        }
    }
    let (parquet, folder) = (out.join("parquet"), out.join("folder"));
    fs::create_dir_all(&parquet)?;
    fs::create_dir_all(&folder)?;
    let scenes = SceneDataset::new(WorldConfig::default(), seed, Split::Train)?;
    let n_files = usize::div_ceil(images, PER_FILE);
    let mut list = BufWriter::new(fs::File::create(folder.join("metadata.jsonl"))?);
    for file in 0..n_files {
        let numbers = file * PER_FILE..images.min((file + 1) * PER_FILE);
        let rows = numbers
            .map(|number| row(&scenes, number))
            .collect::<Result<Vec<_>, _>>()?;
        for row in &rows {
            let name = format!("{}/{}", row.class, row.id);
            fs::create_dir_all(folder.join(&row.class))?;
            fs::write(folder.join(&name), &row.jpeg)?;
            writeln!(
                list,
                "{}",
                json!({"file_name": name, "caption_enriched": row.caption})
            )?;
        }
        write_parquet(
            &parquet.join(format!("train-{file:05}-of-{n_files:05}.parquet")),
            &rows,
        )?;
    }
    list.flush()?;
    println!(
        "{images} pictures in {} and {}",
        parquet.display(),
        folder.display()
    );
    Ok(())
}

fn row(scenes: &SceneDataset, number: usize) -> Result<Row, Failure> {
    let scene: Scene = scenes.get(number as u64);
    let shape = scene.objects.first().map_or(0, |object| object.shape as usize);
    let class = format!("n{:08}", 1_440_764 + shape);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, 95).encode_image(&render(&scene))?;
    if number % DAMAGED == DAMAGED / 2 {
        jpeg.truncate(jpeg.len() / 2);
    }
    Ok(Row {
        id: format!("{class}_{number}.JPEG"),
        class,
        jpeg,
        caption: caption(&scene, &mut scenes.text_rng(number as u64, 0)),
    })
}

fn write_parquet(path: &Path, rows: &[Row]) -> Result<(), Failure> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(fs::File::create(path)?, schema, properties)?;
    let mut group = writer.next_row_group()?;
    let bytes = |part: fn(&Row) -> &[u8]| {
        rows.iter()
            .map(|row| ByteArray::from(part(row).to_vec()))
            .collect()
    };
    let columns: [(Vec<ByteArray>, Option<Vec<i16>>); 4] = [
        (bytes(|row| row.id.as_bytes()), None),
        (bytes(|row| &row.jpeg), None),
        (Vec::new(), Some(vec![0; rows.len()])),
        (bytes(|row| row.caption.as_bytes()), Some(vec![1; rows.len()])),
    ];
    for (values, levels) in columns {
        let Some(mut column) = group.next_column()? else {
            break;
        };
        column
            .typed::<ByteArrayType>()
            .write_batch(&values, levels.as_deref(), None)?;
        column.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(())
}
