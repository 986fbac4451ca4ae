//! Request heads: httparse parses, and what it lets through that RFC 9112 or the policy does not is checked on top.
//!
//! A head that arrives whole and is fine, nearly every one, is looked at once ([`whole`]). Any other goes through
//! [`Scan`], line by line as its lines become complete: so the verdict does not depend on how the bytes were split, it
//! comes as early as it can, and each byte is looked at a bounded number of times.
//!
//! The plainest heads are recognised without any of that ([`plain`]).

use std::mem::MaybeUninit;

use httparse::{Header, Status};

use super::framing::Framing;
use super::{Error, plain, target, work};
use crate::protocol::Limits;
use crate::protocol::field::FieldId;
use crate::protocol::grammar;
use crate::protocol::head::{FieldSpan, Head, Span, Version};

// With more than fit in a page, the stack would have to be probed at each call.
const FIELDS_ON_STACK: usize = 100;

/// How far an incomplete head has been looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Up to here there is no line end that has not been dealt with.
    scanned: u32,
    /// Start of the current line.
    line: u32,
    /// Complete field lines.
    fields: u32,
}

impl Scan {
    /// Whether nothing has been seen yet.
    pub(super) fn is_fresh(self) -> bool {
        self.scanned == 0
    }

    /// The head at the front of `input`, filled into `head`, and its length; `None` while it is incomplete.
    #[inline]
    pub(super) fn head(&mut self, input: &[u8], limits: &Limits, head: &mut Head) -> Result<Option<usize>, Error> {
        if self.is_fresh() {
            if let Some(length) = plain::head(input, limits, head) {
                work::looked_at(length);
                return Ok(Some(length));
            }
            // A refusal here may be of something further back than what the lines are refused for: they decide.
            if let Ok(Some(length)) = whole(input, limits, head) {
                return Ok(Some(length));
            }
        }
        self.by_lines(input, limits, head)
    }

    #[cold]
    fn by_lines(&mut self, input: &[u8], limits: &Limits, head: &mut Head) -> Result<Option<usize>, Error> {
        let Some(length) = self.advance(input, limits)? else { return Ok(None) };
        let input = input.get(..length).unwrap_or_default();
        whole(input, limits, head)?.ok_or(Error::Head).map(Some)
    }

    /// Checks the lines that have become complete. The length of the head, once that is known.
    fn advance(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, Error> {
        let window = input.get(..limits.head_window()).unwrap_or(input);
        if let Some(error) = stranger(window) {
            return Err(error);
        }
        loop {
            let start = self.line as usize;
            let newline = memchr::memchr(b'\n', window.get(self.scanned as usize..).unwrap_or_default());
            let end = newline.map_or(window.len(), |offset| self.scanned as usize + offset);
            work::looked_at(end.saturating_sub(self.scanned as usize));
            let line = window.get(start..end).unwrap_or_default();
            let content = line.strip_suffix(b"\r").unwrap_or(line);
            let (limit, error) = if start == 0 {
                (limits.request_line, Error::RequestLineTooLong)
            } else {
                (limits.field_size, Error::FieldTooLarge)
            };
            if content.len() > limit {
                return Err(error);
            }
            if newline.is_none() {
                self.scanned = window.len() as u32;
                return if input.len() > window.len() { Err(Error::HeadTooLarge) } else { Ok(None) };
            }
            if content.len() == line.len() {
                return Err(Error::BareLf);
            }
            self.scanned = end as u32 + 1;
            self.line = self.scanned;
            if start == 0 {
                check_request_line(content)?;
            } else if content.is_empty() {
                return Ok(Some(end + 1));
            } else {
                self.fields += 1;
                if self.fields as usize > limits.fields {
                    return Err(Error::TooManyFields);
                }
                check_field_line(content)?;
            }
        }
    }
}

/// What the first bytes are to be refused for if no method can begin with them. Other protocols are called by name: a port
/// of the wrong kind is the most usual mistake in a front-end's configuration.
#[cold]
fn stranger(input: &[u8]) -> Option<Error> {
    if input.first().is_some_and(u8::is_ascii_digit) && input.iter().find(|byte| !byte.is_ascii_digit()) == Some(&b':')
    {
        return Some(Error::ScgiToHttp);
    }
    match input.first() {
        // A record of version 1, and modifier 0.
        Some(1) => Some(Error::FastCgiToHttp),
        Some(0) => Some(Error::UwsgiToHttp),
        // The type of a handshake's record (RFC 8446 §5.1).
        Some(0x16) => Some(Error::TlsToHttp),
        Some(&byte) if !grammar::is_token(byte) => Some(Error::Method),
        _ => None,
    }
}

/// `method SP target SP version` (RFC 9112 §3): exactly one space each.
fn check_request_line(line: &[u8]) -> Result<(), Error> {
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Error::RequestLine);
    };
    if !grammar::is_token_text(method) {
        return Err(Error::Method);
    }
    if method.len() > grammar::METHOD_LENGTH {
        return Err(Error::MethodTooLong);
    }
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => {}
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            if *major != b'1' {
                return Err(Error::VersionNotSupported);
            }
        }
        _ => return Err(Error::Version),
    }
    target::split(method, target).map(drop)
}

