//! Properties of every scorer and every checkpoint.

mod checkpoint;
mod scorer;
