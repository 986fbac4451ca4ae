//! The ways into a server, from the side of who comes in: requests by each protocol, and answers that are believed only as
//! far as they are framed as it wants.

use super::answer::{Answer, Flaw, parse};

/// A protocol, and how its connections are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Door {
    #[default]
    Http,
    Uwsgi,
    FastCgi {
        keep: bool,
    },
    Scgi,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    /// In place of the usual ones of these names, or besides.
    pub(crate) variables: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
    /// The length of the body is not told ahead.
    pub(crate) chunked: bool,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: &'a str, target: &'a str) -> Self {
        Self { method, target, variables: &[], body: b"", chunked: false }
    }

    pub(crate) fn variables(self, variables: &'a [(&'a str, &'a str)]) -> Self {
        Self { variables, ..self }
    }

    pub(crate) fn body(self, body: &'a [u8]) -> Self {
        Self { body, ..self }
    }

    /// What web servers say by default.
    fn pairs(&self) -> Vec<(&'a str, String)> {
        let (path, query) = self.target.split_once('?').unwrap_or((self.target, ""));
        let length = if self.chunked { String::new() } else { self.body.len().to_string() };
        let mut pairs: Vec<(&str, String)> = [
            ("CONTENT_LENGTH", length.as_str()),
            ("SCGI", "1"),
            ("QUERY_STRING", query),
            ("REQUEST_METHOD", self.method),
            ("REQUEST_URI", self.target),
            ("DOCUMENT_URI", path),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REMOTE_ADDR", "192.0.2.7"),
            ("REMOTE_PORT", "4242"),
            ("SERVER_PORT", "80"),
            ("SERVER_NAME", "localhost"),
            ("HTTP_HOST", "localhost"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into();
        for (name, value) in self.variables {
            match pairs.iter_mut().find(|(usual, _)| usual == name) {
                Some((_, usual)) => (*value).clone_into(usual),
                None => pairs.push((name, (*value).to_owned())),
            }
        }
        pairs
    }
}

impl Door {
    pub(crate) const GATEWAYS: [Self; 4] =
        [Self::Uwsgi, Self::FastCgi { keep: false }, Self::FastCgi { keep: true }, Self::Scgi];

    /// By its protocol; with `-keep`, connections are kept.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "http" => Some(Self::Http),
            "uwsgi" => Some(Self::Uwsgi),
            "fastcgi" => Some(Self::FastCgi { keep: false }),
            "fastcgi-keep" => Some(Self::FastCgi { keep: true }),
            "scgi" => Some(Self::Scgi),
            _ => None,
        }
    }

    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Uwsgi => "uwsgi",
            Self::FastCgi { .. } => "fastcgi",
            Self::Scgi => "scgi",
        }
    }

    /// Whether a connection can carry several requests.
    pub(crate) fn keeps(self) -> bool {
        matches!(self, Self::Http | Self::FastCgi { keep: true })
    }

    /// Whether bodies of unknown length can be sent.
    pub(crate) fn streams(self) -> bool {
        matches!(self, Self::Http | Self::FastCgi { .. })
    }

    /// The request as it is sent; by HTTP, variables are left out.
    pub(crate) fn request(self, ask: Ask<'_>) -> Vec<u8> {
        let Self::FastCgi { keep } = self else {
            let text = |separator: &[u8]| {
                let pairs = ask.pairs();
                let parts =
                    pairs.iter().flat_map(|(name, value)| [name.as_bytes(), separator, value.as_bytes(), separator]);
                parts.collect::<Vec<_>>().concat()
            };
            return match self {
                Self::Uwsgi => {
                    let mut packet = Vec::new();
                    for part in ask.pairs().iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]) {
                        packet.extend_from_slice(&(part.len() as u16).to_le_bytes());
                        packet.extend_from_slice(part);
                    }
                    [&[0][..], &(packet.len() as u16).to_le_bytes(), &[0], &packet, ask.body].concat()
                }
                Self::Scgi => {
                    let packet = text(b"\0");
                    [packet.len().to_string().as_bytes(), b":", &packet, b",", ask.body].concat()
                }
                _ => {
                    let Ask { method, target, body, .. } = ask;
                    let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
                    [head.as_bytes(), format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
                }
            };
        };
        let mut packet = Vec::new();
        for (name, value) in ask.pairs() {
            for length in [name.len(), value.len()] {
                match u8::try_from(length) {
                    Ok(length @ ..=127) => packet.push(length),
                    _ => packet.extend_from_slice(&(length as u32 | 1 << 31).to_be_bytes()),
                }
            }
            packet.extend_from_slice(name.as_bytes());
            packet.extend_from_slice(value.as_bytes());
        }
        let mut out = record(BEGIN, &[0, 1, u8::from(keep), 0, 0, 0, 0, 0]);
        for (kind, stream) in [(PARAMS, packet.as_slice()), (STDIN, ask.body)] {
            stream.chunks(30_000).for_each(|piece| out.extend(record(kind, piece)));
            out.extend(record(kind, b""));
        }
        out
    }

    /// Reads one response from the front of `bytes`, and says how many bytes it took. `head_only`: it answers a HEAD.
    /// `ended`: nothing comes behind them.
    pub(crate) fn parse(self, bytes: &[u8], head_only: bool, ended: bool) -> Result<(Answer, usize), Flaw> {
        let (document, taken, closes) = match self {
            Self::Http => return parse(bytes, head_only, ended),
            Self::FastCgi { .. } => unwrapped(bytes)?,
            // The end of the connection is the end of the answer.
            Self::Uwsgi | Self::Scgi if !ended => return Err(Flaw::Incomplete),
            Self::Uwsgi | Self::Scgi => (bytes.to_vec(), bytes.len(), false),
        };
        let document = match (self, document.strip_prefix(b"Status:")) {
            (Self::Uwsgi, None) => document,
            (Self::Uwsgi, _) => return Err(Flaw::Invalid("`Status` by uwsgi, which nginx leaks".to_owned())),
            (_, Some(rest)) => [b"HTTP/1.1", rest].concat(),
            (_, None) => return Err(Flaw::Invalid("no `Status`".to_owned())),
        };
        let (mut answer, size) = match parse(&document, head_only, true) {
            Err(Flaw::Incomplete) if self != Self::Uwsgi && self != Self::Scgi => {
                return Err(Flaw::Invalid(format!("the stream ended in {}", document.escape_ascii())));
            }
            other => other?,
        };
        if size != document.len() {
            return Err(Flaw::Invalid(format!("{} bytes behind the body", document.len() - size)));
        }
        const ITS_OWN: [&str; 5] = ["connection", "date", "server", "transfer-encoding", "status"];
        for name in ITS_OWN {
            if answer.field(name).is_some() {
                return Err(Flaw::Invalid(format!("{name} is not ours to say")));
            }
        }
        if closes {
            answer.fields.push(("Connection".to_owned(), "close".to_owned()));
        }
        Ok((answer, taken))
    }
}

