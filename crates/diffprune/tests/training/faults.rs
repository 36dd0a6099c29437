//! A disk that is full at any one moment of a training.

use std::error::Error;
use std::fs;

use diffprune::TrainConfig;
use diffprune_files::faults::Faults;

use super::{alone, result, run, settings};

/// The error with everything behind it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[test]
fn a_full_disk_is_told_and_the_same_call_ends_with_the_same_bits() {
    let _guard = alone();
    let config = TrainConfig {
        steps: 4,
        ..settings()
    };
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let changes = {
        let counted = Faults::below(&whole, None);
        run(&config, &whole, None).unwrap();
        counted.count()
    };
    assert!(changes > 15, "{changes} changes of files");
    for nth in 0..changes {
        let torn = folder.path().join(format!("torn-{nth}"));
        {
            let _full = Faults::below(&torn, Some(nth));
            let error = run(&config, &torn, None).expect_err("a change that fails is told");
            let text = chain(&error);
            assert!(
                text.contains(&torn.display().to_string()),
                "{nth}: no file is named: {text}"
            );
            assert!(
                text.contains("storage") || text.contains("space"),
                "{nth}: no reason: {text}"
            );
        }
        // Somebody makes room, and moves the folder to the larger disk.
        let moved = folder.path().join(format!("moved-{nth}"));
        fs::rename(&torn, &moved).unwrap();
        assert!(run(&config, &moved, None).unwrap().finished, "{nth}");
        assert_eq!(result(&moved), result(&whole), "{nth}");
        fs::remove_dir_all(&moved).unwrap();
    }
}
