//! `cargo fuzz` has a program for every target, and for nothing else.

use std::fs;
use std::path::Path;

use diffprune_fuzz_targets::TARGETS;

#[test]
fn every_target_has_its_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let marked = &manifest["package"]["metadata"]["cargo-fuzz"];
    assert_eq!(marked.as_bool(), Some(true));
    let programs = manifest["bin"].as_array().unwrap();
    let named = programs.iter().map(|program| {
        let name = program["name"].as_str().unwrap();
        assert_eq!(
            program["path"].as_str(),
            Some(format!("fuzz_targets/{name}.rs").as_str())
        );
        name.to_string()
    });
    let mut named: Vec<String> = named.collect();
    let files = fs::read_dir(folder.join("fuzz_targets")).unwrap();
    let files = files.map(|file| {
        file.unwrap()
            .path()
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned()
    });
    let mut files: Vec<String> = files.collect();
    let mut targets: Vec<String> = TARGETS.iter().map(|target| target.name.to_string()).collect();
    for list in [&mut named, &mut files, &mut targets] {
        list.sort();
    }
    assert_eq!(targets, files);
    assert_eq!(targets, named);
    for target in targets {
        let source = fs::read_to_string(folder.join(format!("fuzz_targets/{target}.rs"))).unwrap();
        assert!(source.contains(&format!("run(\"{target}\", bytes)")), "{target}");
    }
}
