//! Reload and upgrade.

use super::{
    Action, Cohort, Generation, MAX_WORKERS, Moment, Notice, Notification, Policy, QUICK, Sent, State, Status, Upgrade,
};

impl State {
    /// Begins a reload: last in a step, as the settings that it loads must outlive what else is decided in that step.
    pub(super) fn reload_if_due(&mut self, now: Moment, out: &mut Vec<Action>) {
        if self.loading.is_some() || self.queued_reload.is_none_or(|at| now < at) {
            return;
        }
        self.queued_reload = None;
        self.last_reload = Some(now);
        self.newest += 1;
        self.loading = Some(self.newest);
        out.push(Action::Log(Notice::HangUp { master: self.master() }));
        out.push(Action::Notify(Notification::Reloading));
        out.push(Action::LoadSettings { generation: self.newest });
    }

    pub(super) fn loaded(&mut self, generation: Generation, policy: Policy, rebound: bool) {
        if self.loading.take() != Some(generation) {
            return;
        }
        let mut cohort = Cohort::new(generation, policy);
        if policy.most > policy.workers {
            // As many as the load asks for now.
            cohort.target = self.current.target.clamp(cohort.target, policy.most.min(MAX_WORKERS));
        }
        let old = std::mem::replace(&mut self.current, cohort);
        if old.proven {
            self.surge = old.target;
            self.fallback = Some(old);
        }
        self.paused = false;
        self.reloading = true;
        self.rebound |= rebound;
        let (current, fallback) = (self.current.generation, self.fallback.as_ref().map(|old| old.generation));
        self.retries.retain(|retry| retry.generation == current || Some(retry.generation) == fallback);
    }

    pub(super) fn give_up(&mut self, fallback: Cohort, out: &mut Vec<Action>) {
        let failed = std::mem::replace(&mut self.current, fallback);
        self.retries.retain(|retry| retry.generation != failed.generation);
        self.surge = self.current.target;
        out.push(Action::Log(Notice::GivenUp { generation: failed.generation }));
        out.push(Action::Keep { generation: self.current.generation });
        // An earlier reload may not have been through when this one was asked for.
        self.reloading = self.children.count(|child| child.is_ready() && self.is_stale(child)) > 0;
        if !self.reloading {
            self.announce(out);
        }
    }

    pub(super) fn finish_reload(&mut self, out: &mut Vec<Action>) {
        self.reloading = false;
        out.push(Action::Keep { generation: self.current.generation });
        out.push(Action::Log(Notice::Reloaded { workers: self.current.target }));
        self.announce(out);
    }

    pub(super) fn announce(&self, out: &mut Vec<Action>) {
        if self.ever_ready {
            out.push(Action::Notify(Notification::Ready));
        }
    }

    pub(super) fn upgrade_overdue(&mut self, now: Moment, out: &mut Vec<Action>) {
        let Upgrade::Starting { pid, deadline, told } = &mut self.upgrade else { return };
        if *told {
            if deadline.take_if(|deadline| *deadline <= now).is_some() {
                out.push(Action::Send { pid: *pid, signal: Sent::Kill });
            }
            return;
        }
        *told = true;
        *deadline = Some(now + 2 * QUICK);
        out.push(Action::Log(Notice::UpgradeOverdue { pid: *pid }));
        out.push(Action::Send { pid: *pid, signal: Sent::Quit });
    }

    pub(super) fn upgrade_gone(&mut self, gone: i32, status: Status, out: &mut Vec<Action>) {
        let (Upgrade::Starting { pid, .. } | Upgrade::Ready { pid }) = self.upgrade else { return };
        if pid != gone {
            return;
        }
        self.upgrade = Upgrade::None;
        out.push(Action::Log(Notice::UpgradeGone { pid, status }));
        out.push(Action::EndUpgrade);
        if std::mem::take(&mut self.paused) {
            self.current.target = self.current.policy.first().min(MAX_WORKERS);
        }
    }
}
