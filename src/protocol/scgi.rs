//! SCGI: a netstring of variables, the body, and a CGI program's response that ends with the connection.
//!
//! ```text
//!   LENGTH ":" (name NUL value NUL)* "," body
//! ```

use super::gateway::answer::Style;
use super::gateway::single::{Opened, Opening, Single};
use super::gateway::variables::{self, Pair};
use super::gateway::{SCGI_DIGITS as DIGITS, stranger};
use super::{Error, Head, Limits, Protocol};

/// One SCGI connection.
pub(super) type Scgi = Single<Netstring>;

#[derive(Clone, Debug, Default)]
pub(super) struct Netstring;

impl Opening for Netstring {
    const STYLE: Style = Style::StatusField;

    fn parse(input: &[u8], limits: &Limits, head: &mut Head) -> Result<Opened, Error> {
        match input.first() {
            None => return Ok(Opened::NeedMore),
            Some(b'1'..=b'9') => {}
            Some(_) => return stranger(input, Protocol::Scgi, Error::ScgiLength).map_or(Ok(Opened::NeedMore), Err),
        }
        let digits = input.iter().take(DIGITS + 1).take_while(|byte| byte.is_ascii_digit());
        let (count, size) =
            digits.fold((0, 0), |(count, size), byte| (count + 1, size * 10 + usize::from(byte & 0x0f)));
        match input.get(count) {
            _ if count > DIGITS => return Err(Error::HeadTooLarge),
            None => return Ok(Opened::NeedMore),
            Some(b':') if size > limits.head_size => return Err(Error::HeadTooLarge),
            Some(b':') => {}
            Some(_) => return Err(Error::ScgiLength),
        }
        let (start, end) = (count + 1, count + 1 + size);
        let (payload, comma) = match (input.get(start..end), input.get(end)) {
            (Some(payload), Some(comma)) => (payload, *comma),
            _ => return Ok(Opened::NeedMore),
        };
        if comma != b',' {
            return Err(Error::ScgiComma);
        }
        head.bytes.clear();
        head.bytes.extend_from_slice(payload);
        variables::read(Protocol::Scgi, pair, false, limits, head)?;
        Ok(Opened::Request(end + 1))
    }
}

/// The pair at that place of a netstring.
#[inline]
fn pair(bytes: &[u8], at: usize) -> Option<Pair> {
    let text = |at: usize| Some(at..at + memchr::memchr(0, bytes.get(at..)?)?);
    let name = text(at)?;
    let value = text(name.end + 1)?;
    Some(Pair { name, next: value.end + 1, value })
}
