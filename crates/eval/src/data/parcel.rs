//! The data sets that can be unpacked, by their names.

use std::path::Path;
use std::str::FromStr;

use diffprune_files::Stop;

use super::{unpack_caption_column, unpack_captions, unpack_imagenet, unpack_parquet};
use crate::{Benchmark, EvalError};

/// A data set whose parquet copy can be unpacked into files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parcel {
    /// Captioned pictures to train on.
    Captions,
    /// Pictures with a class.
    ImageNet,
    /// Questions of a benchmark, with their pictures.
    Benchmark(Benchmark),
}

/// What of a data set is unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnpackOptions {
    /// The most captioned pictures of each split; `None` takes all.
    pub limit: Option<usize>,
    /// Column of the captions; `None` takes `caption_enriched`, or `caption`.
    pub caption_column: Option<String>,
}

impl Parcel {
    /// The name: `captions`, `imagenet` or that of the benchmark.
    pub fn name(self) -> &'static str {
        match self {
            Self::Captions => "captions",
            Self::ImageNet => "imagenet",
            Self::Benchmark(benchmark) => benchmark.name(),
        }
    }

    /// The rows' own word: what is counted.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Captions => "captioned pictures",
            Self::ImageNet => "pictures",
            Self::Benchmark(_) => "questions",
        }
    }

    /// Writes the files of the parquet copy in `from` into `out`; gives the number of rows. What an earlier call wrote stays, so a call that was stopped goes on where it was.
    ///
    /// # Errors
    /// When there is no such copy, a row cannot be used, a file cannot be written, `stop` is requested, or an option of captions
    /// is given for something else.
    pub fn unpack(
        self,
        from: &Path,
        out: &Path,
        options: &UnpackOptions,
        stop: &Stop,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<usize, EvalError> {
        let UnpackOptions {
            limit,
            caption_column,
        } = options;
        let given = [
            (limit.is_some(), "--limit"),
            (caption_column.is_some(), "--caption-column"),
        ];
        if self != Self::Captions
            && let Some((_, option)) = given.into_iter().find(|(is_given, _)| *is_given)
        {
            return Err(EvalError::Setup {
                subject: "unpack".into(),
                found: format!("{option}, which is for captions: the others are unpacked whole"),
                wanted: "no such option".into(),
            });
        }
        let mut progress = progress;
        match self {
            Self::Captions => match caption_column {
                Some(column) => unpack_caption_column(from, out, &[column], *limit, stop, &mut progress),
                None => unpack_captions(from, out, *limit, stop, &mut progress),
            },
            Self::ImageNet => unpack_imagenet(from, out, stop, &mut progress),
            Self::Benchmark(benchmark) => unpack_parquet(benchmark, from, out, stop, &mut progress),
        }
    }
}

impl FromStr for Parcel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let beside = [Self::Captions, Self::ImageNet];
        if let Some(found) = beside.into_iter().find(|parcel| parcel.name() == text) {
            return Ok(found);
        }
        text.parse()
            .map(Self::Benchmark)
            .map_err(|error: String| error.replacen("expected ", "expected captions, imagenet or ", 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for parcel in [
            Parcel::Captions,
            Parcel::ImageNet,
            Parcel::Benchmark(Benchmark::Mme),
        ] {
            assert_eq!(parcel.name().parse(), Ok(parcel));
        }
        let error = "mm-vet".parse::<Parcel>().unwrap_err();
        assert!(
            error.contains("captions") && error.contains("seed_bench"),
            "{error}"
        );
        let dir = Path::new("nowhere");
        let options = [
            (Some(1), None, "--limit"),
            (None, Some("text".to_string()), "--caption-column"),
        ];
        for (limit, caption_column, named) in options {
            let options = UnpackOptions {
                limit,
                caption_column,
            };
            let refused = Parcel::ImageNet.unpack(dir, dir, &options, &Stop::default(), &mut |_, _| {});
            let error = refused.unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
