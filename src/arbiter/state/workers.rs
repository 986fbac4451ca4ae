//! What becomes of workers: forked, ready, overdue, reaped, tried again.

use std::time::Duration;

use super::{
    ABORT, Action, BOOT_DELAY, CRASH_DELAY, Cause, Child, FORK_DELAY, FORK_LOG, GIVE_UP, Generation, KILLED_BOOTS,
    Moment, Notice, Notification, Phase, Place, QUICK, Retry, STABLE, Sent, State, Status, Stopping, Upgrade,
    exponential, jittered,
};

impl State {
    pub(super) fn forked(&mut self, now: Moment, nr: usize, pid: i32, out: &mut Vec<Action>) {
        let Some(place) = self.take_place(nr) else {
            debug_assert!(false, "nobody asked for worker {nr}");
            return;
        };
        self.forks_recovered(out);
        self.retried(now, &place);
        let policy = self.cohort(place.generation).unwrap_or(&self.current).policy;
        let end_of_life = self.end_of_life(now, policy.lifetime);
        let mut child = Child {
            nr,
            pid,
            generation: place.generation,
            phase: Phase::Booting,
            forked: now,
            failures: place.failures,
            timeout: policy.timeout,
            deadline: policy.boot_timeout.map(|timeout| now + timeout),
            check: None,
            spent: false,
            end_of_life,
            busy: false,
            at_rest: None,
            rested: false,
            halted: None,
            killed: false,
        };
        if place.reopen {
            out.push(Action::Send { pid, signal: Sent::Reopen });
        }
        // Its template was asked for it before.
        match self.stopping {
            Some(Stopping { quick: true, .. }) => stop(&mut child, now, out),
            Some(_) => cancel(&mut child, now, out),
            None => {}
        }
        self.children.insert(child);
    }

    /// A worker that had to wait for its place has been tried.
    pub(super) fn retried(&mut self, now: Moment, place: &Place) {
        if place.failures > 0 {
            self.limiter.note(now);
            if let Some(served) = self.earliest_retry(place.generation) {
                self.retries.remove(served);
            }
        }
    }

    pub(super) fn take_place(&mut self, nr: usize) -> Option<Place> {
        let position = self.forking.iter().position(|place| place.nr == nr)?;
        Some(self.forking.remove(position))
    }

    pub(super) fn fork_failed(&mut self, now: Moment, nr: usize, errno: i32, out: &mut Vec<Action>) {
        if self.take_place(nr).is_some() {
            self.forks_failed(now, errno, out);
        }
    }

    pub(super) fn forks_recovered(&mut self, out: &mut Vec<Action>) {
        if self.fork_failures > 0 {
            self.fork_failures = 0;
            self.fork_retry = Moment::default();
            self.fork_logged = None;
            out.push(Action::Log(Notice::ForkRecovered));
        }
    }

    pub(super) fn forks_failed(&mut self, now: Moment, errno: i32, out: &mut Vec<Action>) {
        self.fork_failures = self.fork_failures.saturating_add(1);
        self.fork_retry = now + exponential(self.fork_failures, FORK_DELAY);
        if self.fork_logged.is_none_or(|logged| now.since(logged) >= FORK_LOG) {
            self.fork_logged = Some(now);
            out.push(Action::Log(Notice::ForkFailed { errno }));
        }
    }

    pub(super) fn ready(&mut self, now: Moment, pid: i32, out: &mut Vec<Action>) {
        self.killed_boots = 0;
        let graceful_timeout = self.current.policy.graceful_timeout;
        let Some(child) = self.children.find(pid) else { return };
        if child.phase == Phase::Leaving(Cause::Cancelled) {
            // It was ready before it heard that it is not needed, and what it has accepted is to be finished.
            child.phase = Phase::Leaving(Cause::Drained);
            child.deadline = Some(now + graceful_timeout);
        }
        if !child.is_booting() {
            return;
        }
        child.phase = Phase::Ready(now);
        child.deadline = None;
        child.check = child.timeout.map(|timeout| now + timeout);
        // One that took a lifetime to boot is replaced at once, not in the past.
        child.end_of_life = child.end_of_life.map(|end| end.max(now));
        if child.generation == self.current.generation {
            self.current.proven = true;
            self.fallback = None;
        }
        if !std::mem::replace(&mut self.ever_ready, true) {
            out.push(Action::Notify(Notification::Ready));
        }
        if let Some(child) = self.children.iter().find(|child| child.pid == pid) {
            self.tell_of_farewell(child, out);
        }
    }

