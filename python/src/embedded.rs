//! The server of `ferricorn.make_server`: a worker's engine in a thread of the program's.

use std::time::Duration;

use ferricorn::app::{Address, Application};
use ferricorn::{Reply, Request, Waker};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::application::Wsgi;
use crate::ffi::{self, CalledByWorker, Guarded, Parcel};
use crate::template::Surroundings;
use crate::values;

/// Serves while `turn` is called, by one thread at a time.
#[pyclass(frozen, module = "ferricorn._core")]
pub(crate) struct Engine {
    /// `None` while it turns, and when it was closed.
    server: Guarded<Option<Parcel>>,
    waker: Waker,
    addresses: Vec<(String, Option<u16>)>,
    fd: i32,
}

#[pymethods]
impl Engine {
    #[new]
    fn new(py: Python<'_>, application: Py<PyAny>, settings: &Bound<'_, PyAny>) -> PyResult<Self> {
        let settings = ferricorn::program_settings(values::assignments(settings)?)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let surroundings = Surroundings {
            multiprocess: false,
            multithread: false,
            header_map: settings.header_map,
            forwarder_headers: settings.forwarder_headers.clone(),
        };
        let application = Guest(Wsgi::new(py, application, surroundings, None)?);
        let server = ferricorn::Embedded::new(&settings, Box::new(application))
            .map_err(|error| PyOSError::new_err(error.to_string()))?;
        let addresses = server.addresses().map(|address| match address {
            Address::Ip(address) => (address.ip().to_string(), Some(address.port())),
            Address::Unix(path) => (path.as_ref().map(|path| path.display().to_string()).unwrap_or_default(), None),
        });
        let addresses = addresses.collect();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&server.fd());
        Ok(Self { waker: server.waker(), addresses, fd, server: Guarded::new(Some(Parcel::new(server))) })
    }

    /// Hosts and ports, or paths and `None`.
    #[getter]
    fn addresses(&self) -> Vec<(String, Option<u16>)> {
        self.addresses.clone()
    }

    /// Readable when there is something to do.
    fn fileno(&self) -> i32 {
        self.fd
    }

    /// Waits for something to happen and handles it; returns how many requests were answered so far.
    #[pyo3(signature = (timeout=None))]
    fn turn(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<u64> {
        let timeout = timeout.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
        let mut parcel = self
            .server
            .with(py, Option::take)
            .ok_or_else(|| PyRuntimeError::new_err("the server is closed, or another thread runs it"))?;
        let turned = parcel.open(py).turn(timeout);
        self.server.with(py, |server| *server = Some(parcel));
        Ok(turned?)
    }

    /// Ends the wait of a turn, from any thread.
    fn wake(&self) {
        self.waker.wake();
    }

    /// Closes the sockets, those of the connections too.
    fn close(&self, py: Python<'_>) {
        let server = self.server.with(py, Option::take);
        // It may run code of the application's.
        drop(server);
    }
}

/// A WSGI application in a thread that has its signals to itself.
struct Guest(Wsgi);

impl CalledByWorker for Guest {}

impl Application for Guest {
    fn call(&mut self, request: &Request<'_>, reply: Reply<'_>) {
        self.0.call(request, reply);
    }

    fn idle(&mut self, wait: &mut dyn FnMut()) {
        // Handlers of signals run when the program is back in Python: they may raise there.
        ffi::detached(ffi::attached(self), wait);
    }
}
