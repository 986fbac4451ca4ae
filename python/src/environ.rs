//! From a request to an environ.
//!
//! What is the same for most requests of a listener lies in a [`Template`], which is copied; what is the same for all
//! requests of a connection is made once; names of header fields are interned.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, IntoRawFd};

use ferricorn::Request;
use ferricorn::app::{Address, RequestBody};
use ferricorn::protocol::head::{RawLine, Target};
use ferricorn::protocol::{FieldId, Version};
use ferricorn::settings::HeaderMap;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::early_hints::EarlyHints;
use crate::ffi::{self, text};
use crate::peers::Peers;
use crate::spare::{Shape, Spare, Survey};
use crate::template::{Surroundings, Template};
use crate::uri::{decode, split_port};

/// Names of header fields that are kept besides the known ones.
const NAMES: usize = 256;

/// Makes environs.
pub(crate) struct Environs {
    surroundings: Surroundings,
    keys: Keys,
    templates: Vec<Template>,
    spare: Spare,
    /// `wsgi.early_hints`, which all templates have.
    early_hints: Py<EarlyHints>,
    peers: Peers,
    names: HashMap<Box<[u8]>, Py<PyString>>,
    methods: Vec<(&'static str, Py<PyAny>)>,
    http_10: Py<PyAny>,
    bytes_io: Py<PyAny>,
    open: Py<PyAny>,
    /// The application's place in the site, from the variable of that name.
    script_name: String,
    decoded: Vec<u8>,
}

/// The keys that are set for each request.
struct Keys {
    request_method: Py<PyString>,
    query_string: Py<PyString>,
    server_protocol: Py<PyString>,
    path_info: Py<PyString>,
    script_name: Py<PyString>,
    remote_port: Py<PyString>,
    input: Py<PyString>,
    content_length: Py<PyString>,
    host: Py<PyString>,
    /// What a web server has said of itself.
    server_name: Field,
    server_port: Field,
    /// By the number of the [`FieldId`].
    fields: Vec<Option<Field>>,
}

/// A key that requests set, as those of the known header fields.
struct Field {
    key: Py<PyString>,
    /// `None` for what is a secret, or new with each request.
    value: Option<Recent>,
}

impl Keys {
    fn new(py: Python<'_>) -> Self {
        let key = |name: &str| PyString::intern(py, name).unbind();
        let mut fields = Vec::new();
        for id in FieldId::ALL {
            let index = *id as usize;
            fields.resize_with(fields.len().max(index + 1), || None);
            let name = match id {
                FieldId::ContentLength => "CONTENT_LENGTH".to_owned(),
                FieldId::ContentType => "CONTENT_TYPE".to_owned(),
                // Programs take HTTP_PROXY for a setting of theirs (CVE-2016-5385). Chunks have been decoded, and there
                // is a length: whoever looked for more would find none.
                FieldId::Other | FieldId::Proxy | FieldId::TransferEncoding => continue,
                _ => variable(id.name().as_bytes()),
            };
            let keeps = !matches!(id, FieldId::Authorization | FieldId::Cookie | FieldId::ContentLength);
            if let Some(place) = fields.get_mut(index) {
                *place = Some(Field { key: key(&name), value: keeps.then(Recent::default) });
            }
        }
        Self {
            request_method: key("REQUEST_METHOD"),
            query_string: key("QUERY_STRING"),
            server_protocol: key("SERVER_PROTOCOL"),
            path_info: key("PATH_INFO"),
            script_name: key("SCRIPT_NAME"),
            remote_port: key("REMOTE_PORT"),
            input: key("wsgi.input"),
            content_length: key("CONTENT_LENGTH"),
            host: key("HTTP_HOST"),
            server_name: Field { key: key("SERVER_NAME"), value: Some(Recent::default()) },
            server_port: Field { key: key("SERVER_PORT"), value: Some(Recent::default()) },
            fields,
        }
    }
}

impl Keys {
    /// What a web server has said beyond the request itself. It names the server, too: the listener is only its own way in.
    fn set_gateway(
        &mut self,
        py: Python<'_>,
        request: &Request<'_>,
        environ: &Bound<'_, PyDict>,
        again: bool,
    ) -> PyResult<()> {
        let head = request.head();
        for (name, value) in head.params() {
            environ.set_item(text(py, name.as_bytes())?, text(py, value)?)?;
        }
        let name = head.server_name().unwrap_or("localhost");
        let port = head.server_port().unwrap_or(if request.peer().secure { "443" } else { "80" });
        self.server_name.set(py, environ, name.as_bytes(), again)?;
        self.server_port.set(py, environ, port.as_bytes(), again)
    }
}

impl Field {
    /// Sets it; with `again`, in an environ in which the request before has set it.
    #[inline]
    fn set(&mut self, py: Python<'_>, environ: &Bound<'_, PyDict>, value: &[u8], again: bool) -> PyResult<()> {
        let value = match &mut self.value {
            // That very text is there.
            Some(recent) if again && recent.is(py, value) => return Ok(()),
            Some(recent) => recent.text(py, value)?,
            None => text(py, value)?,
        };
        environ.set_item(&self.key, value)
    }
}

/// The key of a header field.
fn variable(name: &[u8]) -> String {
    let letter = |byte: &u8| if *byte == b'-' { '_' } else { char::from(byte.to_ascii_uppercase()) };
    "HTTP_".chars().chain(name.iter().map(letter)).collect()
}

/// Why an environ cannot be made.
pub(crate) enum Unfit {
    /// The path does not begin with `SCRIPT_NAME`.
    ScriptName(String),
    /// A header field may not have that name.
    Ambiguous(String),
    Python(PyErr),
}

impl From<PyErr> for Unfit {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl Environs {
    pub(crate) fn new(py: Python<'_>, surroundings: Surroundings, early_hints: Py<EarlyHints>) -> PyResult<Self> {
        let io = py.import("io")?;
        let method = |name: &'static str| (name, PyString::intern(py, name).into_any().unbind());
        let environment = py.import("os")?.getattr("environ")?;
        Ok(Self {
            surroundings,
            keys: Keys::new(py),
            templates: Vec::new(),
            spare: Spare::default(),
            early_hints,
            peers: Peers::new(),
            names: HashMap::new(),
            methods: ["POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"].map(method).into(),
            http_10: PyString::intern(py, "HTTP/1.0").into_any().unbind(),
            bytes_io: io.getattr("BytesIO")?.unbind(),
            open: io.getattr("open")?.unbind(),
            script_name: environment.call_method1("get", ("SCRIPT_NAME", ""))?.extract()?,
            decoded: Vec::new(),
        })
    }