    /// A worker that cannot be spoken to any more is about to end, or has to.
    pub(super) fn channel_closed(&mut self, now: Moment, pid: i32) {
        match self.children.find(pid) {
            Some(child) => child.limit(now + QUICK),
            None => self.template_closed(now, pid),
        }
    }

    pub(super) fn reaped(&mut self, now: Moment, pid: i32, status: Status, out: &mut Vec<Action>) {
        let Some(child) = self.children.remove(pid) else {
            if !self.template_reaped(now, pid, status, out) {
                self.upgrade_gone(pid, status, out);
            }
            return;
        };
        match status {
            Status::Code(0) => {}
            Status::Code(code) => out.push(Action::Log(Notice::Exited { pid, code })),
            Status::Signal(signal) => out.push(Action::Log(Notice::Signaled { pid, signal, own: child.killed })),
        }
        if self.stopping.is_some() {
            return;
        }
        match child.phase {
            // Somebody kills workers, and has met one that boots. But if nothing else comes of booting, it is its fault.
            Phase::Booting
                if status == Status::Signal(libc::SIGKILL)
                    && self.is_proven(child.generation)
                    && self.killed_boots < KILLED_BOOTS =>
            {
                self.killed_boots += 1;
            }
            Phase::Booting | Phase::Leaving(Cause::BootOverdue) => self.boot_failed(now, &child, status, out),
            // Somebody (or the kernel, short of memory) killed a worker that was all right.
            Phase::Ready(_) if status == Status::Signal(libc::SIGKILL) => {}
            Phase::Ready(since) if now.since(since) < STABLE => self.retry_later(now, &child, CRASH_DELAY, out),
            Phase::Ready(_) | Phase::Leaving(_) => {}
        }
    }

    fn boot_failed(&mut self, now: Moment, child: &Child, status: Status, out: &mut Vec<Action>) {
        let overdue = child.phase == Phase::Leaving(Cause::BootOverdue);
        if !self.boot_has_failed(now, child.generation, overdue, status, out) {
            self.retry_later(now, child, BOOT_DELAY, out);
        }
    }

    /// Judges a generation one of whose workers, or its template, could not boot; false if that may be tried again.
    pub(super) fn boot_has_failed(
        &mut self,
        now: Moment,
        generation: Generation,
        overdue: bool,
        status: Status,
        out: &mut Vec<Action>,
    ) -> bool {
        let told = match status {
            Status::Code(code @ (3 | 4)) => Some(code),
            _ => None,
        };
        if generation == self.current.generation && !self.current.proven {
            self.current.failures += 1;
        }
        let hopeless = told.is_some() || overdue || self.current.failures >= GIVE_UP;
        // A first generation is tried again unless it says itself that it cannot boot; a successor is given up sooner, as
        // its predecessor serves on.
        if !self.ever_ready && (told.is_some() || (hopeless && self.predecessor)) {
            self.stop_quickly(now, told.unwrap_or(3), out);
            return true;
        }
        if hopeless
            && generation == self.current.generation
            && !self.current.proven
            && let Some(fallback) = self.fallback.take()
        {
            self.give_up(fallback, out);
            return true;
        }
        false
    }

    pub(super) fn retry_later(&mut self, now: Moment, child: &Child, most: Duration, out: &mut Vec<Action>) {
        if child.failures == 0 {
            self.limiter.note(child.forked);
        }
        if !self.is_wanted(child.generation) {
            return;
        }
        let failures = child.failures.saturating_add(1);
        let at = now + jittered(failures, most, &mut self.random);
        self.retries.push(Retry { generation: child.generation, at, failures });
        out.push(Action::Log(Notice::Retry { pid: child.pid, after: at.max(self.limiter.next()).since(now) }));
    }

