//! Gunicorn's access log formats: parsed once, rendered for each request.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use crate::app::Address;
use crate::error::Error;
use crate::protocol::{FieldId, Head};
use crate::sys;

/// A request that has been answered.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// Its head; an empty one if it could not be read.
    pub(crate) head: &'a Head,
    /// Who sent it.
    pub(crate) peer: &'a Address,
    /// The status of the answer.
    pub(crate) status: u16,
    /// Bytes of the response's body that were sent; `None` if there was no response.
    pub(crate) sent: Option<u64>,
    /// From the first byte of the head to the last of the response.
    pub(crate) duration: Duration,
    /// How long it waited before that.
    pub(crate) queued: &'a dyn Fn() -> Duration,
    /// The value of a field of the response, by its name in lower case. Only asked if [`Format::uses_response`].
    pub(crate) response_field: &'a dyn Fn(&str) -> Option<&'a [u8]>,
}

/// A format, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    pieces: Vec<Piece>,
    stamp: Stamp,
    pid: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<[u8]>),
    Atom(Atom),
    /// With a width, a precision or a conversion of its own.
    Shaped(Atom, Shape),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Atom {
    RemoteAddress,
    Dash,
    User,
    Time,
    RequestLine,
    Method,
    Path,
    Query,
    Protocol,
    Status,
    Sent,
    SentOrDash,
    Seconds,
    Milliseconds,
    Microseconds,
    DecimalSeconds,
    Queued,
    Pid,
    RequestField(FieldName),
    ResponseField(String),
    Target,
    RemotePort,
}

impl Atom {
    /// Whether Python's `%d` and `%f` take it.
    fn is_number(&self) -> bool {
        matches!(self, Self::Sent | Self::Seconds | Self::Milliseconds | Self::Microseconds | Self::Queued)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum FieldName {
    Known(FieldId),
    Other(String),
}

impl FieldName {
    fn new(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let known = FieldId::ALL.iter().find(|id| id.name() == name);
        known.map_or(Self::Other(name), |id| Self::Known(*id))
    }

    /// The last one counts, as with Gunicorn.
    fn value<'a>(&self, head: &'a Head) -> Option<&'a [u8]> {
        let field = match self {
            Self::Known(id) => head.fields().filter(|field| field.id == *id).last(),
            Self::Other(name) => head.fields().filter(|field| field.name.eq_ignore_ascii_case(name)).last(),
        };
        field.map(|field| field.value)
    }
}

/// Python's conversion specification, behind the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shape {
    left: bool,
    zeros: bool,
    sign: Option<u8>,
    width: usize,
    precision: Option<usize>,
    decimal: bool,
}

/// The widest a value is made: a format is the operator's, but a slip of the finger should not fill the disk.
const WIDEST: usize = 4096;

impl Format {
    /// Reads a format in the notation of Python's `%` with names, as Gunicorn's are.
    ///
    /// # Errors
    /// An atom that does not exist, or cannot be had in this shape.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(percent) = rest.find('%') {
            literal.extend_from_slice(&rest.as_bytes()[..percent]);
            rest = &rest[percent + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                literal.push(b'%');
                rest = after;
                continue;
            }
            let (piece, after) = conversion(rest)?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
            }
            pieces.push(piece);
            rest = after;
        }
        literal.extend_from_slice(rest.as_bytes());
        if literal.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(wrong("the text between the atoms has control characters"));
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        Ok(Self { pieces, stamp: Stamp::default(), pid: format!("<{}>", std::process::id()) })
    }

    /// Whether fields of the response stand in it, so that they have to be kept until the request is logged.
    pub(crate) fn uses_response(&self) -> bool {
        self.pieces.iter().any(|piece| match piece {
            Piece::Atom(atom) | Piece::Shaped(atom, _) => matches!(atom, Atom::ResponseField(_)),
            Piece::Literal(_) => false,
        })
    }

    /// Appends the line, without its end. Nothing in it that came from a client can look like anything else.
    pub(crate) fn render(&mut self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        self.render_at(sys::unix_time_coarse(), entry, out);
    }

    fn render_at(&mut self, now: u64, entry: &Entry<'_>, out: &mut Vec<u8>) {
        let Self { pieces, stamp, pid } = self;
        stamp.set(now);
        for piece in pieces.iter() {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text),
                Piece::Atom(atom) => atom.render(entry, stamp, pid, out),
                Piece::Shaped(atom, shape) => {
                    let start = out.len();
                    atom.render(entry, stamp, pid, out);
                    shape.apply(atom.is_number(), start, out);
                }
            }
        }
    }
}

