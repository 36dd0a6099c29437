//! Arguments about pictures.

use clap::Args;
use diffprune::vlm::ImageOrientation;

/// Which way up pictures are read.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct PictureArgs {
    /// Read pictures as they are stored, as `eval` reads those of benchmarks [default: turned as their camera noted it (Exif
    /// orientation), as viewers show them].
    #[arg(long)]
    as_stored: bool,
}

impl PictureArgs {
    /// The way up.
    pub fn orientation(self) -> ImageOrientation {
        match self.as_stored {
            true => ImageOrientation::AsStored,
            false => ImageOrientation::Upright,
        }
    }
}