    pub(super) fn inspected(
        &mut self,
        now: Moment,
        pid: i32,
        in_call_since: Option<Moment>,
        at_rest: Option<u64>,
        out: &mut Vec<Action>,
    ) {
        let Some(child) = self.children.find(pid).filter(|child| !child.killed) else { return };
        child.busy = in_call_since.is_some();
        child.rested = at_rest.is_some() && child.at_rest == at_rest;
        child.at_rest = at_rest;
        if child.check.is_none() {
            return;
        }
        let Some(timeout) = child.timeout else { return };
        // A worker may write any number there. One that says so of the future wants more time, and the next call may not.
        let due = in_call_since.unwrap_or(now) + timeout;
        if due <= now {
            overdue(child, now, out);
        } else {
            child.check = Some(due.min(now + timeout));
        }
    }

    pub(super) fn tick(&mut self, now: Moment, out: &mut Vec<Action>) {
        if matches!(self.upgrade, Upgrade::Starting { deadline: Some(deadline), .. } if deadline <= now) {
            self.upgrade_overdue(now, out);
        }
        self.end_farewell_if_due(now, out);
        self.retire_the_old(now, out);
        self.weigh_if_due(now, out);
        self.read_if_due(now, out);
        if now < self.excused {
            return;
        }
        self.tick_templates(now, out);
        let is_due = |moment: Option<Moment>| moment.is_some_and(|moment| moment <= now);
        for child in self.children.iter_mut().filter(|child| !child.killed) {
            if child.is_booting() && (is_due(child.deadline) || is_due(child.halt_deadline())) {
                out.push(Action::Log(Notice::BootOverdue { pid: child.pid }));
                end(child, Cause::BootOverdue, now, out);
            } else if is_due(child.deadline) {
                kill(child, out);
            } else if is_due(child.halt_deadline()) {
                overdue(child, now, out);
            }
        }
        // All are looked at when one has to be, so that idle workers are looked at together.
        let watched = |child: &&mut Child| !child.killed && child.check.is_some();
        if self.children.iter().any(|child| !child.killed && is_due(child.check)) {
            for child in self.children.iter_mut().filter(watched) {
                child.check = child.timeout.map(|timeout| now + timeout);
                out.push(Action::Inspect { pid: child.pid, nr: child.nr });
            }
        }
    }
}

pub(super) fn drain(child: &mut Child, deadline: Moment, queue: bool, out: &mut Vec<Action>) {
    child.phase = Phase::Leaving(Cause::Drained);
    child.limit(deadline);
    out.push(Action::Drain { pid: child.pid, queue });
}

/// Lets a worker go that boots as far as is known. One that is ready already finishes what it has accepted.
pub(super) fn cancel(child: &mut Child, now: Moment, out: &mut Vec<Action>) {
    child.phase = Phase::Leaving(Cause::Cancelled);
    child.limit(now + QUICK);
    out.push(Action::Cancel { pid: child.pid });
}

pub(super) fn stop(child: &mut Child, now: Moment, out: &mut Vec<Action>) {
    if child.is_staying() || matches!(child.phase, Phase::Leaving(Cause::Drained | Cause::Cancelled)) {
        child.phase = Phase::Leaving(Cause::Stopped);
        out.push(Action::Stop { pid: child.pid });
    }
    child.check = None;
    child.limit(now + QUICK);
}

fn overdue(child: &mut Child, now: Moment, out: &mut Vec<Action>) {
    out.push(Action::Log(Notice::Overdue { pid: child.pid }));
    end(child, Cause::Overdue, now, out);
}

pub(super) fn end(child: &mut Child, cause: Cause, now: Moment, out: &mut Vec<Action>) {
    child.phase = Phase::Leaving(cause);
    child.check = None;
    child.deadline = child.deadline.filter(|deadline| *deadline > now);
    child.limit(abort(child.pid, now, out));
    if child.halted.is_some() {
        // One that is stopped cannot say where it is.
        kill(child, out);
    }
}

fn kill(child: &mut Child, out: &mut Vec<Action>) {
    out.push(Action::Log(Notice::Killing { pid: child.pid }));
    out.push(Action::Send { pid: child.pid, signal: Sent::Kill });
    child.killed = true;
}

/// Has a process say where it is and die; returns when it must have.
pub(super) fn abort(pid: i32, now: Moment, out: &mut Vec<Action>) -> Moment {
    out.push(Action::Send { pid, signal: Sent::Abort });
    now + ABORT
}
