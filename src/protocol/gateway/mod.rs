//! What uwsgi, FastCGI and SCGI have in common: variables in place of a head, and a CGI program's kind of answer.

pub(in crate::protocol) mod answer;
mod path;
pub(in crate::protocol) mod single;
pub(in crate::protocol) mod variables;

use super::{Error, Protocol};

/// Whether `input` begins as a request of HTTP does, the most usual mistake in a front-end's configuration; `None` if that
/// cannot be said yet. Neither uwsgi nor FastCGI nor SCGI has a first byte that a method has.
pub(in crate::protocol) fn is_http(input: &[u8]) -> Option<bool> {
    let start = input.get(..4).unwrap_or(input);
    let fits = start.iter().enumerate().all(|(index, byte)| byte.is_ascii_uppercase() || (*byte == b' ' && index > 2));
    if !fits || start.len() == 4 { Some(fits && !start.is_empty()) } else { None }
}

/// Which protocol `input` begins as that is not spoken here; `None` if that cannot be said yet.
fn speaker(input: &[u8]) -> Option<Option<Protocol>> {
    match input {
        // Modifier 0; for the others, only who expects uwsgi takes them.
        [0, ..] => Some(Some(Protocol::Uwsgi)),
        // A request's beginning, or a question about the server.
        [1, 1 | 9, ..] => Some(Some(Protocol::FastCgi)),
        [1] => None,
        [b'1'..=b'9', ..] => match input.iter().take(SCGI_DIGITS + 1).find(|byte| !byte.is_ascii_digit()) {
            Some(b':') => Some(Some(Protocol::Scgi)),
            None if input.len() <= SCGI_DIGITS => None,
            _ => Some(None),
        },
        _ => is_http(input).map(|is_http| is_http.then_some(Protocol::Http)),
    }
}

/// Digits of a netstring's length that is not too large by far.
pub(in crate::protocol) const SCGI_DIGITS: usize = 9;

/// What bytes that no request can begin with here are to be refused for: those of another protocol, the most usual mistake
/// after HTTP's, are called by its name. `None` if that cannot be said yet.
pub(in crate::protocol) fn stranger(input: &[u8], here: Protocol, otherwise: Error) -> Option<Error> {
    use Protocol::{FastCgi, Http, Scgi, Uwsgi};
    Some(match (speaker(input)?, here) {
        (Some(Http), Uwsgi) => Error::HttpToUwsgi,
        (Some(Http), FastCgi) => Error::HttpToFastCgi,
        (Some(Http), Scgi) => Error::HttpToScgi,
        (Some(Uwsgi), FastCgi) => Error::UwsgiToFastCgi,
        (Some(Uwsgi), Scgi) => Error::UwsgiToScgi,
        (Some(FastCgi), Uwsgi) => Error::FastCgiToUwsgi,
        (Some(FastCgi), Scgi) => Error::FastCgiToScgi,
        (Some(Scgi), Uwsgi) => Error::ScgiToUwsgi,
        (Some(Scgi), FastCgi) => Error::ScgiToFastCgi,
        _ => otherwise,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
