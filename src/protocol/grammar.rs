//! Character classes and lists of RFC 9110 §5.6, shared by everything that reads or writes fields.

/// Bytes that a method may have.
pub(crate) const METHOD_LENGTH: usize = 32;

const TOKEN: u8 = 1;
const VALUE: u8 = 2;
const TARGET: u8 = 4;
const HOST: u8 = 8;
const REG_NAME: u8 = 16;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let mut class = 0;
        if b.is_ascii_alphanumeric() || in_set(b, b"!#$%&'*+-.^_`|~") {
            class |= TOKEN;
        }
        if b == b'\t' || (b >= b' ' && b != 0x7f) {
            class |= VALUE;
        }
        if b.is_ascii_graphic() && b != b'#' && b != b'\\' {
            class |= TARGET;
        }
        if b.is_ascii_alphanumeric() || in_set(b, b"-._") {
            class |= HOST | REG_NAME;
        }
        if in_set(b, b"~!$&'()*+;=") {
            class |= REG_NAME;
        }
        classes[byte] = class;
        byte += 1;
    }
    classes
}

const fn in_set(byte: u8, set: &[u8]) -> bool {
    let mut index = 0;
    while index < set.len() {
        if set[index] == byte {
            return true;
        }
        index += 1;
    }
    false
}

#[inline]
fn is(class: u8, byte: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// `tchar` (RFC 9110 §5.6.2).
#[inline]
pub(crate) fn is_token(byte: u8) -> bool {
    is(TOKEN, byte)
}

/// `token`: at least one `tchar`.
#[inline]
pub(crate) fn is_token_text(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token(byte))
}

/// What may stand in a field value: visible ASCII, space, tab, and bytes from 0x80 up, which are opaque (RFC 9110 §5.5).
#[inline]
pub(crate) fn is_value_text(text: &[u8]) -> bool {
    // A tab is rare enough to be looked at again.
    has_none(text, controls) || text.iter().all(|&byte| (byte >= b' ' || byte == b'\t') && byte != 0x7f)
}

/// Whether all of it is visible ASCII.
#[inline]
pub(crate) fn is_graphic_text(text: &[u8]) -> bool {
    has_none(text, |word| controls(word) | equal(word, b' ') | (word & HIGHS)) || text.iter().all(u8::is_ascii_graphic)
}

/// Whether `marks` sets no bit in any word of the text, which must have eight bytes: they are looked at together, and the
/// last eight may overlap those before.
#[inline]
fn has_none(text: &[u8], marks: impl Fn(u64) -> u64) -> bool {
    text.last_chunk().is_some_and(|last| {
        let words = text.as_chunks().0.iter().chain([last]);
        words.fold(0, |found, word| found | marks(u64::from_le_bytes(*word))) == 0
    })
}

/// Sets the high bits of bytes below 0x20 and of 0x7f. Above the first of them others may be set as well.
#[inline]
pub(crate) fn controls(word: u64) -> u64 {
    (word.wrapping_sub(ONES * 0x20) & !word & HIGHS) | equal(word, 0x7f)
}

/// Sets the high bits of these bytes. Above the first of them others may be set as well.
#[inline]
pub(crate) fn equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ (ONES * u64::from(byte));
    difference.wrapping_sub(ONES) & !difference & HIGHS
}

const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES * 0x80;

/// What a request target is made of: visible ASCII without `#`, which would begin a fragment, and the backslash, which some
/// read as a slash.
#[inline]
pub(crate) fn is_target(byte: u8) -> bool {
    is(TARGET, byte)
}

/// Whether all of it may stand in a target.
#[inline]
pub(crate) fn is_target_text(text: &[u8]) -> bool {
    text.iter().all(|&byte| is_target(byte))
}

/// Letters, digits, `-`, `.`, `_`: all that common host names have.
#[inline]
pub(crate) fn is_plain_host(byte: u8) -> bool {
    is(HOST, byte)
}

/// `reg-name` without percent-encoding and without the comma, which would make a list of hosts look like one (RFC 3986
/// §3.2.2).
#[inline]
pub(crate) fn is_reg_name(byte: u8) -> bool {
    is(REG_NAME, byte)
}

/// Without surrounding spaces and tabs.
#[inline]
pub(crate) fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// The elements of a comma-separated list, trimmed; the empty ones too.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim_blanks)
}

/// `1*DIGIT`, at most `u64::MAX`: a larger number is that.
#[inline]
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, &byte| {
        byte.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u64::from(byte & 0x0f)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_digits_only_and_never_wrap() {
        let cases: &[(&[u8], Option<u64>)] = &[
            (b"0", Some(0)),
            (b"010", Some(10)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", Some(u64::MAX)),
            (b"99999999999999999999999999", Some(u64::MAX)),
            (b"", None),
            (b"+1", None),
            (b"-0", None),
            (b"0x10", None),
            (b"1_0", None),
            (b"1 0", None),
            (b"1,1", None),
            (b"\xd9\xa1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(decimal(text), *expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn lists_keep_their_empty_elements() {
        let elements: Vec<_> = list(b", a ,\tb,,").collect();
        assert_eq!(elements, [b"".as_slice(), b"a", b"b", b"", b""]);
    }

    /// Words are looked at as a whole; a byte counts wherever it lies in one.
    fn judges_each_byte_by_itself(judge: fn(&[u8]) -> bool, fine: fn(u8) -> bool) {
        for length in 1..=25 {
            for place in 0..length {
                for byte in 0..=255_u8 {
                    let mut text = vec![b'~'; length];
                    text[place] = byte;
                    assert_eq!(judge(&text), fine(byte), "{byte:#04x} at {place} of {length}");
                }
            }
        }
    }

    #[test]
    fn every_byte_at_every_place_of_a_value_or_a_name_is_judged_by_itself() {
        judges_each_byte_by_itself(is_value_text, |byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
        judges_each_byte_by_itself(is_graphic_text, |byte| (b'!'..=b'~').contains(&byte));
        assert!(is_value_text(b""));
    }
}
