//! What the arbiter decides: a pure function of its state, the time and an event.
//!
//! ```text
//!   signals, exits, messages, timer --> step(now, event) --> fork, kill, drain, reload, log, exit
//! ```
//!
//! Workers come in *generations*: a reload makes the next one and runs it beside the old one, and for each new worker that
//! is ready an old one is drained. A generation is *proven* once one of its workers was ready. Until then the proven one
//! before it is the *fallback*: it is kept at full strength, and serves on if the new one is given up.
//!
//! Architecture invariant: nothing in here calls the system, reads a clock or writes a log, so that a simulator can drive
//! it through schedules that no kernel would give twice.

mod farewell;
mod reconcile;
mod recycle;
mod reload;
mod scaling;
mod templates;
#[cfg(test)]
mod tests;
mod workers;

use std::time::Duration;

use templates::{NextTemplate, Template};
use workers::{cancel, drain, stop};

use super::backoff::{Limiter, Random, exponential, jittered};
use super::children::{Cause, Child, Children, Generation, Phase, Status};
use super::decision::{Action, Event, Notification, Policy, Sent};
use super::notice::{Master, Notice};
use super::scale::{Bounds, Reading, Scaler};
use crate::clock::Moment;
use crate::signals::Signal;

/// The state of the arbiter.
#[derive(Debug)]
pub(crate) struct State {
    children: Children,
    current: Cohort,
    /// The proven generation, while the current one is not.
    fallback: Option<Cohort>,
    /// The highest number that was given out.
    newest: Generation,
    /// Workers of other generations than the current one are being replaced.
    reloading: bool,
    /// How many workers the generation before is kept at while it is being replaced.
    surge: usize,
    /// A listener is going away with the generation before.
    rebound: bool,
    /// The number that the settings will have that are being loaded.
    loading: Option<Generation>,
    last_reload: Option<Moment>,
    /// When the reload is to begin that was asked for last.
    queued_reload: Option<Moment>,

    retries: Vec<Retry>,
    limiter: Limiter,
    random: Random,
    /// Workers that are being forked, or were asked for: one of a generation at a time.
    forking: Vec<Place>,
    templates: Vec<Template>,
    forking_template: Option<Generation>,
    fork_failures: u32,
    fork_retry: Moment,
    fork_logged: Option<Moment>,
    /// Workers killed while they booted, since one was ready.
    killed_boots: u32,

    /// Some worker has been ready at some time.
    ever_ready: bool,
    /// WINCH has stopped the workers.
    paused: bool,
    stopping: Option<Stopping>,
    exited: bool,

    predecessor: bool,
    upgrade: Upgrade,

    /// When the pause ends in which the server still serves though it was told to stop.
    farewell: Option<Moment>,
    /// When workers are weighed next.
    weighing: Option<Moment>,
    /// When the load is looked at next.
    reading: Option<Moment>,
    scaler: Scaler,

    /// When the next tick is due, as of the last step.
    armed: Option<Moment>,
    /// No worker is called overdue before that moment.
    excused: Moment,
}

/// A generation and how many workers it is to have.
#[derive(Clone, Debug)]
struct Cohort {
    generation: Generation,
    policy: Policy,
    target: usize,
    proven: bool,
    /// Boots that failed, one after the other, before it was proven.
    failures: u32,
    /// When it may have a template, should it lack one.
    next_template: NextTemplate,
}

/// A worker has failed; its successor waits.
#[derive(Clone, Copy, Debug)]
struct Retry {
    generation: Generation,
    at: Moment,
    failures: u32,
}

/// Where a worker is being forked.
#[derive(Clone, Copy, Debug)]
struct Place {
    nr: usize,
    generation: Generation,
    failures: u32,
    /// The template that is asked for it.
    template: Option<i32>,
    /// When that must have answered.
    answer_by: Option<Moment>,
    /// The logs were reopened meanwhile.
    reopen: bool,
}

#[derive(Clone, Copy, Debug)]
struct Stopping {
    code: i32,
    quick: bool,
}

