//! Questions cut into pieces of work. The cut depends on the questions and the options only, so that a resumed
//! run repeats a piece exactly.

use std::collections::{HashMap, HashSet};

use diffprune_files::Fnv64;

use crate::data::{Benchmark, Question};

/// Pictures that are encoded together, with their questions.
pub(crate) struct Unit<'a> {
    /// The pictures, by one question about each.
    pub(crate) pictures: Vec<&'a Question>,
    /// Every question, with the place of its picture.
    pub(crate) questions: Vec<(&'a Question, usize)>,
}

impl<'a> Unit<'a> {
    /// The unit in smaller ones: a picture each, and of one picture a question each.
    pub(crate) fn parts(&self) -> Vec<Self> {
        let of_picture = |(place, &picture): (usize, &&'a Question)| Self {
            pictures: vec![picture],
            questions: self
                .questions
                .iter()
                .filter(|question| question.1 == place)
                .map(|&(question, _)| (question, 0))
                .collect(),
        };
        if self.pictures.len() > 1 {
            return self.pictures.iter().enumerate().map(of_picture).collect();
        }
        let of_question = |&(question, place): &(&'a Question, usize)| Self {
            pictures: self.pictures.clone(),
            questions: vec![(question, place)],
        };
        self.questions.iter().map(of_question).collect()
    }
}

/// Units of at most `n_images` pictures of one benchmark, in the order of first mention.
pub(crate) fn units(questions: &[Question], n_images: usize) -> Vec<Unit<'_>> {
    let mut places: HashMap<_, usize> = HashMap::new();
    let mut pictures: Vec<Vec<&Question>> = Vec::new();
    for question in questions {
        let place = *places
            .entry((question.benchmark, &question.image))
            .or_insert_with(|| {
                pictures.push(Vec::new());
                pictures.len() - 1
            });
        pictures[place].push(question);
    }
    let same_benchmark = |a: &Vec<&Question>, b: &Vec<&Question>| a[0].benchmark == b[0].benchmark;
    pictures
        .chunk_by(same_benchmark)
        .flat_map(|pictures| pictures.chunks(n_images.max(1)))
        .map(unit)
        .collect()
}

fn unit<'a>(pictures: &[Vec<&'a Question>]) -> Unit<'a> {
    let placed = |(place, questions): (usize, &Vec<&'a Question>)| {
        questions
            .iter()
            .map(move |&question| (question, place))
            .collect::<Vec<_>>()
    };
    Unit {
        pictures: pictures.iter().map(|questions| questions[0]).collect(),
        questions: pictures.iter().enumerate().flat_map(placed).collect(),
    }
}

/// `limit` of the questions (or all), as evenly spread over them as can be.
pub(crate) fn spread(questions: &[Question], limit: usize) -> HashSet<(Benchmark, &str)> {
    let count = limit.min(questions.len());
    let place = |i: usize| &questions[i * questions.len() / count];
    (0..count)
        .map(place)
        .map(|question| (question.benchmark, question.id.as_str()))
        .collect()
}

/// A number for a picture that is the same on every machine and in every batch (FNV-1a of benchmark and file name).
pub(crate) fn sample_id(question: &Question) -> u64 {
    let name = format!("{}/{}", question.benchmark, question.image_name());
    Fnv64::new().bytes(name.as_bytes()).value()
}
