//! Nothing to call. As a dev-dependency of every crate it makes cargo unify the features of all external crates in the
//! same way whichever package is built, so that the heavy ones (Burn) are compiled once.