#[derive(Clone, Copy, Debug)]
enum Upgrade {
    None,
    Asked,
    Starting { pid: i32, deadline: Option<Moment>, told: bool },
    Ready { pid: i32 },
}

/// Workers there may be at most.
pub(crate) const MAX_WORKERS: usize = 1024;
/// Children there may be at most: workers, those that replace them, and those that drain.
pub(crate) const MAX_CHILDREN: usize = 4 * MAX_WORKERS;

/// How long a worker must have served for its end to be no sign of a crash loop.
const STABLE: Duration = Duration::from_secs(10);
/// The longest delay after boots that failed.
const BOOT_DELAY: Duration = Duration::from_secs(30);
/// The longest delay after workers that crashed, but had been ready: the site needs them back.
const CRASH_DELAY: Duration = Duration::from_secs(1);
/// The longest delay after forks that failed.
const FORK_DELAY: Duration = Duration::from_millis(500);
/// Boots that fail in a row before a new generation is given up.
const GIVE_UP: u32 = 3;
/// Workers that may be killed in a row while they boot, with none becoming ready, before that is taken for their failure.
const KILLED_BOOTS: u32 = 8;
/// How long a worker that was told to stop at once may take.
const QUICK: Duration = Duration::from_secs(2);
/// How long an overdue worker has to say where it is.
const ABORT: Duration = Duration::from_secs(2);
/// The time between two reloads at least; one that comes earlier waits.
const RELOAD_GAP: Duration = Duration::from_millis(500);
/// A wake-up that late means that the machine or this process stood still, and workers perhaps with it.
const OVERSLEPT: Duration = Duration::from_secs(1);
/// How long workers are excused then.
const EXCUSE: Duration = Duration::from_secs(2);
/// The time between two lines about failing forks.
const FORK_LOG: Duration = Duration::from_secs(10);

impl State {
    /// The state at start, for generation 1. With `predecessor`, another arbiter has started this one by an upgrade.
    pub(crate) fn new(policy: Policy, predecessor: bool, seed: u64) -> Self {
        Self {
            children: Children::default(),
            current: Cohort::new(FIRST_GENERATION, policy),
            fallback: None,
            newest: FIRST_GENERATION,
            reloading: false,
            surge: 0,
            rebound: false,
            loading: None,
            last_reload: None,
            queued_reload: None,
            retries: Vec::new(),
            limiter: Limiter::default(),
            random: Random::new(seed),
            forking: Vec::new(),
            templates: Vec::new(),
            forking_template: None,
            fork_failures: 0,
            fork_retry: Moment::default(),
            fork_logged: None,
            killed_boots: 0,
            ever_ready: false,
            paused: false,
            stopping: None,
            exited: false,
            predecessor,
            upgrade: Upgrade::None,
            farewell: None,
            weighing: None,
            reading: None,
            scaler: Scaler::default(),
            armed: None,
            excused: Moment::default(),
        }
    }

