#![doc = include_str!("../README.md")]

mod answer;
mod cost;
mod data;
mod error;
mod report;
mod run;
mod stats;

pub use answer::{
    AnswerFile, CommaRule, Confusion, GqaDetails, GqaShare, MME_COGNITION, MME_PERCEPTION, Metric, PatchRule,
    Said, Scored, Tally, answer_files, digits_and_articles, evalai_normalise, evalai_tokenise,
    extract_letter, gqa_correct, gqa_details, gqa_prediction, gqa_predictions, is_in_top_k,
    lmms_vqav2_accuracy, mmbench_letter_lmms, mmbench_letter_vlmevalkit, mme_label, mme_label_lmms, patches,
    pope_label, pope_label_lmms, punctuation, resize_area, resize_bilinear, resize_nearest,
    scienceqa_correct_lmms, scienceqa_letter, score, seed_letter_lmms, seed_upload, tallies,
    ten_annotator_accuracy, textvqa_accuracy, top_k, vizwiz_upload, vqa_clean, vqa_normalise,
    vqa_official_accuracy, vqav2_upload,
};
pub use cost::{
    BatchPoint, BatchSweep, BlockShape, Counting, Lap, Logits, ModelShape, Schedule, StageTimer, Stages,
    SweepPoint, Timing, TimingContext, VisionShape, Windows, concurrency_sweep, decode_flops,
    fastv_reduction, kv_bytes, peak_memory, prefill_flops, projector_flops, reset_peak_memory, scorer_flops,
    stages, vision_flops,
};
pub use data::{
    Benchmark, Caption, Captions, Difference, FileEntry, ImageNet, ImageNetSample, InlineImage, Loaded,
    Manifest, ModelFamily, OPTION_LETTER, Protocol, Protocols, Question, ReadOptions, Reference,
    SHORT_ANSWER, Split, Splits, Template, mme_results, mme_text, read_captions, textvqa_text,
    vqav2_upload_ids,
};
#[cfg(feature = "parquet")]
pub use data::{unpack_captions, unpack_imagenet, unpack_parquet};
pub use error::EvalError;
pub use report::{
    Absent, Asked, Claim, CostOptions, Figure, Figures, Format, Meta, PairedTest, Plot, Report,
    ReportOptions, Row, RunTiming, Source, Table, heat_map,
};
pub use run::{
    Annotations, Arm, ArmInput, ArmTimes, Record, RecordFile, Replica, Run, RunOptions, RunTimes, Truth,
    Unanswered, failure_list, failures_of, leave_one_out,
};
pub use stats::{
    Agreement, Bootstrap, ChanceLevels, ECE_BINS, Estimate, Guess, McNemar, McNemarMethod, Statistic,
    Stratum, Verdict, chance_corrected_retention, chance_level, common_columns, common_means, ece, holm,
    is_right, mcnemar, ragged_mean, retention, same_answer,
};
