//! Looks into calls that take too long, and interrupts them.
//!
//! An exception that another thread is to raise (`PyThreadState_SetAsyncExc`) waits until that thread runs something of
//! Python's. So that it can never come over what the thread does next, it may be asked for only while a [`Window`] is open,
//! and is taken back when the window closes. Both happen under the interpreter's lock.

use std::sync::atomic::Ordering;

use ferricorn::app::Watcher;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::errors;
use crate::ffi;
use crate::stuck::Place;

/// The module of ours that is written in Python.
const MODULE: &str = "ferricorn._watchdog";

/// Prepares for interruptions, on the main thread.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    py.import(MODULE)?.call_method0("install").map(drop)
}

/// Whether that is what interrupted calls end with.
pub(crate) fn is_timeout(py: Python<'_>, error: &PyErr) -> bool {
    class(py).is_ok_and(|class| error.is_instance(py, &class))
}

fn class(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    Ok(py.import(MODULE)?.getattr("RequestTimeout")?.cast_into()?)
}

/// Looks into calls of Python's.
pub(crate) struct PythonWatcher;

impl PythonWatcher {
    fn try_stack(py: Python<'_>, thread: usize, still: &dyn Fn() -> bool) -> PyResult<Option<String>> {
        let module = py.import(MODULE)?;
        match Place::of(thread).filter(|place| still() && place.calls.open.load(Ordering::Relaxed)) {
            Some(place) => module.call_method1("stack", (place.calls.thread.load(Ordering::Relaxed),))?.extract(),
            None => Ok(None),
        }
    }

    fn try_interrupt(py: Python<'_>, thread: usize, still: &dyn Fn() -> bool) -> PyResult<bool> {
        let (module, class) = (py.import(MODULE)?, class(py)?);
        // From here to where the exception is asked for, nothing runs that could let another thread have the lock.
        let Some(place) = Place::of(thread).filter(|place| still() && place.calls.open.load(Ordering::Relaxed)) else {
            return Ok(false);
        };
        let identifier = place.calls.thread.load(Ordering::Relaxed);
        if !place.calls.interrupted.swap(true, Ordering::Relaxed) {
            ffi::raise_in(identifier, &class);
        }
        module.call_method1("wake", (identifier,))?;
        Ok(true)
    }
}

impl Watcher for PythonWatcher {
    fn stack(&self, thread: usize, still: &dyn Fn() -> bool) -> Option<String> {
        Python::attach(|py| {
            Self::try_stack(py, thread, still).unwrap_or_else(|error| {
                errors::log(py, "Exception in the watchdog", &error);
                None
            })
        })
    }

    fn interrupt(&self, thread: usize, still: &dyn Fn() -> bool) -> bool {
        Python::attach(|py| {
            Self::try_interrupt(py, thread, still).unwrap_or_else(|error| {
                errors::log(py, "Exception in the watchdog", &error);
                false
            })
        })
    }
}
