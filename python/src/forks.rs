//! Processes that an application forks by itself while it is called.
//!
//! Such a process is to end in the application. One that comes back from a call would be a second worker with the sockets of
//! the first: it would answer the client once more, and serve on when the server has stopped.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pyo3::prelude::*;

static FORKS: AtomicU32 = AtomicU32::new(0);
static OURS: AtomicBool = AtomicBool::new(false);

/// Has Python tell of forks from now on.
pub(crate) fn watch(py: Python<'_>) -> PyResult<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        result = py.import("ferricorn._application").and_then(|module| module.call_method0("watch_forks")).map(drop)
    });
    result
}

/// Runs what Python does in a new process of the server's own.
pub(crate) fn in_ours(run: impl FnOnce()) {
    OURS.store(true, Ordering::Relaxed);
    run();
    OURS.store(false, Ordering::Relaxed);
}

/// This process is a new one. Returns whether the application has forked it.
pub(crate) fn forked() -> bool {
    let of_application = !OURS.load(Ordering::Relaxed);
    if of_application {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    of_application
}

/// By how many forks of an application's this process has come about.
#[inline]
pub(crate) fn count() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Ends this process if it was forked since there were so many.
#[inline]
pub(crate) fn stay<T>(py: Python<'_>, before: u32, name: impl FnOnce() -> String, result: &PyResult<T>) {
    if count() != before {
        leave(py, &name(), result.as_ref().err());
    }
}

#[cold]
fn leave(py: Python<'_>, name: &str, error: Option<&PyErr>) -> ! {
    let error = error.map(|error| error.value(py));
    let _ = py.import("ferricorn._application").and_then(|module| module.call_method1("leave", (name, error)));
    std::process::abort()
}
