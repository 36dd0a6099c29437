//! The strategy under which `burn-train` walks a run by its updates.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use burn::data::dataloader::Progress as ItemProgress;
use burn_train::metric::store::EventStoreClient;
use burn_train::{
    EarlyStoppingStrategy, EventProcessorError, EventProcessorTraining, InferenceStep, Learner, LearnerEvent,
    LearnerModel, SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader, TrainStep,
    TrainingComponents, TrainingItem, ValidLoader,
};
use diffprune_files::Stop;

use super::{Reported, SteppedRun};

/// What shows notes to people.
pub(super) type Notes = Box<dyn Fn(&str) + Send + Sync>;

/// The verdict of the run itself, as `burn-train` asks for it: the run remembers the best validation in its checkpoints, which
/// the learner's own strategies do not.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdict(Arc<AtomicBool>);

impl EarlyStoppingStrategy for Verdict {
    fn should_stop(&mut self, _: usize, _: &EventStoreClient) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A run, and whether it was left before its end, or the error that ended it.
type Ended<R, E> = (R, Result<bool, E>);
/// The place for it, which whoever launched the strategy looks at.
pub(super) type Outcome<R, E> = Arc<Mutex<Option<Ended<R, E>>>>;

/// Walks a run by its updates and tells the learner's metrics, renderer and loggers of each.
pub(super) struct ByUpdate<R, E> {
    pub(super) run: Mutex<Option<R>>,
    pub(super) ended: Outcome<R, E>,
    pub(super) verdict: Verdict,
    pub(super) stop: Stop,
    pub(super) notes: Notes,
}

impl<M, R> SupervisedLearningStrategy<M> for ByUpdate<R, R::Error>
where
    M: LearnerModel,
    R: SteppedRun<M>,
{
    fn fit(
        &self,
        components: TrainingComponents<M>,
        learner: Learner<M>,
        train: TrainLoader<M>,
        valid: ValidLoader<M>,
        starting_epoch: usize,
    ) -> (M, SupervisedTrainingEventProcessor<M>) {
        let run = self.run.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A second launch of one strategy has nothing to do.
        let Some(mut run) = run else {
            return (learner.model(), components.event_processor);
        };
        let mut walk = Walk {
            strategy: self,
            components,
            train,
            valid,
        };
        let outcome = walk.all(&mut run, starting_epoch);
        if outcome.is_err() {
            walk.components.interrupter.stop(Some("an error"));
        }
        let model = run.model();
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some((run, outcome));
        (model, walk.components.event_processor)
    }
}

/// What a walk needs.
struct Walk<'a, M: LearnerModel, R: SteppedRun<M>> {
    strategy: &'a ByUpdate<R, R::Error>,
    components: TrainingComponents<M>,
    train: TrainLoader<M>,
    valid: ValidLoader<M>,
}

