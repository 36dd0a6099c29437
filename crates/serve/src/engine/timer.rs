//! The time of each stage.

use std::time::Instant;

use diffprune_vlm::Vlm;

use crate::api::Times;

/// Takes the time of stages, on the model's thread. It waits for the device before it reads the clock.
pub(super) struct Timer<'m> {
    vlm: &'m dyn Vlm,
    last: Instant,
    pub times: Times,
}

impl<'m> Timer<'m> {
    /// Starts now.
    pub fn new(vlm: &'m dyn Vlm) -> Self {
        Self {
            vlm,
            last: Instant::now(),
            times: Times::default(),
        }
    }

    /// Milliseconds since the last call.
    fn lap(&mut self) -> f64 {
        // A device that fails here fails again where the result is needed.
        let _ = self.vlm.device().sync();
        let now = Instant::now();
        let passed = now.duration_since(self.last);
        self.last = now;
        1e3 * passed.as_secs_f64()
    }

    /// A picture is encoded.
    pub fn encoded(&mut self) {
        self.times.encode += self.lap();
    }

    /// Its tokens are chosen and projected.
    pub fn selected(&mut self) {
        self.times.select += self.lap();
    }

    /// The prompt is read.
    pub fn read(&mut self) {
        self.times.prefill += self.lap();
    }
}
