//! What the arbiter logs, as data. The words are Gunicorn's where it has the line.

use std::fmt;
use std::time::Duration;

use nix::errno::Errno;

use super::children::{Generation, Status};
use crate::signals::Signal;

/// A log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A signal has come.
    Handling(Signal),
    /// A reload begins.
    HangUp { master: Master },
    /// The new generation has replaced the old.
    Reloaded { workers: usize },
    /// The new generation cannot become ready; the old one serves on.
    GivenUp { generation: Generation },
    /// A worker has ended with that code.
    Exited { pid: i32, code: i32 },
    /// A worker was ended by a signal, and whether it was the arbiter's own.
    Signaled { pid: i32, signal: i32, own: bool },
    /// A worker has been in one call, or stopped by job control, for too long.
    Overdue { pid: i32 },
    /// A worker took too long to boot.
    BootOverdue { pid: i32 },
    /// A worker did not finish in time and is killed.
    Killing { pid: i32 },
    /// A worker has failed; another is started in its place then.
    Retry { pid: i32, after: Duration },
    /// A template has ended, and whether the arbiter has killed it.
    TemplateGone { pid: i32, status: Status, own: bool },
    /// A template took too long to load the application.
    TemplateOverdue { pid: i32 },
    /// A template did not fork a worker that it was asked for.
    TemplateStuck { pid: i32 },
    /// A template has failed; another is started then.
    TemplateRetry { pid: i32, after: Duration },
    /// fork(2), or what is prepared for it, has failed.
    ForkFailed { errno: i32 },
    /// It works again.
    ForkRecovered,
    /// The arbiter woke that late: deadlines are put off.
    Overslept { late: Duration },
    /// WINCH: all workers stop.
    Pausing,
    /// WINCH means nothing here.
    NotDaemon,
    /// USR2 while the upgrade before is still there.
    UpgradeRunning,
    /// USR2 to a process that is itself not promoted yet.
    UpgradeTooEarly,
    /// The new binary serves.
    UpgradeReady { pid: i32 },
    /// The new binary did not become ready in time.
    UpgradeOverdue { pid: i32 },
    /// The new binary's arbiter has gone.
    UpgradeGone { pid: i32, status: Status },
    /// The predecessor has gone; this is the one and only now.
    Promoted,
    /// A stop becomes a quick one.
    Quick,
    /// The last line.
    ShuttingDown { master: Master, code: i32 },
    /// Why.
    Reason { code: i32 },
}

/// Whether this is the arbiter that was started, or one that an upgrade has started and that is not promoted yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Master {
    /// The one and only.
    First,
    /// Its successor.
    Second,
}

