//! The parquet copies hold the same samples as the official files.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use diffprune_eval::{
    Benchmark, EvalError, ImageNet, Reference, Stop, read_captions, unpack_caption_column, unpack_captions,
    unpack_imagenet, unpack_parquet,
};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::support::*;

fn unpack(benchmark: Benchmark, from: &Path, to: &Path) -> Result<usize, EvalError> {
    let mut told = Vec::new();
    let n_questions = unpack_parquet(benchmark, from, to, &Stop::default(), &mut |done, total| {
        told.push((done, total))
    })?;
    let n_rows = told.len();
    assert!(
        told.iter().zip(1..).all(|(now, row)| *now == (row, n_rows)),
        "{told:?}"
    );
    Ok(n_questions)
}

#[test]
fn parquet_copies_unpack_to_the_same_questions() {
    for benchmark in Benchmark::ALL {
        let (name, copy) = match benchmark {
            Benchmark::Gqa => ("gqa", "GQA"),
            Benchmark::Pope => ("pope", "POPE"),
            Benchmark::TextVqa => ("textvqa", "textvqa"),
            Benchmark::MmBench => ("mmbench", "MMBench/en"),
            Benchmark::MmBenchCn => ("mmbench_cn", "MMBench/cn"),
            Benchmark::Mme => ("MME", "MME"),
            Benchmark::ScienceQa => ("scienceqa", "ScienceQA/ScienceQA-IMG"),
            Benchmark::VqaV2 => ("vqav2", "VQAv2"),
            Benchmark::SeedBench => ("seed_bench", "SEED-Bench"),
            Benchmark::VizWiz => ("vizwiz", "VizWiz-VQA"),
            other => panic!("no parquet copy of {other} is stored"),
        };
        let folder = tempfile::tempdir().unwrap();
        let from = dataset("parquet").join(copy);
        let n_questions = unpack(benchmark, &from, folder.path()).unwrap();
        let official = read(benchmark, &dataset(name));
        let unpacked = read(benchmark, folder.path());
        assert_eq!(
            (n_questions, unpacked.len()),
            (official.len(), official.len()),
            "{benchmark}"
        );
        if benchmark == Benchmark::ScienceQa {
            // Without ids the pictures have other names.
            let texts = |questions: &[diffprune_eval::Question]| -> Vec<(String, Reference)> {
                questions
                    .iter()
                    .map(|question| (question.text.clone(), question.reference.clone()))
                    .collect()
            };
            assert_eq!(texts(&unpacked), texts(&official));
        } else if benchmark == Benchmark::Gqa {
            // The copy has no classes of questions.
            let bare = |questions| {
                let mut bare = content(questions);
                bare.iter_mut().for_each(|question| question.0.clear());
                bare.sort_by(|a, b| (&a.1, &a.2).cmp(&(&b.1, &b.2)));
                bare
            };
            assert_eq!(bare(&unpacked), bare(&official));
        } else {
            assert_eq!(content(&unpacked), content(&official), "{benchmark}");
        }
        assert!(unpacked.iter().all(|question| question.load_image().is_ok()));
    }
}

#[test]
fn damaged_parquet_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = unpack(Benchmark::Pope, folder.path(), folder.path()).unwrap_err();
    assert!(matches!(error, EvalError::NoFiles { .. }), "{error}");
    let file = first_file(&dataset("parquet").join("POPE"));
    let bytes = fs::read(file).unwrap();
    let copy = folder.path().join("test-00000-of-00001.parquet");
    for part in 0..16 {
        fs::write(&copy, &bytes[..bytes.len() * part / 16]).unwrap();
        let error = unpack(Benchmark::Pope, folder.path(), &folder.path().join("out")).unwrap_err();
        assert!(
            error.to_string().contains("test-00000-of-00001.parquet"),
            "{error}"
        );
    }
    fs::write(&copy, &bytes).unwrap();
    let error = unpack(Benchmark::TextVqa, folder.path(), folder.path()).unwrap_err();
    assert!(matches!(error, EvalError::NoFiles { .. }), "{error}");
    let error = unpack(Benchmark::SeedBench, folder.path(), &folder.path().join("out"));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("test-00000-of-00001.parquet:1:"), "{error}");
}

