use super::*;

fn verdicts() -> Vec<(String, TierVerdict)> {
    judge_published(&Published::builtin().unwrap(), &Claims::builtin().unwrap()).unwrap()
}

fn of(id: &str) -> TierVerdict {
    verdicts().into_iter().find(|(found, _)| found == id).unwrap().1
}

#[test]
fn every_claim_has_a_verdict_or_a_reason() {
    let claims = Claims::builtin().unwrap();
    let found = verdicts();
    assert_eq!(found.len(), claims.claims.len());
    for (id, verdict) in found {
        let is_open = verdict.verdict == Verdict::Untestable;
        assert_eq!(is_open, verdict.estimate.is_none(), "{id}");
        assert!(!is_open || verdict.reason.is_some(), "{id}");
    }
}

#[test]
fn what_the_cells_say() {
    let ragged = |id: &str| of(id).readings[0].verdict;
    for (id, on_own, on_common) in [
        ("t1.best-64", Verdict::Holds, Verdict::Holds),
        ("t1.best-128", Verdict::Holds, Verdict::Fails),
        ("t1.second-192", Verdict::Equivalent, Verdict::Equivalent),
        ("t1.prunesid-turns", Verdict::Holds, Verdict::Holds),
        ("t2.best-320", Verdict::Holds, Verdict::Holds),
        ("t3.best-all-rates", Verdict::Holds, Verdict::Holds),
        ("t3.margin-grows", Verdict::Holds, Verdict::Holds),
        ("x.all-settings", Verdict::Fails, Verdict::Fails),
    ] {
        assert_eq!(
            (ragged(id), of(id).verdict),
            (on_own, on_common),
            "{id}: {:?}",
            of(id)
        );
    }
    for (id, verdict) in [
        ("t1.retention-64", Verdict::Holds),
        ("t3.every-benchmark", Verdict::Fails),
        ("x.gap-grows", Verdict::Holds),
        ("t4.prefill-2.85", Verdict::Holds),
        ("t4.ttft", Verdict::Holds),
        ("t4.selector-0.69", Verdict::Holds),
        ("t4.selector-order", Verdict::Holds),
        ("t4.encode-flat", Verdict::Equivalent),
        ("t4.flops", Verdict::Equivalent),
        ("t5.gumbel-largest", Verdict::Holds),
        ("t5.scale", Verdict::Holds),
        ("t5.global", Verdict::Holds),
        ("t5.global-worst", Verdict::Fails),
        ("t5.scale-widens", Verdict::Holds),
    ] {
        assert_eq!(of(id).verdict, verdict, "{id}: {:?}", of(id));
    }
    let every = of("t3.every-benchmark").reason.unwrap();
    for rate in ["pope of HoloV at 1/3", "pope of HoloV at 1/9"] {
        assert!(every.contains(rate), "{every}");
    }
    assert!(!every.contains("at 2/9"), "{every}");
}

/// Means of a row of table 1 as `claims.md` states them.
#[test]
fn means_over_common_columns_are_the_stated_ones() {
    let (published, claims) = (Published::builtin().unwrap(), Claims::builtin().unwrap());
    let cells = Cells {
        published: &published,
        claims: &claims,
    };
    let rows = cells.rows(1);
    let found = |paper: &str, name: &str, budget: &str, columns| {
        let fits = |printed: &&Printed| {
            printed.row.paper == paper && printed.row.budget == budget && cells.name(&printed.row) == name
        };
        let printed = rows.iter().find(fits).unwrap();
        cells.retention(1, columns, &[(1.0, printed)]).value
    };
    assert_eq!(
        published.common_columns(1, &|method| cells.is_quoted(method)),
        ["gqa", "mmbench", "mme", "pope", "scienceqa", "vqav2", "textvqa"]
    );
    for (paper, name, budget, stated) in [
        ("diffprune", "ours", "1/3", 97.4),
        ("diffprune", "HoloV", "1/3", 98.7),
        ("autoselect", "DART", "1/3", 98.3),
        ("diffprune", "PruneSID", "1/3", 98.1),
        ("diffprune", "ours", "2/9", 96.7),
        ("diffprune", "HoloV", "2/9", 97.1),
        ("autoselect", "DivPrune", "2/9", 96.8),
        ("autoselect", "DART", "2/9", 96.8),
        ("diffprune", "ours", "1/9", 95.2),
        ("diffprune", "HoloV", "1/9", 94.4),
        ("autoselect", "DivPrune", "1/9", 94.1),
        ("diffprune", "PruneSID", "1/9", 94.0),
        ("diffprune", "VisionZip", "1/3", 98.4),
        ("diffprune", "VisionZip", "2/9", 97.2),
        ("diffprune", "VisionZip", "1/9", 95.1),
    ] {
        let mean = found(paper, name, budget, Columns::Common);
        // Half of the last stated digit, and a little for 94.05 and its like.
        assert!(
            (mean - stated).abs() <= 0.0501,
            "{name} at {budget}: {mean}, stated {stated}"
        );
    }
    let ours = found("diffprune", "ours", "1/9", Columns::Ragged);
    assert!((ours - 96.44).abs() < 0.005, "{ours}");
}

#[test]
fn printed_means_follow_from_their_cells() {
    let (published, claims) = (Published::builtin().unwrap(), Claims::builtin().unwrap());
    let cells = Cells {
        published: &published,
        claims: &claims,
    };
    let mut seen = 0;
    for table in 1..=3 {
        for printed in cells.rows(table) {
            let place = printed.row.place(super::super::cells::PRINTED_MEAN).unwrap();
            let mean = cells.retention(table, Columns::Ragged, &[(1.0, &printed)]);
            let stands = published.cells[place].value;
            assert!(
                mean.lo - 0.05 <= stands && stands <= mean.hi + 0.05,
                "{printed:?}: {mean:?}"
            );
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn damaged_tables_are_errors() {
    let mut published = Published::builtin().unwrap();
    published.cells.retain(|cell| cell.table != 5);
    assert!(judge_published(&published, &Claims::builtin().unwrap()).is_err());
}
