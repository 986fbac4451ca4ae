//! Exceptions in the error log.

use pyo3::prelude::*;

/// An exception with its traceback, in several lines.
pub(crate) fn describe(py: Python<'_>, error: &PyErr) -> String {
    ask(py, "describe", error)
}

/// An exception in one line, with the file and line that it comes from.
pub(crate) fn summarize(py: Python<'_>, error: &PyErr) -> String {
    ask(py, "summarize", error)
}

fn ask(py: Python<'_>, function: &str, error: &PyErr) -> String {
    let text = py
        .import("ferricorn._application")
        .and_then(|module| module.call_method1(function, (error.clone_ref(py).into_value(py),)))
        .and_then(|text| text.extract::<String>());
    // An exception whose own text cannot be had.
    text.unwrap_or_else(|_| error.get_type(py).to_string())
}

/// Logs an exception under a heading.
pub(crate) fn log(py: Python<'_>, heading: &str, error: &PyErr) {
    log::error!(target: ferricorn::TRACEBACK, "{heading}\n{}", describe(py, error));
}

/// Has Python run the handlers of signals that the application has installed and that nothing else of Python's has run.
pub(crate) fn run_handlers(py: Python<'_>) {
    if let Err(error) = py.check_signals() {
        log(py, "Exception in a signal handler", &error);
    }
}
