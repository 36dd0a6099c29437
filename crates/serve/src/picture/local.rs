//! Pictures in files of the server.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{refused, too_large};
use crate::error::ApiError;

/// The bytes of the file that a `file://` address names, if it lies below `root` (which is canonical) once links and
/// `..` are followed. A file outside and one that does not exist are told alike.
pub fn read(url: &str, root: &Path, place: &str, most: usize) -> Result<Vec<u8>, ApiError> {
    let outside = || {
        refused(
            place,
            "found no file of that name below the server's media root; check the address",
        )
    };
    let path = path_of(url).ok_or_else(|| {
        refused(
            place,
            "found a file address that cannot be read, expected file:///path",
        )
    })?;
    let path = path
        .canonicalize()
        .ok()
        .filter(|path| path.starts_with(root))
        .ok_or_else(outside)?;
    // Before it is opened: opening a pipe would wait for its writer.
    if !path.is_file() {
        return Err(outside());
    }
    let file = File::open(&path).map_err(|_| outside())?;
    let mut bytes = Vec::new();
    file.take(most as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| outside())?;
    if bytes.len() > most {
        let message = format!("{place}: found a file of more than {most} bytes, expected at most as many");
        return Err(too_large("image_too_large", message));
    }
    Ok(bytes)
}

/// The path of `file:///path` or `file://localhost/path`, percent signs decoded.
fn path_of(url: &str) -> Option<PathBuf> {
    let rest = url.get(5..)?.strip_prefix("//")?;
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    let path = path
        .split(['?', '#'])
        .next()
        .filter(|path| path.starts_with('/'))?;
    let text = String::from_utf8(percent_decoded(path)?).ok()?;
    (!text.contains('\0')).then(|| PathBuf::from(text))
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                (16 * high + low) as u8
            }
            byte => byte,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_below_the_root_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("media");
        std::fs::create_dir_all(root.join("deep")).unwrap();
        std::fs::write(root.join("deep/a b.png"), b"inside").unwrap();
        std::fs::write(folder.path().join("secret.png"), b"outside").unwrap();
        let root = root.canonicalize().unwrap();
        let url = |path: &str| format!("file://{}/{path}", root.display());
        let open = |url: &str| read(url, &root, "here", 100);
        assert_eq!(open(&url("deep/a%20b.png")).unwrap(), b"inside");
        assert_eq!(open(&url("deep/../deep/a b.png")).unwrap(), b"inside");
        for wrong in [
            url("../secret.png"),
            url("deep/%2e%2e/%2e%2e/secret.png"),
            url("deep"),
            url("none.png"),
            "file:///etc/passwd".into(),
            "file://other/etc/passwd".into(),
            "file:relative".into(),
            url("a%zz"),
            url("a%00"),
        ] {
            let error = open(&wrong).unwrap_err();
            assert_eq!(
                (error.status.as_u16(), error.code),
                (400, Some("image_refused")),
                "{wrong}"
            );
        }
        assert_eq!(
            read(&url("deep/a b.png"), &root, "here", 5).unwrap_err().status,
            413
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_outside_and_pipes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("media");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(folder.path().join("secret.png"), b"outside").unwrap();
        std::os::unix::fs::symlink("../secret.png", root.join("link.png")).unwrap();
        let root = root.canonicalize().unwrap();
        let url = format!("file://{}/link.png", root.display());
        assert!(read(&url, &root, "here", 100).is_err());
        assert!(read("file:///dev/zero", Path::new("/dev"), "here", 100).is_err());
    }
}
