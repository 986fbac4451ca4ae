//! How many workers there should be, from what they do and what waits: a pure function of readings and the time.
//!
//! Growing is quick and doubles, as php-fpm's does: two readings in a row with something in the accept queue, or with all
//! workers busy, are enough. Shrinking is slow, one at a time: only when two have been idle for a while may one go.

use std::time::Duration;

use crate::clock::Moment;

/// What is known of the load at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Workers that accept connections.
    pub(crate) ready: usize,
    /// Those of them in a call of the application.
    pub(crate) busy: usize,
    /// Connections in the accept queues.
    pub(crate) queued: u32,
    /// Nobody is connected, and nothing was asked for since the last reading.
    pub(crate) at_rest: bool,
}

/// How many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) least: usize,
    pub(crate) most: usize,
}

/// Readings in a row under pressure before workers are added.
const PRESSED: u32 = 2;
/// Workers that are added at a time at most.
const LARGEST_STEP: usize = 32;
/// The time between two that go, after the first.
const BETWEEN_SHRINKS: Duration = Duration::from_secs(2);

/// What earlier readings have come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scaler {
    /// Readings under pressure in a row.
    pressed: u32,
    /// How many were added last, while the pressure lasts.
    step: usize,
    /// When one may go, if it stays as quiet.
    shrink: Option<Moment>,
}

impl Scaler {
    /// The number of workers that there should be after this reading; `target` is what it was until now.
    pub(crate) fn decide(
        &mut self,
        now: Moment,
        reading: Reading,
        target: usize,
        bounds: Bounds,
        idle: Duration,
    ) -> usize {
        let Reading { ready, busy, queued, at_rest } = reading;
        if target == 0 {
            return within(usize::from(queued > 0), bounds);
        }
        if queued > 0 || busy >= ready {
            self.shrink = None;
            self.pressed += 1;
            // Those that are on their way may be enough.
            if self.pressed < PRESSED || ready < target {
                return within(target, bounds);
            }
            self.pressed = 0;
            self.step = (self.step * 2).clamp(1, LARGEST_STEP);
            return within(target + self.step, bounds);
        }
        (self.pressed, self.step) = (0, 0);
        // One is kept in reserve, unless even that has long had nothing to do.
        if (busy + 1 >= ready && !(at_rest && target == 1)) || target <= bounds.least {
            self.shrink = None;
            return within(target, bounds);
        }
        let due = *self.shrink.get_or_insert(now + idle);
        if now < due {
            return within(target, bounds);
        }
        // The last one has a quiet time of its own.
        self.shrink = (target > 2).then_some(now + BETWEEN_SHRINKS);
        within(target - 1, bounds)
    }
}

fn within(target: usize, bounds: Bounds) -> usize {
    target.clamp(bounds.least, bounds.most.max(bounds.least))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { least: 2, most: 20 };
    const IDLE: Duration = Duration::from_secs(10);

    /// A site: as many workers as were last asked for, and so much to do at each quarter of a second.
    struct Site {
        scaler: Scaler,
        now: Moment,
        target: usize,
    }

    impl Site {
        fn new(target: usize) -> Self {
            Self { scaler: Scaler::default(), now: Moment::from_nanos(1 << 40), target }
        }

        fn read(&mut self, ready: usize, busy: usize, queued: u32) -> usize {
            self.now = self.now + Duration::from_millis(250);
            self.target = self.scaler.decide(
                self.now,
                Reading { ready, busy, queued, at_rest: false },
                self.target,
                BOUNDS,
                IDLE,
            );
            self.target
        }

        /// The targets while there are always `calls` to be made.
        fn run(&mut self, calls: usize, readings: usize) -> Vec<usize> {
            (0..readings).map(|_| self.read(self.target, calls.min(self.target), 0)).collect()
        }
    }

    #[test]
    fn busy_workers_get_company_in_growing_steps_up_to_the_most() {
        assert_eq!(Site::new(2).run(100, 12), [2, 3, 3, 5, 5, 9, 9, 17, 17, 20, 20, 20]);
    }

    #[test]
    fn a_queue_is_pressure_too_and_one_busy_moment_is_none() {
        let mut site = Site::new(4);
        assert_eq!([site.read(4, 4, 0), site.read(4, 1, 0), site.read(4, 4, 0), site.read(4, 1, 0)], [4, 4, 4, 4]);
        assert_eq!([site.read(4, 1, 1), site.read(4, 2, 7)], [4, 5]);
        // The steps begin anew when the pressure has gone.
        assert_eq!([site.read(5, 1, 0), site.read(5, 5, 0), site.read(5, 5, 0)], [5, 5, 6]);
    }

    #[test]
    fn workers_that_still_boot_are_waited_for() {
        let mut site = Site::new(2);
        assert_eq!([site.read(2, 2, 5), site.read(2, 2, 5)], [2, 3]);
        assert_eq!([site.read(2, 2, 5), site.read(2, 2, 5), site.read(2, 2, 5)], [3, 3, 3]);
        assert_eq!(site.read(3, 3, 5), 5);
    }

    #[test]
    fn idle_workers_go_one_at_a_time_after_a_while_and_one_stays_in_reserve() {
        let mut site = Site::new(8);
        let targets = site.run(4, 200);
        assert!(targets[..40].iter().all(|target| *target == 8), "{targets:?}");
        assert_eq!(targets[40], 7, "after ten seconds");
        assert!(targets.windows(2).all(|pair| pair[0] - pair[1] <= 1), "{targets:?}");
        assert_eq!(*targets.last().unwrap_or(&0), 5, "four are busy");
        assert_eq!(*Site::new(8).run(0, 400).last().unwrap_or(&0), 2, "never below the least");
    }

    #[test]
    fn a_busy_moment_starts_the_quiet_time_anew() {
        let mut site = Site::new(8);
        site.run(0, 39);
        site.run(8, 1);
        assert_eq!(site.run(0, 40).last(), Some(&8));
    }

    #[test]
    fn a_steady_load_comes_to_rest() {
        for calls in 0..20 {
            let mut site = Site::new(2);
            site.run(calls, 500);
            let targets = site.run(calls, 400);
            let (least, most) = (targets.iter().min(), targets.iter().max());
            assert_eq!(least, most, "{calls} calls: {targets:?}");
        }
    }

    #[test]
    fn the_last_one_goes_only_when_it_has_long_had_nothing_to_do() {
        let (mut scaler, bounds) = (Scaler::default(), Bounds { least: 0, most: 20 });
        let mut now = Moment::from_nanos(1 << 40);
        let mut target = 3;
        let mut read = |busy: usize, queued: u32, at_rest: bool, readings: usize| {
            for _ in 0..readings {
                now = now + Duration::from_millis(250);
                target = scaler.decide(now, Reading { ready: target, busy, queued, at_rest }, target, bounds, IDLE);
            }
            target
        };
        assert_eq!(read(0, 0, false, 400), 1, "one is kept in reserve");
        assert_eq!([read(0, 0, true, 40), read(0, 0, false, 1), read(0, 0, true, 40)], [1, 1, 1], "somebody was there");
        assert_eq!([read(0, 0, true, 1), read(0, 0, true, 9)], [0, 0]);
        assert_eq!(read(0, 1, false, 1), 1, "at once");
    }

    #[test]
    fn bounds_that_have_moved_are_kept() {
        let mut site = Site::new(40);
        assert_eq!(site.read(40, 10, 0), 20);
        let mut site = Site::new(0);
        assert_eq!(site.read(0, 0, 0), 2);
    }
}
