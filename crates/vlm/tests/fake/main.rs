//! The path and conversations on a model without weights.

mod batch;
mod conversation;
mod joins;
mod methods;
mod model;
mod path;