/// A grey JPEG.
fn jpeg(level: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(8, 6, image::Rgb([level; 3]))
        .write_to(&mut bytes, image::ImageFormat::Jpeg)
        .unwrap();
    bytes.into_inner()
}

/// The values of a column, those that are there.
enum Column {
    /// Bytes, with the definition level of every row where some are absent.
    Bytes(Vec<ByteArray>, Option<Vec<i16>>),
    Ints(Vec<i64>),
}

impl Column {
    fn bytes<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self::Bytes(arrays(values), None)
    }
}

fn arrays<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Vec<ByteArray> {
    let array = |bytes: &[u8]| ByteArray::from(bytes.to_vec());
    values.into_iter().map(array).collect()
}

/// Writes a parquet file of one row group.
fn write_parquet(path: &Path, schema: &str, compression: Compression, columns: Vec<Column>) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder().set_compression(compression).build();
    let file = fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for values in columns {
        let mut column = group.next_column().unwrap().unwrap();
        match values {
            Column::Bytes(values, levels) => {
                let column = column.typed::<ByteArrayType>();
                column.write_batch(&values, levels.as_deref(), None).unwrap();
            }
            Column::Ints(values) => {
                let column = column.typed::<Int64Type>();
                column.write_batch(&values, None, None).unwrap();
            }
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

/// Writes rows as ImageNet-1K-VL-Enriched has them: id, picture, caption.
fn enriched(path: &Path, rows: &[(&str, &[u8], Option<&str>)]) {
    let schema = "message schema { required binary image_id (UTF8); required group image { required binary bytes; \
                  optional binary path (UTF8); } optional binary caption_enriched (UTF8); }";
    let captions = rows.iter().filter_map(|row| Some(row.2?.as_bytes()));
    let captioned = rows.iter().map(|row| i16::from(row.2.is_some()));
    let columns = vec![
        Column::bytes(rows.iter().map(|row| row.0.as_bytes())),
        Column::bytes(rows.iter().map(|row| row.1)),
        Column::Bytes(vec![], Some(vec![0; rows.len()])),
        Column::Bytes(arrays(captions), Some(captioned.collect())),
    ];
    write_parquet(path, schema, Compression::UNCOMPRESSED, columns);
}

#[test]
fn captioned_pictures_unpack_into_what_training_reads() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("data"), folder.path().join("out"));
    fs::create_dir(&from).unwrap();
    let error = unpack_captions(&from, &to, None, &Stop::default(), &mut |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("train-*.parquet"), "{error}");
    let pictures = [jpeg(40), jpeg(200)];
    let rows = [
        ("n01440764_1.JPEG", &*pictures[0], Some("a red cross")),
        ("n01440764_2", &*pictures[1], Some("a disc,\nin two lines")),
        ("n01443537_3.JPEG", &*pictures[0], Some("a third")),
    ];
    enriched(&from.join("train-00000-of-00002.parquet"), &rows[..2]);
    enriched(&from.join("train-00001-of-00002.parquet"), &rows[2..]);
    assert_eq!(
        unpack_captions(&from, &to, None, &Stop::default(), &mut |_, _| ()).unwrap(),
        3
    );
    assert!(!to.join("val").exists(), "there was no validation split");
    enriched(&from.join("validation-00000-of-00001.parquet"), &rows[1..]);
    let mut told = Vec::new();
    let mut progress = |done, total| told.push((done, total));
    assert_eq!(
        unpack_captions(&from, &to, Some(1), &Stop::default(), &mut progress).unwrap(),
        2
    );
    assert_eq!(told, [(1, 2), (2, 2)]);
    assert_eq!(
        unpack_captions(&from, &to, None, &Stop::default(), &mut |_, _| ()).unwrap(),
        5
    );
    for (split, rows) in [("train", &rows[..]), ("val", &rows[1..])] {
        let found = read_captions(&to.join(split), true).unwrap().captions;
        assert_eq!(found.len(), rows.len());
        for (found, (id, picture, caption)) in found.iter().zip(rows) {
            assert_eq!(Some(found.caption.as_str()), *caption);
            assert_eq!(fs::read(&found.image).unwrap(), *picture);
            let stem = id.trim_end_matches(".JPEG");
            assert_eq!(found.image.file_stem().unwrap(), stem);
            assert!(found.image.extension().is_some(), "{id}");
        }
    }
    // Any other text of the rows may be the caption.
    let (of_ids, stop) = (folder.path().join("ids"), Stop::default());
    let unpack = |column: &str| unpack_caption_column(&from, &of_ids, &[column], None, &stop, &mut |_, _| ());
    assert_eq!(unpack("Image_ID").unwrap(), 5);
    let found = read_captions(&of_ids.join("train"), true).unwrap().captions;
    assert_eq!(found[1].caption, "n01440764_2");
    let error = unpack("short").unwrap_err().to_string();
    assert!(error.contains("no caption") && error.contains("short"), "{error}");
}

