//! Percent-encoding (RFC 3986 §2.1).

/// Not every `%` has two hexadecimal digits behind it, or a NUL comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Decodes once, and appends what comes out.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut rest = text;
    while let Some(percent) = memchr::memchr(b'%', rest) {
        let (plain, encoded) = rest.split_at(percent);
        out.extend_from_slice(plain);
        let [_, high, low, tail @ ..] = encoded else { return Err(Malformed) };
        match (digit(*high), digit(*low)) {
            (Some(0), Some(0)) | (None, _) | (_, None) => return Err(Malformed),
            (Some(high), Some(low)) => out.push(high << 4 | low),
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
    // A raw NUL gets past no HTTP parser, but other protocols have paths too.
    if memchr::memchr(0, rest).is_some() { Err(Malformed) } else { Ok(()) }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
