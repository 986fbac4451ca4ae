//! Request heads: httparse parses, and what it lets through that RFC 9112 or the policy does not is checked on top.
//!
//! A head that arrives whole and is fine, nearly every one, is looked at once ([`whole`]). Any other goes through
//! [`Scan`], line by line as its lines become complete: so the verdict does not depend on how the bytes were split, it
//! comes as early as it can, and each byte is looked at a bounded number of times.

use std::mem::MaybeUninit;

use httparse::{Header, Status};

use super::{Error, target, work};
use crate::protocol::Limits;
use crate::protocol::field::FieldId;
use crate::protocol::grammar;
use crate::protocol::head::{FieldSpan, Head, Span, Target, Version};

const METHOD_LENGTH: usize = 32;
const FIELDS_ON_STACK: usize = 128;

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
        let window = input.get(..head_size(limits)).unwrap_or(input);
        if window.first().is_some_and(|&byte| !grammar::is_token(byte)) {
            return Err(Error::Method);
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

fn head_size(limits: &Limits) -> usize {
    limits.head_size.min(u32::MAX as usize - 1)
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
    if method.len() > METHOD_LENGTH {
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
    let (Ok(method), Ok(target)) = (std::str::from_utf8(method), std::str::from_utf8(target)) else {
        return Err(Error::Target);
    };
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
fn whole(input: &[u8], limits: &Limits, head: &mut Head) -> Result<Option<usize>, Error> {
    let window = input.get(..head_size(limits)).unwrap_or(input);
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

/// What the fields say about framing and the connection, gathered while they are copied.
#[derive(Default)]
struct Framing<'b> {
    hosts: u32,
    host: Option<Span>,
    host_index: usize,
    lengths: u32,
    length: &'b [u8],
    codings: u32,
    coding: &'b [u8],
    expectations: u32,
    expectation: &'b [u8],
    close: bool,
    keep_alive: bool,
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

    let method = span(parsed.method.as_bytes());
    let line_end = parsed.method.len() + 1 + parsed.target.len() + " HTTP/1.1".len();
    if method.start != 0 {
        return Err(Error::EmptyLines);
    }
    if line_end > limits.request_line {
        return Err(Error::RequestLineTooLong);
    }
    if method.end as usize > METHOD_LENGTH {
        return Err(Error::MethodTooLong);
    }
    let parts = target::split(parsed.method, parsed.target)?;
    let mut position = line_end;
    expect_crlf(input, &mut position)?;

    if parsed.fields.len() > limits.fields {
        return Err(Error::TooManyFields);
    }
    head.fields.reserve(parsed.fields.len());
    let mut framing = Framing::default();
    for field in parsed.fields {
        let (name, value) = (span(field.name.as_bytes()), span(field.value));
        let start = position;
        position = value.end as usize;
        while let Some(b' ' | b'\t') = input.get(position) {
            position += 1;
        }
        if name.start as usize != start {
            return Err(Error::Head);
        }
        if position - start > limits.field_size {
            return Err(Error::FieldTooLarge);
        }
        expect_crlf(input, &mut position)?;
        let id = FieldId::of(field.name.as_bytes());
        framing.note(id, field.value, value, head.fields.len());
        head.fields.push(FieldSpan { name, value, id });
    }
    expect_crlf(input, &mut position)?;
    if position != input.len() {
        return Err(Error::Head);
    }

    let target = span(parsed.target.as_bytes());
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
    framing.settle(limits, head)
}

#[inline]
fn expect_crlf(input: &[u8], position: &mut usize) -> Result<(), Error> {
    match input.get(*position..) {
        Some([b'\r', b'\n', ..]) => {
            *position += 2;
            Ok(())
        }
        _ => Err(Error::BareLf),
    }
}

impl<'b> Framing<'b> {
    #[inline]
    fn note(&mut self, id: FieldId, value: &'b [u8], span: Span, index: usize) {
        match id {
            FieldId::Host => {
                self.hosts += 1;
                self.host = Some(span);
                self.host_index = index;
            }
            FieldId::ContentLength => {
                self.lengths += 1;
                self.length = value;
            }
            FieldId::TransferEncoding => {
                self.codings += 1;
                self.coding = value;
            }
            FieldId::Expect => {
                self.expectations += 1;
                self.expectation = value;
            }
            FieldId::Connection => {
                for option in grammar::list(value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            _ => {}
        }
    }

    #[inline]
    fn settle(&self, limits: &Limits, head: &mut Head) -> Result<(), Error> {
        let modern = head.version == Version::Http11;
        head.keep_alive = !self.close && (modern || self.keep_alive);
        self.settle_host(modern, head)?;

        head.chunked = false;
        head.content_length = None;
        head.expects_continue = false;
        if self.lengths | self.codings | self.expectations != 0 {
            self.settle_body(modern, limits, head)?;
        }
        Ok(())
    }

    /// RFC 9112 §3.2: exactly one valid `Host`, and in HTTP/1.0 at most one.
    #[inline]
    fn settle_host(&self, modern: bool, head: &mut Head) -> Result<(), Error> {
        if self.hosts > 1 {
            return Err(Error::HostRepeated);
        }
        match self.host {
            None if modern => return Err(Error::HostMissing),
            None => {}
            Some(host) => {
                let value = head.bytes.get(host.start as usize..host.end as usize).unwrap_or_default();
                if value != head.valid_host {
                    if !target::is_host(value) {
                        return Err(Error::Host);
                    }
                    head.valid_host.clear();
                    head.valid_host.extend_from_slice(value);
                }
                if head.authority.is_none() {
                    head.authority = Some(host);
                }
            }
        }
        if head.form == Target::Absolute {
            self.settle_absolute(head);
        }
        Ok(())
    }

    /// RFC 9112 §3.2.2: the authority of an absolute target is what counts, so nobody may see another in `Host`.
    #[cold]
    fn settle_absolute(&self, head: &mut Head) {
        if let (Some(authority), Some(field), Some(_)) =
            (head.authority, head.fields.get_mut(self.host_index), self.host)
        {
            field.value = authority;
        }
        if head.path.start == head.path.end {
            let start = head.bytes.len() as u32;
            head.bytes.push(b'/');
            head.path = Span { start, end: start + 1 };
        }
    }

    /// RFC 9112 §6.3, with every doubt refused.
    fn settle_body(&self, modern: bool, limits: &Limits, head: &mut Head) -> Result<(), Error> {
        if self.codings > 0 {
            if !modern {
                return Err(Error::TransferEncodingVersion);
            }
            if self.lengths > 0 {
                return Err(Error::LengthAndCoding);
            }
            if self.codings > 1 {
                return Err(Error::TransferEncodingRepeated);
            }
            check_coding(self.coding)?;
            head.chunked = true;
        }
        if self.lengths > 0 {
            if self.lengths > 1 {
                return Err(Error::ContentLengthRepeated);
            }
            let length = grammar::decimal(self.length).ok_or(Error::ContentLength)?;
            if length > limits.body_size {
                return Err(Error::BodyTooLarge);
            }
            head.content_length = Some(length);
        }
        // RFC 9110 §10.1.1: HTTP/1.0 knows no expectations.
        if self.expectations > 0 && modern {
            if self.expectations > 1 || !self.expectation.eq_ignore_ascii_case(b"100-continue") {
                return Err(Error::Expectation);
            }
            head.expects_continue = head.has_body();
        }
        Ok(())
    }
}

/// `chunked` alone is understood. RFC 9112 §6.1 and §6.3: other codings under a last `chunked` are a 501, anything else
/// leaves the length in doubt.
fn check_coding(value: &[u8]) -> Result<(), Error> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let tokens = grammar::list(value).all(grammar::is_token_text);
    let last = grammar::list(value).last().is_some_and(is_chunked);
    let count = grammar::list(value).filter(|coding| is_chunked(coding)).count();
    Err(if tokens && last && count == 1 { Error::TransferCoding } else { Error::TransferEncoding })
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
