//! Ferricorn in Python: the command inside the interpreter that runs it, and WSGI.
//!
//! `main` hands the command line to `ferricorn::serve_named`, which does everything else and asks [`factory`] for
//! `module:callable`. In a worker, [`application`] is called for each request: it makes an environ ([`environ`]), calls the
//! application with a `start_response` ([`responder`]), and passes on what it returns ([`body`]).
//!
//! Architecture invariants: nothing here knows of sockets, protocols or signals. Unsafe code is in [`ffi`] only. What a
//! callback reaches ([`responder`]) is never behind a `&mut` across a call into Python, nor is a lock held across one.

mod abandoned;
mod application;
mod body;
mod environ;
mod errors;
mod factory;
mod ffi;
mod responder;
mod stuck;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
mod _core {
    use std::ffi::OsString;

    use ferricorn::CommandLine;
    use pyo3::prelude::*;

    use crate::factory::PythonFactory;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// Runs the command and returns its exit code.
    #[pyfunction]
    fn main(executed: Vec<OsString>, arguments: Vec<OsString>) -> u8 {
        ferricorn::serve_named(CommandLine { executed, arguments }, |settings| {
            Ok(Box::new(PythonFactory::new(settings)))
        })
    }

    /// Writes to the error log.
    #[pyfunction]
    fn log_error(message: &str) {
        log::error!(target: ferricorn::TRACEBACK, "{message}");
    }
}
