//! What must hold for every scorer and every checkpoint.

mod checkpoint;
mod scorer;
