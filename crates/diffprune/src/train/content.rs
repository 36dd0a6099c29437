//! Names of contents: the same bytes give the same name on every machine.

use std::io;
use std::path::PathBuf;
use std::thread::{available_parallelism, scope};

use diffprune_files::Fnv64;

/// The name of each file's content, in order; a file that is not there has an empty one.
pub(super) fn files(paths: &[PathBuf]) -> Vec<io::Result<String>> {
    let one = |path: &PathBuf| match std::fs::read(path) {
        Ok(bytes) => Ok(Fnv64::new().bytes(&bytes).hex()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("{}: {error}", path.display()),
        )),
    };
    let threads = available_parallelism().map_or(1, |count| count.get());
    let part = paths.len().div_ceil(threads).max(1);
    scope(|scope| {
        let parts: Vec<_> = paths
            .chunks(part)
            .map(|part| {
                (
                    part.len(),
                    scope.spawn(move || part.iter().map(one).collect::<Vec<_>>()),
                )
            })
            .collect();
        let ended = |n| {
            (0..n)
                .map(|_| Err(io::Error::other("a reading thread ended")))
                .collect()
        };
        let joined = parts
            .into_iter()
            .map(|(n, part)| part.join().unwrap_or_else(|_| ended(n)));
        joined.flatten().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_contents_and_order() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..9).map(|i| folder.path().join(i.to_string())).collect();
        for (i, path) in paths.iter().enumerate().skip(1) {
            std::fs::write(path, [i as u8 % 3]).unwrap();
        }
        let names: Vec<String> = files(&paths).into_iter().map(Result::unwrap).collect();
        assert_eq!(names[0], "");
        for i in 1..9 {
            for j in 1..9 {
                assert_eq!(names[i] == names[j], i % 3 == j % 3, "{i} {j}");
            }
        }
        assert!(files(&[]).is_empty());
        assert!(
            files(&[folder.path().to_path_buf()])[0].is_err(),
            "a folder is no file"
        );
    }
}
