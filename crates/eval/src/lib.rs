#![doc = include_str!("../README.md")]

mod answer;
mod cost;
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
pub use cost::{
    BlockShape, Counting, Lap, Logits, ModelShape, Schedule, StageTimer, Stages, SweepPoint, Timing,
    TimingContext, VisionShape, Windows, concurrency_sweep, decode_flops, fastv_reduction, kv_bytes,
    peak_memory, prefill_flops, projector_flops, scorer_flops, stages, vision_flops,
};
pub use data::{Benchmark, Protocol, Question, ReadOptions, Reference, SHORT_ANSWER, textvqa_text};
pub use error::EvalError;
pub use report::{
    Claim, CostOptions, Figure, Figures, Format, Meta, PairedTest, Plot, Report, ReportOptions, Row, Table,
    heat_map,
};
pub use run::{Annotations, Arm, ArmInput, Record, RecordFile, Run, RunOptions};
pub use stats::{
    Agreement, Bootstrap, ChanceLevels, ECE_BINS, Estimate, McNemar, McNemarMethod, Statistic, Stratum,
    Verdict, chance_corrected_retention, common_columns, common_means, ece, holm, is_right, mcnemar,
    ragged_mean, retention, same_answer,
};
