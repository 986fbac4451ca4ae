//! The environ that is copied for each request of a listener.
//!
//! It has what is the same for all of them, and of what the last one said that which the next one is likely to say again: a
//! key that is set here is set at the cost of one in the copy, and need not be set at all when its value has not changed.

use ferricorn::app::Address;
use ferricorn::settings::HeaderMap;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::early_hints::EarlyHints;
use crate::ffi::{self, text};

/// What an environ says of the server as a whole, and which header fields it has.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) multiprocess: bool,
    pub(crate) multithread: bool,
    pub(crate) header_map: HeaderMap,
    /// In capitals.
    pub(crate) forwarder_headers: Vec<String>,
}

/// The environ of a listener's requests by one scheme.
pub(crate) struct Template {
    local: Address,
    secure: bool,
    environ: Py<PyDict>,
    target: Learned,
    path: Learned,
    host: Learned,
    remote_addr: Learned,
}

/// A key of the template's that requests set, and its value.
struct Learned {
    key: Py<PyString>,
    value: Py<PyAny>,
}

impl Template {
    pub(crate) fn new(
        py: Python<'_>,
        surroundings: &Surroundings,
        early_hints: &Bound<'_, EarlyHints>,
        local: &Address,
        secure: bool,
    ) -> PyResult<Self> {
        let environ = constant(py, surroundings, early_hints, local, secure)?;
        let learned = |key| Learned::new(&environ, key);
        Ok(Self {
            target: learned("RAW_URI")?,
            path: learned("PATH_INFO")?,
            host: learned("HTTP_HOST")?,
            remote_addr: learned("REMOTE_ADDR")?,
            local: local.clone(),
            secure,
            environ: environ.unbind(),
        })
    }

    pub(crate) fn is_for(&self, local: &Address, secure: bool) -> bool {
        self.secure == secure && self.local == *local
    }

    /// Whether the last request came from there.
    #[inline]
    pub(crate) fn has_remote_addr(&self, remote_addr: &Py<PyAny>) -> bool {
        self.remote_addr.value.is(remote_addr)
    }

    pub(crate) fn set_early_hints(&self, py: Python<'_>, early_hints: &Py<EarlyHints>) -> PyResult<()> {
        self.environ.bind(py).set_item(intern!(py, "wsgi.early_hints"), early_hints)
    }

    /// Takes over what a request says, and returns whether it is something new. A path or a host that is `None` has to be seen
    /// to in the copy: it may be another's.
    #[inline]
    pub(crate) fn learn(
        &mut self,
        py: Python<'_>,
        target: &[u8],
        path: Option<&[u8]>,
        host: Option<&[u8]>,
        remote_addr: Option<&Py<PyAny>>,
    ) -> PyResult<bool> {
        let environ = self.environ.bind(py);
        let mut learned = self.target.learn(py, environ, target)?;
        learned |= match path {
            Some(path) if path == target => self.path.set(py, environ, &self.target.value)?,
            Some(path) => self.path.learn(py, environ, path)?,
            None => false,
        };
        if let Some(host) = host {
            learned |= self.host.learn(py, environ, host)?;
        }
        learned |= match remote_addr {
            Some(remote_addr) => self.remote_addr.set(py, environ, remote_addr)?,
            None => self.remote_addr.learn(py, environ, b"")?,
        };
        Ok(learned)
    }

    /// Sets in a copy what was learned since it was made.
    pub(crate) fn teach(&self, environ: &Bound<'_, PyDict>) -> PyResult<()> {
        for Learned { key, value } in [&self.target, &self.path, &self.host, &self.remote_addr] {
            environ.set_item(key, value)?;
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.environ.bind(py).copy()
    }
}

impl Learned {
    fn new(environ: &Bound<'_, PyDict>, key: &str) -> PyResult<Self> {
        let py = environ.py();
        let (key, value) = (PyString::intern(py, key), PyString::intern(py, "").into_any());
        environ.set_item(&key, &value)?;
        Ok(Self { key: key.unbind(), value: value.unbind() })
    }

    /// Returns whether it was another.
    #[inline]
    fn learn(&mut self, py: Python<'_>, environ: &Bound<'_, PyDict>, bytes: &[u8]) -> PyResult<bool> {
        if ffi::is_text(self.value.bind(py), bytes) {
            return Ok(false);
        }
        self.set(py, environ, &text(py, bytes)?.unbind())
    }

    #[inline]
    fn set(&mut self, py: Python<'_>, environ: &Bound<'_, PyDict>, value: &Py<PyAny>) -> PyResult<bool> {
        if self.value.is(value) {
            return Ok(false);
        }
        environ.set_item(&self.key, value)?;
        // Only now: what could not be set must not be taken for what is there.
        self.value = value.clone_ref(py);
        Ok(true)
    }
}

/// What all requests have. With the learned keys there are more than a table of 32 slots holds, so that a copy has room for
/// header fields: else the first of them would make every one grow.
fn constant<'py>(
    py: Python<'py>,
    surroundings: &Surroundings,
    early_hints: &Bound<'py, EarlyHints>,
    local: &Address,
    secure: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let objects = py.import("ferricorn._application")?;
    let environ = PyDict::new(py);
    let set = |key: &str, value: Bound<'py, PyAny>| environ.set_item(PyString::intern(py, key), value);
    let string = |value: &str| PyString::intern(py, value).into_any();
    set("wsgi.version", (1, 0).into_pyobject(py)?.into_any())?;
    set("wsgi.url_scheme", string(if secure { "https" } else { "http" }))?;
    set("wsgi.input", objects.getattr("NoInput")?.call0()?)?;
    set("wsgi.errors", objects.getattr("ErrorStream")?.call0()?)?;
    set("wsgi.multithread", surroundings.multithread.into_pyobject(py)?.to_owned().into_any())?;
    set("wsgi.multiprocess", surroundings.multiprocess.into_pyobject(py)?.to_owned().into_any())?;
    set("wsgi.run_once", false.into_pyobject(py)?.to_owned().into_any())?;
    set("wsgi.file_wrapper", objects.getattr("FileWrapper")?)?;
    set("wsgi.input_terminated", true.into_pyobject(py)?.to_owned().into_any())?;
    set("wsgi.early_hints", early_hints.as_any().clone())?;
    set("ferricorn.extend_deadline", py.import("ferricorn._core")?.getattr("extend_deadline")?)?;
    set("SERVER_SOFTWARE", string(concat!("ferricorn/", env!("CARGO_PKG_VERSION"))))?;
    let (name, port) = match local {
        Address::Ip(address) => (address.ip().to_string(), address.port().to_string()),
        // The request says what it takes the server for, if it does.
        Address::Unix(_) => ("localhost".to_owned(), if secure { "443" } else { "80" }.to_owned()),
    };
    set("SERVER_NAME", string(&name))?;
    set("SERVER_PORT", string(&port))?;
    set("SERVER_PROTOCOL", string("HTTP/1.1"))?;
    set("REQUEST_METHOD", string("GET"))?;
    set("SCRIPT_NAME", string(""))?;
    set("QUERY_STRING", string(""))?;
    if matches!(local, Address::Ip(_)) {
        set("REMOTE_PORT", string(""))?;
    }
    Ok(environ)
}
