//! Every kind of method through the commands: trained, compared, drawn.

use std::fs;

use crate::{FEW_QUESTIONS, model, output, picture, succeed};

#[test]
fn rivals_train_and_stand_in_one_comparison() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, world, out) = (at("model"), at("world"), at("out"));
    model(&checkpoint, 32);
    let counts = format!("--images 8 --val-images 4 {FEW_QUESTIONS}");
    succeed(&format!("mini data --out {{}} {counts}"), &[&world]);
    let rivals = [
        ("clip", "operator:clip", "operator_clip"),
        ("noisy", "operator:dftopk --gate vp-noise", "operator_dftopk"),
        ("loose", "operator:gumbel-softmax", "operator_gumbel_softmax"),
        ("contrast", "gumbel", "gumbel_ste"),
        ("vit", "dynamic-vit", "dynamic_vit"),
        ("llava", "dynamic-llava", "dynamic_llava"),
        ("atp", "atp", "atp"),
        ("glimpse", "glimpse-prune", "glimpse_prune"),
    ];
    let mut scorers = String::new();
    let mut paths = vec![checkpoint.as_path(), world.as_path(), out.as_path()];
    let folders = rivals.map(|(name, ..)| at(name));
    for ((name, method, stored), folder) in rivals.iter().zip(&folders) {
        let train =
            format!("train --model {{}} --data {{}} --out {{}} --steps 1 --keep 16 --method {method}");
        succeed(&train, &[&checkpoint, &world, folder]);
        let described = fs::read_to_string(folder.join("diffprune.json")).unwrap();
        assert!(
            described.contains(&format!("\"method\": \"{stored}\"")),
            "{described}"
        );
        scorers += &format!(" --scorer {name}={{}}");
        paths.push(folder);
    }
    let arms = "full,clip,noisy,loose,contrast,vit,llava,atp,glimpse,atp-at-budget,glimpse-at-budget,vit-inverted,\
                llava-reindexed";
    let eval = format!(
        "eval --model {{}} --data {{}} --out {{}} {scorers} --arms {arms} --budgets 16 --limit 1 --max-new-tokens 1"
    );
    succeed(&eval, &paths);
    let report = fs::read_to_string(out.join("report.json")).unwrap();
    for arm in arms.split(',') {
        assert!(report.contains(&format!("\"{arm}\"")), "{arm}");
    }

    let (photo, png) = (at("photo.png"), at("heat.png"));
    picture(&photo);
    for (kind, folder) in [("diffprune", 4), ("scorer", 5), ("at-budget", 6), ("inverted", 4)] {
        let line = format!("show --model {{}} --image {{}} --out {{}} --pruner {kind}:{{}} --keep 16");
        let told = succeed(&line, &[&checkpoint, &photo, &png, &folders[folder]]);
        assert!(told.contains("16 of 144"), "{kind}: {told}");
    }

    let line = "train --model {} --data {} --out {} --steps 1 --method operator:clip --gate vp-noise";
    let refused = output(line, &[&checkpoint, &world, &at("refused")]);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(
        told.contains("diffprune.method.operator") && told.contains("clip"),
        "{told}"
    );
    assert!(!at("refused").exists());

    // Boxes are known for the small world, or in the list itself, or nowhere.
    fs::remove_file(world.join("boxes.json")).unwrap();
    let line = "train --model {} --data {} --out {} --steps 1 --method glimpse-prune";
    let refused = output(line, &[&checkpoint, &world, &at("refused")]);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(1) && told.contains("boxes"),
        "{told}"
    );
    assert!(!at("refused").exists());
    let list = world.join("captions/train/captions.jsonl");
    let boxed = fs::read_to_string(&list)
        .unwrap()
        .replace("\"caption\"", "\"boxes\":[[2,3,40,50]],\"caption\"");
    fs::write(&list, boxed).unwrap();
    succeed(line, &[&checkpoint, &world, &at("boxed")]);
}
