//! Pictures of requests: where they come from, how large they may be, and their pixels.

mod address;
mod data_url;
mod decode;
mod local;
mod remote;

use std::sync::Arc;

use axum::http::StatusCode;
use image::RgbImage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::ImageAsked;
use crate::budget::PictureChoice;
use crate::config::ServeConfig;
use crate::error::ApiError;

pub(crate) use remote::Fetcher;

/// SHA-256 of a picture's file.
pub(crate) type Digest = [u8; 32];

/// A picture of a request, decoded.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub pixels: Arc<RgbImage>,
    pub digest: Digest,
    /// Number of its turn.
    pub turn: usize,
    pub choice: PictureChoice,
    /// The memory that the pixels take, given back with the last picture of the request.
    _memory: Arc<OwnedSemaphorePermit>,
}

/// Reads pictures for requests, within bounds.
#[derive(Debug)]
pub(crate) struct PictureReader {
    fetcher: Option<Fetcher>,
    /// KiB of decoded pictures that may lie in memory.
    memory: Arc<Semaphore>,
    n_memory: usize,
    config: Arc<ServeConfig>,
}

/// A picture's file, not decoded.
struct Source {
    bytes: Vec<u8>,
    place: String,
}

impl PictureReader {
    /// A reader with these bounds.
    pub fn new(config: Arc<ServeConfig>) -> Self {
        let n_memory = (config.limits.decoded_bytes / 1024).clamp(1, u32::MAX as usize);
        Self {
            fetcher: config.allow_remote_images.then(|| Fetcher::new(&config.limits)),
            memory: Arc::new(Semaphore::new(n_memory)),
            n_memory,
            config,
        }
    }

    /// The pictures of a request, decoded. Waits while other requests' pictures fill the memory that is set aside.
    pub async fn read(self: &Arc<Self>, asked: Vec<ImageAsked>) -> Result<Vec<Picture>, ApiError> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let reader = self.clone();
        let (sources, needed, asked) = blocking(move || reader.sources(asked)).await?;
        if needed > self.n_memory {
            let found = format!("pictures that take {} MiB when decoded", needed / 1024);
            let wanted = format!("at most {} MiB together", self.n_memory / 1024);
            let message = format!("messages: found {found}, expected {wanted}; scale them down");
            return Err(too_large("images_too_large", message));
        }
        let memory = self.memory.clone().acquire_many_owned(needed as u32).await;
        let memory = memory.map_err(|_| ApiError::unavailable("stopping", "the server is stopping", 1))?;
        blocking(move || decode_all(sources, asked, memory)).await
    }

    /// The files of the pictures, and the KiB that they take when decoded.
    fn sources(&self, asked: Vec<ImageAsked>) -> Result<(Vec<Source>, usize, Vec<ImageAsked>), ApiError> {
        let mut sources = Vec::with_capacity(asked.len());
        let mut needed = 0;
        for image in &asked {
            let bytes = self.bytes(&image.url, &image.place)?;
            let (width, height) = decode::size(&bytes, &image.place)?;
            let pixels = u64::from(width) * u64::from(height);
            let most = self.config.limits.pixels;
            if pixels > most {
                let message = format!(
                    "{}: found a picture of {width} by {height} pixels, expected at most {most} pixels; scale it down",
                    image.place
                );
                return Err(too_large("image_too_large", message));
            }
            needed += decode::needed(&bytes, &image.place)?.div_ceil(1024) as usize;
            sources.push(Source {
                bytes,
                place: image.place.clone(),
            });
        }
        Ok((sources, needed, asked))
    }

    /// The bytes behind an address.
    fn bytes(&self, url: &str, place: &str) -> Result<Vec<u8>, ApiError> {
        let most = self.config.limits.image_bytes;
        let scheme = url.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match (scheme.as_str(), &self.fetcher, &self.config.media_root) {
            ("data", _, _) => data_url::decode(url, place, most),
            ("http" | "https", Some(fetcher), _) => fetcher.fetch(url, place),
            ("http" | "https", None, _) => Err(refused(
                place,
                "found an address on the network, expected a data URL; the server fetches pictures only when started with \
                 --allow-remote-images",
            )),
            ("file", _, Some(root)) => local::read(url, root, place, most),
            ("file", _, None) => Err(refused(
                place,
                "found a file of the server, expected a data URL; the server reads files only when started with \
                 --media-root DIR",
            )),
            _ => Err(ApiError::invalid(
                place,
                format!(
                    "{place}: found the address `{}`, expected data:, https:, http: or file:",
                    start_of(url)
                ),
            )),
        }
    }
}

/// A picture that the server will not read.
fn refused(place: &str, problem: &str) -> ApiError {
    ApiError::invalid(place, format!("{place}: {problem}")).with_code("image_refused")
}

fn too_large(code: &'static str, message: String) -> ApiError {
    ApiError::refused(StatusCode::PAYLOAD_TOO_LARGE, code, message)
}

/// The start of an address, for messages.
fn start_of(url: &str) -> String {
    url.chars().take(24).collect()
}

/// Runs work that does not wait for anything on a thread for such work.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(ApiError::internal("reading a picture failed without a reason")))
}

/// Decodes pictures in memory that was set aside for it, and gives back what they do not take any more.
fn decode_all(
    sources: Vec<Source>,
    asked: Vec<ImageAsked>,
    mut memory: OwnedSemaphorePermit,
) -> Result<Vec<Picture>, ApiError> {
    let decode = |source: &Source| {
        Ok((
            decode::pixels(&source.bytes, &source.place)?,
            decode::digest(&source.bytes),
        ))
    };
    let decoded = sources.iter().map(decode).collect::<Result<Vec<_>, ApiError>>()?;
    drop(sources);
    let held: usize = decoded
        .iter()
        .map(|(pixels, _)| pixels.as_raw().len().div_ceil(1024))
        .sum();
    drop(memory.split(memory.num_permits().saturating_sub(held)));
    let memory = Arc::new(memory);
    let picture = |((pixels, digest), asked): ((RgbImage, Digest), ImageAsked)| Picture {
        pixels: Arc::new(pixels),
        digest,
        turn: asked.turn,
        choice: asked.choice,
        _memory: memory.clone(),
    };
    Ok(decoded.into_iter().zip(asked).map(picture).collect())
}
