//! How far a whole experiment is.

use std::time::Instant;

use crate::units::readable_seconds;

/// The place of the running stage among all stages, and the time that is left; nothing where the stages are not known.
#[derive(Debug, Default)]
pub struct OverallProgress {
    /// The work of each stage.
    work: Vec<f64>,
    /// The stages that have begun, and whether the last of them was complete.
    begun: usize,
    was_complete: bool,
    /// The work that was done since the start.
    done: f64,
    started: Option<Instant>,
}

impl OverallProgress {
    /// The work of each stage, as [`Observer::outline`](crate::Observer::outline) tells it.
    pub fn set_outline(&mut self, work: &[f64]) {
        self.work = work.to_vec();
    }

    /// The next stage begins at `now`; a `complete` one takes no time. Gives its place among all of them and the time that is
    /// left, as the beginning of a line; empty when there are more stages than were told.
    pub fn next(&mut self, complete: bool, now: Instant) -> String {
        let started = *self.started.get_or_insert(now);
        if self.begun > 0 && !self.was_complete {
            self.done += self.work.get(self.begun - 1).copied().unwrap_or(0.0);
        }
        let left: f64 = self.work.iter().skip(self.begun).sum();
        self.begun += 1;
        self.was_complete = complete;
        if self.begun > self.work.len() {
            return String::new();
        }
        let passed = now.duration_since(started).as_secs_f64();
        let estimate = match self.done > 0.0 {
            true => format!(
                ", {} passed, about {} left",
                readable_seconds(passed),
                readable_seconds(passed * left / self.done)
            ),
            false => String::new(),
        };
        format!("stage {} of {}{estimate}: ", self.begun, self.work.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_left_follows_from_what_was_done() {
        let start = Instant::now();
        let mut whole = OverallProgress::default();
        whole.set_outline(&[10.0, 5.0, 20.0, 10.0]);
        let mut next = |complete, seconds| whole.next(complete, start + Duration::from_secs(seconds));
        assert_eq!(next(true, 0), "stage 1 of 4: ", "complete before");
        assert_eq!(next(false, 1), "stage 2 of 4: ");
        assert_eq!(
            next(false, 300),
            "stage 3 of 4, 5 min passed, about 30 min left: "
        );
        assert_eq!(
            next(false, 3600),
            "stage 4 of 4, 1 h 00 min passed, about 24 min left: "
        );
        assert_eq!(next(false, 9000), "", "more than the plan told");
        assert_eq!(OverallProgress::default().next(false, start), "");
    }
}
