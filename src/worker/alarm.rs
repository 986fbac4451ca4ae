//! What wakes the relief thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// How long nothing must have happened for the relief thread to act. (A prototype with 5 and 20 ms cost as much.)
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// Readable a tick after it was set.
#[derive(Debug)]
pub(crate) struct Alarm(TimerFd);

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?))
    }

    /// Rings after a tick. A timer costs the leader a system call, and the machine no switch of threads as long as requests
    /// are answered within the tick.
    pub(crate) fn set(&self) {
        let once = Expiration::OneShot(TimeSpec::from_duration(TICK));
        // It fails for wrong times only.
        let _ = self.0.set(once, TimerSetTimeFlags::empty());
    }

    /// Forgets that it was set, and that it has rung.
    pub(crate) fn unset(&self) {
        let _ = self.0.unset();
    }

    /// Sleeps until it rings.
    pub(crate) fn wait(&self) {
        if self.0.wait().is_err() {
            std::thread::sleep(TICK);
        }
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
