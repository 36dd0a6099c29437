#![doc = include_str!("../README.md")]

mod answer;
pub mod chart;
mod cost;
mod data;
mod error;
mod evidence;
mod page;
mod report;
mod run;
mod stats;

pub use answer::{
    Aggregate, CommaRule, Confusion, PatchRule, Scored, Tally, YesNoAnswer, digits_and_articles,
    evalai_normalise, evalai_tokenise, extract_letter, is_in_top_k, lmms_vqav2_accuracy, mmbench_letter_lmms,
    mmbench_letter_vlmevalkit, patches, punctuation, resize_area, resize_bilinear, resize_nearest, tallies,
    ten_annotator_accuracy, textvqa_accuracy, top_k, vqa_clean, vqa_normalise, vqa_official_accuracy,
};
pub use cost::{
    BatchPoint, BatchSweep, BlockShape, Counting, Lap, Logits, ModelShape, Schedule, StageTimer, Stages,
    TimedMethod, TimedStage, TimesTable, Timing, TimingContext, VisionShape, Windows, free_memory, kv_bytes,
    peak_memory, prefill_flops, stages,
};
#[cfg(feature = "parquet")]
pub use data::{
    AddRow, JsonList, OfficialFiles, Parcel, ParquetCopy, ParquetRow, UnpackOptions, unpack_caption_column,
    unpack_captions, unpack_imagenet, unpack_parquet,
};
pub use data::{
    AnswerFile, AnsweredQuestions, Benchmark, BenchmarkFiles, BenchmarkSpec, Caption, Captions,
    CustomBenchmark, Difference, FileEntry, GqaDetails, GqaShare, ImageNet, ImageNetSample, InlineImage,
    LoadedQuestions, MME_COGNITION, MME_PERCEPTION, Manifest, OPTION_LETTER, Problems, Protocol, Protocols,
    Question, ReadOptions, Reference, SHORT_ANSWER, SecondaryNumber, SecondaryValue, Split, Splits, Template,
    answer_files, gqa_correct, gqa_details, gqa_prediction, gqa_predictions, mme_label, mme_label_lmms,
    mme_results, mme_text, pope_label, pope_label_lmms, read_captions, scienceqa_correct_lmms,
    scienceqa_letter, score, seed_letter_lmms, seed_upload, vizwiz_upload, vqav2_upload, vqav2_upload_ids,
};
pub use diffprune_files::{FolderLock, LockError, Stop};
pub use error::EvalError;
pub use evidence::{
    ClaimVerdict, Claims, Estimand, Ledger, Number, PaperClaim, Published, PublishedCell, Reading, Role,
    RowArms, Tier, TierVerdict, judge_published, judge_shape, judge_times, published_json, published_ledger,
    published_page,
};
pub use page::{Block, Page, Section, Sheet};
pub use report::{
    Absent, Apart, Claim, Contradiction, CostOptions, Counted, EvidenceOptions, Figure, Figures, Format,
    Given, Meta, Metric, PairedTest, Plot, PromptRule, PromptRules, Report, ReportOptions, Row, RunTiming,
    SameResult, Source, Table, TableId, forest, heat_colour, heat_map, merged_map,
};
pub use run::{
    Annotations, Arm, ArmInput, ArmTimes, Record, RecordFile, Replica, Run, RunOptions, RunTimes, Truth,
    Unanswered, failure_list, failures_of, leave_one_out,
};
pub use stats::{
    Agreement, Bootstrap, ChanceLevels, Compared, Contrast, ECE_BINS, Equivalence, Estimate, Family, Guess,
    McNemar, McNemarMethod, Replicated, Statistic, Stratum, TwoLevel, Variance, Verdict,
    chance_corrected_retention, chance_level, common_means, ece, equivalence, holm, mcnemar, ragged_mean,
    retention,
};
