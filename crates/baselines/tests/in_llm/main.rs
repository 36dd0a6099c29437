//! The methods inside the language model: against the authors' code, through the real decoder, and their contract.

mod answer;
mod contract;
mod decoder;
mod fixture;
mod oracle_run;
mod oracle_select;
mod recorder;
mod setup;
mod signals;
