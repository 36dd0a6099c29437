#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod classify;
mod error;
mod export;
mod files;
mod pretrain;
mod text;
mod world;

pub use classify::{ClassScene, ClassScenes, DeitRecipe, TrainedDeit, class_names, train_deit};
pub use diffprune_files::Stop;
pub use diffprune_vlm::Family;
pub use error::MiniError;
pub use export::{Boxes, ImageTruth, MiniCounts, MiniWorld, ObjectTruth, Progress, SignTruth, Written};
pub use pretrain::{PretrainConfig, Pretrained, StageConfig, model_name, pretrain, prompts_of, untrained};
pub use text::{
    ProcessorIds, Prompts, Question, QuestionKind, SUFFIX_LETTER, SUFFIX_SHORT, SYSTEM, Style, Turn,
    build_tokenizer, caption, existence, plainly, practice, prompt, question_of_kind, questions,
    training_text, turns, unanswerable, write_processor_files,
};
pub use world::{
    Background, BackgroundKind, Box2, Colour, DenseLabels, ImageLabels, LETTERS, Object, Place, Scene,
    SceneDataset, Shape, Sign, Size, Span, Split, WorldConfig, dense_labels, image_labels, render,
    render_into,
};
