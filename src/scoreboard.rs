//! What workers tell the arbiter without a message: typed slots over one shared page.
//!
//! One writer a field. The arbiter trusts nothing it reads: every value is data to be checked, never an index or a size.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Moment;

/// One worker's part of the shared page; a cache line of its own.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Slot {
    /// When the present call of the application began, in nanoseconds; 0 while there is none.
    call_began: AtomicU64,
    /// Requests answered by the worker that has the slot now.
    requests: AtomicU64,
    /// Connections it holds.
    connections: AtomicU64,
    /// Log lines that it could not write.
    lost_lines: AtomicU64,
}

impl Slot {
    /// Worker: a call of the application begins (or boot does).
    pub fn begin_call(&self, now: Moment) {
        self.call_began.store(now.as_nanos().max(1), Ordering::Relaxed);
    }

    /// Worker: it has ended.
    pub fn end_call(&self) {
        self.call_began.store(0, Ordering::Relaxed);
    }

    /// Since when the application has been in one call.
    pub fn in_call_since(&self) -> Option<Moment> {
        match self.call_began.load(Ordering::Relaxed) {
            0 => None,
            nanoseconds => Some(Moment::from_nanos(nanoseconds)),
        }
    }

    /// Worker: publishes its counters.
    pub fn publish(&self, requests: u64, connections: u64, lost_lines: u64) {
        self.requests.store(requests, Ordering::Relaxed);
        self.connections.store(connections, Ordering::Relaxed);
        self.lost_lines.store(lost_lines, Ordering::Relaxed);
    }

    /// Requests answered, as the worker says.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Connections held, as the worker says.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Log lines lost, as the worker says.
    pub fn lost_lines(&self) -> u64 {
        self.lost_lines.load(Ordering::Relaxed)
    }

    /// Arbiter: a new worker gets the slot.
    pub fn clear(&self) {
        self.end_call();
        self.publish(0, 0, 0);
    }
}