/// `name ":" OWS value OWS` (RFC 9112 §5).
fn check_field_line(line: &[u8]) -> Result<(), Error> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Error::Folding);
    }
    let (name, value) = split_field_line(line)?;
    if grammar::is_token_text(name) && grammar::is_value_text(value) {
        return Ok(());
    }
    Err(match name {
        [name @ .., b' ' | b'\t'] if grammar::is_token_text(grammar::trim_blanks(name)) => Error::FieldNameBlank,
        name if grammar::is_token_text(name) => Error::FieldValue,
        _ => Error::FieldName,
    })
}

fn split_field_line(line: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let colon = memchr::memchr(b':', line).ok_or(Error::FieldName)?;
    let (name, value) = line.split_at(colon);
    Ok((name, value.get(1..).unwrap_or_default()))
}

/// Parses a head that lies whole at the front of `input`.
#[inline]
pub(super) fn whole(input: &[u8], limits: &Limits, head: &mut Head) -> Result<Option<usize>, Error> {
    let window = input.get(..limits.head_window()).unwrap_or(input);
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_ON_STACK];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(window, &mut fields) {
        Ok(Status::Complete(length)) => {
            work::looked_at(length);
            let parsed = Parsed::of(&request).ok_or(Error::Head)?;
            fill(window.get(..length).unwrap_or_default(), &parsed, limits, head)?;
            Ok(Some(length))
        }
        Ok(Status::Partial) => {
            work::looked_at(window.len());
            Ok(None)
        }
        Err(httparse::Error::TooManyHeaders) => many_fields(window, limits, head),
        Err(httparse::Error::Version) => later_version(window, limits, head),
        Err(_) => Err(Error::Head),
    }
}

/// More fields than usual need memory of their own.
#[cold]
fn many_fields(input: &[u8], limits: &Limits, head: &mut Head) -> Result<Option<usize>, Error> {
    work::looked_at(input.len());
    // No field is shorter than `a:` and CRLF.
    let mut fields = vec![httparse::EMPTY_HEADER; limits.fields.min(input.len() / 4)];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(input) {
        Ok(Status::Complete(length)) => {
            let parsed = Parsed::of(&request).ok_or(Error::Head)?;
            fill(input.get(..length).unwrap_or_default(), &parsed, limits, head)?;
            Ok(Some(length))
        }
        Ok(Status::Partial) => Ok(None),
        Err(_) => Err(Error::TooManyFields),
    }
}

/// HTTP/1.2 to 1.9 are HTTP/1.1 to us (RFC 9110 §2.5), but unknown to httparse.
#[cold]
fn later_version(input: &[u8], limits: &Limits, head: &mut Head) -> Result<Option<usize>, Error> {
    work::looked_at(input.len());
    let line = memchr::memchr(b'\n', input).ok_or(Error::Version)?;
    let mut as_11 = input.to_vec();
    match as_11.get_mut(..line) {
        Some([.., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'2'..=b'9', b'\r']) => *minor = b'1',
        _ => return Err(Error::Version),
    }
    whole(&as_11, limits, head)
}

struct Parsed<'b, 'h> {
    method: &'b str,
    target: &'b str,
    minor: u8,
    fields: &'h [Header<'b>],
}

impl<'b, 'h> Parsed<'b, 'h> {
    #[inline]
    fn of(request: &'h httparse::Request<'h, 'b>) -> Option<Self> {
        Some(Self {
            method: request.method?,
            target: request.path?,
            minor: request.version?,
            fields: &*request.headers,
        })
    }
}

