//! JPEG files against the pixels that the reference decoder makes of them, to the bit.

use std::path::Path;

use diffprune_images::{ImageOrientation, image_size, load_image};
use diffprune_test_support::fixtures;
use serde_json::Value;

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[test]
fn pixels_are_those_of_the_reference() -> Outcome {
    let root = fixtures().join("jpeg");
    let manifest: Value = serde_json::from_slice(&std::fs::read(root.join("cases.json"))?)?;
    let cases = manifest["cases"].as_array().ok_or("cases.json has no cases")?;
    assert!(!cases.is_empty(), "no cases in {}", root.display());
    let mut failures = Vec::new();
    for case in cases {
        if let Err(failure) = check(&root, case) {
            failures.push(format!("{}: {failure}", case["file"]));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
    Ok(())
}

fn check(root: &Path, case: &Value) -> Outcome {
    let path = |field: &str| Ok::<_, String>(root.join(case[field].as_str().ok_or(format!("no {field}"))?));
    let (file, decoded) = (path("file")?, path("decoded")?);
    let found = load_image(&file)?;
    let wanted = load_image(&decoded)?;
    if found.dimensions() != wanted.dimensions()
        || image_size(&file, ImageOrientation::AsStored)? != wanted.dimensions()
    {
        return Err(format!("{:?}, expected {:?}", found.dimensions(), wanted.dimensions()).into());
    }
    let differ: Vec<u8> = found
        .as_raw()
        .iter()
        .zip(wanted.as_raw())
        .filter(|(found, wanted)| found != wanted)
        .map(|(found, wanted)| found.abs_diff(*wanted))
        .collect();
    match differ.iter().max() {
        None => Ok(()),
        Some(most) => Err(format!("{} values differ, by up to {most} levels", differ.len()).into()),
    }
}
