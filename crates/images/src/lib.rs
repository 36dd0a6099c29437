#![doc = include_str!("../README.md")]

mod channels;
mod coefficients;
mod error;
mod jpeg;
mod kind;
mod lfs;
mod load;
mod profile;
mod resample;

pub use coefficients::Filter;
pub use error::ImageFileError;
pub use kind::image_kind;
pub use lfs::{LFS_REMEDY, is_pointer as is_lfs_pointer};
pub use load::{
    ImageOrientation, decode_image, decode_image_with, decoding_bytes_of, image_size, image_size_of,
    load_image, load_image_with,
};
pub use resample::{Canvas, Crop, resize_bicubic};
