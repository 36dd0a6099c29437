//! One file per command.

pub mod ask;
pub mod bench;
pub mod check;
mod dry_run;
pub mod encode;
pub mod eval;
pub mod methods;
pub mod mini_card;
pub mod mini_data;
pub mod mini_deit;
pub mod mini_scorer;
pub mod mini_train;
pub mod pilot;
pub mod report;
pub mod repro;
pub mod serve;
pub mod shell;
pub mod show;
pub mod train;
pub mod unpack;
