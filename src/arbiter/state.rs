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

use std::time::Duration;

use super::backoff::{Limiter, Random, exponential, jittered};
use super::children::{Cause, Child, Children, Generation, Phase};
use super::notice::{Master, Notice};
use crate::clock::Moment;
use crate::signals::Signal;

/// What the settings say about workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// How many there are to be.
    pub(crate) workers: usize,
    /// How long one call of the application may take.
    pub(crate) timeout: Option<Duration>,
    /// How long a worker may take to become ready.
    pub(crate) boot_timeout: Option<Duration>,
    /// How long a draining worker may take.
    pub(crate) graceful_timeout: Duration,
    /// Whether the arbiter is a daemon, so that WINCH means something.
    pub(crate) daemon: bool,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A signal has come so many times.
    Signal(Signal, u32),
    /// [`Action::Fork`] has succeeded.
    Forked { nr: usize, pid: i32 },
    /// [`Action::Fork`] has failed.
    ForkFailed { nr: usize, errno: i32 },
    /// A worker says that it accepts connections.
    Ready { pid: i32 },
    /// A worker's end of the channel is closed.
    ChannelClosed { pid: i32 },
    /// A child was reaped.
    Exited { pid: i32, status: Status },
    /// A child was stopped by job control.
    Halted { pid: i32 },
    /// It runs again.
    Continued { pid: i32 },
    /// What [`Action::Inspect`] found: since when the worker's application has been in one call.
    Inspected { pid: i32, in_call_since: Option<Moment> },
    /// [`Action::LoadSettings`] has succeeded, and whether a listener of the old settings is not in the new ones.
    SettingsLoaded { generation: Generation, policy: Policy, rebound: bool },
    /// [`Action::LoadSettings`] has failed: the old ones stay.
    SettingsFailed,
    /// [`Action::Upgrade`] has started the new binary.
    UpgradeStarted { pid: i32 },
    /// [`Action::Upgrade`] could not.
    UpgradeFailed,
    /// The new binary's first worker is ready.
    UpgradeReady,
    /// The new binary will never say that it is ready.
    UpgradeLost,
    /// The arbiter that started this one by an upgrade has gone.
    PredecessorGone,
    /// Time has passed.
    Tick,
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// With that exit code.
    Code(i32),
    /// By that signal.
    Signal(i32),
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Fork a worker; answered by [`Event::Forked`] or [`Event::ForkFailed`].
    Fork { nr: usize, generation: Generation },
    /// Send a worker a signal.
    Kill { pid: i32, signal: Kill },
    /// Tell a worker to finish, over the channel and by SIGTERM; with `queue` it empties the accept queue first.
    Drain { pid: i32, queue: bool },
    /// Tell a worker to stop now, over the channel and by SIGQUIT.
    Stop { pid: i32 },
    /// Look at a worker's slot of the scoreboard; answered by [`Event::Inspected`].
    Inspect { pid: i32, nr: usize },
    /// Read the settings again and bind what is new in them; answered by [`Event::SettingsLoaded`] or `SettingsFailed`.
    LoadSettings { generation: Generation },
    /// No worker of another generation will be forked: drop their settings, and the listeners that only they had.
    Keep { generation: Generation },
    /// Let no new connection into the accept queues.
    StopIncoming,
    /// Reopen the log files.
    ReopenLogs,
    /// Start the new binary; answered by [`Event::UpgradeStarted`] or [`Event::UpgradeFailed`].
    Upgrade,
    /// Forget the upgrade.
    EndUpgrade,
    /// Take the predecessor's place.
    Promote,
    /// Tell the service manager.
    Notify(Notification),
    /// Write a log line.
    Log(Notice),
    /// End the process; no child is left.
    Exit(i32),
}

/// What a child is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kill {
    /// SIGABRT: say where you are and die.
    Abort,
    /// SIGKILL
    Kill,
    /// SIGQUIT: stop now.
    Quit,
    /// SIGUSR1: reopen the logs.
    Reopen,
}