fn wrong(problem: impl AsRef<str>) -> Error {
    Error::configuration(problem.as_ref())
}

/// What stands behind a `%`, and the rest.
fn conversion(text: &str) -> Result<(Piece, &str), Error> {
    let inside = text.strip_prefix('(').ok_or_else(|| wrong("a % is followed by neither ( nor %"))?;
    let (name, rest) = inside.split_once(')').ok_or_else(|| wrong(format!("%({inside} has no )")))?;
    let atom = atom(name)?;

    let mut shape = Shape::default();
    let flags = rest.len() - rest.trim_start_matches(['-', '0', '+', ' ', '#']).len();
    for flag in rest[..flags].bytes() {
        match flag {
            b'-' => shape.left = true,
            b'0' => shape.zeros = true,
            b'+' => shape.sign = Some(b'+'),
            b' ' if shape.sign.is_none() => shape.sign = Some(b' '),
            _ => {}
        }
    }
    let (width, rest) = number(&rest[flags..]);
    shape.width = width.unwrap_or(0);
    let rest = match rest.strip_prefix('.') {
        Some(behind) => {
            let (precision, rest) = number(behind);
            shape.precision = Some(precision.unwrap_or(0));
            rest
        }
        None => rest,
    };
    if shape.width > WIDEST || shape.precision.is_some_and(|precision| precision > WIDEST) {
        return Err(wrong(format!("%({name}) is wider than {WIDEST}")));
    }
    let mut characters = rest.chars();
    match characters.next() {
        Some('s') => {
            (shape.sign, shape.zeros) = (None, false);
        }
        Some('d' | 'i' | 'u') if atom.is_number() => {
            // A precision is a number of digits there; nobody wants it in a log.
            if shape.precision.is_some() {
                return Err(wrong(format!("%({name}) has a precision, which goes with s and f only")));
            }
        }
        Some('f' | 'F') if atom.is_number() => shape.decimal = true,
        Some('d' | 'i' | 'u' | 'f' | 'F') => return Err(wrong(format!("%({name}) is text, which goes with s only"))),
        Some(other) => {
            return Err(wrong(format!("%({name}) ends in {other:?}; only s, and for numbers d and f, are known")));
        }
        None => return Err(wrong(format!("%({name}) has no s behind it"))),
    }
    let piece = if shape == Shape::default() { Piece::Atom(atom) } else { Piece::Shaped(atom, shape) };
    Ok((piece, characters.as_str()))
}

fn number(text: &str) -> (Option<usize>, &str) {
    let digits = text.len() - text.trim_start_matches(|character: char| character.is_ascii_digit()).len();
    let (number, rest) = text.split_at(digits);
    // Too large a number is as wrong as the largest.
    ((digits > 0).then(|| number.parse().unwrap_or(usize::MAX)), rest)
}

fn atom(name: &str) -> Result<Atom, Error> {
    Ok(match name {
        "h" => Atom::RemoteAddress,
        "l" => Atom::Dash,
        "u" => Atom::User,
        "t" => Atom::Time,
        "r" => Atom::RequestLine,
        "m" => Atom::Method,
        "U" => Atom::Path,
        "q" => Atom::Query,
        "H" => Atom::Protocol,
        "s" => Atom::Status,
        "B" => Atom::Sent,
        "b" => Atom::SentOrDash,
        "f" => Atom::RequestField(FieldName::Known(FieldId::Referer)),
        "a" => Atom::RequestField(FieldName::Known(FieldId::UserAgent)),
        "T" => Atom::Seconds,
        "M" => Atom::Milliseconds,
        "D" => Atom::Microseconds,
        "L" => Atom::DecimalSeconds,
        "Q" => Atom::Queued,
        "p" => Atom::Pid,
        _ => return named_atom(name),
    })
}

/// `{NAME}i`, `{NAME}o`, `{NAME}e`
fn named_atom(name: &str) -> Result<Atom, Error> {
    let unknown = || wrong(format!("there is no atom %({name})s"));
    let (inside, kind) = name.strip_prefix('{').and_then(|name| name.split_once('}')).ok_or_else(unknown)?;
    match kind {
        _ if inside.is_empty() => Err(unknown()),
        "i" => Ok(Atom::RequestField(FieldName::new(inside))),
        "o" => Ok(Atom::ResponseField(inside.to_ascii_lowercase())),
        "e" => variable(inside).ok_or_else(|| {
            wrong(format!(
                "%({name})s: of the environ, only REMOTE_ADDR, REMOTE_PORT, REQUEST_METHOD, RAW_URI, PATH_INFO, \
                 QUERY_STRING, SERVER_PROTOCOL, CONTENT_TYPE, CONTENT_LENGTH and HTTP_… are known outside the application"
            ))
        }),
        _ => Err(unknown()),
    }
}

