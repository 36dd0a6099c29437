//! Every method against numbers that its authors' own code made.
//!
//! `DIFFPRUNE_FIXTURES` names another root with the same layout.

mod case;
#[path = "../common/mod.rs"]
mod common;
mod keep;
mod merge;
mod prunesid;

use case::{Case, folder};

#[test]
fn every_case_comes_out_as_the_authors_code_has_it() {
    let folder = folder();
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut n_cases = 0;
    for path in files {
        let extension = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        match extension.as_str() {
            "md" => continue,
            "safetensors" if path.with_extension("json").exists() => continue,
            "json" => {}
            _ => panic!("no method for {}", path.display()),
        }
        let case = Case::read(&path);
        let check = match case.meta["method"].as_str().unwrap_or_default() {
            "tome" => merge::tome,
            "hired" => keep::hired,
            "divprune" => keep::divprune,
            "visionzip" => merge::visionzip,
            "holov" => merge::holov,
            "prunesid" => prunesid::prunesid,
            "fastervlm" => keep::fastervlm,
            "prumerge" => merge::prumerge,
            "vispruner" => keep::vispruner,
            "cdpruner" => keep::cdpruner,
            "id_selection" => keep::id_selection,
            other => panic!("no method for {}: {other:?}", path.display()),
        };
        check(&case);
        n_cases += 1;
    }
    assert!(n_cases > 0, "no cases in {}", folder.display());
}
