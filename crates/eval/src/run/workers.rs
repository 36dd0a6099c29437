//! The workers of a run: they take units until none is left.

use std::sync::atomic::Ordering;

use diffprune_vlm::Vlm;

use super::arm::Arm;
use super::batch::Unit;
use super::failures::Failure;
use super::runner::{Setting, Shared};
use super::worker::Worker;
use crate::EvalError;

/// A copy of the model on a device of its own, and the arms with their methods there: a trained method computes where its
/// weights are.
pub struct Replica {
    /// The model.
    pub vlm: Box<dyn Vlm>,
    /// The arms of the run, in the same order.
    pub arms: Vec<Arm>,
}

impl Shared<'_> {
    /// Works on all units, each model with its settings in a thread of its own.
    pub(super) fn work<'s>(
        &self,
        workers: impl Iterator<Item = (Box<dyn Vlm>, impl AsRef<[Setting<'s>]> + Send)>,
    ) -> Result<(), EvalError> {
        std::thread::scope(|scope| {
            let workers: Vec<_> = workers
                .map(|(vlm, settings)| scope.spawn(move || self.in_own_pool(vlm, settings.as_ref())))
                .collect();
            let lost = || EvalError::Setup {
                subject: "worker thread".into(),
                found: "a panic (see above)".into(),
                wanted: "an answer or an error".into(),
            };
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(lost())))
        })
    }

    /// One worker whose tensors use one thread.
    fn in_own_pool(&self, vlm: Box<dyn Vlm>, settings: &[Setting<'_>]) -> Result<(), EvalError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .map_err(|error| EvalError::Setup {
                subject: "worker thread".into(),
                found: error.to_string(),
                wanted: "a thread; run with fewer threads".into(),
            })?;
        pool.install(move || self.take_units(vlm.as_ref(), settings))
    }

    /// Takes units until none is left, a worker has failed, or the run is stopped.
    pub(super) fn take_units(&self, vlm: &dyn Vlm, settings: &[Setting<'_>]) -> Result<(), EvalError> {
        while !self.stop.load(Ordering::Relaxed) {
            let Some(unit) = self.units.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            if self.ends_early() {
                break;
            }
            if let Err(error) = self.attempt(vlm, unit, settings) {
                self.stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Works on a unit. What fails is tried again in smaller units, until single questions are to blame: these are noted.
    fn attempt(&self, vlm: &dyn Vlm, unit: &Unit<'_>, settings: &[Setting<'_>]) -> Result<(), EvalError> {
        let worker = Worker {
            vlm,
            shared: self,
            unit,
        };
        let failed = worker.run(settings)?;
        if failed.is_empty() {
            return Ok(());
        }
        if let [(question, _)] = unit.questions[..] {
            let noted = |(setting, error): (Setting<'_>, EvalError)| {
                self.progress.fail();
                Failure {
                    key: setting.key(question),
                    image: question.image_name(),
                    error,
                }
            };
            let failures: Vec<Failure> = failed.into_iter().map(noted).collect();
            self.sink().failures.extend(failures);
            return Ok(());
        }
        let settings: Vec<Setting<'_>> = failed.into_iter().map(|(setting, _)| setting).collect();
        let parts = unit.parts();
        parts
            .iter()
            .try_for_each(|part| self.attempt(vlm, part, &settings))
    }
}