const BEGIN: u8 = 1;
const END: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;
const GET_VALUES_RESULT: u8 = 10;

/// A record of request 1, padded as nginx pads it.
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let padding = content.len().wrapping_neg() % 8;
    let [high, low] = (content.len() as u16).to_be_bytes();
    [&[1, kind, 0, 1, high, low, padding as u8, 0], content, &[0; 8][..padding]].concat()
}

/// The standard output of request 1, whose streams and end must be as they should; the bytes that they took; and whether a
/// record behind them says that the connection is not kept.
fn unwrapped(bytes: &[u8]) -> Result<(Vec<u8>, usize, bool), Flaw> {
    let (mut out, mut at) = (Vec::new(), 0);
    let mut ended = [false; 2];
    loop {
        let (kind, id, content, size) = first_record(&bytes[at..])?;
        at += size;
        match kind {
            STDOUT | STDERR if id == 1 => {
                let ended = &mut ended[usize::from(kind - STDOUT)];
                if *ended {
                    return Err(Flaw::Invalid(format!("a record of kind {kind} behind the end of its stream")));
                }
                *ended = content.is_empty();
                if kind == STDOUT {
                    out.extend_from_slice(content);
                }
            }
            END if id == 1 => {
                let [_, _, _, _, status, ..] = content else {
                    return Err(Flaw::Invalid("an END_REQUEST that is too short".to_owned()));
                };
                if *status != 0 || !ended[0] {
                    return Err(Flaw::Invalid(format!("protocol status {status}, output ended: {}", ended[0])));
                }
                break;
            }
            _ => return Err(Flaw::Invalid(format!("a record of kind {kind} for request {id}"))),
        }
    }
    if at == bytes.len() {
        return Ok((out, at, false));
    }
    let (kind, id, _, size) = first_record(&bytes[at..])?;
    if (kind, id) != (GET_VALUES_RESULT, 0) {
        return Err(Flaw::Invalid(format!("a record of kind {kind} for request {id} behind the end")));
    }
    Ok((out, at + size, true))
}

/// Kind, request, content, and bytes with padding.
fn first_record(bytes: &[u8]) -> Result<(u8, u16, &[u8], usize), Flaw> {
    let [version, kind, id_high, id_low, high, low, padding, _, rest @ ..] = bytes else {
        return Err(Flaw::Incomplete);
    };
    if *version != 1 {
        return Err(Flaw::Invalid(format!("version {version}")));
    }
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if rest.len() < length + usize::from(*padding) {
        return Err(Flaw::Incomplete);
    }
    Ok((*kind, u16::from_be_bytes([*id_high, *id_low]), &rest[..length], 8 + length + usize::from(*padding)))
}
