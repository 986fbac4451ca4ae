//! How fast a peer must be: a time that it is given, which what it moves puts off.
//!
//! The model is that of Apache's `mod_reqtimeout`, with one difference. Time that was bought by moving fast is never more
//! than what was given at the start: who sends a gigabyte at once has not earned a week of silence.

use std::time::Duration;

use crate::clock::Moment;

/// What is asked of a peer that sends or takes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// How long it may move nothing.
    pub(crate) patience: Duration,
    /// Bytes that buy a second more; 0: any byte buys all of the time anew.
    pub(crate) minimum: u64,
}

impl Pace {
    /// The time that `bytes` buy.
    fn bought(self, bytes: u64) -> Duration {
        match self.minimum {
            0 if bytes == 0 => Duration::ZERO,
            0 => self.patience,
            minimum => Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / minimum),
        }
    }

    /// The deadline after `bytes` more have moved.
    pub(crate) fn put_off(self, deadline: Moment, bytes: u64, now: Moment) -> Moment {
        (deadline + self.bought(bytes)).min(now + self.patience)
    }

    /// How far behind a peer with that deadline is, that has only just been given all of its time if it is not.
    pub(crate) fn arrears(self, deadline: Moment, now: Moment) -> Duration {
        (now + self.patience).since(deadline)
    }

    /// The deadline of something that began at `began` and of which there are so many bytes now, at most `longest` long.
    pub(crate) fn allowed(self, began: Moment, bytes: u64, longest: Duration) -> Moment {
        let bought = if self.minimum == 0 { Duration::ZERO } else { self.bought(bytes) };
        began + (self.patience + bought).min(longest.max(self.patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::from_nanos(1_000_000_000 + milliseconds * 1_000_000)
    }

    /// When a peer is cut off that moves `bytes` every `interval` milliseconds, `steps` times.
    fn cut_off(pace: Pace, bytes: u64, interval: u64, steps: u64) -> Option<u64> {
        let mut deadline = at(0) + pace.patience;
        for step in 1..=steps {
            let now = at(step * interval);
            if now > deadline {
                return Some(deadline.since(at(0)).as_millis() as u64);
            }
            deadline = pace.put_off(deadline, bytes, now);
        }
        None
    }

    #[test]
    fn who_moves_at_the_minimum_is_never_cut_off() {
        let pace = Pace { patience: Duration::from_secs(10), minimum: 500 };
        for (bytes, interval) in [(500, 1_000), (1, 2), (4_000, 8_000), (1_000_000, 9_999)] {
            assert_eq!(cut_off(pace, bytes, interval, 10_000), None, "{bytes} bytes every {interval} ms");
        }
    }

    #[test]
    fn who_moves_slower_is_cut_off_soon_after_the_time_that_was_given() {
        let pace = Pace { patience: Duration::from_secs(10), minimum: 500 };
        for (bytes, interval, expected) in [(0, 500, 10_000), (1, 1_000, 10_020), (5, 9_000, 10_010)] {
            assert_eq!(cut_off(pace, bytes, interval, 100), Some(expected), "{bytes} bytes every {interval} ms");
        }
        assert!(cut_off(pace, 400, 1_000, 1_000).is_some_and(|after| (45_000..=51_000).contains(&after)));
    }

    #[test]
    fn a_burst_buys_no_more_than_the_patience() {
        let pace = Pace { patience: Duration::from_secs(10), minimum: 500 };
        assert_eq!(pace.put_off(at(10_000), u64::MAX, at(3_000)), at(13_000));
    }

    #[test]
    fn without_a_minimum_only_silence_is_too_slow() {
        let pace = Pace { patience: Duration::from_secs(10), minimum: 0 };
        assert_eq!(cut_off(pace, 1, 9_999, 100), None);
        assert_eq!(cut_off(pace, 1, 10_001, 100), Some(10_000));
        assert_eq!(cut_off(pace, 0, 1_000, 100), Some(10_000));
    }

    #[test]
    fn what_arrives_extends_a_head_up_to_the_longest() {
        let pace = Pace { patience: Duration::from_secs(10), minimum: 500 };
        let longest = Duration::from_secs(40);
        for (bytes, expected) in [(0, 10_000), (500, 11_000), (10_000, 30_000), (60_000, 40_000), (u64::MAX, 40_000)] {
            assert_eq!(pace.allowed(at(0), bytes, longest), at(expected), "{bytes} bytes");
        }
        assert_eq!(Pace { minimum: 0, ..pace }.allowed(at(0), 500, longest), at(10_000));
        // A longest below the patience is a slip of the finger.
        assert_eq!(pace.allowed(at(0), 500, Duration::from_secs(1)), at(10_000));
    }

    #[test]
    fn arrears_are_what_is_missing_of_the_patience() {
        let pace = Pace { patience: Duration::from_secs(10), minimum: 500 };
        assert_eq!(pace.arrears(at(10_000), at(0)), Duration::ZERO);
        assert_eq!(pace.arrears(at(10_000), at(7_000)), Duration::from_secs(7));
        assert_eq!(pace.arrears(at(10_000), at(19_000)), Duration::from_secs(19));
    }
}
