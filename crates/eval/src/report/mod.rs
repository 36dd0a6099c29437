//! Numbers, verdicts and pages, computed from records and never retyped.

mod answered;
mod build;
mod claims;
mod compare;
mod counted;
mod csv;
mod extras;
mod figures;
mod format;
mod html;
mod json;
mod judge;
mod latex;
mod layout;
mod leaderboard;
mod markdown;
mod numbers;
mod options;
mod paired;
mod plots;
mod result;
mod secondary;
mod sheet;
mod show;
mod sources;
mod timing;

pub use counted::Counted;
pub use figures::{Figure, Figures};
pub use format::Format;
pub use judge::{EvidenceOptions, Given};
pub use options::{CostOptions, ReportOptions};
pub use plots::Plot;
pub use result::{Absent, Claim, Meta, PairedTest, Report, Row, Table};
pub use show::heat_map;
pub use sources::{Asked, Source};
pub use timing::RunTiming;
