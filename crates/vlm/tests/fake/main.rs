//! The path and conversations on a model without weights.

mod conversation;
mod methods;
mod model;
mod path;
