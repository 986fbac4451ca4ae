//! The pause between being told to stop and stopping, in which a load balancer learns of it.

use super::{Action, Child, Moment, Notice, State};

impl State {
    /// SIGTERM: serves on for the pause that the settings want, and says that it is going; or begins to stop at once.
    pub(super) fn say_farewell(&mut self, now: Moment, out: &mut Vec<Action>) {
        let delay = self.current.policy.shutdown_delay;
        // Whom another server on the same sockets succeeds is missed by nobody.
        if self.farewell.is_some() || delay.is_zero() || !self.ever_ready || self.shares_listeners() {
            self.stop_gracefully(now, out);
            return;
        }
        self.farewell = Some(now + delay);
        self.queued_reload = None;
        out.push(Action::Log(Notice::Farewell { delay }));
        out.push(Action::Notify(super::Notification::Stopping));
        let ready = self.children.iter().filter(|child| child.is_ready());
        out.extend(ready.map(|child| Action::SayLeaving { pid: child.pid }));
    }

    /// A worker that becomes ready meanwhile has to hear of it.
    pub(super) fn tell_of_farewell(&self, child: &Child, out: &mut Vec<Action>) {
        if self.farewell.is_some() {
            out.push(Action::SayLeaving { pid: child.pid });
        }
    }

    pub(super) fn end_farewell_if_due(&mut self, now: Moment, out: &mut Vec<Action>) {
        if self.farewell.is_some_and(|end| end <= now) && self.stopping.is_none() {
            self.stop_gracefully(now, out);
        }
    }
}