/// What a service manager, or the predecessor, is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notification {
    /// The first worker is ready, or a reload is over.
    Ready,
    /// A reload begins.
    Reloading,
    /// The server stops.
    Stopping,
    /// It stops, but that process carries on.
    Successor(i32),
}

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
    /// How many workers the generation before had to have.
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
    forking: Option<Place>,
    fork_failures: u32,
    fork_retry: Moment,
    fork_logged: Option<Moment>,

    /// Some worker has been ready at some time.
    ever_ready: bool,
    /// WINCH has stopped the workers.
    paused: bool,
    stopping: Option<Stopping>,
    exited: bool,

    predecessor: bool,
    upgrade: Upgrade,

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
/// How long a worker that was told to stop at once may take.
const QUICK: Duration = Duration::from_secs(2);
/// How long an overdue worker has to say where it is.
const ABORT: Duration = Duration::from_millis(400);
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
            forking: None,
            fork_failures: 0,
            fork_retry: Moment::default(),
            fork_logged: None,
            ever_ready: false,
            paused: false,
            stopping: None,
            exited: false,
            predecessor,
            upgrade: Upgrade::None,
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
            Event::Inspected { pid, in_call_since } => self.inspected(now, pid, in_call_since, out),
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
        let fork = self.next_fork().filter(|_| self.forking.is_none()).map(|(at, _)| at);
        [child, upgrade, fork, self.queued_reload.filter(|_| self.loading.is_none())].into_iter().flatten().min()
    }

    fn master(&self) -> Master {
        if self.predecessor { Master::Second } else { Master::First }
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
        Self { generation, policy, target: policy.workers.min(MAX_WORKERS), proven: policy.workers == 0, failures: 0 }
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
                out.extend(living.map(|child| Action::Kill { pid: child.pid, signal: Kill::Reopen }));
            }
            Signal::Term if self.stopping.is_none() => self.stop_gracefully(now, out),
            Signal::Term | Signal::Int | Signal::Quit => self.stop_quickly(now, 0, out),
            _ if self.stopping.is_some() => {}
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
        for target in [Some(&mut self.current.target), self.fallback.as_mut().map(|old| &mut old.target)] {
            if let Some(target) = target {
                *target = change(*target).min(MAX_WORKERS);
            }
        }
        self.surge = change(self.surge).min(MAX_WORKERS);
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
        let deadline = now + self.current.policy.graceful_timeout;
        for child in self.children.iter_mut() {
            if child.is_ready() || (child.is_booting() && wait_for_boots) {
                drain(child, deadline, queue, out);
            } else if child.is_booting() {
                stop(child, now, out);
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
        for child in self.children.iter_mut().filter(|child| !child.killed) {
            stop(child, now, out);
        }
    }

    fn begin_stop(&mut self, code: i32, quick: bool, out: &mut Vec<Action>) {
        self.stopping = Some(Stopping { code, quick });
        self.queued_reload = None;
        self.loading = None;
        self.retries.clear();
        out.push(Action::Notify(match self.upgrade {
            Upgrade::Ready { pid } => Notification::Successor(pid),
            _ => Notification::Stopping,
        }));
    }
}

/// Children.
impl State {
    fn forked(&mut self, now: Moment, nr: usize, pid: i32, out: &mut Vec<Action>) {
        let Some(place) = self.forking.take().filter(|place| place.nr == nr) else {
            debug_assert!(false, "nobody asked for worker {nr}");
            return;
        };
        if self.fork_failures > 0 {
            self.fork_failures = 0;
            self.fork_retry = Moment::default();
            self.fork_logged = None;
            out.push(Action::Log(Notice::ForkRecovered));
        }
        if place.failures > 0 {
            self.limiter.note(now);
            if let Some(served) = self.earliest_retry(place.generation) {
                self.retries.remove(served);
            }
        }
        let policy = match &self.fallback {
            Some(fallback) if fallback.generation == place.generation => fallback.policy,
            _ => self.current.policy,
        };
        self.children.insert(Child {
            nr,
            pid,
            generation: place.generation,
            phase: Phase::Booting,
            forked: now,
            failures: place.failures,
            timeout: policy.timeout,
            deadline: policy.boot_timeout.map(|timeout| now + timeout),
            check: None,
            halted: None,
            killed: false,
        });
    }

    fn fork_failed(&mut self, now: Moment, nr: usize, errno: i32, out: &mut Vec<Action>) {
        if self.forking.take().is_none_or(|place| place.nr != nr) {
            return;
        }
        self.fork_failures = self.fork_failures.saturating_add(1);
        self.fork_retry = now + exponential(self.fork_failures, FORK_DELAY);
        if self.fork_logged.is_none_or(|logged| now.since(logged) >= FORK_LOG) {
            self.fork_logged = Some(now);
            out.push(Action::Log(Notice::ForkFailed { errno }));
        }
    }

    fn ready(&mut self, now: Moment, pid: i32, out: &mut Vec<Action>) {
        let Some(child) = self.children.find(pid).filter(|child| child.is_booting()) else { return };
        child.phase = Phase::Ready(now);
        child.deadline = None;
        child.check = child.timeout.map(|timeout| now + timeout);
        if child.generation == self.current.generation {
            self.current.proven = true;
            self.fallback = None;
        }
        if !std::mem::replace(&mut self.ever_ready, true) {
            out.push(Action::Notify(Notification::Ready));
        }
    }

