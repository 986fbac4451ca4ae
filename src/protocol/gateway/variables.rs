//! From the variables of a CGI-like protocol to a [`Head`]: one rule for uwsgi, FastCGI and SCGI, so that an application
//! sees the same request whichever way it came.
//!
//! - `HTTP_*` become header fields. `HTTP_CONTENT_LENGTH`, `HTTP_CONTENT_TYPE` and `HTTP_TRANSFER_ENCODING` are left out:
//!   the body has been decoded, and its length and type have names of their own; `HTTP_PROXY` too (CVE-2016-5385).
//! - `PATH_INFO`, if it is there, is believed and so is `SCRIPT_NAME`. Otherwise the path is `DOCUMENT_URI`, or
//!   `REQUEST_URI` decoded, or `SCRIPT_NAME`, and the script name is empty: that is what nginx's stock parameters need.
//! - Variables that say how to load code (`UWSGI_*`) are left out, as are those that are told in another way.
//! - What is left (`REMOTE_USER`, `SSL_*`, an operator's own) is kept for the application.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::path;
use crate::protocol::grammar;
use crate::protocol::head::{FieldSpan, Gateway, Head, Remote, Span, Target, Version};
use crate::protocol::http1::target;
use crate::protocol::{Error, FieldId, Limits, Protocol};

/// Variables of one request, header fields among them.
const VARIABLES: usize = 1024;

/// Bytes of a variable's name.
const NAME_LENGTH: usize = 256;

/// Where a name and its value lie, and where the next pair begins.
pub(in crate::protocol) struct Pair {
    pub(in crate::protocol) name: Range<usize>,
    pub(in crate::protocol) value: Range<usize>,
    pub(in crate::protocol) next: usize,
}

/// What the variables say that has a place of its own: the last of each name, as with all who read them.
#[derive(Default)]
struct Known {
    method: Option<Span>,
    uri: Option<Span>,
    query: Option<Span>,
    path_info: Option<Span>,
    script_name: Span,
    document_uri: Span,
    version: Span,
    content_length: Option<Span>,
    remote_addr: Span,
    remote_port: Span,
    server_name: Span,
    server_addr: Span,
    server_port: Span,
    host: Option<Span>,
    secure: bool,
    /// The client itself has sent `Content-Length`.
    client_length: bool,
    first: bool,
    scgi: bool,
}

/// Reads the variables in `head.bytes`, where `pair` finds the one that begins at a place, into the rest of `head`.
///
/// `cut_script_name` takes `SCRIPT_NAME` off the front of `PATH_INFO` (uwsgi's modifier 30).
///
/// # Errors
/// They do not follow the grammar or the policy; the same policy as that of HTTP, where it has something to say.
pub(in crate::protocol) fn read(
    protocol: Protocol,
    pair: impl Fn(&[u8], usize) -> Option<Pair>,
    cut_script_name: bool,
    limits: &Limits,
    head: &mut Head,
) -> Result<(), Error> {
    head.protocol = protocol;
    head.fields.clear();
    head.gateway.params.clear();
    let mut known = Known::default();
    known.gather(pair, limits, head)?;
    if protocol == Protocol::Scgi && !(known.first && known.scgi) {
        return Err(Error::ScgiVariables);
    }
    known.settle(cut_script_name, limits, head)
}

impl Known {
    fn gather(
        &mut self,
        pair: impl Fn(&[u8], usize) -> Option<Pair>,
        limits: &Limits,
        head: &mut Head,
    ) -> Result<(), Error> {
        let (mut at, mut count) = (0, 0);
        while at < head.bytes.len() {
            let pair = pair(&head.bytes, at).ok_or(Error::Variables)?;
            count += 1;
            if count > VARIABLES {
                return Err(Error::TooManyVariables);
            }
            self.note(&pair, at == 0, limits, head)?;
            at = pair.next;
        }
        Ok(())
    }