/// Checks what httparse lets through, and writes everything into `head`. `input` is exactly the head.
#[inline]
fn fill(input: &[u8], parsed: &Parsed<'_, '_>, limits: &Limits, head: &mut Head) -> Result<(), Error> {
    let span = |part: &[u8]| {
        let start = (part.as_ptr() as usize).wrapping_sub(input.as_ptr() as usize) as u32;
        Span { start, end: start.wrapping_add(part.len() as u32) }
    };
    head.bytes.clear();
    head.bytes.extend_from_slice(input);
    head.fields.clear();
    head.forget();

    let (method, target) = (span(parsed.method.as_bytes()), span(parsed.target.as_bytes()));
    let line_end = parsed.method.len() + 1 + parsed.target.len() + " HTTP/1.1".len();
    if method.start != 0 {
        return Err(Error::EmptyLines);
    }
    if line_end > limits.request_line {
        return Err(Error::RequestLineTooLong);
    }
    if method.end as usize > grammar::METHOD_LENGTH {
        return Err(Error::MethodTooLong);
    }
    let parts = target::split(parsed.method.as_bytes(), parsed.target.as_bytes())?;
    let within = |range: std::ops::Range<usize>| Span {
        start: target.start + range.start as u32,
        end: target.start + range.end as u32,
    };
    head.method = method;
    head.target = target;
    head.form = parts.form;
    head.path = within(parts.path);
    head.query = parts.query.map(within);
    head.authority = parts.authority.map(within);
    head.version = if parsed.minor == 0 { Version::Http10 } else { Version::Http11 };

    if parsed.fields.len() > limits.fields {
        return Err(Error::TooManyFields);
    }
    head.fields.reserve(parsed.fields.len());
    let mut position = after_crlf(input, line_end)?;
    let mut framing = Framing::default();
    for field in parsed.fields {
        let (name, value) = (span(field.name.as_bytes()), span(field.value));
        if name.start as usize != position {
            return Err(Error::Head);
        }
        let end = after_blanks(input, value.end as usize);
        if end - position > limits.field_size {
            return Err(Error::FieldTooLarge);
        }
        position = after_crlf(input, end)?;
        let id = FieldId::of(field.name.as_bytes());
        framing.note(id, field.value, head.fields.len());
        head.fields.push(FieldSpan { name, value, id });
    }
    if after_crlf(input, position)? != input.len() {
        return Err(Error::Head);
    }
    framing.settle(limits, head)
}

/// The position behind the CRLF at `position`.
#[inline]
fn after_crlf(input: &[u8], position: usize) -> Result<usize, Error> {
    match input.get(position..).and_then(<[u8]>::first_chunk) {
        Some(b"\r\n") => Ok(position + 2),
        _ => Err(Error::BareLf),
    }
}

/// The position behind the blanks at `position`.
#[inline]
fn after_blanks(input: &[u8], mut position: usize) -> usize {
    while let Some(b' ' | b'\t') = input.get(position) {
        position += 1;
    }
    position
}

/// Checks one line of a trailer section, without its CRLF (RFC 9112 §7.1.2). Trailers are dropped after that.
pub(super) fn check_trailer(line: &[u8]) -> Result<(), Error> {
    check_field_line(line).map_err(|_| Error::Trailer)?;
    let (name, _) = split_field_line(line)?;
    // RFC 9110 §6.5.1: what a recipient needs before it reads the body, or trusts a gateway for.
    match FieldId::of(name) {
        FieldId::Authorization
        | FieldId::Connection
        | FieldId::ContentEncoding
        | FieldId::ContentLength
        | FieldId::ContentType
        | FieldId::Cookie
        | FieldId::Expect
        | FieldId::Forwarded
        | FieldId::Host
        | FieldId::KeepAlive
        | FieldId::Proxy
        | FieldId::ProxyConnection
        | FieldId::Range
        | FieldId::Te
        | FieldId::Trailer
        | FieldId::TransferEncoding
        | FieldId::Upgrade
        | FieldId::XForwardedFor
        | FieldId::XForwardedHost
        | FieldId::XForwardedPort
        | FieldId::XForwardedProto
        | FieldId::XForwardedProtocol
        | FieldId::XForwardedSsl
        | FieldId::XRealIp => Err(Error::TrailerForbidden),
        _ => Ok(()),
    }
}