    /// A worker that cannot be spoken to any more is about to end, or has to.
    fn channel_closed(&mut self, now: Moment, pid: i32) {
        if let Some(child) = self.children.find(pid) {
            child.limit(now + QUICK);
        }
    }

    fn reaped(&mut self, now: Moment, pid: i32, status: Status, out: &mut Vec<Action>) {
        let Some(child) = self.children.remove(pid) else {
            self.upgrade_gone(pid, status, out);
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
            Phase::Booting | Phase::Leaving(Cause::BootOverdue) => self.boot_failed(now, &child, status, out),
            // Somebody (or the kernel, short of memory) killed a worker that was all right.
            Phase::Ready(_) if status == Status::Signal(libc::SIGKILL) => {}
            Phase::Ready(since) if now.since(since) < STABLE => self.retry_later(now, &child, CRASH_DELAY, out),
            Phase::Ready(_) | Phase::Leaving(_) => {}
        }
    }

    fn boot_failed(&mut self, now: Moment, child: &Child, status: Status, out: &mut Vec<Action>) {
        let told = match status {
            Status::Code(code @ (3 | 4)) => Some(code),
            _ => None,
        };
        if let Some(code) = told.filter(|_| !self.ever_ready) {
            self.stop_quickly(now, code, out);
            return;
        }
        if child.generation == self.current.generation && !self.current.proven {
            self.current.failures += 1;
            let overdue = child.phase == Phase::Leaving(Cause::BootOverdue);
            if told.is_some() || overdue || self.current.failures >= GIVE_UP {
                if let Some(fallback) = self.fallback.take() {
                    self.give_up(fallback, out);
                    return;
                }
            }
        }
        self.retry_later(now, child, BOOT_DELAY, out);
    }

