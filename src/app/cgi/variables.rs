//! The meta-variables of a request (RFC 3875 §4.1): the environment of a CGI program, the parameters of a FastCGI one.

use std::ffi::CStr;
use std::ops::Range;

use crate::app::{Address, Request};
use crate::protocol::FieldId;
use crate::protocol::head::Target;

/// Variables in the order in which they were set, each `NAME=value\0` in one piece of memory.
#[derive(Clone, Debug, Default)]
pub(in crate::app) struct Variables {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: Range<usize>,
    /// Where the value ends; it begins behind the name's `=`.
    end: usize,
}

impl Variables {
    /// Sets a variable that is not set yet. One whose value no variable can have is left out.
    pub(in crate::app) fn set(&mut self, name: &[u8], value: &[u8]) {
        if value.contains(&0) || name.is_empty() || name.contains(&0) || name.contains(&b'=') {
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.push(b'=');
        self.bytes.extend_from_slice(value);
        self.entries.push(Entry { name: start..start + name.len(), end: self.bytes.len() });
        self.bytes.push(0);
    }

    /// Sets a variable, or puts the value behind the one that it has.
    fn join(&mut self, name: &[u8], separator: &[u8], value: &[u8]) {
        let known = self.entries.iter().position(|entry| self.bytes.get(entry.name.clone()) == Some(name));
        let Some(entry) = known.and_then(|at| self.entries.get(at)) else { return self.set(name, value) };
        let before = self.bytes.get(entry.name.end + 1..entry.end).unwrap_or_default();
        let joined = [before, separator, value].concat();
        if let Some(at) = known {
            self.entries.remove(at);
        }
        self.set(name, &joined);
    }

    /// Names and values.
    pub(in crate::app) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().filter_map(|entry| {
            Some((self.bytes.get(entry.name.clone())?, self.bytes.get(entry.name.end + 1..entry.end)?))
        })
    }

    /// The same as an environment has them.
    pub(super) fn texts(&self) -> Vec<&CStr> {
        let text = |entry: &Entry| CStr::from_bytes_with_nul(self.bytes.get(entry.name.start..=entry.end)?).ok();
        self.entries.iter().filter_map(text).collect()
    }
}

/// Which program a request is for, and what of its path is left for that.
#[derive(Clone, Debug, Default)]
pub(in crate::app) struct Place<'a> {
    /// The decoded path up to and with the program; empty if the program answers for everything below the mount.
    pub(in crate::app) script_name: &'a [u8],
    /// What follows it, decoded.
    pub(in crate::app) path_info: &'a [u8],
    /// The directory that paths are looked up below.
    pub(in crate::app) document_root: Option<&'a [u8]>,
    /// The program's file.
    pub(in crate::app) script_filename: Option<&'a [u8]>,
    /// Pass what the client identifies itself with.
    pub(in crate::app) authorization: bool,
}

/// Sets all variables of a request.
pub(in crate::app) fn describe(request: &Request<'_>, place: &Place<'_>, variables: &mut Variables) {
    let text = |variables: &mut Variables, name: &str, value: &str| variables.set(name.as_bytes(), value.as_bytes());
    text(variables, "GATEWAY_INTERFACE", "CGI/1.1");
    text(variables, "SERVER_SOFTWARE", concat!("ferricorn/", env!("CARGO_PKG_VERSION")));
    text(variables, "SERVER_PROTOCOL", request.version().as_str());
    text(variables, "REQUEST_METHOD", request.method());
    text(variables, "REQUEST_URI", request.target());
    text(variables, "QUERY_STRING", request.query().unwrap_or_default());
    variables.set(b"SCRIPT_NAME", place.script_name);
    if !place.path_info.is_empty() {
        variables.set(b"PATH_INFO", place.path_info);
    }
    if let Some(root) = place.document_root {
        variables.set(b"DOCUMENT_ROOT", root);
        // One that leads out of the root means no file there.
        if !place.path_info.is_empty() && !place.path_info.split(|byte| *byte == b'/').any(|segment| segment == b"..") {
            variables.set(b"PATH_TRANSLATED", &[root, place.path_info].concat());
        }
    }
    if let Some(filename) = place.script_filename {
        variables.set(b"SCRIPT_FILENAME", filename);
        // php-cgi takes it for proof that a server has called it.
        text(variables, "REDIRECT_STATUS", "200");
    }
    describe_server(request, variables);
    match &request.peer().address {
        Address::Ip(address) => {
            text(variables, "REMOTE_ADDR", &address.ip().to_string());
            text(variables, "REMOTE_PORT", &address.port().to_string());
        }
        // It must be there (RFC 3875 §4.1.8), and programs parse it.
        Address::Unix(_) => text(variables, "REMOTE_ADDR", "127.0.0.1"),
    }
    if !request.body().is_empty() || request.head().content_length().is_some() {
        text(variables, "CONTENT_LENGTH", &request.body().len().to_string());
    }
    if let Some(content_type) = request.known(FieldId::ContentType) {
        variables.set(b"CONTENT_TYPE", content_type);
    }
    describe_fields(request, place, variables);
}

