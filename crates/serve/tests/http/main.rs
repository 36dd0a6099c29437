//! The server over real connections, with the model for tests behind it.

#[path = "../common/mod.rs"]
mod common;

mod batching;
mod budgets;
mod caches;
mod chat;
mod info;
mod limits;
mod openapi;
mod pictures;
mod queue;
mod refusals;
mod security;
mod select;
mod slow;
mod streams;
