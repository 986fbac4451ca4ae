//! How long to wait before something that has failed is tried again.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Moment;

/// Small pseudo-random numbers (splitmix64): for jitter, and for the simulator.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of that seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }
}

/// The delay after `failures` failures in a row: `FIRST` for one, twice as long for each more, `most` at most.
pub(crate) fn exponential(failures: u32, most: Duration) -> Duration {
    FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(most)
}

/// The same give or take a fifth, so that what failed together is not tried again together.
pub(crate) fn jittered(failures: u32, most: Duration, random: &mut Random) -> Duration {
    let delay = u64::try_from(exponential(failures, most).as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(delay - delay / 5 + random.below(2 * (delay / 5)))
}

/// The first delay.
const FIRST: Duration = Duration::from_millis(100);

/// Allows so many boots that are likely to fail in a period, and no more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limiter {
    /// When boots began that have failed or are likely to, in ascending order; `MOST` at most.
    boots: VecDeque<Moment>,
}

impl Limiter {
    /// Likely failing boots in [`PERIOD`](Self::PERIOD) at most.
    pub(crate) const MOST: usize = 10;
    /// See [`MOST`](Self::MOST).
    pub(crate) const PERIOD: Duration = Duration::from_secs(10);

    /// Takes note of a boot that began at `begin`.
    pub(crate) fn note(&mut self, begin: Moment) {
        let position = self.boots.partition_point(|other| *other <= begin);
        self.boots.insert(position, begin);
        if self.boots.len() > Self::MOST {
            self.boots.pop_front();
        }
    }

    /// When the next one may begin; a moment in the past is at once.
    pub(crate) fn next(&self) -> Moment {
        match self.boots.front() {
            Some(oldest) if self.boots.len() >= Self::MOST => *oldest + Self::PERIOD,
            _ => Moment::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn delays_double_up_to_the_most() {
        let delays: Vec<_> =
            (0..12).map(|failures| exponential(failures, Duration::from_secs(30)).as_millis()).collect();
        assert_eq!(delays, [100, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        assert_eq!(exponential(u32::MAX, Duration::from_secs(1)), Duration::from_secs(1));
    }

    #[test]
    fn jitter_stays_within_a_fifth_and_follows_the_seed() {
        let delays = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| jittered(1, Duration::from_secs(30), &mut random)).collect::<Vec<_>>()
        };
        assert!(delays(7).iter().all(|delay| (80..=120).contains(&delay.as_millis())));
        assert_eq!(delays(7), delays(7));
        assert_ne!(delays(7), delays(8));
    }

    #[test]
    fn the_eleventh_boot_waits_until_the_first_is_ten_seconds_old() {
        let mut limiter = Limiter::default();
        for boot in [at(5), at(0), at(9), at(1), at(2), at(3), at(4), at(6), at(7)] {
            limiter.note(boot);
            assert_eq!(limiter.next(), Moment::default());
        }
        limiter.note(at(8));
        assert_eq!(limiter.next(), at(10_000));
        limiter.note(at(10_000));
        assert_eq!(limiter.next(), at(10_001));
    }
}
