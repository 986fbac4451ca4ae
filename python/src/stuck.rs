//! What a worker does, said by signal handlers: the request, and the stack of every thread of Python's.
//!
//! `SIGUSR2` asks for it, and goes on; with `SIGABRT` the arbiter ends a call that takes too long. Python's `faulthandler`
//! writes the stacks, even if the interpreter is stuck in a function written in C.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

use ferricorn::Request;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::ffi;

/// Bytes of a request line that are shown.
const SHOWN: usize = 512;

/// The request that the application is working on, in words of eight bytes, and how many count.
///
/// Handlers of another thread may see parts of two requests; that is the worst that can happen.
static REQUEST: [AtomicU64; SHOWN / 8] = [const { AtomicU64::new(0) }; SHOWN / 8];
static LENGTH: AtomicUsize = AtomicUsize::new(0);
static LOG: AtomicI32 = AtomicI32::new(2);

/// How many times [`begin`] was called.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// How many requests there were.
pub(crate) fn requests() -> u64 {
    REQUESTS.load(Ordering::Relaxed)
}

/// Takes note of the request that is about to be handled.
#[inline]
pub(crate) fn begin(request: &Request<'_>) {
    LENGTH.store(0, Ordering::Relaxed);
    // Under the interpreter's lock a load and a store are enough.
    REQUESTS.store(REQUESTS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    let (method, target) = (request.method().as_bytes(), request.target().as_bytes());
    let mut words = REQUEST.iter();
    for (chunk, word) in method.chunks(8).chain([b" ".as_slice()]).chain(target.chunks(8)).zip(&mut words) {
        let mut bytes = [0; 8];
        if let Some(place) = bytes.get_mut(..chunk.len()) {
            place.copy_from_slice(chunk);
        }
        word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
    }
    LENGTH.store(REQUEST.len() - words.len(), Ordering::Release);
}

/// It has been handled.
#[inline]
pub(crate) fn end() {
    LENGTH.store(0, Ordering::Relaxed);
}

/// Writes the request to the log, from a signal handler: no memory is allocated, no lock taken.
pub(crate) fn write_request() {
    let mut line = [0; SHOWN + 32];
    let mut length = 0;
    let mut put = |byte: u8| {
        if let Some(place) = line.get_mut(length) {
            *place = byte;
            length += 1;
        }
    };
    let words = LENGTH.load(Ordering::Acquire);
    let intro: &[u8] = if words == 0 { b"In no request" } else { b"In request " };
    intro.iter().copied().for_each(&mut put);
    for word in REQUEST.iter().take(words) {
        // Zeros fill the last word of each part up.
        word.load(Ordering::Relaxed).to_ne_bytes().into_iter().filter(|byte| *byte != 0).for_each(&mut put);
    }
    put(b'\n');
    ffi::write(LOG.load(Ordering::Relaxed), line.get(..length).unwrap_or_default());
}

/// Keeps the descriptor open that handlers write to.
pub(crate) struct Watch(#[expect(dead_code, reason = "for its drop")] OwnedFd);

impl Watch {
    /// Has signals answered from now on, into the error log.
    ///
    /// If `hooked`, a handler of Python's ends the process that is sent `SIGABRT`.
    pub(crate) fn install(py: Python<'_>, hooked: bool) -> PyResult<Self> {
        ffi::on_signals(hooked)?;
        Self::renew(py)
    }

    /// The same, after the log was opened again.
    pub(crate) fn renew(py: Python<'_>) -> PyResult<Self> {
        let log = ferricorn::error_log_descriptor()?;
        LOG.store(log.as_raw_fd(), Ordering::Relaxed);
        let handler = py.import("faulthandler")?;
        let named = PyDict::new(py);
        named.set_item("file", log.as_raw_fd())?;
        named.set_item("all_threads", true)?;
        handler.call_method("enable", (), Some(&named))?;
        named.set_item("chain", true)?;
        handler.call_method("register", (signal_hook::consts::SIGUSR2,), Some(&named))?;
        Ok(Self(log))
    }
}
