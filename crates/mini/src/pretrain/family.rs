//! The families of models that the small world has a member of: those of [`Family::ALL`].

use diffprune_vlm::Family;

use crate::{MiniError, Prompts};

/// The name of a family's small model: `mini-` and the family, for example `mini-llava-1.5`. Its folder has it too.
pub fn model_name(family: Family) -> String {
    format!("mini-{family}")
}

/// Whose user texts a family's small model is taught.
pub fn prompts_of(family: Family) -> Prompts {
    match family {
        Family::Qwen25Vl => Prompts::LmmsEval,
        _ => Prompts::Llava,
    }
}

/// Refuses families without a small model.
pub(crate) fn check(family: Family) -> Result<(), MiniError> {
    match Family::ALL.contains(&family) {
        true => Ok(()),
        false => Err(MiniError::Family { found: family }),
    }
}