impl Notice {
    /// How grave it is; `None` is critical, a level that `log` does not have.
    pub(crate) fn level(&self) -> Option<log::Level> {
        Some(match self {
            Self::Overdue { .. }
            | Self::BootOverdue { .. }
            | Self::TemplateOverdue { .. }
            | Self::TemplateStuck { .. } => {
                return None;
            }
            Self::TemplateGone { status: Status::Code(0) | Status::Signal(libc::SIGTERM), .. } => log::Level::Info,
            Self::Signaled { signal: libc::SIGTERM, .. } | Self::ShuttingDown { code: 0, .. } => log::Level::Info,
            Self::Exited { .. }
            | Self::TemplateGone { .. }
            | Self::Signaled { signal: libc::SIGKILL, .. }
            | Self::GivenUp { .. }
            | Self::UpgradeOverdue { .. }
            | Self::ShuttingDown { .. }
            | Self::Reason { .. } => log::Level::Error,
            Self::Signaled { .. }
            | Self::Killing { .. }
            | Self::Retry { .. }
            | Self::TemplateRetry { .. }
            | Self::ForkFailed { .. }
            | Self::Overslept { .. }
            | Self::UpgradeRunning
            | Self::UpgradeTooEarly
            | Self::UpgradeGone { .. } => log::Level::Warn,
            Self::Handling(Signal::Chld) | Self::NotDaemon => log::Level::Debug,
            Self::Handling(_)
            | Self::HangUp { .. }
            | Self::Reloaded { .. }
            | Self::ForkRecovered
            | Self::Pausing
            | Self::UpgradeReady { .. }
            | Self::Promoted
            | Self::Quick => log::Level::Info,
        })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handling(signal) => write!(f, "Handling signal: {}", signal.name()),
            Self::HangUp { master } => write!(f, "Hang up: {master}"),
            Self::Reloaded { workers } => write!(f, "Reloaded: {workers} new workers serve"),
            Self::GivenUp { generation } => {
                write!(f, "Reload failed: no worker of generation {generation} became ready; the old ones serve on")
            }
            Self::Exited { pid, code } => write!(f, "Worker (pid:{pid}) exited with code {code}."),
            Self::Signaled { pid, signal, own } => {
                write!(f, "Worker (pid:{pid}) was sent {}!", signal_name(*signal))?;
                let hint = *signal == libc::SIGKILL && !own;
                f.write_str(if hint { " Perhaps out of memory?" } else { "" })
            }
            Self::Overdue { pid } => write!(f, "WORKER TIMEOUT (pid:{pid})"),
            Self::BootOverdue { pid } => write!(f, "WORKER TIMEOUT (pid:{pid}): it did not become ready"),
            Self::Killing { pid } => write!(f, "Worker (pid:{pid}) did not stop in time: killing it"),
            Self::Retry { pid, after } => {
                write!(f, "Worker (pid:{pid}) failed soon after its start: the next one starts in {after:.1?}")
            }
            Self::TemplateGone { pid, status, own } => {
                let hint = *status == Status::Signal(libc::SIGKILL) && !own;
                write!(
                    f,
                    "Template (pid:{pid}) has gone: {status}{}",
                    if hint { ". Perhaps out of memory?" } else { "" }
                )
            }
            Self::TemplateOverdue { pid } => {
                write!(f, "TEMPLATE TIMEOUT (pid:{pid}): it did not load the application in time")
            }
            Self::TemplateStuck { pid } => write!(f, "TEMPLATE TIMEOUT (pid:{pid}): it does not fork workers"),
            Self::TemplateRetry { pid, after } => {
                write!(f, "Template (pid:{pid}) failed: the next one starts in {after:.1?}")
            }
            Self::ForkFailed { errno: libc::EDEADLK } => {
                f.write_str("Cannot start a worker: this process has other threads; trying again")
            }
            Self::ForkFailed { errno } => {
                write!(f, "Cannot start a worker: {}; trying again", Errno::from_raw(*errno).desc())
            }
            Self::ForkRecovered => f.write_str("Workers can be started again"),
            Self::Overslept { late } => write!(f, "Woke {late:.1?} late: deadlines are put off"),
            Self::Pausing => f.write_str("graceful stop of workers"),
            Self::NotDaemon => f.write_str("SIGWINCH ignored. Not daemonized"),
            Self::UpgradeRunning => f.write_str("USR2 signal ignored. Child exists."),
            Self::UpgradeTooEarly => f.write_str("USR2 signal ignored. Parent exists."),
            Self::UpgradeReady { pid } => write!(f, "The new master (pid:{pid}) is ready"),
            Self::UpgradeOverdue { pid } => {
                write!(f, "The new master (pid:{pid}) did not become ready: stopping it, this one serves on")
            }
            Self::UpgradeGone { pid, status } => write!(f, "The new master (pid:{pid}) has gone: {status}"),
            Self::Promoted => f.write_str("Master has been promoted."),
            Self::Quick => f.write_str("Quick shutdown requested"),
            Self::ShuttingDown { master, .. } => write!(f, "Shutting down: {master}"),
            Self::Reason { code: 4 } => f.write_str("Reason: App failed to load."),
            Self::Reason { .. } => f.write_str("Reason: Worker failed to boot."),
        }
    }
}

impl fmt::Display for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "Master",
            Self::Second => "Master.2",
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "it exited with code {code}"),
            Self::Signal(signal) => write!(f, "it was sent {}", signal_name(*signal)),
        }
    }
}

fn signal_name(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_gunicorns() {
        let master = Master::First;
        let lines = [
            (Notice::Handling(Signal::Ttin), "Handling signal: ttin"),
            (Notice::HangUp { master }, "Hang up: Master"),
            (Notice::Exited { pid: 7, code: 1 }, "Worker (pid:7) exited with code 1."),
            (
                Notice::Signaled { pid: 7, signal: libc::SIGKILL, own: false },
                "Worker (pid:7) was sent SIGKILL! Perhaps out of memory?",
            ),
            (Notice::Signaled { pid: 7, signal: libc::SIGKILL, own: true }, "Worker (pid:7) was sent SIGKILL!"),
            (Notice::Signaled { pid: 7, signal: libc::SIGSEGV, own: false }, "Worker (pid:7) was sent SIGSEGV!"),
            (Notice::Signaled { pid: 7, signal: 34, own: false }, "Worker (pid:7) was sent signal 34!"),
            (Notice::Overdue { pid: 7 }, "WORKER TIMEOUT (pid:7)"),
            (Notice::Pausing, "graceful stop of workers"),
            (Notice::UpgradeRunning, "USR2 signal ignored. Child exists."),
            (Notice::UpgradeTooEarly, "USR2 signal ignored. Parent exists."),
            (Notice::Promoted, "Master has been promoted."),
            (Notice::ShuttingDown { master: Master::Second, code: 0 }, "Shutting down: Master.2"),
            (Notice::Reason { code: 3 }, "Reason: Worker failed to boot."),
            (Notice::Reason { code: 4 }, "Reason: App failed to load."),
        ];
        for (notice, line) in lines {
            assert_eq!(notice.to_string(), line);
        }
    }

    #[test]
    fn overdue_workers_are_critical_and_stopped_ones_are_not() {
        assert_eq!(Notice::Overdue { pid: 7 }.level(), None);
        let signaled = |signal| Notice::Signaled { pid: 7, signal, own: false }.level();
        assert_eq!(signaled(libc::SIGTERM), Some(log::Level::Info));
        assert_eq!(signaled(libc::SIGSEGV), Some(log::Level::Warn));
        assert_eq!(signaled(libc::SIGKILL), Some(log::Level::Error));
    }
}
