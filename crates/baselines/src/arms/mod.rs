//! Arms that use no published method: baselines, controls and oracles of every comparison.

pub(crate) mod average_pool;
pub(crate) mod cls_attention;
pub(crate) mod fixed;
pub(crate) mod oracle;
pub(crate) mod random;
pub(crate) mod scores;
pub(crate) mod shuffled;
pub(crate) mod stratified;
pub(crate) mod uniform_grid;