    /// Whether anybody but us has hold of `wsgi.early_hints`, as who keeps an environ has.
    #[inline]
    pub(crate) fn early_hints_are_held(&self, py: Python<'_>) -> bool {
        let ours = 1 + self.templates.len() + usize::from(self.spare.is_kept());
        ffi::references(self.early_hints.bind(py)) > ours
    }

    /// Has another `wsgi.early_hints` in all environs to come: those that there are can send no more.
    pub(crate) fn set_early_hints(&mut self, py: Python<'_>, early_hints: Py<EarlyHints>) -> PyResult<()> {
        self.early_hints.get().retire();
        for template in &self.templates {
            template.set_early_hints(py, &early_hints)?;
        }
        self.early_hints = early_hints;
        self.spare.forget();
        Ok(())
    }

    /// The application has returned from its call.
    #[inline]
    pub(crate) fn take_back(&mut self, environ: Bound<'_, PyDict>) {
        self.spare.take_back(environ);
    }

    /// The environ of a request.
    #[inline]
    pub(crate) fn make<'py>(&mut self, py: Python<'py>, request: &Request<'_>) -> Result<Bound<'py, PyDict>, Unfit> {
        let index = self.template(py, request.local(), request.peer().secure)?;
        if request.head().repeats(self.spare.request())
            && let Some(environ) = self.again(py, request, index)?
        {
            return Ok(environ);
        }
        let line = request.head().raw_line();
        let RawLine { method, target, path, query } = line;
        let survey = Survey::of(request.head());
        let forwarded = if survey.others { self.forwarded_script_name(request) } else { None };
        let script_name = forwarded.unwrap_or(self.script_name.as_bytes());
        let is_mounted = !request.mount().is_empty();
        let is_plain = !is_mounted && script_name.is_empty() && memchr::memchr(b'%', path).is_none();
        let peer = match &request.peer().address {
            Address::Ip(address) => self.peers.get(py, *address)?,
            Address::Unix(_) => None,
        };
        let repeated = request.head().repeated(self.spare.request());
        let reused = self.spare.take(if is_plain { Shape::of(request, &line, &survey, index) } else { None });
        let template = &mut self.templates[index];
        let learned = template.learn(py, target, is_plain.then_some(path), survey.host, peer.map(|peer| &peer.host))?;
        let again = reused.is_some();
        let unchanged = if again { repeated } else { 0 };
        let environ = match reused {
            Some(environ) => environ.into_bound(py),
            None => template.copy(py)?,
        };
        if again && learned {
            template.teach(&environ)?;
        }
        let keys = &self.keys;
        if survey.host.is_none() {
            environ.del_item(&keys.host)?;
        }
        if method != b"GET" {
            match self.methods.iter().find(|(known, _)| known.as_bytes() == method) {
                Some((_, known)) => environ.set_item(&keys.request_method, known)?,
                None => environ.set_item(&keys.request_method, text(py, method)?)?,
            }
        }
        if request.version() == Version::Http10 {
            environ.set_item(&keys.server_protocol, &self.http_10)?;
        }
        if let Some(query) = query {
            environ.set_item(&keys.query_string, text(py, query)?)?;
        }
        if let Some(peer) = peer {
            environ.set_item(&keys.remote_port, &peer.port)?;
        }
        if is_mounted {
            decode(request.path_below().as_bytes(), &mut self.decoded);
            environ.set_item(&keys.path_info, text(py, &self.decoded)?)?;
            decode(request.mount().as_bytes(), &mut self.decoded);
            environ.set_item(&keys.script_name, text(py, &self.decoded)?)?;
        } else if !is_plain {
            let Some(path) = path.strip_prefix(script_name) else {
                return Err(Unfit::ScriptName(format!(
                    "Request path '{}' does not start with SCRIPT_NAME '{}'",
                    request.path(),
                    String::from_utf8_lossy(script_name)
                )));
            };
            decode(path, &mut self.decoded);
            environ.set_item(&keys.path_info, text(py, &self.decoded)?)?;
            environ.set_item(&keys.script_name, text(py, script_name)?)?;
        }
        if request.head().protocol().is_gateway() {
            self.keys.set_gateway(py, request, &environ, again)?;
        }
        // The template has the only one of most requests that no browser has made.
        if !survey.is_host() || request.head().form() == Target::Absolute {
            self.set_fields(py, request, &environ, again, unchanged)?;
        }
        set_address(py, request, &environ)?;
        let queued = request.queue_time();
        let was_queued = !queued.is_zero();
        if was_queued {
            environ.set_item(intern!(py, "ferricorn.queue_time"), queued.as_secs_f64())?;
        }
        if !request.body().is_empty() {
            self.set_body(py, request, &environ)?;
        }
        // Most have not waited, and must not find that another has.
        if !was_queued {
            self.spare.lend(&environ, request.head().number());
        }
        Ok(environ)
    }

