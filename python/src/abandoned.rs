//! What was given to the server, and dropped by a thread of its that must not wait for the interpreter.
//!
//! The server's relief thread ends connections while all application threads are busy. What it drops is put by, and the next
//! application thread that has a moment drops it.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use ferricorn::app::{Pull, Source};

thread_local! {
    /// This thread serves Python, and holds the interpreter's lock wherever something may be dropped.
    static SERVES: Cell<bool> = const { Cell::new(false) };
}

static PUT_BY: Mutex<Vec<Box<dyn Send>>> = Mutex::new(Vec::new());
static ANY: AtomicBool = AtomicBool::new(false);

/// This thread serves Python from now on.
pub(crate) fn serve() {
    SERVES.set(true);
}

/// Drops what others have put by.
#[inline]
pub(crate) fn collect() {
    if ANY.load(Ordering::Acquire) {
        ANY.store(false, Ordering::Relaxed);
        let put_by = std::mem::take(&mut *PUT_BY.lock().unwrap_or_else(PoisonError::into_inner));
        drop(put_by);
    }
}

/// A thing that only threads which serve Python may drop.
pub(crate) struct Ours<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Ours<T> {
    pub(crate) fn new(thing: T) -> Self {
        Self(Some(thing))
    }

    /// Does something with it.
    pub(crate) fn with(&mut self, act: impl FnOnce(&mut T)) {
        // It is there until it is dropped.
        if let Some(thing) = &mut self.0 {
            act(thing);
        }
    }
}

impl<T: Send + 'static> Drop for Ours<T> {
    fn drop(&mut self) {
        if SERVES.get() {
            return;
        }
        if let Some(thing) = self.0.take() {
            PUT_BY.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(thing));
            ANY.store(true, Ordering::Release);
        }
    }
}

impl<T: AsRef<[u8]> + Send + 'static> AsRef<[u8]> for Ours<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], AsRef::as_ref)
    }
}

impl<T: Source + 'static> Source for Ours<T> {
    fn pull(&mut self, waker: &Waker, out: &mut Vec<u8>) -> Pull {
        self.0.as_mut().map_or(Pull::Failed, |source| source.pull(waker, out))
    }

    fn take_piece(&mut self) -> Option<Bytes> {
        self.0.as_mut().and_then(Source::take_piece)
    }

    fn length(&self) -> Option<u64> {
        self.0.as_ref().and_then(Source::length)
    }
}
