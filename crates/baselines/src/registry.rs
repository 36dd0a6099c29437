//! Every method by its name.

use diffprune_pruner::Pruner;

use crate::{
    AveragePool, Centre, ClsAttention, Dart, FastV, FirstK, LastK, OracleDrop, OracleKeep, PyramidDrop,
    Random, Schedule, SparseVlm, Stratified, UniformGrid,
};

/// One method of the list.
#[derive(Clone, Copy)]
pub struct Baseline {
    /// Its name, as [`Pruner::name`] gives it.
    pub name: &'static str,
    /// What it keeps, in a few words.
    pub about: &'static str,
    /// True when its choice depends on the seed, so that tables should average over several.
    pub seeded: bool,
    /// Makes one with its default settings.
    pub init: fn() -> Box<dyn Pruner>,
}

/// Every method that needs no training; adding one is a file and a line here.
pub fn registry() -> &'static [Baseline] {
    &[
        Baseline {
            name: "random",
            about: "drawn at random",
            seeded: true,
            init: || Box::new(Random),
        },
        Baseline {
            name: "stratified",
            about: "one at random of each cell",
            seeded: true,
            init: || Box::new(Stratified),
        },
        Baseline {
            name: "uniform-grid",
            about: "middle of each cell",
            seeded: false,
            init: || Box::new(UniformGrid),
        },
        Baseline {
            name: "average-pool",
            about: "mean of each cell",
            seeded: false,
            init: || Box::new(AveragePool),
        },
        Baseline {
            name: "cls-attention",
            about: "most seen by [CLS]",
            seeded: false,
            init: || Box::new(ClsAttention),
        },
        Baseline {
            name: "first-k",
            about: "first in raster order",
            seeded: false,
            init: || Box::new(FirstK),
        },
        Baseline {
            name: "last-k",
            about: "last in raster order",
            seeded: false,
            init: || Box::new(LastK),
        },
        Baseline {
            name: "centre",
            about: "nearest to the middle",
            seeded: false,
            init: || Box::new(Centre),
        },
        Baseline {
            name: "oracle-keep",
            about: "most relevant by annotation",
            seeded: true,
            init: || Box::new(OracleKeep),
        },
        Baseline {
            name: "oracle-drop",
            about: "least relevant by annotation",
            seeded: true,
            init: || Box::new(OracleDrop),
        },
        Baseline {
            name: "fastv",
            about: "inside the LLM, most seen by the last token; average over layers",
            seeded: false,
            init: || Box::new(FastV::default()),
        },
        Baseline {
            name: "fastv-kept",
            about: "the same, budget counted after the drop",
            seeded: false,
            init: || {
                Box::new(FastV {
                    schedule: Schedule::Kept,
                    ..FastV::default()
                })
            },
        },
        Baseline {
            name: "pyramiddrop",
            about: "inside the LLM, most seen by the last token, in three steps; average over layers",
            seeded: false,
            init: || Box::new(PyramidDrop::default()),
        },
        Baseline {
            name: "pyramiddrop-published",
            about: "the same with the published shares, whatever the budget",
            seeded: false,
            init: || {
                Box::new(PyramidDrop {
                    schedule: Schedule::Published,
                })
            },
        },
        Baseline {
            name: "dart",
            about: "inside the LLM, least alike to pivots; budget counted after the drop",
            seeded: false,
            init: || Box::new(Dart::default()),
        },
        Baseline {
            name: "dart-average",
            about: "the same, average over layers",
            seeded: false,
            init: || {
                Box::new(Dart {
                    schedule: Schedule::Average,
                    ..Dart::default()
                })
            },
        },
        Baseline {
            name: "sparsevlm",
            about: "inside the LLM, most seen by chosen text tokens, rest merged; average over layers",
            seeded: false,
            init: || Box::new(SparseVlm::default()),
        },
        Baseline {
            name: "sparsevlm-2",
            about: "the same by release 2.0: rotary bias divided out, nothing merged",
            seeded: false,
            init: || Box::new(SparseVlm::v2()),
        },
    ]
}

/// The method of that name, with its default settings.
pub fn find(name: &str) -> Option<Box<dyn Pruner>> {
    registry()
        .iter()
        .find(|baseline| baseline.name == name)
        .map(|baseline| (baseline.init)())
}
