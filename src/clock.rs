//! Monotonic time that two processes agree on.

use std::ops::Add;
use std::time::Duration;

/// A moment of `CLOCK_MONOTONIC`, in nanoseconds since some point at boot.
///
/// Unlike [`std::time::Instant`] it can be written into the scoreboard and read by another process, and a test can make
/// one up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(u64);

impl Moment {
    /// The moment that is `nanoseconds` after the clock's zero.
    pub(crate) const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the clock's zero.
    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time since `earlier`; zero if that is later.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanoseconds = duration.as_secs().saturating_mul(1_000_000_000);
        Self(self.0.saturating_add(nanoseconds).saturating_add(u64::from(duration.subsec_nanos())))
    }
}
