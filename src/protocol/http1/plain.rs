//! Recognises plain heads in one pass over words of eight bytes.
//!
//! A head is plain if it lies whole in the input and nothing about it is out of the ordinary: an origin-form target,
//! HTTP/1.0 or 1.1, no tabs, empty values or blanks at the end of a line, everything within the limits. Nearly all are.
//! Anything else, right or wrong, is left to httparse and the checks on top of it: this pass only ever accepts, and what it
//! accepts they accept with the same result (the tests in `agreement` see to that).
//!
//! Clients say the same in most lines of every request. A line that the head before had in the same place is known by that,
//! and so is a whole head.

use std::ops::Range;

use super::framing::Framing;
use crate::protocol::Limits;
use crate::protocol::field::FieldId;
use crate::protocol::grammar::{self, controls, equal};
use crate::protocol::head::{FieldSpan, Head, Repeated, Span, Target, Version};

/// Fills `head` from the plain head at the front of `input` and returns its length. Otherwise what is in `head` afterwards
/// means nothing.
#[inline]
pub(super) fn head(input: &[u8], limits: &Limits, head: &mut Head) -> Option<usize> {
    let window = input.get(..limits.head_window()).unwrap_or(input);
    if is_whole_again(window, limits, head) {
        head.repeated = Repeated { number: std::mem::take(&mut head.number), fields: head.ids, whole: true };
        return Some(head.bytes.len());
    }
    // Until this one has been accepted, the fields are partly its, and partly the one before's.
    if !std::mem::take(&mut head.plain) {
        head.fields.clear();
    }
    let mut position = request_line(window, limits, head)?;
    let mut framing = Framing::default();
    let (mut count, mut same, mut changed) = (0, 0, 0);
    loop {
        let rest = window.get(position..)?;
        let place = head.fields.get_mut(count);
        let earlier = place.as_deref().and_then(|earlier| again(earlier, &head.bytes, rest));
        let Line { name, value, id } = match earlier {
            Some(line) => {
                same |= line.id.bit();
                line
            }
            None if rest.first_chunk() == Some(b"\r\n") => break,
            None => {
                let line = field(rest)?;
                changed |= line.id.bit();
                line
            }
        };
        if value.end > limits.field_size || count == limits.fields {
            return None;
        }
        let start = position as u32;
        let span = FieldSpan {
            name: Span { start, end: start + name as u32 },
            value: Span { start: start + value.start as u32, end: start + value.end as u32 },
            id,
        };
        match place {
            Some(place) => *place = span,
            None => head.fields.push(span),
        }
        position += value.end + 2;
        framing.note(id, rest.get(value).unwrap_or_default(), count);
        count += 1;
    }
    head.fields.truncate(count);
    let length = position + 2;
    head.bytes.clear();
    head.bytes.extend_from_slice(window.get(..length)?);
    framing.settle(limits, head).ok()?;
    (head.plain, head.ids, head.limits) = (true, same | changed, *limits);
    head.repeated = Repeated { number: std::mem::take(&mut head.number), fields: same & !changed, whole: false };
    Some(length)
}

/// Whether the plain head before is at the front once more, to the letter. What it came to is still in `head`.
#[inline]
fn is_whole_again(window: &[u8], limits: &Limits, head: &Head) -> bool {
    head.plain && head.ids & FieldId::PRIVATE == 0 && head.limits == *limits && window.starts_with(&head.bytes)
}

/// Where in a field line its parts lie. It ends with the value.
struct Line {
    /// The length of the name.
    name: usize,
    value: Range<usize>,
    id: FieldId,
}

/// The line at the front of `rest`, if it is that field of the plain head before, whose bytes are given, to the letter.
#[inline]
fn again(earlier: &FieldSpan, bytes: &[u8], rest: &[u8]) -> Option<Line> {
    let FieldSpan { name, value, id } = *earlier;
    if id.bit() & FieldId::PRIVATE != 0 {
        return None;
    }
    let start = name.start as usize;
    let line = bytes.get(start..(value.end as usize).checked_add(2)?)?;
    rest.starts_with(line).then(|| Line {
        name: (name.end as usize).wrapping_sub(start),
        value: (value.start as usize).wrapping_sub(start)..line.len().wrapping_sub(2),
        id,
    })
}