    fn note(&mut self, pair: &Pair, first: bool, limits: &Limits, head: &mut Head) -> Result<(), Error> {
        let Some(name) = head.bytes.get(pair.name.clone()) else { return Err(Error::Variables) };
        if name.is_empty() || name.len() > NAME_LENGTH {
            return Err(Error::VariableName);
        }
        let value = span(&pair.value);
        if name.starts_with(b"HTTP_") {
            return self.field(pair.name.start + 5..pair.name.end, pair.value.clone(), limits, head);
        }
        match name {
            b"REQUEST_METHOD" => self.method = Some(value),
            b"REQUEST_URI" => self.uri = Some(value),
            b"QUERY_STRING" => self.query = Some(value),
            b"PATH_INFO" => self.path_info = Some(value),
            b"SCRIPT_NAME" => self.script_name = value,
            b"DOCUMENT_URI" => self.document_uri = value,
            b"SERVER_PROTOCOL" => self.version = value,
            b"CONTENT_LENGTH" => {
                self.first = first;
                if self.content_length.is_some() {
                    return Err(Error::ContentLengthRepeated);
                }
                self.content_length = Some(value);
                return self.content(pair, limits, head);
            }
            b"CONTENT_TYPE" => return self.content(pair, limits, head),
            b"REMOTE_ADDR" => self.remote_addr = value,
            b"REMOTE_PORT" => self.remote_port = value,
            b"SERVER_NAME" => self.server_name = value,
            b"SERVER_ADDR" => self.server_addr = value,
            b"SERVER_PORT" => self.server_port = value,
            b"HTTPS" => self.secure |= matches!(head.bytes_of(value), b"on" | b"ON" | b"On" | b"1"),
            b"REQUEST_SCHEME" | b"UWSGI_SCHEME" => self.secure |= head.bytes_of(value) == b"https",
            b"SCGI" => self.scgi = head.bytes_of(value) == b"1",
            b"DOCUMENT_ROOT" | b"GATEWAY_INTERFACE" | b"PATH_TRANSLATED" | b"RAW_URI" | b"REDIRECT_STATUS"
            | b"REDIRECT_URL" | b"SCRIPT_FILENAME" | b"SERVER_SOFTWARE" => {}
            // nginx's stock parameters have it even if there is none.
            b"AUTH_TYPE" | b"REMOTE_HOST" | b"REMOTE_IDENT" | b"REMOTE_USER" if pair.value.is_empty() => {}
            name if !grammar::is_graphic_text(name) => return Err(Error::VariableName),
            name if name.starts_with(b"UWSGI_") || !is_variable(name) => {}
            _ => {
                if head.bytes_of(value).contains(&0) {
                    return Err(Error::VariableValue);
                }
                head.gateway.params.push((span(&pair.name), value));
            }
        }
        Ok(())
    }

    /// `CONTENT_LENGTH` and `CONTENT_TYPE` are the fields that they were; empty, they were not there.
    fn content(&mut self, pair: &Pair, limits: &Limits, head: &mut Head) -> Result<(), Error> {
        if pair.value.is_empty() {
            return Ok(());
        }
        push_field(pair.name.clone(), pair.value.clone(), limits, head).map(drop)
    }

    fn field(
        &mut self,
        name: Range<usize>,
        value: Range<usize>,
        limits: &Limits,
        head: &mut Head,
    ) -> Result<(), Error> {
        let Some(field) = push_field(name, value, limits, head)? else { return Err(Error::VariableName) };
        match field.id {
            FieldId::Host if self.host.replace(field.value).is_some() => return Err(Error::HostRepeated),
            FieldId::ContentLength | FieldId::ContentType | FieldId::TransferEncoding | FieldId::Proxy => {
                self.client_length |= field.id == FieldId::ContentLength;
                head.fields.pop();
            }
            _ => {}
        }
        Ok(())
    }

