//! Exceptions in the error log.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// Whether `wsgi.errors` keeps a line that has no end yet.
static LINE_BEGUN: AtomicBool = AtomicBool::new(false);

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
        .and_then(|text| Ok(legible(text.cast::<PyString>()?).into_owned()));
    // An exception whose own text cannot be had.
    text.unwrap_or_else(|_| error.get_type(py).to_string())
}

/// A text as UTF-8; surrogates, of which that has none, as escapes.
pub(crate) fn legible<'a>(text: &'a Bound<'_, PyString>) -> Cow<'a, str> {
    if let Ok(text) = text.to_str() {
        return Cow::Borrowed(text);
    }
    let escaped = text.call_method1("encode", ("utf-8", "backslashreplace"));
    match escaped.as_ref().map(|bytes| bytes.cast::<PyBytes>()) {
        Ok(Ok(bytes)) => Cow::Owned(String::from_utf8_lossy(bytes.as_bytes()).into_owned()),
        _ => Cow::Owned(text.to_string_lossy().into_owned()),
    }
}

pub(crate) fn line_begun() {
    LINE_BEGUN.store(true, Ordering::Relaxed);
}

/// Logs what this thread has written to `wsgi.errors` without the end of its line.
#[inline]
pub(crate) fn end_line(py: Python<'_>) {
    if LINE_BEGUN.load(Ordering::Relaxed) {
        finish_line(py);
    }
}

#[cold]
fn finish_line(py: Python<'_>) {
    let others = py
        .import("ferricorn._application")
        .and_then(|module| module.call_method0("end_line"))
        .and_then(|others| others.extract::<bool>());
    LINE_BEGUN.store(others.unwrap_or(false), Ordering::Relaxed);
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