#[test]
fn captioned_pictures_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path(), folder.path().join("out"));
    let picture = jpeg(120);
    let damaged: [(&str, &[u8], Option<&str>, &str); 4] = [
        ("b", &picture, None, "no caption of `b`"),
        ("b", &picture, Some("  "), "no caption of `b`"),
        (
            "b",
            b"no picture",
            Some("a text"),
            "10 bytes in column image that are no picture",
        ),
        ("../../b", &picture, Some("a text"), "leaves the folder"),
    ];
    for (id, bytes, caption, wanted) in damaged {
        let file = from.join("train-00000-of-00001.parquet");
        enriched(&file, &[("a", &picture, Some("a text")), (id, bytes, caption)]);
        let error = unpack_captions(from, &to, None, &Stop::default(), &mut |_, _| ()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(wanted), "{error}");
        assert!(
            !to.join("train/captions.jsonl").exists(),
            "a list says that all is there"
        );
    }
}

/// Writes rows as ImageNet's parquet has them: picture, class index.
fn classified(path: &Path, rows: &[(&[u8], i64)]) {
    let schema = "message schema { required group image { required binary bytes; } required int64 label; }";
    let columns = vec![
        Column::bytes(rows.iter().map(|row| row.0)),
        Column::Ints(rows.iter().map(|row| row.1).collect()),
    ];
    write_parquet(path, schema, Compression::UNCOMPRESSED, columns);
}

#[test]
fn imagenet_unpacks_with_the_class_indices_of_the_parquet() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("data"), folder.path().join("out"));
    fs::create_dir(&from).unwrap();
    let picture = jpeg(120);
    let labels = [999, 0, 7];
    let rows = labels.map(|label| (&*picture, label));
    classified(&from.join("validation-00000-of-00002.parquet"), &rows[..1]);
    classified(&from.join("validation-00001-of-00002.parquet"), &rows[1..]);
    assert_eq!(
        unpack_imagenet(&from, &to, &Stop::default(), &mut |_, _| ()).unwrap(),
        3
    );
    let found = ImageNet::read(&to, true).unwrap();
    assert_eq!(found.classes.len(), 1000);
    let classes: Vec<i64> = found.samples.iter().map(|sample| sample.class as i64).collect();
    assert_eq!(classes, labels);
    assert!(
        found
            .samples
            .iter()
            .all(|sample| fs::read(&sample.image).unwrap() == picture)
    );
    // The test split has labels of -1.
    classified(&from.join("validation-00001-of-00002.parquet"), &[(&picture, -1)]);
    let error = unpack_imagenet(&from, &to.join("other"), &Stop::default(), &mut |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("00001-of-00002.parquet:1:"), "{error}");
}

/// Writes pictures, absent ones as null, and labels, behind a column of other bytes, in a compression.
fn with_thumbnails(path: &Path, pictures: &[Option<&[u8]>], compression: Compression) {
    let schema = "message schema { required binary thumbnail; optional group image { optional binary bytes; } \
                  required int64 label; }";
    let levels = pictures.iter().map(|bytes| if bytes.is_some() { 2 } else { 1 });
    let columns = vec![
        Column::bytes(pictures.iter().map(|_| b"\x01\x02\x03".as_slice())),
        Column::Bytes(arrays(pictures.iter().flatten().copied()), Some(levels.collect())),
        Column::Ints((0..pictures.len() as i64).collect()),
    ];
    write_parquet(path, schema, compression, columns);
}

