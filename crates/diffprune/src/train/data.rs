//! Pictures with captions.

use std::path::PathBuf;

use diffprune_images::ImageFileError;
use diffprune_pruner::Layout;
use image::RgbImage;

use super::features::StoredPicture;
use super::folder::CAPTIONS_FILE;

/// One picture and what it shows.
#[derive(Debug, Clone)]
pub struct CaptionSample {
    /// The picture.
    pub image: RgbImage,
    /// Its caption.
    pub caption: String,
}

/// A set of captioned pictures. The same index always gives the same sample.
pub trait CaptionData: Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// True when there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sample `index`, below [`CaptionData::len`].
    ///
    /// # Errors
    /// When the sample cannot be read.
    fn sample(&self, index: usize) -> Result<CaptionSample, DataError>;

    /// A short name of the whole content, pictures included: other content, another name. A run belongs to it. `None` for data
    /// that cannot tell (drawn on the fly, say).
    ///
    /// # Errors
    /// When something cannot be read.
    fn digest(&self) -> Result<Option<String>, DataError> {
        Ok(None)
    }

    /// The place of sample `index`, for messages: a file and a line, say.
    fn place(&self, index: usize) -> Option<String> {
        let _ = index;
        None
    }

    /// Sample `index` behind the encoder, for data that was encoded before: its picture is then not asked for.
    ///
    /// # Errors
    /// When it cannot be read.
    fn stored(&self, index: usize) -> Result<Option<StoredPicture>, DataError> {
        let _ = index;
        Ok(None)
    }

    /// The class of what sample `index` shows, for data that has classes. Only
    /// [`Subset::of_classes`](crate::Subset::of_classes) asks.
    fn class(&self, index: usize) -> Option<String> {
        let _ = index;
        None
    }

    /// The share of each token of sample `index` that shows what matters, from 0 (background) to 1, in the order of the layout;
    /// `None` when the data does not know. Only methods that learn from boxes ask.
    ///
    /// # Errors
    /// When the sample cannot be read.
    fn relevance(&self, index: usize, layout: &Layout) -> Result<Option<Vec<f32>>, DataError> {
        let _ = (index, layout);
        Ok(None)
    }
}

/// A pointer to data is data.
macro_rules! pointer {
    ($pointer:ty) => {
        impl<D: CaptionData + ?Sized> CaptionData for $pointer {
            fn len(&self) -> usize {
                (**self).len()
            }

            fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
                (**self).sample(index)
            }

            fn digest(&self) -> Result<Option<String>, DataError> {
                (**self).digest()
            }

            fn place(&self, index: usize) -> Option<String> {
                (**self).place(index)
            }

            fn stored(&self, index: usize) -> Result<Option<StoredPicture>, DataError> {
                (**self).stored(index)
            }

            fn class(&self, index: usize) -> Option<String> {
                (**self).class(index)
            }

            fn relevance(&self, index: usize, layout: &Layout) -> Result<Option<Vec<f32>>, DataError> {
                (**self).relevance(index, layout)
            }
        }
    };
}

pointer!(Box<D>);
pointer!(&D);

/// Why captioned pictures could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The list cannot be read.
    #[error("{}: cannot read: {source}; expected a folder with {CAPTIONS_FILE} and the images it names", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A line of the list is wrong.
    #[error("{}:{line}: found {found}, expected {{\"image\": \"relative/path\", \"caption\": \"text\"}}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The problem.
        found: String,
    },
    /// The picture that a line names cannot be used.
    #[error("{}:{line}: {source}", path.display())]
    Image {
        /// The list.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The cause, with the picture's file.
        source: Box<ImageFileError>,
    },
    /// There are no samples.
    #[error("{}: found no samples, expected at least one", path.display())]
    Empty {
        /// The file, or a name of the data.
        path: PathBuf,
    },
    /// An index beyond the end.
    #[error("sample {found} was asked for, expected one below {wanted}")]
    Index {
        /// The index.
        found: usize,
        /// Number of samples.
        wanted: usize,
    },
    /// The method learns from boxes and there are none.
    #[error(
        "{method} learns from boxes: found samples without any ({samples:?}), expected `\"boxes\": [[x0, y0, x1, y1], ...]` in \
         every line of {CAPTIONS_FILE} (pixels; an empty list for a picture of background), or a small world with its \
         boxes.json; or train another method"
    )]
    NoBoxes {
        /// The method.
        method: String,
        /// Samples some of which have none.
        samples: Vec<usize>,
    },
    /// A share that cannot be drawn.
    #[error("class share: found {found}, expected a share above 0 and at most 1")]
    Share {
        /// The share.
        found: f64,
    },
    /// A share of classes is wanted and there are none.
    #[error(
        "{place}: found a sample without a class, expected pictures in a folder for each class, as ImageNet has them \
         (n01440764/…): without classes no share of each can be drawn"
    )]
    NoClass {
        /// The place of the sample.
        place: String,
    },
    /// A source of samples of another kind failed.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}
