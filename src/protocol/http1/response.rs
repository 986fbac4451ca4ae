//! What is written: status lines, fields, framing, and the answers to refused requests.

use crate::html;
use crate::protocol::ResponseError;
use crate::protocol::grammar;
use crate::status;

const SERVER: &[u8] = b"\r\nServer: ferricorn\r\nDate: ";

/// How the end of a response body is told (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::protocol) enum Framing {
    /// No response was begun.
    #[default]
    Unanswered,
    /// There is no body, whatever is passed: HEAD, 204, 304.
    Bodiless,
    /// By `Content-Length`; so many bytes are still to come.
    Length(u64),
    /// By the last chunk; the CRLF of one that was begun may be owed.
    Chunked {
        /// Data were announced, and the CRLF behind them is to be written before anything else.
        owes_crlf: bool,
    },
    /// By the end of the connection.
    Close,
}

/// Removes what was appended to a buffer, unless all of it was fine.
pub(in crate::protocol) fn atomically<E>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let length = out.len();
    write(out).inspect_err(|_| out.truncate(length))
}

/// The status line, `Server` and `Date`.
#[inline]
pub(in crate::protocol) fn start(
    status: u16,
    words: Option<&[u8]>,
    date: &[u8; 29],
    out: &mut Vec<u8>,
) -> Result<(), ResponseError> {
    match words {
        None | Some(b"OK") if status == 200 => out.extend_from_slice(b"HTTP/1.1 200 OK\r\nServer: ferricorn\r\nDate: "),
        _ => {
            status_line(status, words.unwrap_or_else(|| status::reason(status).as_bytes()), out)?;
            out.extend_from_slice(SERVER);
        }
    }
    out.extend_from_slice(date);
    Ok(())
}

fn status_line(status: u16, words: &[u8], out: &mut Vec<u8>) -> Result<(), ResponseError> {
    if !grammar::is_value_text(words) {
        return Err(ResponseError::Reason);
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(u64::from(status), out);
    out.push(b' ');
    out.extend_from_slice(words);
    Ok(())
}

/// The head of an interim response.
pub(in crate::protocol) fn interim<'f>(
    status: u16,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    out: &mut Vec<u8>,
) -> Result<(), ResponseError> {
    status_line(status, status::reason(status).as_bytes(), out)?;
    super::fields::write(fields, out)?;
    out.extend_from_slice(b"\r\n\r\n");
    Ok(())
}

#[inline]
pub(in crate::protocol) fn content_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\nContent-Length: ");
    decimal(length, out);
}

#[inline]
pub(in crate::protocol) fn decimal(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The line before `length` bytes of a chunk's data.
pub(in crate::protocol) fn chunk_size(length: u64, out: &mut Vec<u8>) {
    let digits = 16 - (length | 1).leading_zeros() / 4;
    for place in (0..digits).rev() {
        let digit = (length >> (place * 4) & 0x0f) as u8;
        out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
    out.extend_from_slice(b"\r\n");
}

/// Who reads an error page.
#[derive(Clone, Copy, Debug)]
pub(in crate::protocol) enum Reader<'d> {
    /// By HTTP: it has to be told that the connection is going to be closed, and when this was, if that is known.
    Client { date: Option<&'d [u8; 29]> },
    /// By another protocol, where both are not for us to say.
    WebServer,
}

/// Gunicorn's error page for a status, with `text` in it. The number of body bytes appended.
pub(in crate::protocol) fn page(
    status: u16,
    text: &str,
    reader: Reader<'_>,
    with_body: bool,
    out: &mut Vec<u8>,
) -> u64 {
    let body = html::message(status, text);
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(u64::from(status), out);
    out.push(b' ');
    out.extend_from_slice(status::reason(status).as_bytes());
    if let Reader::Client { date } = reader {
        if let Some(date) = date {
            out.extend_from_slice(b"\r\nDate: ");
            out.extend_from_slice(date);
        }
        out.extend_from_slice(b"\r\nConnection: close");
    }
    out.extend_from_slice(b"\r\nContent-Type: text/html\r\nContent-Length: ");
    decimal(body.len() as u64, out);
    out.extend_from_slice(b"\r\n\r\n");
    if !with_body {
        return 0;
    }
    out.extend_from_slice(body.as_bytes());
    body.len() as u64
}