fn describe_server(request: &Request<'_>, variables: &mut Variables) {
    let secure = request.peer().secure;
    let (name, port) = request.head().authority().map(split_port).unwrap_or_default();
    let (local_name, local_port) = match request.local() {
        Address::Ip(address) => (address.ip().to_string(), address.port().to_string()),
        Address::Unix(_) => ("localhost".to_owned(), port.unwrap_or(if secure { "443" } else { "80" }).to_owned()),
    };
    let name = if name.is_empty() { &local_name } else { name };
    let head = request.head();
    variables.set(b"SERVER_NAME", head.server_name().unwrap_or(name).as_bytes());
    variables.set(b"SERVER_PORT", head.server_port().unwrap_or(&local_port).as_bytes());
    // Only what is about the client: with LD_PRELOAD or PATH, whoever reaches the port would have programs do anything.
    let about_client = |name: &str| {
        name.starts_with("SSL_") || matches!(name, "AUTH_TYPE" | "REMOTE_HOST" | "REMOTE_IDENT" | "REMOTE_USER")
    };
    for (name, value) in head.params().filter(|(name, _)| about_client(name)) {
        variables.set(name.as_bytes(), value);
    }
    if let Address::Ip(address) = request.local() {
        variables.set(b"SERVER_ADDR", address.ip().to_string().as_bytes());
    }
    variables.set(b"REQUEST_SCHEME", if secure { b"https" } else { b"http" });
    if secure {
        variables.set(b"HTTPS", b"on");
    }
}

fn describe_fields(request: &Request<'_>, place: &Place<'_>, variables: &mut Variables) {
    let mut variable = Vec::with_capacity(64);
    for (id, name, value) in request.head().raw_fields() {
        match id {
            // They have variables of their own, or are about the connection, whose chunks have been decoded.
            FieldId::ContentLength | FieldId::ContentType | FieldId::TransferEncoding | FieldId::Connection => continue,
            // Programs take HTTP_PROXY for a setting of theirs (CVE-2016-5385).
            FieldId::Proxy => continue,
            _ => {}
        }
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        // A name with an underscore could be taken for one with hyphens, which a proxy in front may have checked.
        if name.contains(&b'_') || is("te") || is("keep-alive") || is("proxy-connection") {
            continue;
        }
        if !place.authorization && (is("authorization") || is("proxy-authorization")) {
            continue;
        }
        variable.clear();
        variable.extend_from_slice(b"HTTP_");
        variable.extend(name.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }));
        if id == FieldId::Host
            && request.head().form() == Target::Absolute
            && let Some(authority) = request.head().authority()
        {
            // RFC 9112 §3.2.2: whatever the field says.
            variables.set(&variable, authority.as_bytes());
            continue;
        }
        // RFC 9110 §5.3, and RFC 6265 §5.4 for cookies.
        variables.join(&variable, if id == FieldId::Cookie { b"; " } else { b", " }, value);
    }
}

/// Host and port of an authority.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (name, Some(port).filter(|port| !port.is_empty()))
        }
        _ => (authority, None),
    }
}
