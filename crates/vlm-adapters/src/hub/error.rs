//! Why a checkpoint of the hub cannot be had.

use std::path::PathBuf;

/// Why a checkpoint could not be resolved to a folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The text is neither a folder nor a model id.
    #[error(
        "`{id}`: found neither a folder nor a model id, expected an existing folder or `owner/name`; {remedy}"
    )]
    Id {
        /// The identifier that was asked for.
        id: String,
        /// The remedy.
        remedy: &'static str,
    },

    /// The hub knows no such model, revision or file.
    #[error("{url}: not found ({status}), expected model `{id}` at revision `{revision}`; check both names")]
    NotFound {
        /// The address.
        url: String,
        /// The model.
        id: String,
        /// The branch, tag or commit.
        revision: String,
        /// The status of the answer.
        status: u16,
    },

    /// The hub refuses: the model is gated or private, the token is wrong, or the model does not exist at all.
    #[error(
        "{url}: not authorised ({status}), expected access to model `{id}`; check its name, accept its terms on the hub, \
         and put a token that may read it into HF_TOKEN"
    )]
    NotAuthorised {
        /// The address.
        url: String,
        /// The model.
        id: String,
        /// The status of the answer.
        status: u16,
    },

    /// The cache does not hold the whole model and no connection is wanted.
    #[error(
        "{}: `{missing}` of model `{id}` at revision `{revision}` is not in the cache and the hub is offline; \
         unset HF_HUB_OFFLINE once, or give the folder of a copy", cache.display()
    )]
    Offline {
        /// The cache.
        cache: PathBuf,
        /// The model.
        id: String,
        /// The branch, tag or commit.
        revision: String,
        /// The first part that is not there.
        missing: String,
    },

    /// A downloaded file is not the one that the hub announced. It has been deleted.
    #[error("{}: found {what} {found}, expected {wanted}; try again, the damaged download is deleted", path.display())]
    Mismatch {
        /// The download.
        path: PathBuf,
        /// "size" or "sha256".
        what: &'static str,
        /// The value found.
        found: String,
        /// The value announced.
        wanted: String,
    },

    /// The connection failed or broke. What has arrived is kept, and the next call goes on from there.
    #[error("{url}: {problem}; check the network and try again, the download goes on where it stopped")]
    Network {
        /// The address.
        url: String,
        /// The problem.
        problem: String,
    },

    /// The server's answer makes no sense.
    #[error("{url}: found {found}, expected {wanted}; check that HF_ENDPOINT is a model hub")]
    Answer {
        /// The address.
        url: String,
        /// The answer of the hub.
        found: String,
        /// An answer that would do.
        wanted: String,
    },

    /// The cache cannot be read or written.
    #[error("{}: cannot {action}; check that the folder is writable and has space left", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operation, as a verb.
        action: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}
