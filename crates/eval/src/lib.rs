#![doc = include_str!("../README.md")]

mod answer;
mod data;
mod error;
mod report;
mod run;
mod stats;

pub use answer::{
    CommaRule, Confusion, digits_and_articles, evalai_normalise, evalai_tokenise, gqa_correct,
    gqa_prediction, gqa_predictions, lmms_vqav2_accuracy, pope_label, pope_label_lmms, punctuation, score,
    ten_annotator_accuracy, textvqa_accuracy, vqa_clean, vqa_normalise, vqa_official_accuracy,
};
pub use data::{Benchmark, Protocol, Question, ReadOptions, Reference, SHORT_ANSWER, textvqa_text};
pub use error::EvalError;
pub use report::{Claim, Meta, Plot, Report, ReportOptions, Row, Table, heat_map};
pub use run::{Annotations, Arm, ArmInput, Record, RecordFile, Run, RunOptions};
pub use stats::{Bootstrap, Estimate, Statistic, Stratum, Verdict, retention};
