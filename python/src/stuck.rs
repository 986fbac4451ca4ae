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

/// Application threads whose requests are shown.
const PLACES: usize = 256;

/// The request that an application thread is working on, in words of eight bytes, and how many count.
///
/// Handlers of another thread may see parts of two requests; that is the worst that can happen.
pub(crate) struct Place {
    words: [AtomicU64; SHOWN / 8],
    length: AtomicUsize,
    /// How many times [`Place::begin`] was called.
    requests: AtomicU64,
}

static ALL: [Place; PLACES] = [const {
    Place { words: [const { AtomicU64::new(0) }; SHOWN / 8], length: AtomicUsize::new(0), requests: AtomicU64::new(0) }
}; PLACES];
static USED: AtomicUsize = AtomicUsize::new(0);
static LOG: AtomicI32 = AtomicI32::new(2);

/// How many requests there were.
pub(crate) fn requests() -> u64 {
    ALL.iter().take(USED.load(Ordering::Relaxed)).map(|place| place.requests.load(Ordering::Relaxed)).sum()
}

impl Place {
    /// That of the next thread.
    pub(crate) fn next() -> &'static Self {
        let index = USED.fetch_add(1, Ordering::Relaxed);
        ALL.get(index).unwrap_or(&ALL[PLACES - 1])
    }

    /// Takes note of the request that is about to be handled.
    #[inline]
    pub(crate) fn begin(&self, request: &Request<'_>) {
        self.length.store(0, Ordering::Relaxed);
        // No other thread writes it: a load and a store are enough.
        self.requests.store(self.requests.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let (method, target) = (request.method().as_bytes(), request.target().as_bytes());
        let mut words = self.words.iter();
        for (chunk, word) in method.chunks(8).chain([b" ".as_slice()]).chain(target.chunks(8)).zip(&mut words) {
            let mut bytes = [0; 8];
            if let Some(place) = bytes.get_mut(..chunk.len()) {
                place.copy_from_slice(chunk);
            }
            word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
        self.length.store(self.words.len() - words.len(), Ordering::Release);
    }

    /// It has been handled.
    #[inline]
    pub(crate) fn end(&self) {
        self.length.store(0, Ordering::Relaxed);
    }
}

/// Writes the requests to the log, from a signal handler: no memory is allocated, no lock taken.
pub(crate) fn write_request() {
    let places = || ALL.iter().take(USED.load(Ordering::Relaxed));
    let busy = |place: &&Place| place.length.load(Ordering::Acquire) > 0;
    for place in places().filter(busy) {
        write_line(b"In request ", place);
    }
    if !places().any(|place| busy(&place)) {
        ffi::write(LOG.load(Ordering::Relaxed), b"In no request\n");
    }
}

fn write_line(intro: &[u8], place: &Place) {
    let mut line = [0; SHOWN + 32];
    let mut length = 0;
    let mut put = |byte: u8| {
        if let Some(place) = line.get_mut(length) {
            *place = byte;
            length += 1;
        }
    };
    intro.iter().copied().for_each(&mut put);
    for word in place.words.iter().take(place.length.load(Ordering::Acquire)) {
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