/// Keys of the WSGI environ that say what other atoms say, too.
fn variable(name: &str) -> Option<Atom> {
    let name = name.to_ascii_uppercase();
    Some(match name.as_str() {
        "REMOTE_ADDR" => Atom::RemoteAddress,
        "REMOTE_PORT" => Atom::RemotePort,
        "REQUEST_METHOD" => Atom::Method,
        "RAW_URI" => Atom::Target,
        "PATH_INFO" => Atom::Path,
        "QUERY_STRING" => Atom::Query,
        "SERVER_PROTOCOL" => Atom::Protocol,
        "CONTENT_TYPE" => Atom::RequestField(FieldName::Known(FieldId::ContentType)),
        "CONTENT_LENGTH" => Atom::RequestField(FieldName::Known(FieldId::ContentLength)),
        name => Atom::RequestField(FieldName::new(&name.strip_prefix("HTTP_")?.replace('_', "-"))),
    })
}

impl Atom {
    #[inline]
    fn render(&self, entry: &Entry<'_>, stamp: &Stamp, pid: &str, out: &mut Vec<u8>) {
        let Entry { head, peer, status, sent, duration, queued, response_field } = *entry;
        match self {
            Self::RemoteAddress => address(peer, out),
            Self::Dash => out.push(b'-'),
            Self::User => user(head, out),
            Self::Time => out.extend_from_slice(&stamp.text),
            Self::RequestLine if head.method().is_empty() => out.push(b'-'),
            Self::RequestLine => {
                escape(head.method().as_bytes(), out);
                out.push(b' ');
                escape(head.target().as_bytes(), out);
                out.push(b' ');
                out.extend_from_slice(head.version().as_str().as_bytes());
            }
            Self::Method => escape(head.method().as_bytes(), out),
            Self::Path => escape_decoded(head.path().as_bytes(), out),
            Self::Query => escape(head.query().unwrap_or_default().as_bytes(), out),
            Self::Protocol => out.extend_from_slice(head.version().as_str().as_bytes()),
            Self::Status => digits(status.into(), out),
            Self::Sent => digits(sent.unwrap_or(0), out),
            Self::SentOrDash => match sent {
                Some(sent) => digits(sent, out),
                None => out.push(b'-'),
            },
            Self::Seconds => digits(duration.as_secs(), out),
            Self::Milliseconds => digits(duration.as_millis() as u64, out),
            Self::Microseconds => digits(duration.as_micros() as u64, out),
            Self::DecimalSeconds => {
                digits(duration.as_secs(), out);
                out.push(b'.');
                // Six digits with their leading zeros: a one in front keeps these.
                let mut buffer = itoa::Buffer::new();
                out.extend_from_slice(&buffer.format(1_000_000 + duration.subsec_micros()).as_bytes()[1..]);
            }
            Self::Queued => digits(queued().as_millis() as u64, out),
            Self::Pid => out.extend_from_slice(pid.as_bytes()),
            Self::RequestField(FieldName::Known(id @ (FieldId::Referer | FieldId::UserAgent))) => {
                escape_or_dash(head.known(*id), out);
            }
            Self::RequestField(name) => escape_or_dash(name.value(head), out),
            Self::ResponseField(name) => escape_or_dash(response_field(name), out),
            Self::Target => escape(head.target().as_bytes(), out),
            Self::RemotePort => match peer {
                Address::Ip(address) => digits(address.port().into(), out),
                Address::Unix(_) => out.push(b'-'),
            },
        }
    }
}

fn digits(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn address(peer: &Address, out: &mut Vec<u8>) {
    match peer {
        Address::Ip(address) => match address.ip() {
            IpAddr::V4(ip) => {
                let [first, rest @ ..] = ip.octets();
                digits(first.into(), out);
                for octet in rest {
                    out.push(b'.');
                    digits(octet.into(), out);
                }
            }
            // Into memory, which cannot fail.
            IpAddr::V6(ip) => drop(write!(out, "{ip}")),
        },
        Address::Unix(_) => out.push(b'-'),
    }
}

/// Whether the byte may stand in a line as it is.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn escape_byte(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        // As Gunicorn does. It cannot be mistaken for the end of a value, as a backslash is never written as one.
        b'"' => out.extend_from_slice(b"\\\""),
        _ if is_plain(byte) => out.push(byte),
        _ => out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
    }
}

