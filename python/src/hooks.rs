//! Gunicorn's server hooks: `ferricorn/_hooks.py` has the functions and the objects they are given; from here they are
//! called when something happens.

use ferricorn::app::Address;
use ferricorn::protocol::Version;
use ferricorn::settings::Settings;
use ferricorn::{Hook, Request};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::errors;
use crate::ffi::text;
use crate::values;

/// The hooks of one load of the settings; there is at least one.
pub(crate) struct Hooks(Py<PyAny>);

impl Hooks {
    pub(crate) fn new(py: Python<'_>, settings: &Settings, functions: &Bound<'_, PyDict>) -> PyResult<Self> {
        let values = values::of(py, settings)?;
        let hooks = py.import("ferricorn._hooks")?.getattr("Hooks")?.call1((values, functions))?;
        hooks.call_method0("prepare")?;
        Ok(Self(hooks.unbind()))
    }

    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self(self.0.clone_ref(py))
    }

    /// Whether there were any in this process.
    pub(crate) fn were_made(py: Python<'_>) -> PyResult<bool> {
        py.import("sys")?.getattr("modules")?.contains("ferricorn._hooks")
    }

    /// Takes back the variables that were set for hooks.
    pub(crate) fn restore_variables(py: Python<'_>) -> PyResult<()> {
        py.import("ferricorn._hooks")?.getattr("variables")?.call_method0("restore").map(drop)
    }

    /// Whether there is one of that name.
    pub(crate) fn has(&self, py: Python<'_>, name: &str) -> bool {
        let functions = self.0.bind(py).getattr("functions");
        functions.and_then(|functions| functions.contains(name)).unwrap_or(false)
    }

    /// Something has happened. What a hook raises is logged there.
    pub(crate) fn happened(&self, py: Python<'_>, hook: Hook) {
        match hook {
            Hook::WorkersChanged { new, old } => self.call(py, "workers_changed", (new, old)),
            Hook::OnStarting => self.call(py, "on_starting", ()),
            Hook::WhenReady => self.call(py, "when_ready", ()),
            Hook::OnReload => self.call(py, "on_reload", ()),
            Hook::PreFork { age } => self.call(py, "pre_fork", (age,)),
            Hook::Forked { age, pid } => self.call(py, "forked", (age, pid)),
            Hook::PostFork { age } => self.call(py, "post_fork", (age,)),
            Hook::WorkerInt => self.call(py, "worker_int", ()),
            Hook::ChildExit { pid } => self.call(py, "child_exit", (pid,)),
            Hook::PreExec => self.call(py, "pre_exec", ()),
            Hook::OnExit => self.call(py, "on_exit", ()),
        }
    }

    /// The application was loaded.
    pub(crate) fn loaded(&self, py: Python<'_>, application: &Bound<'_, PyAny>) {
        self.call(py, "loaded", (application,));
    }

    /// The worker is about to serve.
    pub(crate) fn ready(&self, py: Python<'_>) {
        self.call(py, "post_worker_init", ());
    }

    /// The worker ends.
    pub(crate) fn exit(&self, py: Python<'_>) {
        self.call(py, "worker_exit", ());
    }

    /// Has the hook for ABRT called, which ends the process.
    pub(crate) fn watch_abort(&self, py: Python<'_>) {
        self.call(py, "watch_abort", ());
    }

    /// What is to be called for each request.
    pub(crate) fn for_requests(&self, py: Python<'_>) -> PyResult<Option<RequestHooks>> {
        let (before, after): (Option<Py<PyAny>>, Option<Py<PyAny>>) =
            self.0.bind(py).call_method0("request_hooks")?.extract()?;
        if before.is_none() && after.is_none() {
            return Ok(None);
        }
        let module = py.import("ferricorn._hooks")?;
        Ok(Some(RequestHooks {
            hooks: self.0.clone_ref(py),
            before,
            after,
            request: module.getattr("Request")?.unbind(),
            response: module.getattr("Response")?.unbind(),
        }))
    }

    fn call<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        arguments: impl IntoPyObject<'py, Target = PyTuple, Error: Into<PyErr>>,
    ) {
        let arguments = arguments.into_pyobject(py).map_err(Into::into);
        let called = arguments.and_then(|arguments| {
            let arguments: Bound<'py, PyTuple> = pyo3::BoundObject::into_bound(arguments);
            self.0.bind(py).getattr(name)?.call1(arguments)
        });
        if let Err(error) = called {
            errors::log(py, &format!("Exception around the hook {name}"), &error);
        }
    }
}

