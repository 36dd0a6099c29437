//! Evidence for the claims of the papers: the claims and the printed cells as data, and a verdict for each claim at every tier
//! that can judge it.

mod cells;
mod claims;
mod estimand;
mod ledger;
mod page;
mod printed;
mod published;
mod shapes;
mod times;

pub use cells::{Published, PublishedCell};
pub use claims::{Claims, PaperClaim, Role, RowArms, Tier};
pub use estimand::{Estimand, Number};
pub use ledger::{ClaimVerdict, Ledger, Reading, TierVerdict};
pub(crate) use page::counted;
pub use page::{published_json, published_ledger, published_page};
pub use published::judge_published;
pub use shapes::judge_shape;
pub use times::judge_times;