    /// Decides what follows from `event`, and appends it to `out`.
    pub(crate) fn step(&mut self, now: Moment, event: Event, out: &mut Vec<Action>) {
        if self.exited {
            return;
        }
        self.notice_late_wake(now, out);
        match event {
            Event::Signal(signal, count) => self.signal(now, signal, count, out),
            Event::Forked { nr, pid } => self.forked(now, nr, pid, out),
            Event::ForkFailed { nr, errno } => self.fork_failed(now, nr, errno, out),
            Event::Unborn { nr } => self.unborn(now, nr, out),
            Event::TemplateForked { generation, pid } => self.template_forked(now, generation, pid, out),
            Event::TemplateForkFailed { errno } => self.template_fork_failed(now, errno, out),
            Event::TemplateReady { pid } => self.template_ready(now, pid),
            Event::Ready { pid } => self.ready(now, pid, out),
            Event::ChannelClosed { pid } => self.channel_closed(now, pid),
            Event::Exited { pid, status } => self.reaped(now, pid, status, out),
            Event::Halted { pid } => {
                if let Some(child) = self.children.find(pid) {
                    child.halted.get_or_insert(now);
                }
            }
            Event::Continued { pid } => {
                if let Some(child) = self.children.find(pid) {
                    child.halted = None;
                }
            }
            Event::Inspected { pid, in_call_since, at_rest } => {
                self.inspected(now, pid, in_call_since, at_rest, out);
            }
            Event::Spent { pid } => self.spent(pid),
            Event::Weighed { pid, resident } => self.weighed(now, pid, resident, out),
            Event::Measured { queued } => self.measured(now, queued, out),
            Event::SettingsLoaded { generation, policy, rebound } => self.loaded(generation, policy, rebound),
            Event::SettingsFailed => {
                if self.loading.take().is_some() {
                    self.announce(out);
                }
            }
            Event::UpgradeStarted { pid } => {
                let deadline = self.current.policy.boot_timeout.map(|timeout| now + timeout);
                self.upgrade = Upgrade::Starting { pid, deadline, told: false };
            }
            Event::UpgradeFailed => self.upgrade = Upgrade::None,
            Event::UpgradeReady => {
                if let Upgrade::Starting { pid, .. } = self.upgrade {
                    self.upgrade = Upgrade::Ready { pid };
                    out.push(Action::Log(Notice::UpgradeReady { pid }));
                }
            }
            Event::UpgradeLost => self.upgrade_overdue(now, out),
            Event::PredecessorGone => {
                if std::mem::take(&mut self.predecessor) {
                    out.push(Action::Log(Notice::Promoted));
                    out.push(Action::Promote);
                }
            }
            Event::Tick => self.tick(now, out),
        }
        self.reconcile(now, out);
        self.reload_if_due(now, out);
        self.begin_weighing(now);
        self.begin_reading(now);
        self.armed = self.next_deadline();
    }

    /// When [`Event::Tick`] is due, if nothing else happens before.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.armed
    }

    fn next_deadline(&self) -> Option<Moment> {
        if self.exited {
            return None;
        }
        let child = self.children.iter().filter_map(Child::due).min().map(|due| due.max(self.excused));
        let upgrade = match self.upgrade {
            Upgrade::Starting { deadline, .. } => deadline,
            _ => None,
        };
        let fork = self.next_fork().map(|(at, _)| at);
        let template = self.next_template().map(|(at, _)| at);
        let child = [child, self.templates_due().map(|due| due.max(self.excused))].into_iter().flatten().min();
        let reload = self.queued_reload.filter(|_| self.loading.is_none());
        let farewell = self.farewell.filter(|_| self.stopping.is_none());
        let rounds = [self.weighing, self.reading].into_iter().flatten().min();
        [child, upgrade, fork, template, reload, farewell, rounds].into_iter().flatten().min()
    }

    fn master(&self) -> Master {
        if self.predecessor { Master::Second } else { Master::First }
    }

    /// Whether all workers are to go.
    pub(crate) fn wants_nobody(&self) -> bool {
        self.stopping.is_some() || self.paused || self.current.target == 0
    }

    /// How many workers there are to be.
    pub(crate) fn target(&self) -> usize {
        self.current.target
    }

    /// Whether another arbiter holds the same listeners, so that they must not be touched.
    pub(crate) fn shares_listeners(&self) -> bool {
        self.predecessor || !matches!(self.upgrade, Upgrade::None)
    }

    fn notice_late_wake(&mut self, now: Moment, out: &mut Vec<Action>) {
        let late = self.armed.map_or(Duration::ZERO, |armed| now.since(armed));
        if late > OVERSLEPT {
            self.excused = now + EXCUSE;
            out.push(Action::Log(Notice::Overslept { late }));
        }
    }
}

/// The generation that a server starts with.
pub(crate) const FIRST_GENERATION: Generation = 1;

impl Cohort {
    fn new(generation: Generation, policy: Policy) -> Self {
        Self {
            generation,
            policy,
            target: policy.first().min(MAX_WORKERS),
            proven: policy.first() == 0,
            failures: 0,
            next_template: NextTemplate::default(),
        }
    }
}

