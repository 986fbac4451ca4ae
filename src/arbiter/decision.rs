//! What the arbiter decides about, and what it decides: plain values.

use std::time::Duration;

use super::children::{Generation, Status};
use super::notice::Notice;
use crate::clock::Moment;
use crate::signals::Signal;

/// What the settings say about workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// How many there are to be, at least; none if [`most`](Self::most) is more.
    pub(crate) workers: usize,
    /// How many there may be, as many as the load asks for.
    pub(crate) most: usize,
    /// How long more than are needed are kept.
    pub(crate) idle: Duration,
    /// How long one call of the application may take.
    pub(crate) timeout: Option<Duration>,
    /// How long a worker may take to become ready.
    pub(crate) boot_timeout: Option<Duration>,
    /// How long a draining worker may take.
    pub(crate) graceful_timeout: Duration,
    /// How long the server goes on serving after it was told to stop.
    pub(crate) shutdown_delay: Duration,
    /// How long a worker lives.
    pub(crate) lifetime: Option<Duration>,
    /// Bytes of memory over which a worker is killed.
    pub(crate) memory_limit: Option<u64>,
    /// How many of a hundred workers are replaced at a time.
    pub(crate) recycle_share: usize,
    /// Whether the arbiter is a daemon, so that WINCH means something.
    pub(crate) daemon: bool,
    /// Whether workers are forked by a template, which has loaded the application.
    pub(crate) preload: bool,
}

impl Policy {
    /// How many there are at first: a generation without any is not known to work.
    pub(crate) fn first(&self) -> usize {
        self.workers.max(self.most.min(1))
    }

    /// How many of so many workers are replaced at a time.
    pub(crate) fn at_once(&self, workers: usize) -> usize {
        (workers * self.recycle_share / 100).max(1).min(workers)
    }
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A signal has come so many times.
    Signal(Signal, u32),
    /// [`Action::Fork`] or [`Action::Ask`] has succeeded.
    Forked { nr: usize, pid: i32 },
    /// [`Action::Fork`] or [`Action::Ask`] has failed.
    ForkFailed { nr: usize, errno: i32 },
    /// The worker of [`Action::Ask`] will not come: its template has died, or it has itself before it began.
    Unborn { nr: usize },
    /// [`Action::ForkTemplate`] has succeeded.
    TemplateForked { generation: Generation, pid: i32 },
    /// [`Action::ForkTemplate`] has failed.
    TemplateForkFailed { errno: i32 },
    /// A template says that it has loaded the application.
    TemplateReady { pid: i32 },
    /// A worker says that it accepts connections.
    Ready { pid: i32 },
    /// A worker's or a template's end of the channel is closed.
    ChannelClosed { pid: i32 },
    /// A child was reaped.
    Exited { pid: i32, status: Status },
    /// A child was stopped by job control.
    Halted { pid: i32 },
    /// It runs again.
    Continued { pid: i32 },
    /// What [`Action::Inspect`] found: since when the worker's application has been in one call; and, if the worker has
    /// nothing to do and no connections, how many calls it has come to.
    Inspected { pid: i32, in_call_since: Option<Moment>, at_rest: Option<u64> },
    /// A worker has served its time, and asks to be replaced.
    Spent { pid: i32 },
    /// What [`Action::Weigh`] found: the bytes of memory that the worker occupies.
    Weighed { pid: i32, resident: u64 },
    /// What [`Action::MeasureQueues`] found: how many connections wait to be accepted; or somebody has come while there were no
    /// workers.
    Measured { queued: u32 },
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

impl Event {
    /// Whether it goes before the answers to other actions of the same step: until the state knows of settings that were
    /// loaded, it may decide that only older ones are kept.
    pub(super) fn goes_first(&self) -> bool {
        matches!(self, Self::SettingsLoaded { .. } | Self::SettingsFailed)
    }
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Fork a worker; answered by [`Event::Forked`] or [`Event::ForkFailed`].
    Fork { nr: usize, generation: Generation },
    /// Fork the template of a generation; answered by [`Event::TemplateForked`] or [`Event::TemplateForkFailed`].
    ForkTemplate { generation: Generation },
    /// Have a template fork a worker; answered, at once or later but in any case, by [`Event::Forked`],
    /// [`Event::ForkFailed`] or [`Event::Unborn`].
    Ask { template: i32, nr: usize, generation: Generation },
    /// Send a worker a signal.
    Send { pid: i32, signal: Sent },
    /// Tell a worker to finish, over the channel and by SIGTERM; with `queue` it empties the accept queue first.
    Drain { pid: i32, queue: bool },
    /// Tell a worker that is not ready as far as is known that it is not needed. If it serves already, it finishes that.
    Cancel { pid: i32 },
    /// Tell a worker or a template to stop now, over the channel and by SIGQUIT.
    Stop { pid: i32 },
    /// Look at a worker's slot of the scoreboard; answered by [`Event::Inspected`].
    Inspect { pid: i32, nr: usize },
    /// Look how much memory a worker occupies; answered by [`Event::Weighed`] if that can be known.
    Weigh { pid: i32 },
    /// Look how many connections wait to be accepted; answered by [`Event::Measured`].
    MeasureQueues,
    /// Tell a worker that the server is about to stop, and that it serves on until it is told to go.
    SayLeaving { pid: i32 },
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
pub(crate) enum Sent {
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
