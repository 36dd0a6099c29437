//! Procedural scenes: what is in them, how they are drawn, and what is known about each patch.

mod background;
mod blur;
mod config;
mod dataset;
mod glyphs;
mod kinds;
mod labels;
mod placement;
mod render;
mod scene;
mod shapes;

pub use background::{Background, BackgroundKind};
pub use config::{Span, WorldConfig};
pub(crate) use dataset::split_seed;
pub use dataset::{SceneDataset, Split};
pub use kinds::{Colour, LETTERS, Place, Shape, Size};
pub use labels::{DenseLabels, ImageLabels, dense_labels, image_labels};
pub(crate) use placement::{is_popular, place_in_order};
pub use render::{render, render_into};
pub(crate) use scene::stream as scene_stream;
pub use scene::{Box2, Object, Scene, Sign};