    /// The environ of the request before, or a copy of it, for one with the same head, if they differ in nothing but the
    /// client's port.
    #[inline]
    fn again<'py>(
        &mut self,
        py: Python<'py>,
        request: &Request<'_>,
        index: usize,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Address::Ip(address) = request.peer().address else { return Ok(None) };
        if !request.body().is_empty()
            || !request.mount().is_empty()
            || !request.queue_time().is_zero()
            || request.peer().destination.is_some()
        {
            return Ok(None);
        }
        let Some(peer) = self.peers.get(py, address)? else { return Ok(None) };
        if !self.templates[index].has_remote_addr(&peer.host) {
            return Ok(None);
        }
        let environ = match self.spare.take_again(index) {
            Some(environ) => environ.into_bound(py),
            None if self.spare.is_learned(index) => self.templates[index].copy(py)?,
            None => return Ok(None),
        };
        environ.set_item(&self.keys.remote_port, &peer.port)?;
        self.spare.lend(&environ, request.head().number());
        Ok(Some(environ))
    }

    /// The place of the template for a request with that address and scheme.
    #[inline]
    fn template(&mut self, py: Python<'_>, local: &Address, secure: bool) -> PyResult<usize> {
        if let Some(known) = self.templates.iter().position(|template| template.is_for(local, secure)) {
            return Ok(known);
        }
        self.templates.push(Template::new(py, &self.surroundings, self.early_hints.bind(py), local, secure)?);
        Ok(self.templates.len() - 1)
    }

