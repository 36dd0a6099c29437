//! Whatever joins and leaves: no sequence is lost, none is mixed with another.

use std::collections::BTreeMap;

use diffprune_vlm::{Finish, JoinRequest, OneByOne, SequenceId, Vlm};
use proptest::prelude::*;

use super::batch::Case;
use super::methods::{First, Inside, fake};

/// What is done to a batch.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// This case joins.
    Join(usize),
    /// A prompt joins that cannot be read.
    Refused,
    Step,
    /// The sequence of this number among those that joined leaves, if it is still there.
    Leave(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0usize..6).prop_map(Act::Join),
        1 => Just(Act::Refused),
        4 => Just(Act::Step),
        1 => (0usize..9).prop_map(Act::Leave),
    ]
}

/// A sequence as it should go on: its answer, what came of it, and its limit.
struct Expected {
    answer: Vec<u32>,
    n_told: usize,
    limit: usize,
}

impl Expected {
    /// The next step of it.
    fn next(&mut self) -> (Option<u32>, Option<Finish>) {
        let token = self.answer.get(self.n_told).copied();
        self.n_told += 1;
        let finish = match token {
            None if self.answer.len() < self.limit => Some(Finish::Stop),
            None => Some(Finish::Length),
            Some(_) => (self.n_told == self.limit).then_some(Finish::Length),
        };
        (token, finish)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_sequence_is_lost_or_mixed_with_another(
        acts in prop::collection::vec(act(), 1..40), scripted in any::<bool>(), own in any::<bool>()
    ) {
        let (first, inside) = (First::default(), Inside::default());
        let vlm = match scripted {
            true => fake().answering(|input| format!("{}{}", input.visual.len(), input.text)),
            false => fake(),
        };
        let cases = [
            Case::new(&vlm, "a", &[&[3]], &first, 5).at_most(3),
            Case::new(&vlm, "b?", &[&[0, 1], &[12]], &inside, 6).at_most(7),
            Case::new(&vlm, "cd", &[], &first, 1).at_most(4),
            Case::new(&vlm, "e", &[&[7, 8, 9]], &first, 16).drawn(7).at_most(9),
            Case::new(&vlm, "f", &[&[2]], &first, 2).at_most(0),
            Case::new(&vlm, "a", &[&[3]], &first, 5).drawn(8).at_most(5),
        ];
        let answers: Vec<Vec<u32>> = cases.iter().map(|case| case.alone(&vlm)).collect();
        let mut batch = match own {
            true => vlm.decode_batch(),
            false => Box::new(OneByOne::new(vlm.clone_box())),
        };
        let mut here: BTreeMap<SequenceId, Expected> = BTreeMap::new();
        let mut joined = Vec::new();
        // In the end every sequence is told to its end.
        for act in acts.into_iter().chain([Act::Step; 10]) {
            match act {
                Act::Join(i) => {
                    let id = batch.join(cases[i].request()).unwrap().id;
                    prop_assert!(!joined.contains(&id), "a number is given once");
                    joined.push(id);
                    let limit = cases[i].options.max_new_tokens;
                    here.insert(id, Expected { answer: answers[i].clone(), n_told: 0, limit });
                }
                Act::Refused => {
                    let request = JoinRequest::new(&[9999], &cases[2].images, &cases[2].options);
                    prop_assert!(batch.join(request).is_err());
                }
                Act::Step => {
                    let told = batch.step().unwrap();
                    let ids: Vec<SequenceId> = told.iter().map(|told| told.id).collect();
                    prop_assert_eq!(ids, here.keys().copied().collect::<Vec<_>>());
                    for told in told {
                        let wanted = here.get_mut(&told.id).unwrap().next();
                        prop_assert_eq!((told.token, told.finished), wanted);
                        if told.finished.is_some() {
                            here.remove(&told.id);
                        }
                    }
                }
                Act::Leave(i) => {
                    if let Some(&id) = joined.get(i) {
                        batch.leave(id);
                        here.remove(&id);
                    }
                }
            }
            prop_assert_eq!(batch.len(), here.len());
            prop_assert_eq!(batch.kv_bytes() > 0, own && !here.is_empty());
        }
        prop_assert!(batch.is_empty());
    }
}
