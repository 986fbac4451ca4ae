//! How many requests are worked at together.
//!
//! When several requests are there already, they are read one after the other, then answered one after the other, and the
//! answers leave one after the other. Each of the three keeps to its own code and data that way, which every system call
//! pushes out of the caches. And to wake a sleeping client is the dearest part of a request, 5 to 25 us of a core, more than
//! all the rest of what the kernel does for it: while an application works for tens of microseconds at a time, clients fall
//! asleep between two answers, and each is woken anew; of several answers that leave one after the other, the first wakes and
//! the others find it awake. All are sooner served for it, as the ones that wait behind gain what is saved; nothing is kept
//! when nothing waits, nor while calls take long.

use std::time::Duration;

use super::alarm::TICK;

/// How long an answer may be kept, going by the longest of the last calls that were measured: as long as it is anyhow until the
/// relief thread comes, if a call lasts longer than they did.
const LONGEST: Duration = TICK;

/// How many requests are worked at together at most: more save little more.
pub(crate) const MOST: usize = 32;

/// The last measured calls that count.
const SAMPLES: usize = 4;

/// What the last calls that were measured say.
#[derive(Debug)]
pub(crate) struct Burst {
    samples: [Duration; SAMPLES],
    next: usize,
    length: usize,
}

impl Default for Burst {
    /// Calls are long until they have been measured.
    fn default() -> Self {
        Self { samples: [Duration::MAX; SAMPLES], next: 0, length: 1 }
    }
}

impl Burst {
    /// A call has taken so long.
    pub(crate) fn measured(&mut self, call: Duration) {
        if let Some(sample) = self.samples.get_mut(self.next) {
            *sample = call;
        }
        self.next = (self.next + 1) % SAMPLES;
        let longest = self.samples.iter().max().copied().unwrap_or(Duration::MAX);
        self.length = match longest.as_nanos() {
            0 => MOST,
            longest => usize::try_from(LONGEST.as_nanos() / longest).unwrap_or(MOST).clamp(1, MOST),
        };
    }

    /// How many requests are worked at together, where so many are waiting.
    #[inline]
    pub(crate) fn length(&self) -> usize {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(calls: &[u64]) -> usize {
        let mut burst = Burst::default();
        calls.iter().for_each(|call| burst.measured(Duration::from_micros(*call)));
        burst.length()
    }

    #[test]
    fn answers_leave_together_as_many_as_keep_none_for_long() {
        assert_eq!(length(&[]), 1, "nothing is known of calls");
        assert_eq!(length(&[40, 40, 40]), 1, "too little is known");
        assert_eq!(length(&[80, 80, 80, 80]), 25);
        assert_eq!(length(&[20, 20, 20, 20]), 32);
        assert_eq!(length(&[300, 300, 300, 300]), 6);
        assert_eq!(length(&[600, 600, 600, 600]), 3);
        assert_eq!(length(&[1_200, 1_200, 1_200, 1_200]), 1);
        assert_eq!(length(&[2, 0, 1, 2]), 32);
        assert_eq!(length(&[0, 0, 0, 0]), 32, "a clock that stands still");
    }

    #[test]
    fn one_long_call_of_the_last_few_has_each_leave_at_once() {
        assert_eq!(length(&[40, 40, 300_000, 40, 40]), 1);
        assert_eq!(length(&[300_000, 80, 80, 80, 80]), 25);
    }
}
