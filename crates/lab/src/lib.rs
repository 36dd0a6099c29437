#![doc = include_str!("../README.md")]

mod annotations;
mod answers;
mod arms;
mod asked;
mod bench;
mod captions;
mod card;
mod check;
mod checksums;
mod clock;
mod comparison;
mod counts;
mod data;
mod digest;
mod drawing;
mod error;
mod evaluation;
mod experiment;
mod files;
mod methods;
mod model;
mod observer;
mod overall;
mod pictures;
mod pilots;
mod revision;
mod run_folder;
mod scorer;
mod shipped;
mod stored;
mod suggestion;
mod training;
mod units;

pub use annotations::{Captions, SceneTruth};
pub use answers::{ANSWERS, write_answers};
pub use arms::{ArmSource, ORACLE_QUESTIONS, Scorers, Trained};
pub use asked::{Asked, StageTimes, ask_timed};
pub use bench::{BudgetTimes, ShapeBench, ShapeNetwork, TableBench, budget_table};
pub use captions::{TrainingData, encode_captions};
pub use card::{CARD, RECIPE, card_without_scores, write_card};
pub use check::{DataFindings, FileList, FoundBenchmark};
pub use checksums::{CHECKSUMS, verify_checksums, write_checksums};
pub use clock::timed;
pub use comparison::{Answers, Comparison, Heading, Pictures, RunSettings};
pub use counts::{CountRequest, ImageCounts, TokenCounts};
pub use data::{
    PROBLEMS, QuestionSet, Reading, benchmark_folder, limited, protocol, question_digest, read_captions,
    read_questions, thinned, unknown_folders,
};
pub use digest::Digest;
pub use drawing::{KeptCounts, draw};
pub use error::LabError;
pub use evaluation::{Evaluated, Evaluation, MINI, Prepared, RECORDS};
pub use experiment::{
    Ablations, Experiment, Learned, Ledger, Lineup, ModelReport, Plan, Recipe, RunnableArms, STAGES, STUDIES,
    Series, Stage, StudyModels, StudyPage, StudySizes, Trial, Tuned, TunedArms, Tuning, World, given_times,
    runnable_arms, stopped_after, studies_beside, training_summary, verdict_of, write_index, write_world,
};
pub use files::make_folder;
pub use methods::{
    Method, PER_VIEW, check_method, default_learning_rate, default_method, default_scorer, foreign_scorer,
    load_scorer,
};
pub use model::{LoadedModel, WeightType, describe_options};
pub use observer::Observer;
pub use overall::OverallProgress;
pub use pictures::drawn_pictures;
pub use pilots::{
    GeneratedCaptions, NamedVit, PilotModel, ScaleQuestions, read_classifiers, scale_study, sizes_beside,
    study_pictures, width_study,
};
pub use revision::revision;
pub use run_folder::{pretrain_recipe, read_recipe, replace_folder, settle_recipe, unfinished_folder};
pub use scorer::{MethodName, SCORER, resolve_method, shipped_scorer, train_shipped_scorer};
pub use shipped::{CLASSIFIER, find_shipped, memory_note, shipped_family, shipped_folder, shipped_model};
pub use stored::{SameResults, StoredRun, difference, leaderboard, same_results};
pub use suggestion::nearest;
pub use training::{check_train_budget, default_training};
pub use units::{aligned_columns, readable_bytes, readable_seconds};
