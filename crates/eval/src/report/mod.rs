//! Numbers, verdicts and pages, computed from records and never retyped.

mod build;
mod claims;
mod html;
mod json;
mod layout;
mod markdown;
mod plots;
mod result;
mod sheet;
mod show;

pub use build::ReportOptions;
pub use plots::Plot;
pub use result::{Claim, Meta, Report, Row, Table};
pub use show::heat_map;
