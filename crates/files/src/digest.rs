//! Short names for contents.

/// A 64-bit FNV-1a hash: the same bytes give the same name on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fnv64(u64);

impl Fnv64 {
    /// The hash of no bytes.
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// With more bytes behind.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(self.0, step))
    }

    /// With a text behind, and a byte that no text holds, so that two texts differ from one text of both.
    pub fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes()).bytes(&[0xff])
    }

    /// The number.
    pub fn value(self) -> u64 {
        self.0
    }

    /// Sixteen hexadecimal digits.
    pub fn hex(self) -> String {
        format!("{:016x}", self.0)
    }

    /// The first eight digits of [`Self::hex`], for names of folders.
    pub fn short(self) -> String {
        format!("{:08x}", self.0 >> 32)
    }
}

impl Default for Fnv64 {
    fn default() -> Self {
        Self::new()
    }
}

/// SHA-256 of everything that `source` gives, in 64 hexadecimal digits.
///
/// # Errors
/// When it cannot be read.
#[cfg(feature = "sha256")]
pub fn sha256_hex(mut source: impl std::io::Read) -> std::io::Result<String> {
    use sha2::{Digest, Sha256};

    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(format!("{:x}", hash.finalize())),
            n_bytes => hash.update(&buffer[..n_bytes]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values_of_fnv_1a() {
        for (text, wanted) in [
            ("", "cbf29ce484222325"),
            ("a", "af63dc4c8601ec8c"),
            ("foobar", "85944171f73967e8"),
        ] {
            assert_eq!(Fnv64::new().bytes(text.as_bytes()).hex(), wanted);
        }
        assert_eq!(Fnv64::new().bytes(b"foobar").short(), "85944171");
        let apart = |a: &str, b: &str| Fnv64::new().text(a).text(b).value();
        assert_ne!(apart("ab", "c"), apart("a", "bc"));
    }

    #[cfg(feature = "sha256")]
    #[test]
    fn published_value_of_sha_256() {
        let found = sha256_hex(b"abc".as_slice()).unwrap();
        assert_eq!(
            found,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