impl<M: LearnerModel, R: SteppedRun<M>> Walk<'_, M, R> {
    /// True when the run is left before its end. (The dashboard forgets at the end that it was asked to stop.)
    fn all(&mut self, run: &mut R, starting_epoch: usize) -> Result<bool, R::Error> {
        if run.plan().done == 0 && run.validates_first() {
            // An untrained model can be better than what a training makes of it.
            self.validation(run, 0)?;
        }
        for epoch in starting_epoch..=self.components.num_epochs {
            if run.ended_early() {
                break;
            }
            if !self.epoch(run, epoch)? {
                return Ok(true);
            }
            self.strategy.verdict.0.store(run.ended_early(), Ordering::SeqCst);
            let store = self.components.event_store.clone();
            if let Some(early) = &mut self.components.early_stopping
                && early.should_stop(epoch, &store)
            {
                break;
            }
        }
        Ok(false)
    }

    /// The rest of an epoch; false when the run is left in the middle of it.
    fn epoch(&mut self, run: &mut R, epoch: usize) -> Result<bool, R::Error> {
        let plan = run.plan();
        let (begin, end) = plan.bounds(epoch);
        let n = plan.items_per_update;
        let loader = self.train.slice(plan.done * n, end * n);
        let mut items = loader.iter();
        self.tell_train(LearnerEvent::StartSplit {
            epoch_number: epoch,
            total_items: end - begin,
        });
        for (place, output) in run.replay().into_iter().enumerate() {
            let place = ItemProgress::new(place + 1, end - begin, Some("updates".into()));
            let item = TrainingItem::new(output, place, None, None);
            self.tell_train(LearnerEvent::ProcessedItem(item));
        }
        for done in plan.done..end {
            if self.is_to_stop(run) {
                run.pause()?;
                self.tell_train(LearnerEvent::EndSplit(epoch));
                return Ok(false);
            }
            let mut batch = Vec::with_capacity(n);
            for item in items.by_ref().take(n) {
                match item {
                    Ok(item) => batch.push(item),
                    // Our loaders name samples and read nothing, so that this is another's.
                    Err(error) => {
                        self.components.interrupter.fail(error);
                        run.pause()?;
                        return Ok(false);
                    }
                }
            }
            let Reported { output, notes } = run.update(batch)?;
            let place = ItemProgress::new(done + 1 - begin, end - begin, Some("updates".into()));
            let rate = Some(run.learning_rate().into());
            let item = TrainingItem::new(output, place, Some(done + 1), rate);
            self.tell_train(LearnerEvent::ProcessedItem(item));
            self.note(&notes);
            if done + 1 < end {
                run.settle()?;
            }
        }
        self.tell_train(LearnerEvent::EndSplit(epoch));
        self.validation(run, epoch)?;
        run.settle()?;
        self.tell_train(LearnerEvent::EndEpoch(epoch));
        Ok(true)
    }

    fn is_to_stop(&self, run: &R) -> bool {
        let interrupter = &self.components.interrupter;
        if self.strategy.stop.is_requested() {
            interrupter.stop(Some("asked to stop"));
        }
        interrupter.should_stop() || run.is_to_pause()
    }

    fn validation(&mut self, run: &mut R, epoch: usize) -> Result<(), R::Error> {
        let total = self.valid.num_items();
        if total == 0 {
            return Ok(());
        }
        let mut items: Vec<<M as InferenceStep>::Input> = Vec::with_capacity(total);
        for item in self.valid.iter() {
            match item {
                Ok(item) => items.push(item),
                Err(error) => {
                    self.components.interrupter.fail(error);
                    return Ok(());
                }
            }
        }
        self.tell_valid(LearnerEvent::StartSplit {
            epoch_number: epoch,
            total_items: total,
        });
        let Reported { output, notes } = run.validate(items)?;
        for (i, output) in output.into_iter().enumerate() {
            let place = ItemProgress::new(i + 1, total, Some("parts".into()));
            let item = TrainingItem::new(output, place, Some(i + 1), None);
            self.tell_valid(LearnerEvent::ProcessedItem(item));
        }
        self.tell_valid(LearnerEvent::EndSplit(epoch));
        self.note(&notes);
        Ok(())
    }

    fn tell_train(&mut self, event: LearnerEvent<<M as TrainStep>::Output>) {
        let outcome = self.components.event_processor.process_train(event);
        self.check(outcome);
    }

    fn tell_valid(&mut self, event: LearnerEvent<<M as InferenceStep>::Output>) {
        let outcome = self.components.event_processor.process_valid(event);
        self.check(outcome);
    }

    fn check(&self, outcome: Result<(), EventProcessorError>) {
        self.components.interrupter.fail_on_error(outcome);
    }

    /// Notes come behind the progress that they belong to.
    fn note(&mut self, notes: &[String]) {
        if notes.is_empty() {
            return;
        }
        let outcome = self.components.event_processor.flush();
        self.check(outcome);
        for note in notes {
            (self.strategy.notes)(note);
        }
    }
}
