//! Methods that shorten the sequence before the language model, without training: one paper, one file.
//!
//! Each file holds the method as a [`diffprune_pruner::Pruner`] and its algorithm as plain functions of one image (or
//! one crop).

pub mod cdpruner;
pub mod divprune;
pub mod fastervlm;
pub mod hired;
pub mod holov;
pub mod id_selection;
pub mod prumerge;
pub mod prunesid;
pub mod tome;
pub mod visionzip;
pub mod vispruner;
