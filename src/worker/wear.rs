//! When a worker has served its time.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use crate::clock::Moment;
use crate::settings::Settings;

/// How often memory is looked at.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What a worker may do before it is replaced.
#[derive(Debug)]
pub(crate) struct Wear {
    requests: u64,
    memory: u64,
    look: Moment,
    told: bool,
}

/// Why it is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    /// It has answered enough requests.
    Requests,
    /// It occupies so many bytes.
    Memory(u64),
}

impl Wear {
    /// That of one worker.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self::with(settings, RandomState::new().hash_one(std::process::id()))
    }

    fn with(settings: &Settings, random: u64) -> Self {
        let jitter = random.checked_rem(settings.max_requests_jitter.saturating_add(1)).unwrap_or(0);
        let requests = match settings.max_requests {
            0 => u64::MAX,
            most => most.saturating_add(jitter),
        };
        Self { requests, memory: settings.worker_memory, look: Moment::default(), told: false }
    }

    /// Whether there is anything to look for.
    pub(crate) fn is_bounded(&self) -> bool {
        !self.told && (self.requests < u64::MAX || self.memory < u64::MAX)
    }

    /// Why the worker is to be replaced, once, after so many requests. `resident` is what it occupies, if that is known.
    pub(crate) fn check(
        &mut self,
        requests: u64,
        now: Moment,
        resident: impl FnOnce() -> Option<u64>,
    ) -> Option<Spent> {
        if self.told || (requests < self.requests && (self.memory == u64::MAX || now < self.look)) {
            return None;
        }
        let spent = if requests >= self.requests {
            Spent::Requests
        } else {
            self.look = now + BETWEEN_LOOKS;
            Spent::Memory(resident().filter(|resident| *resident > self.memory)?)
        };
        self.told = true;
        Some(spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::from_nanos((1 << 40) + milliseconds * 1_000_000)
    }

    #[test]
    fn the_number_of_requests_has_a_jitter_and_is_told_once() {
        let settings = Settings { max_requests: 100, max_requests_jitter: 10, ..Settings::default() };
        let mut limits = std::collections::BTreeSet::new();
        for random in 0..1000 {
            let mut wear = Wear::with(&settings, random);
            let limit = (0..200).find(|requests| wear.check(*requests, at(0), || None) == Some(Spent::Requests));
            limits.extend(limit);
            assert_eq!(wear.check(1000, at(0), || None), None);
        }
        assert_eq!(limits, (100..=110).collect());
        assert_eq!(Wear::with(&Settings::default(), 7).check(u64::MAX - 1, at(0), || None), None);
        let largest = Settings { max_requests: 1, max_requests_jitter: u64::MAX, ..Settings::default() };
        assert_eq!(Wear::with(&largest, u64::MAX - 1).check(5, at(0), || None), None);
    }

    #[test]
    fn memory_is_looked_at_once_a_second() {
        let settings = Settings { worker_memory: 1000, ..Settings::default() };
        let mut wear = Wear::with(&settings, 0);
        let mut looks = 0;
        for now in 0..5_000 {
            let checked = wear.check(1, at(now), || {
                looks += 1;
                Some(1000)
            });
            assert_eq!(checked, None);
        }
        assert_eq!(looks, 5);
        assert_eq!(wear.check(1, at(6_000), || Some(1001)), Some(Spent::Memory(1001)));
    }
}