#[test]
fn pictures_come_from_their_own_column_or_are_refused_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path(), folder.path().join("out"));
    let file = from.join("validation-00000-of-00001.parquet");
    let picture = fs::read(dataset("gqa").join("data/images/n100001.jpg")).unwrap();
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(Default::default()),
        Compression::GZIP(Default::default()),
        Compression::LZ4_RAW,
        Compression::BROTLI(Default::default()),
    ] {
        with_thumbnails(&file, &[Some(&picture), Some(&picture)], compression);
        assert_eq!(
            unpack_imagenet(from, &to, &Stop::default(), &mut |_, _| ()).unwrap(),
            2,
            "{compression}"
        );
        let found = ImageNet::read(&to, true).unwrap();
        assert!(
            found
                .samples
                .iter()
                .all(|sample| fs::read(&sample.image).unwrap() == picture)
        );
    }
    let bad: [(Option<&[u8]>, &str); 3] = [
        (None, "no bytes in column image"),
        (Some(b"GIF89a\x01\x00\x01\x00"), "a gif file in column image"),
        (
            Some(b"\x00\x01\x02\x03"),
            "4 bytes in column image that are no picture",
        ),
    ];
    for (bytes, wanted) in bad {
        with_thumbnails(&file, &[Some(&picture), bytes], Compression::UNCOMPRESSED);
        let error = unpack_imagenet(from, &to, &Stop::default(), &mut |_, _| ())
            .unwrap_err()
            .to_string();
        assert!(error.contains(wanted) && error.contains(".parquet:2:"), "{error}");
    }
}

#[test]
fn every_part_of_a_split_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path(), folder.path().join("out"));
    let picture = fs::read(dataset("gqa").join("data/images/n100001.jpg")).unwrap();
    let rows: [(&[u8], i64); 1] = [(&picture, 3)];
    let parts = |folder: &Path, names: &[&str]| {
        fs::create_dir_all(folder).unwrap();
        for name in names {
            classified(&folder.join(name), &rows);
        }
    };
    parts(
        from,
        &[
            "validation-00000-of-00003.parquet",
            "validation-00002-of-00003.parquet",
        ],
    );
    let error = unpack_imagenet(from, &to, &Stop::default(), &mut |_, _| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("2 of 3") && error.contains("00001"), "{error}");
    parts(from, &["validation-00001-of-00003.parquet"]);
    assert_eq!(
        unpack_imagenet(from, &to, &Stop::default(), &mut |_, _| ()).unwrap(),
        3
    );
    // As the hub converts data sets: the folder has the name of the split.
    let converted = folder.path().join("converted/default/validation");
    parts(&converted, &["0000.parquet", "0002.parquet"]);
    let error = unpack_imagenet(&converted, &to, &Stop::default(), &mut |_, _| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("00001"), "{error}");
    parts(&converted, &["0001.parquet"]);
    assert_eq!(
        unpack_imagenet(&converted, &to, &Stop::default(), &mut |_, _| ()).unwrap(),
        3
    );
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
    fs::write(converted.join("0001.parquet"), pointer).unwrap();
    let error = unpack_imagenet(&converted, &to, &Stop::default(), &mut |_, _| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("git lfs pull") && error.contains("0001.parquet"),
        "{error}"
    );
}

#[test]
fn two_configurations_are_not_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path();
    let copy = first_file(&dataset("parquet").join("ScienceQA/ScienceQA-IMG"));
    for name in ["ScienceQA-FULL", "ScienceQA-IMG"] {
        fs::create_dir(from.join(name)).unwrap();
        fs::copy(&copy, from.join(name).join("test-00000-of-00001.parquet")).unwrap();
    }
    let gqa = dataset("parquet").join("GQA");
    for name in [
        "testdev_balanced_images",
        "testdev_balanced_instructions",
        "testdev_all_instructions",
    ] {
        let folder = from.join("GQA").join(name);
        fs::create_dir_all(&folder).unwrap();
        let source = first_file(&gqa.join(name.replace("all", "balanced")));
        fs::copy(source, folder.join("testdev-00000-of-00001.parquet")).unwrap();
    }
    let error = unpack(Benchmark::Gqa, &from.join("GQA"), &from.join("out"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("testdev_all_instructions"), "{error}");
    let error = unpack(Benchmark::ScienceQa, from, &from.join("out"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("ScienceQA-FULL") && error.contains("ScienceQA-IMG"),
        "{error}"
    );
    assert!(
        unpack(
            Benchmark::ScienceQa,
            &from.join("ScienceQA-IMG"),
            &from.join("out")
        )
        .unwrap()
            > 0
    );
}