    fn settle(&mut self, cut_script_name: bool, limits: &Limits, head: &mut Head) -> Result<(), Error> {
        let method = self.method.filter(|method| method.start < method.end).ok_or(Error::MethodMissing)?;
        if !grammar::is_token_text(head.bytes_of(method)) {
            return Err(Error::Method);
        }
        if head.bytes_of(method).len() > grammar::METHOD_LENGTH {
            return Err(Error::MethodTooLong);
        }
        head.method = method;
        head.version = if head.bytes_of(self.version) == b"HTTP/1.0" { Version::Http10 } else { Version::Http11 };
        head.keep_alive = false;
        head.chunked = false;
        head.expects_continue = false;
        self.settle_host(head)?;
        self.settle_target(cut_script_name, limits, head)?;
        self.settle_body(limits, head)?;
        self.settle_ends(head);
        Ok(())
    }

    fn settle_host(&self, head: &mut Head) -> Result<(), Error> {
        head.authority = self.host;
        match self.host {
            Some(host) if !target::is_host(head.bytes_of(host)) => Err(Error::Host),
            _ => Ok(()),
        }
    }

    fn settle_target(&mut self, cut_script_name: bool, limits: &Limits, head: &mut Head) -> Result<(), Error> {
        let uri = self.uri.filter(|uri| uri.start < uri.end);
        let mut parts = None;
        if let Some(uri) = uri {
            let method = head.bytes_of(head.method);
            let line = method.len() + head.bytes_of(uri).len() + " ".len() + " HTTP/1.1".len();
            if line > limits.request_line {
                return Err(Error::RequestLineTooLong);
            }
            let found = target::split(method, head.bytes_of(uri))?;
            let within =
                |range: Range<usize>| span(&(range.start + uri.start as usize..range.end + uri.start as usize));
            head.form = found.form;
            parts = Some((within(found.path), found.query.map(within)));
        } else {
            head.form = Target::Origin;
        }
        let raw = parts.map(|(path, _)| path);
        let asked = parts.and_then(|(_, query)| query);
        let query = match self.query {
            None => asked,
            Some(query) if query.start < query.end => {
                if !grammar::is_target_text(head.bytes_of(query)) {
                    return Err(Error::Target);
                }
                Some(query)
            }
            // What a rewrite has taken away is not there; that there was a question mark cannot be told otherwise.
            Some(_) => asked.filter(|query| query.start == query.end),
        };
        if head.form == Target::Asterisk {
            (head.path, head.gateway.script) = (raw.unwrap_or_default(), 0);
        } else {
            self.settle_path(raw, cut_script_name, head)?;
        }
        head.query = query;
        head.target = match uri {
            Some(uri) => uri,
            None => path::target(head, query),
        };
        Ok(())
    }

    /// Decides what of the path names the application (`SCRIPT_NAME`) and what lies behind it.
    fn settle_path(&mut self, raw: Option<Span>, cut_script_name: bool, head: &mut Head) -> Result<(), Error> {
        let is_empty = |span: Span| span.start == span.end;
        let script = if head.bytes_of(self.script_name) == b"/" { Span::default() } else { self.script_name };
        let (script, info) = match self.path_info {
            Some(info) if cut_script_name => (script, path::without_prefix(head, info, script)),
            Some(info) => (script, info),
            None if !is_empty(self.document_uri) => (Span::default(), self.document_uri),
            None if raw.is_some() => {
                (head.path, head.gateway.script) = (path::or_root(head, raw.unwrap_or_default()), 0);
                return Ok(());
            }
            None if is_empty(self.script_name) => return Err(Error::PathMissing),
            None => (Span::default(), self.script_name),
        };
        let info = if is_empty(script) { path::or_root(head, info) } else { info };
        let first = if is_empty(script) { info } else { script };
        if head.bytes_of(first).first() != Some(&b'/') {
            return Err(Error::Path);
        }
        // Where both say the same, what the client has sent is nearer to it than what can be made of its decoded form.
        if let Some(raw) = raw {
            if let Some(script) = path::place(head.bytes_of(raw), head.bytes_of(script), head.bytes_of(info)) {
                (head.path, head.gateway.script) = (raw, script as u32);
                return Ok(());
            }
            // mod_proxy_uwsgi names the whole path twice.
            if !is_empty(script) && path::place(head.bytes_of(raw), b"", head.bytes_of(info)).is_some() {
                (head.path, head.gateway.script) = (raw, 0);
                return Ok(());
            }
        }
        (head.path, head.gateway.script) = path::encode(head, script, info);
        Ok(())
    }

