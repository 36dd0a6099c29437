//! Data of a caller, for threads that may outlive the call.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use diffprune_pruner::Layout;

use super::features::SharedData;
use crate::{CaptionData, CaptionSample, DataError, StoredPicture};

/// A question about the data, which carries the way for its answer.
type Question = Box<dyn FnOnce(&dyn CaptionData) + Send>;

/// Lends data to work that needs to hold it without a lifetime, as the learner of `burn-train` does: threads of this call
/// answer for it, `n_threads` at a time, until the work returns.
pub(super) fn serve<T>(data: &dyn CaptionData, n_threads: usize, work: impl FnOnce(SharedData) -> T) -> T {
    let (sender, receiver) = channel::<Option<Question>>();
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        let n_threads = n_threads.max(1);
        for _ in 0..n_threads {
            scope.spawn(|| answer(data, &receiver));
        }
        // Whatever the work left behind, and if it panics: the threads end with it.
        let _closing = Closing {
            sender: sender.clone(),
            n_threads,
        };
        work(Arc::new(Remote {
            len: data.len(),
            questions: Mutex::new(sender),
        }))
    })
}

fn answer(data: &dyn CaptionData, questions: &Mutex<Receiver<Option<Question>>>) {
    loop {
        let question = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match question {
            Ok(Some(question)) => question(data),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Ends the threads when it is dropped.
struct Closing {
    sender: Sender<Option<Question>>,
    n_threads: usize,
}

impl Drop for Closing {
    fn drop(&mut self) {
        for _ in 0..self.n_threads {
            // A thread that has ended hears nothing.
            let _ = self.sender.send(None);
        }
    }
}

/// Data that somebody else holds.
struct Remote {
    len: usize,
    questions: Mutex<Sender<Option<Question>>>,
}

impl Remote {
    /// The answer to a question; a panic over there is one here.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn CaptionData) -> T + Send + 'static,
    ) -> Result<T, DataError> {
        let (sender, answer) = channel::<Result<T, Box<dyn Any + Send>>>();
        let question: Question = Box::new(move |data| {
            let found = catch_unwind(AssertUnwindSafe(|| question(data)));
            // Whoever asked may have gone.
            let _ = sender.send(found);
        });
        let asked = self
            .questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(Some(question))
            .is_ok();
        let over = || DataError::Other("the data was asked for after its training had ended".into());
        // A question that was not sent holds the way for its answer, and would be waited for.
        if !asked {
            return Err(over());
        }
        match answer.recv() {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(over()),
        }
    }
}

impl CaptionData for Remote {
    fn len(&self) -> usize {
        self.len
    }

    fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
        self.ask(move |data| data.sample(index))?
    }

    fn digest(&self) -> Result<Option<String>, DataError> {
        self.ask(|data| data.digest())?
    }

    fn place(&self, index: usize) -> Option<String> {
        self.ask(move |data| data.place(index)).ok().flatten()
    }

    fn relevance(&self, index: usize, layout: &Layout) -> Result<Option<Vec<f32>>, DataError> {
        let layout = layout.clone();
        self.ask(move |data| data.relevance(index, &layout))?
    }

    fn stored(&self, index: usize) -> Result<Option<StoredPicture>, DataError> {
        self.ask(move |data| data.stored(index))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;

    struct Numbered(usize);

    impl CaptionData for Numbered {
        fn len(&self) -> usize {
            self.0
        }

        fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
            assert!(index != 13, "sample 13");
            if index >= self.0 {
                return Err(DataError::Index {
                    found: index,
                    wanted: self.0,
                });
            }
            Ok(CaptionSample {
                image: RgbImage::new(1, 1),
                caption: index.to_string(),
            })
        }
    }

    #[test]
    fn answers_come_from_the_lender_and_end_with_the_call() {
        let kept = serve(&Numbered(5), 2, |data| {
            assert_eq!(data.len(), 5);
            let captions: Vec<String> = thread::scope(|scope| {
                let asked: Vec<_> = (0..5)
                    .map(|i| {
                        scope.spawn({
                            let data = data.clone();
                            move || data.sample(i).unwrap().caption
                        })
                    })
                    .collect();
                asked.into_iter().map(|answer| answer.join().unwrap()).collect()
            });
            assert_eq!(captions, ["0", "1", "2", "3", "4"]);
            assert!(matches!(data.sample(5), Err(DataError::Index { .. })));
            data
        });
        assert!(matches!(kept.sample(0), Err(DataError::Other(_))), "it is over");
    }

    #[test]
    #[should_panic(expected = "sample 13")]
    fn panics_of_the_data_reach_whoever_asked() {
        serve(&Numbered(20), 1, |data| data.sample(13).map(|_| ()).unwrap());
    }
}