    /// Sets the header fields; with `again`, in an environ in which the request before has set the same ones, and some to the
    /// same values: they are `unchanged`, by their bits.
    fn set_fields<'py>(
        &mut self,
        py: Python<'py>,
        request: &Request<'_>,
        environ: &Bound<'py, PyDict>,
        again: bool,
        unchanged: u64,
    ) -> Result<(), Unfit> {
        let mut seen = 0;
        for (id, name, value) in request.head().raw_fields_but(unchanged) {
            let key = match self.keys.fields.get_mut(id as usize) {
                Some(Some(field)) => {
                    let bit = id.bit();
                    if seen & bit == 0 {
                        seen |= bit;
                        if id == FieldId::Host {
                            // The template has it.
                            continue;
                        }
                        field.set(py, environ, value, again)?;
                        continue;
                    }
                    field.key.bind(py).clone()
                }
                _ if id != FieldId::Other => continue,
                // It could be taken for one with hyphens, which a proxy in front may have checked.
                _ if name.contains(&b'_') && !forwards(&self.surroundings, request, name) => {
                    match self.surroundings.header_map {
                        HeaderMap::Drop => continue,
                        HeaderMap::Refuse => {
                            return Err(Unfit::Ambiguous(String::from_utf8_lossy(name).into_owned()));
                        }
                        HeaderMap::Dangerous => self.name(py, name),
                    }
                }
                _ => self.name(py, name),
            };
            let value = text(py, value)?;
            match environ.get_item(&key)? {
                None => environ.set_item(key, value)?,
                Some(before) => {
                    // RFC 9110 §5.3, and RFC 6265 §5.4 for cookies.
                    let separator = if id == FieldId::Cookie { "; " } else { "," };
                    environ.set_item(key, before.add(separator)?.add(value)?)?;
                }
            }
        }
        if request.head().form() == Target::Absolute
            && let Some(authority) = request.head().authority()
        {
            // RFC 9112 §3.2.2: whatever the field says.
            environ.set_item(&self.keys.host, text(py, authority.as_bytes())?)?;
        }
        Ok(())
    }

    /// The place of the application that a proxy names which is believed.
    fn forwarded_script_name<'r>(&self, request: &Request<'r>) -> Option<&'r [u8]> {
        const NAME: &[u8] = b"SCRIPT_NAME";
        let mut others = request.head().raw_others();
        let (_, value) = others.find(|(name, _)| name.eq_ignore_ascii_case(NAME))?;
        forwards(&self.surroundings, request, NAME).then_some(value)
    }

    fn name<'py>(&mut self, py: Python<'py>, name: &[u8]) -> Bound<'py, PyString> {
        if let Some(key) = self.names.get(name) {
            return key.bind(py).clone();
        }
        let key = PyString::new(py, &variable(name));
        // Clients make up as many names as they like; those that are kept are only the first.
        if self.names.len() < NAMES {
            self.names.insert(name.into(), key.clone().unbind());
        }
        key
    }

    fn set_body<'py>(&self, py: Python<'py>, request: &Request<'_>, environ: &Bound<'py, PyDict>) -> PyResult<()> {
        let body = request.body();
        let input = match body {
            // Streams are only for who asks for them.
            RequestBody::Empty | RequestBody::Stream(_) => return Ok(()),
            RequestBody::Memory(bytes) => self.bytes_io.bind(py).call1((PyBytes::new(py, bytes),))?,
            RequestBody::File { file, .. } => {
                // Another descriptor, as the application may keep it; nobody else reads from this file.
                let file = file.as_fd().try_clone_to_owned()?.into_raw_fd();
                let input = self.open.bind(py).call1((file, "rb"))?;
                input.call_method1("seek", (0,))?;
                input
            }
        };
        environ.set_item(&self.keys.input, input)?;
        if request.head().is_chunked() {
            // All of it is here, so that its length can be told to those who know no other way to read it.
            environ.set_item(&self.keys.content_length, text(py, body.len().to_string().as_bytes())?)?;
        }
        Ok(())
    }
}

