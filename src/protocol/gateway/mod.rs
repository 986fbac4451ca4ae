//! What uwsgi, FastCGI and SCGI have in common: variables in place of a head, and a CGI program's kind of answer.

pub(in crate::protocol) mod answer;
mod path;
pub(in crate::protocol) mod single;
pub(in crate::protocol) mod variables;

use super::Error;

/// Whether `input` begins as a request of HTTP does, the most usual mistake in a front-end's configuration; `None` if that
/// cannot be said yet. Neither uwsgi nor FastCGI nor SCGI has a first byte that a method has.
pub(in crate::protocol) fn is_http(input: &[u8]) -> Option<bool> {
    let start = input.get(..4).unwrap_or(input);
    let fits = start.iter().enumerate().all(|(index, byte)| byte.is_ascii_uppercase() || (*byte == b' ' && index > 2));
    if !fits || start.len() == 4 { Some(fits && !start.is_empty()) } else { None }
}

/// What a first byte is to be refused for that the protocol does not have: `as_http`, if what follows looks like it.
pub(in crate::protocol) fn stranger(input: &[u8], as_http: Error, otherwise: Error) -> Option<Error> {
    is_http(input).map(|is_http| if is_http { as_http } else { otherwise })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