/// Signals.
impl State {
    fn signal(&mut self, now: Moment, signal: Signal, count: u32, out: &mut Vec<Action>) {
        if signal == Signal::Chld {
            return;
        }
        out.push(Action::Log(Notice::Handling(signal)));
        match signal {
            Signal::Usr1 => {
                out.push(Action::ReopenLogs);
                let living = self.children.iter().filter(|child| !child.killed);
                out.extend(living.map(|child| Action::Send { pid: child.pid, signal: Sent::Reopen }));
                self.reopen_templates(out);
                self.forking.iter_mut().for_each(|place| place.reopen = true);
            }
            Signal::Term if self.stopping.is_none() => self.say_farewell(now, out),
            Signal::Term | Signal::Int | Signal::Quit => self.stop_quickly(now, 0, out),
            _ if self.stopping.is_some() || self.farewell.is_some() => {}
            Signal::Hup => {
                let earliest = self.last_reload.map_or(now, |last| last + RELOAD_GAP);
                self.queued_reload = Some(earliest.max(now));
            }
            Signal::Ttin => {
                self.paused = false;
                self.scale(|target| target.saturating_add(count as usize));
            }
            Signal::Ttou => self.scale(|target| target.saturating_sub(count as usize).max(target.min(1))),
            Signal::Usr2 => match self.upgrade {
                _ if self.predecessor => out.push(Action::Log(Notice::UpgradeTooEarly)),
                Upgrade::None => {
                    self.upgrade = Upgrade::Asked;
                    out.push(Action::Upgrade);
                }
                _ => out.push(Action::Log(Notice::UpgradeRunning)),
            },
            Signal::Winch if self.current.policy.daemon => {
                out.push(Action::Log(Notice::Pausing));
                self.paused = true;
                self.scale_to_nothing();
            }
            Signal::Winch => out.push(Action::Log(Notice::NotDaemon)),
            Signal::Chld => {}
        }
    }

    fn scale(&mut self, change: impl Fn(usize) -> usize) {
        for cohort in std::iter::once(&mut self.current).chain(&mut self.fallback) {
            cohort.target = change(cohort.target).min(MAX_WORKERS);
            let policy = &mut cohort.policy;
            if policy.most > policy.workers {
                (policy.workers, policy.most) = (change(policy.workers), change(policy.most).min(MAX_WORKERS));
            }
        }
        self.surge = change(self.surge).min(self.surge);
    }

    fn scale_to_nothing(&mut self) {
        self.current.target = 0;
        self.surge = 0;
        if let Some(fallback) = &mut self.fallback {
            fallback.target = 0;
        }
    }

    fn stop_gracefully(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.begin_stop(0, false, out);
        let queue = !self.shares_listeners();
        if queue {
            out.push(Action::StopIncoming);
        }
        // A worker that boots is stopped, unless it is the only one that can still serve what waits in the queue.
        let wait_for_boots = queue && self.ever_ready && self.children.count(Child::is_ready) == 0;
        self.stop_templates(now, out);
        let deadline = now + self.current.policy.graceful_timeout;
        for child in self.children.iter_mut() {
            if child.is_ready() || (child.is_booting() && wait_for_boots) {
                drain(child, deadline, queue, out);
            } else if child.is_booting() {
                cancel(child, now, out);
            } else {
                child.limit(deadline);
            }
        }
    }

    fn stop_quickly(&mut self, now: Moment, code: i32, out: &mut Vec<Action>) {
        match &mut self.stopping {
            None => self.begin_stop(code, true, out),
            Some(stopping) if !stopping.quick => {
                stopping.quick = true;
                out.push(Action::Log(Notice::Quick));
            }
            Some(_) => return,
        }
        self.stop_templates(now, out);
        for child in self.children.iter_mut().filter(|child| !child.killed) {
            stop(child, now, out);
        }
    }

    fn begin_stop(&mut self, code: i32, quick: bool, out: &mut Vec<Action>) {
        self.stopping = Some(Stopping { code, quick });
        self.queued_reload = None;
        self.loading = None;
        self.retries.clear();
        if self.farewell.is_some() {
            return;
        }
        out.push(Action::Notify(match self.upgrade {
            Upgrade::Ready { pid } => Notification::Successor(pid),
            _ => Notification::Stopping,
        }));
    }
}
