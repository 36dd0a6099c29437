//! The parquet copies hold the same samples as the official files.

use diffprune_eval::{Benchmark, EvalError, Reference, unpack_parquet};

use super::support::*;

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
        };
        let folder = tempfile::tempdir().unwrap();
        let from = dataset("parquet").join(copy);
        let n_questions = unpack_parquet(benchmark, &from, folder.path()).unwrap();
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
    let error = unpack_parquet(Benchmark::Pope, folder.path(), folder.path()).unwrap_err();
    assert!(matches!(error, EvalError::NoFiles { .. }), "{error}");
    let file = dataset("parquet").join("POPE/data/test-00000-of-00001.parquet");
    let bytes = std::fs::read(file).unwrap();
    let copy = folder.path().join("test-00000-of-00001.parquet");
    for part in 0..16 {
        std::fs::write(&copy, &bytes[..bytes.len() * part / 16]).unwrap();
        let error = unpack_parquet(Benchmark::Pope, folder.path(), &folder.path().join("out")).unwrap_err();
        assert!(
            error.to_string().contains("test-00000-of-00001.parquet"),
            "{error}"
        );
    }
    std::fs::write(&copy, &bytes).unwrap();
    let error = unpack_parquet(Benchmark::TextVqa, folder.path(), folder.path()).unwrap_err();
    assert!(matches!(error, EvalError::NoFiles { .. }), "{error}");
    let error = unpack_parquet(Benchmark::SeedBench, folder.path(), &folder.path().join("out"));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("test-00000-of-00001.parquet:1:"), "{error}");
}
