//! The number of workers follows the load, where the settings leave it open.

use std::time::Duration;

use super::{Action, Bounds, Child, Moment, Notice, Reading, State};

/// How often the load is looked at.
const BETWEEN_READINGS: Duration = Duration::from_millis(250);

impl State {
    fn is_open(&self) -> bool {
        let policy = &self.current.policy;
        policy.most > policy.workers && !self.paused && self.stopping.is_none() && self.current.proven
    }

    /// Whether there are no workers because nothing is to be done: whoever comes next is to be
    /// [told of](super::Event::Measured).
    pub(crate) fn sleeps(&self) -> bool {
        self.is_open() && self.current.target == 0 && self.current.policy.workers == 0
    }

    pub(super) fn begin_reading(&mut self, now: Moment) {
        self.reading =
            if self.is_open() && !self.sleeps() { self.reading.or(Some(now + BETWEEN_READINGS)) } else { None };
    }

    pub(super) fn read_if_due(&mut self, now: Moment, out: &mut Vec<Action>) {
        if self.reading.is_some_and(|at| at <= now) {
            self.reading = Some(now + BETWEEN_READINGS);
            let ready = self.children.iter().filter(|child| child.is_ready());
            out.extend(ready.map(|child| Action::Inspect { pid: child.pid, nr: child.nr }));
            out.push(Action::MeasureQueues);
        }
    }

    pub(super) fn measured(&mut self, now: Moment, queued: u32, out: &mut Vec<Action>) {
        // Settings that are being loaded may say something else.
        if !self.is_open() || self.loading.is_some() {
            return;
        }
        let fresh = |child: &Child| child.is_ready() && !self.is_stale(child);
        let ready = self.children.count(fresh);
        let busy = self.children.count(|child| fresh(child) && child.busy);
        // Whoever else there is may hand something over.
        let at_rest = queued == 0 && self.children.iter().all(|child| fresh(child) && child.rested);
        let policy = self.current.policy;
        let (bounds, old) = (Bounds { least: policy.workers, most: policy.most }, self.current.target);
        let target = self.scaler.decide(now, Reading { ready, busy, queued, at_rest }, old, bounds, policy.idle);
        if target != old {
            out.push(Action::Log(Notice::Scaled { from: old, to: target, busy, queued }));
            self.current.target = target;
        }
    }
}