/// Whether a proxy that is believed may send a field of that name, which has an underscore in it.
fn forwards(surroundings: &Surroundings, request: &Request<'_>, name: &[u8]) -> bool {
    let named = |known: &String| known == "*" || name.eq_ignore_ascii_case(known.as_bytes());
    request.peer().trusted && surroundings.forwarder_headers.iter().any(named)
}

/// What the client's address says of other keys than its own.
#[inline]
fn set_address(py: Python<'_>, request: &Request<'_>, environ: &Bound<'_, PyDict>) -> PyResult<()> {
    match (&request.peer().address, request.peer().destination.as_deref()) {
        (Address::Ip(_), None) => Ok(()),
        (_, destination) => set_other_address(py, request, destination, environ),
    }
}

fn set_other_address(
    py: Python<'_>,
    request: &Request<'_>,
    destination: Option<&SocketAddr>,
    environ: &Bound<'_, PyDict>,
) -> PyResult<()> {
    match &request.peer().address {
        Address::Ip(address) => match destination {
            Some(destination) => set_proxied(py, *address, *destination, environ),
            None => Ok(()),
        },
        Address::Unix(_) if request.head().protocol().is_gateway() => Ok(()),
        Address::Unix(_) => {
            if let Some(host) = request.known(FieldId::Host).filter(|host| !host.is_empty()) {
                let (name, port) = split_port(host);
                environ.set_item(intern!(py, "SERVER_NAME"), text(py, name)?)?;
                if let Some(port) = port {
                    environ.set_item(intern!(py, "SERVER_PORT"), text(py, port)?)?;
                }
            }
            Ok(())
        }
    }
}

/// The text that a header field had last: the next one often has the same.
#[derive(Default)]
struct Recent(Option<Py<PyAny>>);

impl Recent {
    /// Longer ones are not kept.
    const LONGEST: usize = 512;

    #[inline]
    fn is(&self, py: Python<'_>, bytes: &[u8]) -> bool {
        self.0.as_ref().is_some_and(|known| ffi::is_text(known.bind(py), bytes))
    }

    #[inline]
    fn text<'py>(&mut self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        if let Some(known) = &self.0
            && self.is(py, bytes)
        {
            return Ok(known.bind(py).clone());
        }
        let text = text(py, bytes)?;
        // What is not kept must not leave an older one behind, which would be taken for the last.
        self.0 = (bytes.len() <= Self::LONGEST).then(|| text.clone().unbind());
        Ok(text)
    }
}

/// What a PROXY header said, under Gunicorn's names.
fn set_proxied(
    py: Python<'_>,
    source: SocketAddr,
    destination: SocketAddr,
    environ: &Bound<'_, PyDict>,
) -> PyResult<()> {
    let protocol = if source.is_ipv4() { intern!(py, "TCP4") } else { intern!(py, "TCP6") };
    environ.set_item(intern!(py, "PROXY_PROTOCOL"), protocol)?;
    environ.set_item(intern!(py, "PROXY_ADDR"), destination.ip().to_string())?;
    environ.set_item(intern!(py, "PROXY_PORT"), destination.port().to_string())
}
