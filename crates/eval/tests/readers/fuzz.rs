//! Files damaged at random: a typed error or a sound rest, and never a panic.

use std::fs;
use std::path::Path;

use diffprune_eval::{Benchmark, EvalError, LoadedQuestions, ReadOptions};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::{Copy, FILES};

/// One thing that goes wrong with a file; places are shares of its length.
#[derive(Debug, Clone)]
enum Damage {
    Byte { at: f64, byte: u8 },
    Gone { at: f64, share: f64 },
    Twice { at: f64 },
    Put { at: f64, text: &'static str },
    Swapped { from: &'static str, to: &'static str },
}

impl Damage {
    fn any() -> impl Strategy<Value = Self> {
        let at = || 0.0..1.0f64;
        let text = [
            "\t", "\n", "\"", "\\", "{", "}", "[", "]", ",", "null", "-1", "1e999", "\u{0}", "\u{feff}", "é",
        ];
        let swaps = [
            ("question", "Question"),
            ("image", "picture"),
            ("answer", "answers"),
            ("\"", "'"),
            (":", "="),
            ("\t", " "),
            ("\n", "\r\n"),
        ];
        prop_oneof![
            (at(), any::<u8>()).prop_map(|(at, byte)| Self::Byte { at, byte }),
            (at(), 0.0..0.3f64).prop_map(|(at, share)| Self::Gone { at, share }),
            at().prop_map(|at| Self::Twice { at }),
            (at(), prop::sample::select(text.to_vec())).prop_map(|(at, text)| Self::Put { at, text }),
            prop::sample::select(swaps.to_vec()).prop_map(|(from, to)| Self::Swapped { from, to }),
        ]
    }

    fn done_to(&self, bytes: Vec<u8>) -> Vec<u8> {
        let place = |at: f64| (at * bytes.len() as f64) as usize;
        match *self {
            Self::Byte { at, byte } => {
                let mut bytes = bytes.clone();
                if let Some(old) = bytes.get_mut(place(at)) {
                    *old = byte;
                }
                bytes
            }
            Self::Gone { at, share } => {
                let (first, n) = (place(at), place(share));
                let last = (first + n).min(bytes.len());
                [&bytes[..first], &bytes[last..]].concat()
            }
            // The line at this place stands there twice.
            Self::Twice { at } => {
                let at = place(at);
                let first = bytes[..at]
                    .iter()
                    .rposition(|byte| *byte == b'\n')
                    .map_or(0, |end| end + 1);
                let last = bytes[at..].iter().position(|byte| *byte == b'\n');
                let last = last.map_or(bytes.len(), |end| at + end + 1);
                [&bytes[..last], &bytes[first..]].concat()
            }
            Self::Put { at, text } => [&bytes[..place(at)], text.as_bytes(), &bytes[place(at)..]].concat(),
            Self::Swapped { from, to } => match String::from_utf8(bytes.clone()) {
                Ok(text) => text.replacen(from, to, 3).into_bytes(),
                Err(_) => bytes,
            },
        }
    }
}

fn check(benchmark: Benchmark, file: &str, damages: &[Damage]) -> Result<(), TestCaseError> {
    let copy = Copy::new(benchmark);
    let path = copy.path(file);
    let bytes = fs::read(&path).unwrap();
    fs::write(
        &path,
        damages.iter().fold(bytes, |bytes, damage| damage.done_to(bytes)),
    )
    .unwrap();
    let name = Path::new(file).file_name().unwrap().to_str().unwrap();
    let options = ReadOptions::default();
    let strict = benchmark.read(copy.folder.path(), &options);
    match benchmark.load(copy.folder.path(), &options) {
        Ok(LoadedQuestions { questions, problems }) => {
            prop_assert!(!questions.is_empty());
            prop_assert_eq!(strict.is_ok(), problems.is_empty(), "{:?}", problems);
            let mut ids: Vec<&str> = questions.iter().map(|question| question.id.as_str()).collect();
            ids.sort_unstable();
            ids.dedup();
            prop_assert_eq!(ids.len(), questions.len());
        }
        Err(error) => {
            prop_assert!(strict.is_err());
            let cross = matches!(error, EvalError::Unmatched { .. } | EvalError::Setup { .. });
            prop_assert!(cross || error.to_string().contains(name), "{error}");
        }
    }
    Ok(())
}

#[test]
fn files_damaged_at_random_are_typed_errors_or_a_sound_rest() {
    for (benchmark, files) in FILES {
        for file in files {
            let config = Config {
                cases: 32,
                failure_persistence: None,
                ..Config::default()
            };
            let mut runner =
                TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
            let damages = prop::collection::vec(Damage::any(), 1..4);
            runner
                .run(&damages, |damages| check(benchmark, file, &damages))
                .unwrap_or_else(|error| panic!("{file}: {error}"));
        }
    }
}
