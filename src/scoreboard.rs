//! What workers tell the arbiter, and each other, without a message: typed slots over one shared page.
//!
//! One writer a field. Whoever reads trusts nothing: every value is data to be checked, never an index or a size.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;

/// Application threads that a worker may have.
pub(crate) const MAX_THREADS: usize = 256;

/// What one application thread does.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Call {
    /// When the present call of the application began, in nanoseconds; 0 while there is none.
    began: AtomicU64,
    /// Moves when a call begins and when it ends.
    steps: AtomicU64,
    /// Requests that the thread has answered.
    answered: AtomicU64,
}

impl Call {
    /// Its thread: a call of the application begins.
    #[inline]
    pub(crate) fn begin(&self, now: Moment) {
        self.began.store(now.as_nanos().max(1), Ordering::Relaxed);
        self.step();
    }

    /// Its thread: it has ended.
    #[inline]
    pub(crate) fn end(&self) {
        self.began.store(0, Ordering::Relaxed);
        self.step();
    }

    /// Since when its thread has been in one call. What was [put off](Self::put_off) may lie in the future.
    pub(crate) fn began(&self) -> Option<Moment> {
        Some(self.began.load(Ordering::Relaxed)).filter(|began| *began != 0).map(Moment::from_nanos)
    }

    /// Its thread, in a call: it counts as if it had begun so late that `limit` has not passed before `until`.
    pub(crate) fn put_off(&self, limit: Duration, until: Moment) {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let began = until.as_nanos().saturating_sub(limit);
        self.began.store(began.max(self.began.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Its thread: so many requests are answered.
    pub(crate) fn set_answered(&self, count: u64) {
        self.answered.store(count, Ordering::Relaxed);
    }

    #[inline]
    fn step(&self) {
        // There is one writer, so that nothing comes between the two.
        self.steps.store(self.steps.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

/// One worker's part of the shared page.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// Application threads.
    threads: AtomicU64,
    /// While the worker has nothing to do: one more than the connections that it has. Else 0.
    idle: AtomicU64,
    /// Of the application threads, and of the relief thread in the last place.
    calls: [Call; MAX_THREADS + 1],
}

impl Slot {
    /// Worker: there are so many application threads.
    pub(crate) fn begin_threads(&self, count: usize) {
        self.threads.store(count.min(MAX_THREADS) as u64, Ordering::Relaxed);
    }

    /// Worker: the place of the application thread of that number; [`MAX_THREADS`] is the relief thread.
    pub(crate) fn call(&self, thread: usize) -> &Call {
        &self.calls[thread.min(MAX_THREADS)]
    }

    /// Whether a worker has it, or had it last.
    pub(crate) fn is_taken(&self) -> bool {
        self.threads.load(Ordering::Relaxed) > 0
    }

    fn calls(&self) -> impl Iterator<Item = &Call> {
        let threads = usize::try_from(self.threads.load(Ordering::Relaxed)).unwrap_or(MAX_THREADS);
        self.calls.iter().take(threads.min(MAX_THREADS))
    }

    /// Changes whenever a call begins or ends.
    pub(crate) fn steps(&self) -> u64 {
        self.calls().fold(0, |sum, call| sum.wrapping_add(call.steps.load(Ordering::Relaxed)))
    }

    /// Since when the application has been in one call: that of the thread that has been in one for longest.
    pub(crate) fn in_call_since(&self) -> Option<Moment> {
        self.calls().filter_map(Call::began).min()
    }

    /// Requests that the worker has answered.
    pub(crate) fn answered(&self) -> u64 {
        let relief = self.calls.last();
        self.calls().chain(relief).map(|call| call.answered.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    /// Worker: it waits for something to do, with so many connections; or does something.
    #[inline]
    pub(crate) fn set_idle(&self, connections: Option<usize>) {
        self.idle.store(connections.map_or(0, |count| count as u64 + 1), Ordering::Relaxed);
    }

    /// Connections of the worker, if it waits for something to do.
    pub(crate) fn idle_connections(&self) -> Option<usize> {
        self.idle.load(Ordering::Relaxed).checked_sub(1).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Arbiter: a new worker gets the slot.
    pub(crate) fn clear(&self) {
        self.set_idle(None);
        for call in self.calls().chain(self.calls.last()) {
            call.end();
            call.set_answered(0);
        }
        self.begin_threads(0);
    }
}
