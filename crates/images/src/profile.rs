//! Colour profiles of png files, which are compressed and which nothing here reads.

use std::borrow::Cow;

/// Bytes of a chunk around its content: length, name, check sum.
const AROUND: usize = 12;
/// Where the first chunk begins.
const FIRST: usize = 8;

/// A png file without its colour profiles. A few hundred kilobytes of a profile unpack to half a gigabyte, and the decoder
/// unpacks them with the header.
pub(super) fn without_profiles(png: &[u8]) -> Cow<'_, [u8]> {
    let mut kept: Option<Vec<u8>> = None;
    let mut at = FIRST.min(png.len());
    while let Some((name, end)) = chunk(png, at) {
        match (name == b"iCCP", &mut kept) {
            (true, None) => kept = Some(png[..at].to_vec()),
            (false, Some(kept)) => kept.extend(&png[at..end]),
            _ => {}
        }
        at = end;
    }
    match kept {
        // What is no whole chunk is left to the decoder.
        Some(mut kept) => {
            kept.extend(&png[at..]);
            kept.into()
        }
        None => png.into(),
    }
}

/// The name and the end of the chunk that begins at `at`, if the file holds all of it.
fn chunk(png: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let head = png.get(at..at + 8)?;
    let (length, name) = head.split_at(4);
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    let end = at.checked_add(length)?.checked_add(AROUND)?;
    (end <= png.len()).then_some((name, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk_of(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes(), &name[..], body, b"sum!"].concat()
    }

    fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
        [b"\x89PNG\r\n\x1a\n".to_vec(), chunks.concat()].concat()
    }

    #[test]
    fn only_profiles_are_left_out() {
        let [head, profile, data] = [(b"IHDR", "h"), (b"iCCP", "long"), (b"IDAT", "pixels")]
            .map(|(name, body)| chunk_of(name, body.as_bytes()));
        let whole = file(&[head.clone(), profile.clone(), data.clone(), profile.clone()]);
        let plain = file(&[head, data]);
        assert_eq!(*without_profiles(&whole), *plain);
        assert!(matches!(without_profiles(&plain), Cow::Borrowed(same) if same == plain));
    }

    #[test]
    fn files_that_end_early_keep_their_end() {
        let profile = chunk_of(b"iCCP", b"long");
        let whole = file(&[profile.clone(), chunk_of(b"IDAT", b"pixels")]);
        for length in 0..whole.len() {
            let cut = &whole[..length];
            let left = without_profiles(cut);
            match length < 8 + profile.len() {
                true => assert_eq!(*left, *cut),
                false => assert_eq!(left.len(), length - profile.len()),
            }
        }
        let mut endless = whole;
        endless[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(*without_profiles(&endless), *endless);
    }
}
