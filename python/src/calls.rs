//! When the thread of a call may be interrupted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyo3::prelude::*;

use crate::ffi;

/// What an application thread's calls are to the watchdog. All of it is the interpreter's lock's.
pub(crate) struct Calls {
    /// Python's identifier of the thread; 0 as long as it has not been asked for.
    pub(crate) thread: AtomicU64,
    pub(crate) open: AtomicBool,
    pub(crate) interrupted: AtomicBool,
}

impl Calls {
    pub(crate) const fn new() -> Self {
        Self { thread: AtomicU64::new(0), open: AtomicBool::new(false), interrupted: AtomicBool::new(false) }
    }

    /// Their thread: it may be interrupted until what is returned is dropped.
    #[inline]
    pub(crate) fn open<'a>(&'a self, py: Python<'a>) -> Window<'a> {
        if self.thread.load(Ordering::Relaxed) == 0 {
            self.thread.store(ffi::this_thread(py), Ordering::Relaxed);
        }
        self.open.store(true, Ordering::Relaxed);
        Window { calls: self, py }
    }
}

/// While it is open, the thread may be interrupted.
pub(crate) struct Window<'a> {
    calls: &'a Calls,
    py: Python<'a>,
}

impl Drop for Window<'_> {
    #[inline]
    fn drop(&mut self) {
        self.calls.open.store(false, Ordering::Relaxed);
        if self.calls.interrupted.load(Ordering::Relaxed) {
            self.calls.interrupted.store(false, Ordering::Relaxed);
            ffi::raise_nothing_in(self.py, self.calls.thread.load(Ordering::Relaxed));
        }
    }
}