    fn retry_later(&mut self, now: Moment, child: &Child, most: Duration, out: &mut Vec<Action>) {
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

    fn inspected(&mut self, now: Moment, pid: i32, in_call_since: Option<Moment>, out: &mut Vec<Action>) {
        let Some(child) = self.children.find(pid).filter(|child| !child.killed && child.check.is_some()) else {
            return;
        };
        let Some(timeout) = child.timeout else { return };
        // A worker may write any number there; at worst it is called overdue a timeout too late.
        let since = in_call_since.unwrap_or(now).min(now);
        let due = since + timeout;
        if due <= now {
            overdue(child, now, out);
        } else {
            child.check = Some(due);
        }
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Action>) {
        if matches!(self.upgrade, Upgrade::Starting { deadline: Some(deadline), .. } if deadline <= now) {
            self.upgrade_overdue(now, out);
        }
        if now < self.excused {
            return;
        }
        let is_due = |moment: Option<Moment>| moment.is_some_and(|moment| moment <= now);
        for child in self.children.iter_mut().filter(|child| !child.killed) {
            if child.is_booting() && (is_due(child.deadline) || is_due(child.halt_deadline())) {
                out.push(Action::Log(Notice::BootOverdue { pid: child.pid }));
                abort(child, Cause::BootOverdue, now, out);
            } else if is_due(child.deadline) {
                out.push(Action::Log(Notice::Killing { pid: child.pid }));
                out.push(Action::Kill { pid: child.pid, signal: Kill::Kill });
                child.killed = true;
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

fn drain(child: &mut Child, deadline: Moment, queue: bool, out: &mut Vec<Action>) {
    child.phase = Phase::Leaving(Cause::Drained);
    child.limit(deadline);
    out.push(Action::Drain { pid: child.pid, queue });
}

fn stop(child: &mut Child, now: Moment, out: &mut Vec<Action>) {
    if child.is_staying() || child.phase == Phase::Leaving(Cause::Drained) {
        child.phase = Phase::Leaving(Cause::Stopped);
        out.push(Action::Stop { pid: child.pid });
    }
    child.check = None;
    child.limit(now + QUICK);
}

fn overdue(child: &mut Child, now: Moment, out: &mut Vec<Action>) {
    out.push(Action::Log(Notice::Overdue { pid: child.pid }));
    abort(child, Cause::Overdue, now, out);
}

fn abort(child: &mut Child, cause: Cause, now: Moment, out: &mut Vec<Action>) {
    child.phase = Phase::Leaving(cause);
    child.check = None;
    child.deadline = child.deadline.filter(|deadline| *deadline > now);
    child.limit(now + ABORT);
    out.push(Action::Kill { pid: child.pid, signal: Kill::Abort });
}

/// Reload and upgrade.
impl State {
    /// Begins a reload: last in a step, as the settings that it loads must outlive what else is decided in that step.
    fn reload_if_due(&mut self, now: Moment, out: &mut Vec<Action>) {
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

    fn loaded(&mut self, generation: Generation, policy: Policy, rebound: bool) {
        if self.loading.take() != Some(generation) {
            return;
        }
        let old = std::mem::replace(&mut self.current, Cohort::new(generation, policy));
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

    fn give_up(&mut self, fallback: Cohort, out: &mut Vec<Action>) {
        let failed = std::mem::replace(&mut self.current, fallback);
        self.retries.retain(|retry| retry.generation != failed.generation);
        self.surge = self.current.target;
        out.push(Action::Log(Notice::GivenUp { generation: failed.generation }));
        out.push(Action::Keep { generation: self.current.generation });
        // An earlier reload may not have been through when this one was asked for.
        self.reloading = self.children.count(|child| child.is_staying() && self.is_stale(child)) > 0;
        if !self.reloading {
            self.announce(out);
        }
    }

    fn finish_reload(&mut self, out: &mut Vec<Action>) {
        self.reloading = false;
        out.push(Action::Keep { generation: self.current.generation });
        out.push(Action::Log(Notice::Reloaded { workers: self.current.target }));
        self.announce(out);
    }

    fn announce(&self, out: &mut Vec<Action>) {
        if self.ever_ready {
            out.push(Action::Notify(Notification::Ready));
        }
    }

    fn upgrade_overdue(&mut self, now: Moment, out: &mut Vec<Action>) {
        let Upgrade::Starting { pid, deadline, told } = &mut self.upgrade else { return };
        if *told {
            if deadline.take_if(|deadline| *deadline <= now).is_some() {
                out.push(Action::Kill { pid: *pid, signal: Kill::Kill });
            }
            return;
        }
        *told = true;
        *deadline = Some(now + 2 * QUICK);
        out.push(Action::Log(Notice::UpgradeOverdue { pid: *pid }));
        out.push(Action::Kill { pid: *pid, signal: Kill::Quit });
    }

    fn upgrade_gone(&mut self, gone: i32, status: Status, out: &mut Vec<Action>) {
        let (Upgrade::Starting { pid, .. } | Upgrade::Ready { pid }) = self.upgrade else { return };
        if pid != gone {
            return;
        }
        self.upgrade = Upgrade::None;
        out.push(Action::Log(Notice::UpgradeGone { pid, status }));
        out.push(Action::EndUpgrade);
        if std::mem::take(&mut self.paused) {
            self.current.target = self.current.policy.workers.min(MAX_WORKERS);
        }
    }
}

/// As many workers as there should be.
impl State {
    fn reconcile(&mut self, now: Moment, out: &mut Vec<Action>) {
        if let Some(Stopping { code, .. }) = self.stopping {
            if self.children.is_empty() && self.forking.is_none() {
                self.exited = true;
                out.push(Action::Log(Notice::ShuttingDown { master: self.master(), code }));
                if code != 0 {
                    out.push(Action::Log(Notice::Reason { code }));
                }
                out.push(Action::Exit(code));
            }
            return;
        }
        self.trim(now, out);
        if self.forking.is_some() {
            return;
        }
        if !self.retries.is_empty() {
            self.prune_retries();
        }
        if let Some((at, place)) = self.next_fork() {
            if at <= now {
                self.forking = Some(place);
                out.push(Action::Fork { nr: place.nr, generation: place.generation });
            }
        }
    }

    /// Lets those go that are too many.
    fn trim(&mut self, now: Moment, out: &mut Vec<Action>) {
        let current = self.current.generation;
        let fallback = self.fallback.as_ref().map(|fallback| fallback.generation);
        for child in self.children.iter_mut().filter(|child| child.is_booting()) {
            if child.generation != current && Some(child.generation) != fallback {
                stop(child, now, out);
            }
        }
        let fresh = |child: &Child| child.generation == current;
        let stale = |child: &Child| child.generation != current;
        let staying = self.children.count(|child| child.is_staying() && fresh(child));
        self.shrink(staying.saturating_sub(self.current.target), fresh, now, out);
        if let Some(fallback) = &self.fallback {
            let staying = self.children.count(|child| child.is_staying() && stale(child));
            let surplus = staying.saturating_sub(fallback.target);
            self.shrink(surplus, |child| child.is_booting() && stale(child), now, out);
        }

        let fresh_ready = self.children.count(|child| child.is_ready() && fresh(child));
        let stale_ready = self.children.count(|child| child.is_ready() && stale(child));
        let wanted = self.current.target.max(self.surge).saturating_sub(fresh_ready);
        let leaving = if fresh_ready >= self.current.target { stale_ready } else { stale_ready.saturating_sub(wanted) };
        let through = self.reloading && self.current.proven;
        if through && self.children.count(|child| child.is_staying() && stale(child)) == leaving {
            self.finish_reload(out);
            let queue = std::mem::take(&mut self.rebound) && !self.shares_listeners();
            self.retire(leaving, queue, now, out);
        } else {
            self.retire(leaving, false, now, out);
        }
    }

    /// Lets so many of those that fit go: first who still boots, youngest first, then who has served longest.
    fn shrink(&mut self, surplus: usize, fits: impl Fn(&Child) -> bool, now: Moment, out: &mut Vec<Action>) {
        let booting = self.children.iter_mut().rev().filter(|child| child.is_booting() && fits(child)).take(surplus);
        let stopped = booting.map(|child| stop(child, now, out)).count();
        let deadline = now + self.current.policy.graceful_timeout;
        let ready = self.children.iter_mut().filter(|child| child.is_ready() && fits(child));
        ready.take(surplus - stopped).for_each(|child| drain(child, deadline, false, out));
    }

    /// Drains so many workers of earlier generations, oldest first; the last of them empties the accept queue if `queue`.
    fn retire(&mut self, count: usize, queue: bool, now: Moment, out: &mut Vec<Action>) {
        let current = self.current.generation;
        let deadline = now + self.current.policy.graceful_timeout;
        let stale = self.children.iter_mut().filter(|child| child.is_ready() && child.generation != current);
        for (position, child) in stale.take(count).enumerate() {
            drain(child, deadline, queue && position + 1 == count, out);
        }
    }

    /// The next worker that is missing, and when it may be forked.
    fn next_fork(&self) -> Option<(Moment, Place)> {
        if self.stopping.is_some() {
            return None;
        }
        let (at, generation, failures) =
            self.cohorts().filter_map(|(cohort, missing)| self.next_of(cohort, missing)).min()?;
        let nr = self.children.free_nr(MAX_CHILDREN)?;
        Some((at.max(self.fork_retry), Place { nr, generation, failures }))
    }

    fn next_of(&self, cohort: &Cohort, missing: usize) -> Option<(Moment, Generation, u32)> {
        let generation = cohort.generation;
        let waiting = self.retries.iter().filter(|retry| retry.generation == generation);
        if missing > waiting.clone().count() {
            return Some((Moment::default(), generation, 0));
        }
        let retry = waiting.min_by_key(|retry| retry.at).filter(|_| missing > 0)?;
        Some((retry.at.max(self.limiter.next()), generation, retry.failures))
    }

    /// The generations that are kept at full strength, and how many workers each lacks.
    fn cohorts(&self) -> impl Iterator<Item = (&Cohort, usize)> {
        let lacks = |cohort: &Cohort, stale: bool| {
            let staying = self.children.count(|child| child.is_staying() && self.is_stale(child) == stale);
            cohort.target.saturating_sub(staying)
        };
        let fallback = self.fallback.iter().map(move |cohort| (cohort, lacks(cohort, true)));
        fallback.chain(std::iter::once((&self.current, lacks(&self.current, false))))
    }

    /// Forgets failures in places that there are no more.
    fn prune_retries(&mut self) {
        let lacking: Vec<_> = self.cohorts().map(|(cohort, missing)| (cohort.generation, missing)).collect();
        self.retries.sort_by_key(|retry| retry.at);
        for (generation, mut missing) in lacking {
            self.retries.retain(|retry| {
                let keep = retry.generation != generation || missing > 0;
                missing = missing.saturating_sub(usize::from(retry.generation == generation));
                keep
            });
        }
    }

    fn earliest_retry(&self, generation: Generation) -> Option<usize> {
        let waiting = self.retries.iter().enumerate().filter(|(_, retry)| retry.generation == generation);
        waiting.min_by_key(|(_, retry)| retry.at).map(|(position, _)| position)
    }

    fn is_stale(&self, child: &Child) -> bool {
        child.generation != self.current.generation
    }

    fn is_wanted(&self, generation: Generation) -> bool {
        generation == self.current.generation || self.fallback.as_ref().is_some_and(|old| old.generation == generation)
    }
}
