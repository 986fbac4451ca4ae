//! A request head, whatever protocol it came by.

use std::net::SocketAddr;

use super::{Limits, Protocol};

/// The protocol version that a request named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1 (also what 1.2 to 1.9 are treated as, RFC 9110 §2.5)
    #[default]
    Http11,
}

impl Version {
    /// As it stands on the wire: `HTTP/1.1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// The form of the request target (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`; its authority replaces the field `Host`.
    Absolute,
    /// `*`, with OPTIONS.
    Asterisk,
}

pub use super::field::FieldId;
use super::grammar;

/// A range of [`Head`]'s bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSpan {
    pub(crate) name: Span,
    pub(crate) value: Span,
    pub(crate) id: FieldId,
}

/// A request head: its own copy of the bytes, and where in them everything lies.
///
/// A worker keeps one and fills it anew for each request, so that none is allocated in steady state.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub(crate) bytes: Vec<u8>,
    pub(crate) method: Span,
    pub(crate) target: Span,
    pub(crate) path: Span,
    pub(crate) query: Option<Span>,
    /// The authority of an absolute target, else the value of `Host`.
    pub(crate) authority: Option<Span>,
    pub(crate) form: Target,
    pub(crate) version: Version,
    pub(crate) fields: Vec<FieldSpan>,
    /// Each of the fields is a whole line of `bytes`, with CRLF behind its value, about which nothing was out of the ordinary.
    pub(crate) plain: bool,
    /// Bits of the fields that there are, if it is plain.
    pub(crate) ids: u64,
    /// What it was found to be within, if it is plain.
    pub(crate) limits: Limits,
    /// Of the request that it is; 0 until that has one.
    pub(crate) number: u64,
    pub(crate) repeated: Repeated,
    pub(crate) content_length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) expects_continue: bool,
    /// A value of `Host` that was found valid, of this or an earlier request: as a rule the next one is the same.
    pub(crate) valid_host: Vec<u8>,
    /// The peer asked for, or its version implies, a connection that stays open.
    pub(crate) keep_alive: bool,
    /// By which it came.
    pub(crate) protocol: Protocol,
    /// What a web server says beyond that; of another request, if the protocol is HTTP.
    pub(crate) gateway: Gateway,
}

/// What a head has in common with the one before it in the same place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repeated {
    /// The number of the one before.
    pub(crate) number: u64,
    /// Bits of the fields whose lines are the same, by their ids.
    pub(crate) fields: u64,
    /// All of it is the same.
    pub(crate) whole: bool,
}

/// What a web server says of its client, and of how it was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gateway {
    /// Bytes of the path that name the application.
    pub(crate) script: u32,
    pub(crate) remote: Remote,
    /// The client's connection is `https`.
    pub(crate) secure: bool,
    pub(crate) server_name: Option<Span>,
    pub(crate) server_port: Option<Span>,
    /// Variables that have no other place.
    pub(crate) params: Vec<(Span, Span)>,
}

/// The client's address, as a web server says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Remote {
    /// It does not.
    #[default]
    Unknown,
    /// No IP address: a unix socket's.
    Unix,
    Ip(SocketAddr),
}

/// One header field as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name, in the case that the peer used.
    pub name: &'a str,
    /// The value without surrounding blanks: visible ASCII, blanks, tabs and bytes from 0x80 up.
    pub value: &'a [u8],
    /// Which of the known fields it is.
    pub id: FieldId,
}

/// Method and target of a request, as they were received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawLine<'a> {
    /// As [`Head::method`].
    pub method: &'a [u8],
    /// As [`Head::target`].
    pub target: &'a [u8],
    /// As [`Head::path`].
    pub path: &'a [u8],
    /// As [`Head::query`].
    pub query: Option<&'a [u8]>,
}

impl Head {
    pub(crate) fn bytes_of(&self, span: Span) -> &[u8] {
        self.bytes.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    fn str_of(&self, span: Span) -> &str {
        std::str::from_utf8(self.bytes_of(span)).unwrap_or_default()
    }

    /// It is about to be filled without a look at the one before.
    pub(crate) fn forget(&mut self) {
        (self.plain, self.number, self.repeated) = (false, 0, Repeated::default());
    }

    /// The method, a token of at most 32 bytes, never changed in case.
    pub fn method(&self) -> &str {
        self.str_of(self.method)
    }

    /// The target exactly as it was received.
    pub fn target(&self) -> &str {
        self.str_of(self.target)
    }

    /// The path of the target, still percent-encoded; `*` for the asterisk form.
    pub fn path(&self) -> &str {
        self.str_of(self.path)
    }

    /// What follows the first `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.map(|span| self.str_of(span))
    }

