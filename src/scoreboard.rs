//! What workers tell the arbiter without a message: typed slots over one shared page.
//!
//! One writer a field. The arbiter trusts nothing it reads: every value is data to be checked, never an index or a size.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Moment;

/// One worker's part of the shared page; a cache line of its own.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// When the present call of the application began, in nanoseconds; 0 while there is none.
    call_began: AtomicU64,
}

impl Slot {
    /// Worker: a call of the application begins (or boot does).
    pub(crate) fn begin_call(&self, now: Moment) {
        self.call_began.store(now.as_nanos().max(1), Ordering::Relaxed);
    }

    /// Worker: it has ended.
    pub(crate) fn end_call(&self) {
        self.call_began.store(0, Ordering::Relaxed);
    }

    /// Since when the application has been in one call.
    pub(crate) fn in_call_since(&self) -> Option<Moment> {
        match self.call_began.load(Ordering::Relaxed) {
            0 => None,
            nanoseconds => Some(Moment::from_nanos(nanoseconds)),
        }
    }

    /// Arbiter: a new worker gets the slot.
    pub(crate) fn clear(&self) {
        self.end_call();
    }
}
