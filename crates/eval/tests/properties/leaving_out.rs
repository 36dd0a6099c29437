//! The oracle that leaves out one token at a time.

use diffprune_eval::leave_one_out;
use diffprune_pruner::PositionRule;
use diffprune_vlm_adapters::{LoadOptions, load_vlm};

use super::*;

fn checkpoint(name: &str) -> Box<dyn Vlm> {
    let dir = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/hf/checkpoints"
    ));
    load_vlm(dir.join(name), &Device::flex(), LoadOptions::f32()).unwrap()
}

/// A picture of its own colours, encoded.
fn encoded(vlm: &dyn Vlm, side: u32) -> Encoded {
    let pixel = |x, y| Rgb([(x * 9 % 256) as u8, (y * 6 % 256) as u8, (x * y % 256) as u8]);
    let pixels = vlm.preprocess(&[RgbImage::from_fn(side, side, pixel)]).unwrap();
    vlm.encode(pixels, Signals::default())
}

/// The loss of an answer with some of the tokens, by the plain loss of one sequence.
fn loss(vlm: &dyn Vlm, encoded: &Encoded, prompt: &[u32], answer: &[u32], keep: &[usize]) -> f32 {
    let [_, _, width] = encoded.tokens.dims();
    let rows = keep
        .iter()
        .map(|&i| encoded.tokens.clone().slice([0..1, i..i + 1, 0..width]));
    let features = vlm.project(Tensor::cat(rows.collect(), 1));
    let visual = vlm.visual_input(features, &encoded.layouts, &[keep.to_vec()], PositionRule::Keep);
    let text = TextBatch {
        ids: vec![[prompt, answer].concat()],
        targets: vec![[vec![false; prompt.len()], vec![true; answer.len()]].concat()],
    };
    vlm.loss(&text, Some(&visual)).unwrap().into_scalar()
}

fn without(count: usize, token: usize) -> Vec<usize> {
    (0..count).filter(|&other| other != token).collect()
}

#[test]
fn batched_losses_are_those_of_single_sequences_on_every_backbone() {
    for name in ["llava15_tiny", "llavanext_vicuna_tiny", "qwen25vl_tiny"] {
        let vlm = checkpoint(name);
        let encoded = encoded(vlm.as_ref(), 84);
        let prompt = vlm.prompt_ids(&[Turn::ask("what is it")]).unwrap();
        let answer = [7, 11, 5];
        let rule = PositionRule::Keep;
        let found = leave_one_out(vlm.as_ref(), &encoded, &prompt, &answer, rule, 3).unwrap();
        let count = encoded.layouts[0].n_tokens();
        let all: Vec<usize> = (0..count).collect();
        let whole = loss(vlm.as_ref(), &encoded, &prompt, &answer, &all);
        assert_eq!(found.len(), count);
        for (token, &rise) in found.iter().enumerate() {
            let keep = without(count, token);
            let wanted = loss(vlm.as_ref(), &encoded, &prompt, &answer, &keep) - whole;
            assert!((rise - wanted).abs() < 2e-5, "{name} {token}: {rise} {wanted}");
        }
        assert!(found.iter().any(|&rise| rise.abs() > 1e-4), "{name}: {found:?}");
    }
}

#[test]
fn the_token_that_an_answer_hangs_on_is_found() {
    let vlm = checkpoint("llava15_tiny");
    let mut encoded = encoded(vlm.as_ref(), 56);
    let count = encoded.layouts[0].n_tokens();
    let [_, _, width] = encoded.tokens.dims();
    let plain = encoded.tokens.clone().slice([0..1, 0..1, 0..width]);
    let prompt = vlm.prompt_ids(&[Turn::ask("what is it")]).unwrap();
    for special in [1, count / 2, count - 1] {
        // All tokens alike but one.
        let odd = plain.clone() * -4.0;
        let rows = (0..count).map(|i| if i == special { odd.clone() } else { plain.clone() });
        encoded.tokens = Tensor::cat(rows.collect(), 1);
        let all: Vec<usize> = (0..count).collect();
        let of = |answer: u32, keep: &[usize]| loss(vlm.as_ref(), &encoded, &prompt, &[answer], keep);
        // The word that gains most by the odd token.
        let rise = |answer: u32| of(answer, &without(count, special)) - of(answer, &all);
        let answer = (0..64).max_by(|&a, &b| rise(a).total_cmp(&rise(b))).unwrap();
        let rule = PositionRule::Keep;
        let rises = leave_one_out(vlm.as_ref(), &encoded, &prompt, &[answer], rule, 32).unwrap();
        let best = (0..count).max_by(|&a, &b| rises[a].total_cmp(&rises[b])).unwrap();
        assert_eq!(best, special, "{rises:?}");
        let others = without(count, special).into_iter().map(|i| rises[i].abs());
        assert!(rises[special] > others.fold(0.0, f32::max), "{rises:?}");
    }
}

#[test]
fn the_oracle_answers_some_questions_and_has_a_table_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let questions = world(folder.path(), 24);
    let oracle = Arm::by_leaving_out(Box::new(OracleKeep) as Box<dyn diffprune_pruner::Pruner>, 16);
    let arms = [Arm::full(), Arm::pruned(Box::new(UniformGrid) as Box<_>), oracle];
    let run = Run {
        questions: &questions,
        arms: &arms,
        budgets: &BUDGETS,
        annotations: None,
        options: options(2),
    };
    let file = folder.path().join("records.jsonl");
    let records = run.execute(&Eye, &file).unwrap();
    let of_oracle: Vec<&Record> = records
        .iter()
        .filter(|record| record.arm == "oracle-loo")
        .collect();
    assert_eq!(of_oracle.len(), 2 * 16);
    assert_eq!(records.len(), 48 + 2 * 48 + 2 * 16);
    assert!(of_oracle.iter().all(|record| [4, 8].contains(&record.kept)));
    let asked: std::collections::BTreeSet<&str> =
        of_oracle.iter().map(|record| record.question.as_str()).collect();
    assert_eq!(asked.len(), 16);
    assert!(
        asked.iter().any(|id| id.starts_with("count")) && asked.iter().any(|id| id.starts_with("random"))
    );
    // Every red cell counts, so none is left out. Whether there is one at all hangs on a cell only where it is alone.
    let counts = of_oracle.iter().filter(|record| record.kind == "count");
    assert!(counts.clone().count() > 0 && counts.clone().all(|record| record.score == 1.0));
    let report = report(&records);
    let rows = &report.table_named("partial").unwrap().rows;
    assert_eq!(rows.len(), 1 + 2 + 2);
    assert!(rows.iter().all(|row| row.n == 16), "{rows:?}");
    assert!(report.row_named("main", "oracle-loo", "4", "average").is_none());
    assert_eq!(report.row_named("main", "full", "all", "average").unwrap().n, 48);
    let names = ["a", "b"];
    let both = Report::compare(
        names,
        [&records, &records],
        Meta::default(),
        &ReportOptions::default(),
    );
    let both = both.unwrap();
    assert!(
        both.row_named("main", "a: full", "all", "average")
            .is_some_and(|row| row.n == 48)
    );
    let runs = [("a".to_string(), records.clone())];
    let board = Report::leaderboard(&runs, Meta::default(), &ReportOptions::default()).unwrap();
    let rows = &board.table_named("leaderboard").unwrap().rows;
    assert!(rows.iter().all(|row| !row.arm.contains("oracle-loo")));
    // The same file again: nothing is asked twice, nothing changes.
    assert_eq!(run.execute(&Eye, &file).unwrap(), records);
}
