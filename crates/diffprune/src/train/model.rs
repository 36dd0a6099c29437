//! The two modules that are trained.

use burn::module::Module;
use burn::tensor::Device;
use diffprune_denoiser::Denoiser;
use diffprune_learned::Head;

/// Everything that an optimiser may change.
#[derive(Module, Debug)]
pub struct Trainee {
    /// Ranks the tokens; all that is needed at inference. The scorer, or the head of another method.
    pub head: Head,
    /// Repairs throttled tokens; used in training only.
    pub denoiser: Denoiser,
}

/// The same under the names that the tensors of unfinished runs have had from the first release on.
#[derive(Module, Debug)]
pub(super) struct StoredTrainee {
    scorer: Head,
    denoiser: Denoiser,
}

impl Trainee {
    /// Both modules, moved to `device`.
    pub fn new(head: impl Into<Head>, denoiser: Denoiser, device: &Device) -> Self {
        let head = head.into();
        let plain = Self { head, denoiser }.to_device(&device.clone().without_autodiff());
        if device.is_autodiff() {
            plain.train()
        } else {
            plain
        }
    }

    /// A copy that records gradients of its own (same values, own graph), from one on the plain device.
    ///
    /// Forking a module that has gradients already would leave its unused parameters in Burn's graph store for ever,
    /// and every later backward would walk over them.
    pub fn for_worker(&self) -> Self {
        self.clone().train()
    }
}

impl From<Trainee> for StoredTrainee {
    fn from(Trainee { head, denoiser }: Trainee) -> Self {
        Self {
            scorer: head,
            denoiser,
        }
    }
}

impl From<StoredTrainee> for Trainee {
    fn from(StoredTrainee { scorer, denoiser }: StoredTrainee) -> Self {
        Self {
            head: scorer,
            denoiser,
        }
    }
}