    /// The form of the target.
    pub fn form(&self) -> Target {
        self.form
    }

    /// Host and port as the client named them: from an absolute target, else from `Host`.
    pub fn authority(&self) -> Option<&str> {
        self.authority.map(|span| self.str_of(span))
    }

    /// The version named in the request line.
    pub fn version(&self) -> Version {
        self.version
    }

    /// All fields in the order of arrival.
    pub fn fields(&self) -> Fields<'_> {
        Fields { head: self, spans: self.fields.iter() }
    }

    /// The same as bytes, which costs less: which field it is, its name and its value.
    pub fn raw_fields(&self) -> impl Iterator<Item = (FieldId, &[u8], &[u8])> {
        self.raw_fields_but(0)
    }

    /// The same, but those whose [`bit`](FieldId::bit) is in `others`.
    pub fn raw_fields_but(&self, others: u64) -> impl Iterator<Item = (FieldId, &[u8], &[u8])> {
        let fields = self.fields.iter().filter(move |field| others & field.id.bit() == 0);
        fields.map(|field| (field.id, self.bytes_of(field.name), self.bytes_of(field.value)))
    }

    /// Which fields there are, in the order of arrival.
    pub fn ids(&self) -> impl Iterator<Item = FieldId> {
        self.fields.iter().map(|field| field.id)
    }

    /// Name and value of the fields that are not known by name.
    pub fn raw_others(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let others = self.fields.iter().filter(|field| field.id == FieldId::Other);
        others.map(|field| (self.bytes_of(field.name), self.bytes_of(field.value)))
    }

    /// Method and target as bytes, which costs less.
    #[inline]
    pub fn raw_line(&self) -> RawLine<'_> {
        RawLine {
            method: self.bytes_of(self.method),
            target: self.bytes_of(self.target),
            path: self.bytes_of(self.path),
            query: self.query.map(|query| self.bytes_of(query)),
        }
    }

    /// The number of the request, which no other of the process has; 0 if it has come to no worker.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Which fields the request of that number had to the letter, as far as is known: bits, by the numbers of their [`FieldId`]s.
    #[inline]
    pub fn repeated(&self, number: u64) -> u64 {
        if number != 0 && self.repeated.number == number { self.repeated.fields } else { 0 }
    }

    /// Whether the request of that number is known to have had the same head, to the letter.
    #[inline]
    pub fn repeats(&self, number: u64) -> bool {
        number != 0 && self.repeated.number == number && self.repeated.whole
    }

    /// Whether one of these fields may be there, by their bits.
    #[inline]
    pub(crate) fn may_have(&self, fields: u64) -> bool {
        !self.plain || self.ids & fields != 0
    }

    /// The value of the first field of that kind.
    pub fn known(&self, id: FieldId) -> Option<&[u8]> {
        if !self.may_have(id.bit()) {
            return None;
        }
        self.fields.iter().find(|field| field.id == id).map(|field| self.bytes_of(field.value))
    }

    /// The value of the first field of that name, in any case.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The body's length in bytes where the peer said it.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether the body comes in chunks, its length unknown before its end.
    pub fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// The protocol that it came by.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    #[inline]
    fn gateway(&self) -> Option<&Gateway> {
        self.protocol.is_gateway().then_some(&self.gateway)
    }

    /// The client's address, as a web server said it.
    pub(crate) fn remote(&self) -> Remote {
        self.gateway().map_or(Remote::Unknown, |gateway| gateway.remote)
    }

    /// Whether a web server said that the client's connection is `https`.
    pub(crate) fn is_secure(&self) -> bool {
        self.gateway().is_some_and(|gateway| gateway.secure)
    }

    /// How long [`script_name`](Self::script_name) is.
    #[inline]
    pub(crate) fn script_length(&self) -> usize {
        self.gateway().map_or(0, |gateway| gateway.script as usize)
    }

    /// The part of the path that names the application, still percent-encoded: `SCRIPT_NAME`, as a web server said it;
    /// nothing if the request came by HTTP.
    #[inline]
    pub fn script_name(&self) -> &str {
        self.path().get(..self.script_length()).unwrap_or_default()
    }

    /// The path behind [`script_name`](Self::script_name), still percent-encoded.
    pub fn path_info(&self) -> &str {
        self.path().get(self.script_name().len()..).unwrap_or_default()
    }

    /// The name of the server, as a web server said it.
    pub fn server_name(&self) -> Option<&str> {
        Some(self.str_of(self.gateway()?.server_name?))
    }

    /// The port of the server, in digits, as a web server said it.
    pub fn server_port(&self) -> Option<&str> {
        Some(self.str_of(self.gateway()?.server_port?))
    }

    /// Adds a variable to what a web server said.
    pub(crate) fn add_param(&mut self, name: &[u8], value: &[u8]) {
        let mut add = |text: &[u8]| {
            let start = self.bytes.len() as u32;
            self.bytes.extend_from_slice(text);
            Span { start, end: self.bytes.len() as u32 }
        };
        let param = (add(name), add(value));
        self.gateway.params.push(param);
    }

    /// What else a web server said: `REMOTE_USER`, `SSL_CLIENT_S_DN`, and whatever its configuration adds. The names are
    /// letters, digits and underscores, and none of them is one that has another place here.
    pub fn params(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let params = self.gateway().map(|gateway| gateway.params.as_slice()).unwrap_or_default();
        params.iter().map(|(name, value)| (self.str_of(*name), self.bytes_of(*value)))
    }

    /// Whether a body follows.
    pub fn has_body(&self) -> bool {
        self.chunked || self.content_length.is_some_and(|length| length > 0)
    }

    /// Whether the peer waits for `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// The same request for another target of this server, a path and perhaps a query: by HEAD if it was that, else by GET,
    /// and without a body. `None` if the target is none.
    pub(crate) fn redirected(&self, target: &str) -> Option<Self> {
        let target = target.split_once('#').map_or(target, |(target, _)| target).as_bytes();
        if target.first() != Some(&b'/') || target.len() > 64 * 1024 || !grammar::is_target_text(target) {
            return None;
        }
        let mut head = self.clone();
        head.forget();
        if head.method() != "HEAD" {
            head.method = head.append(b"GET")?;
        }
        head.target = head.append(target)?;
        let Span { start, end } = head.target;
        let script = self.script_name().as_bytes();
        let below = target.strip_prefix(script).is_some_and(|rest| matches!(rest.first(), None | Some(b'/' | b'?')));
        head.gateway.script = if below { self.gateway.script } else { 0 };
        let mark = memchr::memchr(b'?', target).and_then(|mark| u32::try_from(mark).ok()).map(|mark| start + mark);
        head.path = Span { start, end: mark.unwrap_or(end) };
        head.query = mark.map(|mark| Span { start: mark + 1, end });
        if head.form == Target::Asterisk {
            head.form = Target::Origin;
        }
        // What is said of a body that is not there any more would mislead.
        head.fields.retain(|field| {
            use FieldId::{ContentLength, ContentType, TransferEncoding};
            !matches!(field.id, ContentLength | ContentType | TransferEncoding)
        });
        (head.content_length, head.chunked, head.expects_continue) = (None, false, false);
        Some(head)
    }

    fn append(&mut self, bytes: &[u8]) -> Option<Span> {
        let start = u32::try_from(self.bytes.len()).ok()?;
        self.bytes.extend_from_slice(bytes);
        Some(Span { start, end: u32::try_from(self.bytes.len()).ok()? })
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        let (mut bytes, mut fields) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.fields));
        bytes.clear();
        fields.clear();
        *self = Self { bytes, fields, ..Self::default() };
    }
}

/// Iterator over the fields of a [`Head`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    head: &'a Head,
    spans: std::slice::Iter<'a, FieldSpan>,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let span = self.spans.next()?;
        Some(Field { name: self.head.str_of(span.name), value: self.head.bytes_of(span.value), id: span.id })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}