/// The length of the request line with its CRLF.
#[inline]
fn request_line(window: &[u8], limits: &Limits, head: &mut Head) -> Option<usize> {
    let method = if window.first_chunk() == Some(b"GET ") {
        3
    } else {
        let end = window.iter().position(|&byte| !grammar::is_token(byte));
        end.filter(|length| (1..=grammar::METHOD_LENGTH).contains(length))?
    };
    let Some([b' ', target @ ..]) = window.get(method..) else { return None };
    if target.first() != Some(&b'/') || window.starts_with(b"CONNECT") {
        return None;
    }
    let (path, query) = match target_length(target, true) {
        path if target.get(path) == Some(&b'?') => {
            let query = target_length(target.get(path + 1..)?, false);
            (path, Some(query))
        }
        path => (path, None),
    };
    let target_length = path + query.map_or(0, |query| query + 1);
    // Not a match, which would compare byte by byte.
    let end = target.get(target_length..)?.first_chunk()?;
    let version = if end == b" HTTP/1.1\r\n" {
        Version::Http11
    } else if end == b" HTTP/1.0\r\n" {
        Version::Http10
    } else {
        return None;
    };
    let length = method + 1 + target_length + " HTTP/1.1\r\n".len();
    if length > limits.request_line + 2 {
        return None;
    }
    let start = method as u32 + 1;
    let end = start + target_length as u32;
    head.method = Span { start: 0, end: start - 1 };
    head.target = Span { start, end };
    head.form = Target::Origin;
    head.path = Span { start, end: start + path as u32 };
    head.query = query.map(|query| Span { start: end - query as u32, end });
    head.authority = None;
    head.version = version;
    Some(length)
}

/// How many bytes at the front may stand in a target; with `path`, up to the first `?`.
#[inline]
fn target_length(text: &[u8], path: bool) -> usize {
    let end = text.iter().position(|&byte| !grammar::is_target(byte) || (path && byte == b'?'));
    end.unwrap_or(text.len())
}

/// The field line at the front.
#[inline]
fn field(line: &[u8]) -> Option<Line> {
    let colon = find(line, 0, |word| equal(word, b':') | controls(word));
    let (name, rest) = line.split_at_checked(colon)?;
    let start = match rest {
        [b':', b' ', b' ' | b'\t', ..] => return None,
        [b':', b' ', ..] => colon + 2,
        [b':', ..] => colon + 1,
        _ => return None,
    };
    let end = find(line, start, controls);
    let (b"\r\n", value) = (line.get(end..)?.first_chunk()?, line.get(start..end)?) else { return None };
    if let [] | [.., b' '] = value {
        return None;
    }
    // Every request has this one, and nearly all write it like that.
    let id = if name == b"Host" { FieldId::Host } else { FieldId::of(name) };
    (id != FieldId::Other || grammar::is_token_text(name)).then_some(Line { name: colon, value: start..end, id })
}

/// The first place from `start` on where `marks` sets a byte's high bit; the end of the text sets one, too.
///
/// Above a byte that is marked rightly, marks may be wrong: only the first counts.
#[inline]
fn find(text: &[u8], mut start: usize, marks: impl Fn(u64) -> u64) -> usize {
    loop {
        let marked = marks(word_at(text, start));
        if marked != 0 {
            return start + marked.trailing_zeros() as usize / 8;
        }
        start += 8;
    }
}

/// Eight bytes, with zeros behind the end of the text.
#[inline]
fn word_at(text: &[u8], start: usize) -> u64 {
    let rest = text.get(start..).unwrap_or_default();
    match rest.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}
