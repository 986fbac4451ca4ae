//! Ferricorn in Python: the command inside the interpreter that runs it, and WSGI.
//!
//! `main` hands the command line to `ferricorn::serve_hosted`, which does everything else and asks [`config`] for settings
//! in Python ([`values`] translates them) and [`factory`] for `module:callable`; [`hooks`] calls the functions of such
//! settings. In a worker, [`application`] is called for each request: it makes an environ ([`environ`]), calls the
//! application with a `start_response` ([`responder`]) and `wsgi.early_hints` ([`early_hints`]), and passes on what it returns
//! ([`body`]).
//!
//! Architecture invariants: nothing here knows of sockets, protocols or signals. Unsafe code is in the `ffi` files only.
//! What a callback reaches ([`responder`]) is never behind a `&mut` across a call into Python, nor is a lock held across one.

mod abandoned;
mod application;
mod body;
mod calls;
mod config;
mod early_hints;
mod embedded;
mod environ;
mod errors;
mod factory;
mod ffi;
mod ffi_signals;
mod ffi_start_response;
mod forks;
mod hooks;
mod inotify;
mod peers;
mod reload;
mod responder;
mod spare;
mod stuck;
mod template;
mod uri;
mod values;
mod watchdog;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
mod _core {
    use std::ffi::OsString;
    use std::time::Duration;

    use ferricorn::CommandLine;
    use ferricorn::settings::{self, Settings};
    use pyo3::exceptions::PyValueError;
    use pyo3::prelude::*;
    use pyo3::types::{PyDict, PyString};

    use crate::config::PythonHost;
    #[pymodule_export]
    use crate::embedded::Engine;
    use crate::errors;
    use crate::values;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// Runs the command and returns its exit code.
    #[pyfunction]
    fn main(executed: Vec<OsString>, arguments: Vec<OsString>) -> u8 {
        ferricorn::serve_hosted(CommandLine { executed, arguments }, &mut PythonHost::new(None))
    }

    /// Runs the server of a `ferricorn.Application` and returns its exit code.
    #[pyfunction]
    fn serve(application: Py<PyAny>, executed: Vec<OsString>) -> u8 {
        let arguments = Vec::new();
        ferricorn::serve_hosted(CommandLine { executed, arguments }, &mut PythonHost::new(Some(application)))
    }

    /// The names of all settings that a file may have, also of those of Gunicorn's that are refused.
    #[pyfunction]
    fn setting_names() -> Vec<&'static str> {
        settings::names().collect()
    }

    /// The names of all hooks, with those of their arguments, and how many they must take at least.
    #[pyfunction]
    fn hook_names() -> Vec<(&'static str, Vec<&'static str>, usize)> {
        settings::HOOKS.iter().map(|hook| (hook.name, hook.arguments.to_vec(), hook.least)).collect()
    }

    /// All settings that have a value by default.
    #[pyfunction]
    fn default_settings(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        values::of(py, &Settings::default())
    }

    /// How many times this worker has called its application.
    #[pyfunction]
    fn requests() -> u64 {
        crate::stuck::requests()
    }

    /// Lets the call of this thread go on for so many seconds from now, and says whether it is in one.
    #[pyfunction]
    fn extend_deadline(seconds: f64) -> PyResult<bool> {
        let time = Duration::try_from_secs_f64(seconds)
            .map_err(|_| PyValueError::new_err(format!("seconds must be a number from 0 on, not {seconds}")))?;
        Ok(ferricorn::app::extend_deadline(time))
    }

    /// Writes to the error log, with a level of Python's `logging`.
    #[pyfunction]
    #[pyo3(name = "log")]
    fn log_at(level: u32, message: &Bound<'_, PyString>) {
        let message = &*errors::legible(message);
        let level = match level {
            0..20 => log::Level::Debug,
            20..30 => log::Level::Info,
            30..40 => log::Level::Warn,
            40..50 => log::Level::Error,
            _ => return ferricorn::log_critical(message),
        };
        log::log!(target: ferricorn::TRACEBACK, level, "{message}");
    }

    #[pymodule_export]
    use crate::inotify::Watches;

    /// Writes to the error log.
    #[pyfunction]
    fn log_error(message: &Bound<'_, PyString>) {
        log::error!(target: ferricorn::TRACEBACK, "{}", errors::legible(message));
    }

    /// This process was forked. Returns whether the application has done that.
    #[pyfunction]
    fn forked() -> bool {
        crate::forks::forked()
    }

    /// Something was written to `wsgi.errors` whose line has no end yet; it gets one before this thread waits.
    #[pyfunction]
    fn line_begun() {
        errors::line_begun();
    }
}