/// `pre_request` and `post_request`.
pub(crate) struct RequestHooks {
    /// Knows the worker, which may come to be only after these.
    hooks: Py<PyAny>,
    before: Option<Py<PyAny>>,
    after: Option<Py<PyAny>>,
    /// The classes of what they are given.
    request: Py<PyAny>,
    response: Py<PyAny>,
}

impl RequestHooks {
    /// Calls `pre_request`, and returns what is going to call `post_request`.
    ///
    /// # Errors
    /// The hook has raised: the request is not to be answered by the application.
    pub(crate) fn begin<'py>(
        &self,
        py: Python<'py>,
        request: &Request<'_>,
        environ: &Bound<'py, PyDict>,
    ) -> (Observed, PyResult<()>) {
        let given = self.hooks.bind(py).getattr("worker").and_then(|worker| match worker.is_none() {
            // A template warms up.
            true => Ok(None),
            false => Ok(Some((worker, self.object(py, request, environ)?))),
        });
        let (worker, object) = match given {
            Ok(Some(given)) => given,
            Ok(None) => return (Observed::default(), Ok(())),
            Err(error) => return (Observed::default(), Err(error)),
        };
        let observed = Observed {
            after: self.after.as_ref().map(|after| After {
                function: after.clone_ref(py),
                response: self.response.clone_ref(py),
                arguments: [worker.clone().unbind(), object.clone_ref(py), environ.clone().into_any().unbind()],
                started: None,
                sent: 0,
            }),
        };
        let called = match &self.before {
            Some(before) => before.bind(py).call1((&worker, object)).map(drop),
            None => Ok(()),
        };
        (observed, called)
    }

    fn object(&self, py: Python<'_>, request: &Request<'_>, environ: &Bound<'_, PyDict>) -> PyResult<Py<PyAny>> {
        let headers = PyList::empty(py);
        for (_, name, value) in request.head().raw_fields() {
            headers.append((text(py, &name.to_ascii_uppercase())?, text(py, value)?))?;
        }
        let peer = match &request.peer().address {
            Address::Ip(address) => (address.ip().to_string(), address.port()).into_pyobject(py)?.into_any(),
            Address::Unix(_) => "".into_pyobject(py)?.into_any(),
        };
        let query = request.query().unwrap_or_default();
        let arguments = (
            text(py, request.method().as_bytes())?,
            text(py, request.target().as_bytes())?,
            text(py, request.path().as_bytes())?,
            text(py, query.as_bytes())?,
            if request.version() == Version::Http10 { (1, 0) } else { (1, 1) },
            headers,
            environ.get_item("wsgi.url_scheme")?,
            peer,
        );
        self.request.call1(py, arguments)
    }
}

/// Calls `post_request` when it is dropped, if there is one.
#[derive(Default)]
pub(crate) struct Observed {
    after: Option<After>,
}

struct After {
    function: Py<PyAny>,
    response: Py<PyAny>,
    /// The worker, the request and its environ.
    arguments: [Py<PyAny>; 3],
    /// Status, header fields, and the length of the body if it is known.
    started: Option<(String, Py<PyList>, Option<u64>)>,
    sent: u64,
}

impl Observed {
    /// Takes note of the response's head.
    pub(crate) fn respond<'f>(
        &mut self,
        py: Python<'_>,
        (status, reason): (u16, Option<&[u8]>),
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        length: Option<u64>,
    ) {
        let Some(after) = &mut self.after else { return };
        let headers = PyList::empty(py);
        for (name, value) in fields {
            if let (Ok(name), Ok(value)) = (text(py, name), text(py, value)) {
                // A list grows or the process is out of memory, which others will say.
                let _ = headers.append((name, value));
            }
        }
        if let Some(length) = length {
            let _ = headers.append(("Content-Length", length.to_string()));
        }
        let reason = String::from_utf8_lossy(reason.unwrap_or_default());
        after.started = Some((format!("{status} {reason}"), headers.unbind(), length));
    }

    /// So many bytes of the body were taken.
    pub(crate) fn sent(&mut self, bytes: u64) {
        if let Some(after) = &mut self.after {
            after.sent += bytes;
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let Some(after) = self.after.take() else { return };
        Python::attach(|py| {
            let [worker, request, environ] = &after.arguments;
            let called = match &after.started {
                Some((status, headers, length)) => {
                    after.response.call1(py, (request, status.as_str(), headers, length, after.sent))
                }
                None => after.response.call1(py, (request, None::<&str>, PyList::empty(py), None::<u64>, 0)),
            };
            let called = called.and_then(|response| after.function.call1(py, (worker, request, environ, response)));
            if let Err(error) = called {
                errors::log(py, "Exception in the hook post_request", &error);
            }
        });
    }
}