    fn settle_body(&self, limits: &Limits, head: &mut Head) -> Result<(), Error> {
        head.content_length = None;
        if let Some(length) = self.content_length.filter(|length| length.start < length.end) {
            let length = grammar::decimal(head.bytes_of(length)).ok_or(Error::ContentLength)?;
            if length > limits.body_size {
                return Err(Error::BodyTooLarge);
            }
            head.content_length = Some(length);
            // SCGI always has it, and lighttpd in any protocol: the client has not said it.
            if length == 0 && !self.client_length {
                head.content_length = None;
                head.fields.retain(|field| field.id != FieldId::ContentLength);
            }
        }
        Ok(())
    }

    /// The two ends of the client's connection, as the web server saw it.
    fn settle_ends(&self, head: &mut Head) {
        let text = |span: Span| std::str::from_utf8(head.bytes_of(span)).unwrap_or_default();
        let remote = match text(self.remote_addr) {
            "" => Remote::Unknown,
            address => match address.parse::<IpAddr>() {
                Ok(ip) => Remote::Ip(SocketAddr::new(ip, text(self.remote_port).parse().unwrap_or(0))),
                Err(_) => Remote::Unix,
            },
        };
        let fits = |span: &Span| span.start < span.end && grammar::is_value_text(head.bytes_of(*span));
        let host = self.host.map(|host| {
            let value = head.bytes_of(host);
            // Not the colons of an IPv6 address.
            let colon =
                memchr::memrchr(b':', value).filter(|colon| !value.get(*colon..).unwrap_or_default().contains(&b']'));
            Span { start: host.start, end: colon.map_or(host.end, |colon| host.start + colon as u32) }
        });
        // nginx's name is empty where no server_name is configured (PEP 3333 wants one).
        let server_name = [Some(self.server_name), host, Some(self.server_addr)].into_iter().flatten().find(fits);
        let is_number = |span: &Span| head.bytes_of(*span).iter().all(u8::is_ascii_digit);
        let server_port = Some(self.server_port).filter(fits).filter(is_number);
        let params = std::mem::take(&mut head.gateway.params);
        let script = head.gateway.script;
        head.gateway = Gateway { script, remote, secure: self.secure, server_name, server_port, params };
    }
}

/// Adds a header field whose name is a variable's, which is made one in place; `None` if it cannot be one.
fn push_field(
    name: Range<usize>,
    value: Range<usize>,
    limits: &Limits,
    head: &mut Head,
) -> Result<Option<FieldSpan>, Error> {
    if name.is_empty() {
        return Ok(None);
    }
    if name.len() + value.len() + ": ".len() > limits.field_size {
        return Err(Error::FieldTooLarge);
    }
    if head.fields.len() >= limits.fields {
        return Err(Error::TooManyFields);
    }
    let Some(bytes) = head.bytes.get_mut(name.clone()) else { return Ok(None) };
    for byte in bytes.iter_mut() {
        *byte = if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    }
    if !grammar::is_token_text(bytes) {
        return Ok(None);
    }
    let id = FieldId::of(bytes);
    let text = head.bytes.get(value.clone()).unwrap_or_default();
    if !grammar::is_value_text(text) {
        return Err(Error::FieldValue);
    }
    let trimmed = grammar::trim_blanks(text);
    let start = value.start + (trimmed.as_ptr() as usize - text.as_ptr() as usize);
    let field = FieldSpan { name: span(&name), value: span(&(start..start + trimmed.len())), id };
    head.fields.push(field);
    Ok(Some(field))
}

/// Whether an environment could have a variable of that name; a `.` in it might forge one of the server's own keys.
fn is_variable(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

fn span(range: &Range<usize>) -> Span {
    Span { start: range.start as u32, end: range.end as u32 }
}
