//! Workers that have served their time: each is replaced, and goes when its successor is ready.

use std::time::Duration;

use super::workers::{drain, end};
use super::{Action, Cause, Child, Moment, Notice, Phase, Sent, State};

/// How often workers are weighed.
const BETWEEN_WEIGHINGS: Duration = Duration::from_secs(1);

impl State {
    /// A worker has asked to be replaced.
    pub(super) fn spent(&mut self, pid: i32) {
        if let Some(child) = self.children.find(pid).filter(|child| child.is_ready()) {
            child.spent = true;
        }
    }

    /// When a worker that is forked now has lived long enough: up to a tenth later than it has to, so that those that were
    /// forked together do not go together.
    pub(super) fn end_of_life(&mut self, now: Moment, lifetime: Option<Duration>) -> Option<Moment> {
        let lifetime = lifetime?;
        let spread = u64::try_from(lifetime.as_nanos() / 10).unwrap_or(u64::MAX);
        Some(now + lifetime + Duration::from_nanos(self.random.below(spread.max(1))))
    }

    pub(super) fn retire_the_old(&mut self, now: Moment, out: &mut Vec<Action>) {
        let old = |child: &&mut Child| child.retirement().is_some_and(|at| at <= now);
        for child in self.children.iter_mut().filter(old) {
            child.spent = true;
            out.push(Action::Log(Notice::OldAge { pid: child.pid }));
        }
    }

    pub(super) fn weigh_if_due(&mut self, now: Moment, out: &mut Vec<Action>) {
        if self.weighing.is_some_and(|at| at <= now) {
            self.weighing = Some(now + BETWEEN_WEIGHINGS);
            let living = self.children.iter().filter(|child| !child.killed);
            out.extend(living.map(|child| Action::Weigh { pid: child.pid }));
        }
    }

    pub(super) fn begin_weighing(&mut self, now: Moment) {
        let limited = self.current.policy.memory_limit.is_some();
        let wanted = limited && !self.children.is_empty() && self.stopping.is_none();
        self.weighing = if wanted { self.weighing.or(Some(now + BETWEEN_WEIGHINGS)) } else { None };
    }

    pub(super) fn weighed(&mut self, now: Moment, pid: i32, resident: u64, out: &mut Vec<Action>) {
        let Some(limit) = self.current.policy.memory_limit else { return };
        let Some(child) = self.children.find(pid).filter(|child| !child.killed) else { return };
        if resident <= limit || child.phase == Phase::Leaving(Cause::TooLarge) {
            return;
        }
        out.push(Action::Log(Notice::TooLarge { pid, resident, limit }));
        if child.is_staying() {
            end(child, Cause::TooLarge, now, out);
        } else {
            // It was given its time already.
            out.push(Action::Send { pid, signal: Sent::Kill });
            child.killed = true;
        }
    }

    /// How many workers more than the target there are to be, so that those that go have successors first.
    pub(super) fn replacements(&self) -> usize {
        let spent = self.children.count(|child| child.spent && child.is_staying() && !self.is_stale(child));
        spent.min(self.current.policy.at_once(self.current.target))
    }

    /// Lets those go whose successors are ready, the first forked first.
    pub(super) fn release_the_spent(&mut self, now: Moment, out: &mut Vec<Action>) {
        let generation = self.current.generation;
        let fresh = |child: &Child| child.is_ready() && child.generation == generation;
        let spare = self.children.count(fresh).saturating_sub(self.current.target);
        let deadline = now + self.current.policy.graceful_timeout;
        let spent = self.children.iter_mut().filter(|child| fresh(child) && child.spent);
        spent.take(spare).for_each(|child| drain(child, deadline, false, out));
    }
}