#[inline]
fn escape(value: &[u8], out: &mut Vec<u8>) {
    // Without an early end the compiler looks at many bytes at once.
    if value.iter().fold(true, |plain, byte| plain & is_plain(*byte)) {
        out.extend_from_slice(value);
    } else {
        value.iter().for_each(|byte| escape_byte(*byte, out));
    }
}

fn escape_or_dash(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        Some(value) => escape(value, out),
        None => out.push(b'-'),
    }
}

/// Percent-decoded; what is no `%XX` stays.
fn escape_decoded(value: &[u8], out: &mut Vec<u8>) {
    let mut rest = value;
    while let Some((byte, after)) = rest.split_first() {
        let decoded = match after {
            [high, low, behind @ ..] if *byte == b'%' => hex(*high).zip(hex(*low)).map(|pair| (pair, behind)),
            _ => None,
        };
        match decoded {
            Some(((high, low), behind)) => {
                escape_byte(high << 4 | low, out);
                rest = behind;
            }
            None => {
                escape_byte(*byte, out);
                rest = after;
            }
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The user of Basic credentials (RFC 7617 §2), or a dash.
fn user(head: &Head, out: &mut Vec<u8>) {
    let start = out.len();
    let credentials = head.known(FieldId::Authorization).and_then(|value| {
        let (scheme, rest) = value.split_at_checked(6)?;
        scheme.eq_ignore_ascii_case(b"basic ").then(|| rest.trim_ascii())
    });
    if !credentials.is_some_and(|credentials| decode_user(credentials, out)) {
        out.truncate(start);
    }
    if out.len() == start {
        out.push(b'-');
    }
}

/// Appends the part before the colon. Whether there is one: without it, all of it may be secret.
fn decode_user(base64: &[u8], out: &mut Vec<u8>) -> bool {
    let mut bits: u32 = 0;
    let mut count = 0;
    for digit in base64 {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return false,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            let byte = (bits >> count) as u8;
            if byte == b':' {
                return true;
            }
            escape_byte(byte, out);
        }
    }
    false
}

impl Shape {
    /// Gives the value that begins at `start` this shape.
    fn apply(self, number: bool, start: usize, out: &mut Vec<u8>) {
        if self.decimal {
            let precision = self.precision.unwrap_or(6);
            if precision > 0 {
                out.push(b'.');
                out.resize(out.len() + precision, b'0');
            }
        } else if let Some(precision) = self.precision {
            out.truncate(out.len().min(start + precision));
        }
        if let Some(sign) = self.sign.filter(|_| number) {
            out.insert(start, sign);
        }
        let missing = self.width.saturating_sub(out.len() - start);
        if self.left {
            out.resize(out.len() + missing, b' ');
        } else if missing > 0 {
            let zeros = self.zeros && number;
            let at = start + usize::from(zeros && self.sign.is_some());
            let padding = std::iter::repeat_n(if zeros { b'0' } else { b' ' }, missing);
            out.splice(at..at, padding);
        }
    }
}

/// `[22/Nov/2026:13:00:25 +0000]`, made once a second.
#[derive(Clone, Debug)]
struct Stamp {
    second: u64,
    text: Vec<u8>,
}

impl Default for Stamp {
    fn default() -> Self {
        Self { second: u64::MAX, text: Vec::new() }
    }
}

impl Stamp {
    fn set(&mut self, second: u64) {
        if self.second != second {
            self.second = second;
            self.write(sys::local_time(second));
        }
    }

    #[cold]
    fn write(&mut self, time: sys::LocalTime) {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let sys::LocalTime { year, month, day, hour, minute, second, offset } = time;
        let month = MONTHS.get(month.wrapping_sub(1) as usize).unwrap_or(&"???");
        let (sign, offset) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
        let (zone_hours, zone_minutes) = (offset / 3600, offset / 60 % 60);
        self.text.clear();
        // Into memory, which cannot fail.
        let _ = write!(
            self.text,
            "[{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} {sign}{zone_hours:02}{zone_minutes:02}]"
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests;
