//! The pictures that arms show the model in the place of the question's own.

use diffprune_vlm_adapters::{LoadOptions, load_vlm};

use super::*;

/// One picture with a question about it.
fn one_question(folder: &Path, width: u32, height: u32) -> Vec<Question> {
    let path = folder.join("000.png");
    let pixel = |x, y| Rgb([(x * 7 % 256) as u8, (y * 5 % 256) as u8, (x * y % 256) as u8]);
    RgbImage::from_fn(width, height, pixel).save(&path).unwrap();
    vec![Question {
        id: "0".into(),
        benchmark: Benchmark::Gqa,
        subset: "all".into(),
        kind: "all".into(),
        group: None,
        image: path,
        inline: None,
        text: "is it red".into(),
        reference: Reference::Exact("yes".into()),
    }]
}

/// Tokens that a small checkpoint gets of a downsampled picture at each budget, and those of the whole picture.
fn counts(checkpoint: &str, [width, height]: [u32; 2], budgets: &[Budget]) -> Vec<(usize, usize)> {
    let dir = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/hf/checkpoints"
    ));
    let vlm = load_vlm(dir.join(checkpoint), &Device::flex(), LoadOptions::f32()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let questions = one_question(folder.path(), width, height);
    let run = Run {
        questions: &questions,
        arms: &[Arm::downsampled_image()],
        budgets,
        annotations: None,
        options: options(1).with_max_new_tokens(1),
    };
    let records = run
        .execute(vlm.as_ref(), &folder.path().join("records.jsonl"))
        .unwrap();
    assert!(records.iter().all(|record| record.arm == "downsampled-image"));
    let counts = |record: &Record| (record.kept, record.total);
    records.iter().map(counts).collect()
}

#[test]
fn smaller_pictures_give_the_tokens_that_each_model_makes_of_them() {
    let budgets = [Budget::Tokens(16), Budget::Tokens(4), Budget::All];
    // A cell of 28 pixels is a token: 224 by 224 pixels are 64, a quarter of them 16, a sixteenth 4.
    let qwen = counts("qwen25vl_tiny", [224, 224], &budgets);
    assert_eq!(qwen, [(16, 64), (4, 64), (64, 64)]);
    // The model sees no more of a picture of 2240 by 2240 pixels, so it is shrunk to the same sizes.
    assert_eq!(counts("qwen25vl_tiny", [2240, 2240], &budgets), qwen);
    // One input size: as many tokens as for any image.
    let llava = counts("llava15_tiny", [224, 224], &budgets);
    assert!(
        llava
            .iter()
            .all(|&(kept, total)| kept == total && total == llava[0].0)
    );
    // A small picture needs fewer tiles.
    let next = counts("llavanext_vicuna_tiny", [224, 224], &budgets);
    assert!(next[1].0 < next[1].1 && next[2].0 == next[2].1, "{next:?}");
}

#[test]
fn a_picture_that_keeps_all_its_tokens_is_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    let questions = world(folder.path(), 12);
    for question in &questions {
        // A darker red, which is lost when it is mixed with what lies around it.
        let mut image = image::open(&question.image).unwrap().to_rgb8();
        image
            .pixels_mut()
            .for_each(|pixel| pixel.0[0] = pixel.0[0].min(200));
        image.save(&question.image).unwrap();
    }
    let run = Run {
        questions: &questions,
        arms: &[Arm::full(), Arm::downsampled_image()],
        budgets: &[Budget::Tokens(16), Budget::Tokens(1)],
        annotations: None,
        options: options(2),
    };
    let records = run.execute(&Eye, &folder.path().join("records.jsonl")).unwrap();
    assert_eq!(records.len(), 3 * questions.len());
    let (full, rest) = records.split_at(questions.len());
    let (whole, least) = rest.split_at(questions.len());
    let answers =
        |records: &[Record]| -> Vec<String> { records.iter().map(|record| record.answer.clone()).collect() };
    assert_eq!(answers(full), answers(whole));
    // Cells of one pixel, blurred by the way back: some red is lost.
    assert_ne!(answers(full), answers(least));
    assert!(
        records
            .iter()
            .all(|record| (record.kept, record.total) == (16, 16))
    );
    let report = report(&records);
    assert!(report.row_named("vtc", "full", "1", "hard").is_some());
    assert_eq!(
        report.row_named("vtc", "full", "16", "easy").unwrap().value,
        100.0
    );
}
