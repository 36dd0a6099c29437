//! Computations that several methods share; none of these is a method.

pub(crate) mod cells;
pub(crate) mod crops;
pub(crate) mod draw;
pub(crate) mod eigen;
pub(crate) mod encoder;
pub(crate) mod host;
pub(crate) mod merged;
pub(crate) mod saliency;
pub(crate) mod top;
