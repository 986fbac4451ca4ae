//! Signals as values, by way of a self-pipe.
//!
//! A handler counts the signal and writes a byte into a pipe; whoever polls the pipe takes what has come as values and
//! reacts in its own loop. What to do about a signal is no business of this module.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{pipe2, read};
use signal_hook::SigId;

use crate::sys;

/// A signal that means something to the arbiter or to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Signal {
    /// A child has changed its state.
    Chld,
    /// Reload.
    Hup,
    /// Quick stop.
    Int,
    /// Quick stop.
    Quit,
    /// Graceful stop.
    Term,
    /// One worker more.
    Ttin,
    /// One worker less.
    Ttou,
    /// Reopen the logs.
    Usr1,
    /// Upgrade (arbiter), say what it is doing (worker).
    Usr2,
    /// Stop the workers, keep the arbiter.
    Winch,
}

/// A row of [`SIGNALS`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meaning {
    /// The signal.
    pub(crate) signal: Signal,
    /// Its number.
    pub(crate) number: i32,
    /// Its name in log lines.
    pub(crate) name: &'static str,
    /// What the arbiter does, for `docs/guide/signals.md`.
    #[cfg_attr(not(test), expect(dead_code, reason = "documentation"))]
    pub(crate) arbiter: &'static str,
    /// What a worker does; empty is nothing.
    #[cfg_attr(not(test), expect(dead_code, reason = "documentation"))]
    pub(crate) worker: &'static str,
}

const fn meaning(
    signal: Signal,
    number: i32,
    name: &'static str,
    arbiter: &'static str,
    worker: &'static str,
) -> Meaning {
    Meaning { signal, number, name, arbiter, worker }
}

/// All signals that mean something, in the order in which those that came together are taken: a stop first, so that
/// nothing else is begun in vain.
pub(crate) static SIGNALS: [Meaning; 10] = [
    meaning(
        Signal::Term,
        libc::SIGTERM,
        "term",
        "stop gracefully: finish what is in flight, within `graceful_timeout`; a second one stops at once",
        "finish what is in flight, then exit (the arbiter starts another)",
    ),
    meaning(Signal::Int, libc::SIGINT, "int", "stop at once; Ctrl+C is `INT`", "stop at once"),
    meaning(Signal::Quit, libc::SIGQUIT, "quit", "stop at once", "stop at once"),
    meaning(
        Signal::Hup,
        libc::SIGHUP,
        "hup",
        "[reload](reload.md): read the settings again, start new workers, retire the old ones",
        "",
    ),
    meaning(
        Signal::Usr2,
        libc::SIGUSR2,
        "usr2",
        "[upgrade](reload.md#a-new-binary): start a new binary beside this one, on the same sockets",
        "log what it is doing",
    ),
    meaning(
        Signal::Winch,
        libc::SIGWINCH,
        "winch",
        "stop the workers and keep the arbiter, if it is a daemon; `HUP` starts workers again",
        "",
    ),
    meaning(Signal::Ttin, libc::SIGTTIN, "ttin", "one worker more", ""),
    meaning(Signal::Ttou, libc::SIGTTOU, "ttou", "one worker less, but never none", ""),
    meaning(
        Signal::Usr1,
        libc::SIGUSR1,
        "usr1",
        "reopen the log files, here and in the workers",
        "reopen the log files",
    ),
    meaning(Signal::Chld, libc::SIGCHLD, "chld", "reap workers that have ended", ""),
];

/// How often each signal has come since it was last taken, in the order of [`Signal`].
static COUNTS: [AtomicU32; SIGNALS.len()] = [const { AtomicU32::new(0) }; SIGNALS.len()];

impl Signal {
    /// Its row of [`SIGNALS`].
    pub(crate) fn meaning(self) -> &'static Meaning {
        SIGNALS.iter().find(|row| row.signal == self).unwrap_or(&SIGNALS[0])
    }

    /// Its name in log lines: `hup`.
    pub(crate) fn name(self) -> &'static str {
        self.meaning().name
    }
}

fn count_of(signal: Signal) -> &'static AtomicU32 {
    &COUNTS[signal as usize]
}

/// Whether `signal` has come and was not [taken](Signals::take) yet: one load, for places where a system call is too dear.
pub(crate) fn is_pending(signal: Signal) -> bool {
    count_of(signal).load(Ordering::Relaxed) > 0
}

/// Signals that arrive as values instead of doing what they do by default. One in a process at a time.
#[derive(Debug)]
pub(crate) struct Signals {
    ids: Vec<SigId>,
    pipe: OwnedFd,
}

impl Signals {
    /// Catches `signals` from now on, and lets all signals through, whoever has blocked them.
    pub(crate) fn install(signals: &[Signal]) -> io::Result<Self> {
        let (pipe, write_end) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let mut installed = Self { ids: Vec::with_capacity(2 * signals.len()), pipe };
        for row in SIGNALS.iter().filter(|row| signals.contains(&row.signal)) {
            // In this order, as actions run in the order of their registration: who is woken finds it counted.
            installed.ids.push(sys::count_signal(row.number, count_of(row.signal))?);
            installed.ids.push(signal_hook::low_level::pipe::register(row.number, write_end.try_clone()?)?);
        }
        SigSet::empty().thread_set_mask()?;
        Ok(installed)
    }

    /// What has come since the last time and how often, in the order of [`SIGNALS`].
    pub(crate) fn take(&mut self) -> Vec<(Signal, u32)> {
        let mut bytes = [0; 256];
        while read(&self.pipe, &mut bytes).is_ok_and(|length| length == bytes.len()) {}
        let taken = SIGNALS.iter().map(|row| (row.signal, count_of(row.signal).swap(0, Ordering::Relaxed)));
        taken.filter(|(_, count)| *count > 0).collect()
    }

    /// Catches nothing any more: in a forked child, whose signals are blocked, before it installs its own.
    ///
    /// The handlers stay and do nothing, which is better than ignoring: a program that the worker executes gets its
    /// defaults back. `SIGCHLD` is put back to its default, for those in the worker who wait for children.
    pub(crate) fn forget(self) {
        drop(self);
        for count in &COUNTS {
            count.store(0, Ordering::Relaxed);
        }
        if let Err(error) = sys::default_signal(libc::SIGCHLD) {
            log::warn!("SIGCHLD keeps its handler: {error}");
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// Readable when there is something to [`take`](Signals::take).
impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// All signals wait until this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Blocked(SigSet);

/// Blocks all signals, so that none is handled by the wrong process around a fork.
pub(crate) fn block_all() -> io::Result<Blocked> {
    Ok(Blocked(SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?))
}

impl Blocked {
    /// They stay blocked: in the child, until it has [installed](Signals::install) its own handlers.
    pub(crate) fn keep(self) {
        let _ = ManuallyDrop::new(self);
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // Fails for no argument that can be given here.
        let _ = self.0.thread_set_mask();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn every_signal_has_its_row() {
        for row in &SIGNALS {
            assert!(std::ptr::eq(row.signal.meaning(), row));
            let name = nix::sys::signal::Signal::try_from(row.number).unwrap().as_str();
            assert_eq!(name, format!("SIG{}", row.name.to_uppercase()));
        }
    }

    /// `UPDATE=1 cargo test` writes the table anew.
    #[test]
    fn the_guide_has_the_table_of_signals() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide/signals.md");
        let text = std::fs::read_to_string(path).unwrap();
        let mut table = "| signal | arbiter | worker |\n|---|---|---|\n".to_owned();
        for Meaning { name, arbiter, worker, .. } in &SIGNALS {
            let worker = if worker.is_empty() { "-" } else { worker };
            table += &format!("| `{}` | {arbiter} | {worker} |\n", name.to_uppercase());
        }
        let start = text.find("| signal |").unwrap();
        let end = start + text[start..].find("\n\n").unwrap() + 1;
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, format!("{}{table}{}", &text[..start], &text[end..])).unwrap();
        } else {
            assert_eq!(&text[start..end], table, "run `UPDATE=1 cargo test`");
        }
    }

    /// The only test that sends signals: they reach the whole process.
    #[test]
    fn signals_arrive_counted_and_in_order_and_are_harmless_once_forgotten() {
        let mut signals = Signals::install(&[Signal::Ttin, Signal::Winch, Signal::Usr2]).unwrap();
        assert_eq!(signals.take(), []);
        let raise = |signal: Signal| signal_hook::low_level::raise(signal.meaning().number).unwrap();
        for signal in [Signal::Ttin, Signal::Winch, Signal::Ttin, Signal::Ttin] {
            raise(signal);
        }
        assert!(is_pending(Signal::Winch) && !is_pending(Signal::Usr2));
        let readable = |signals: &Signals| {
            poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() > 0
        };
        assert!(readable(&signals));
        assert_eq!(signals.take(), [(Signal::Winch, 1), (Signal::Ttin, 3)]);
        assert!(!readable(&signals) && signals.take().is_empty());

        raise(Signal::Usr2);
        signals.forget();
        for signal in [Signal::Ttin, Signal::Winch, Signal::Usr2] {
            raise(signal);
        }
        assert!(!is_pending(Signal::Usr2), "what came for the arbiter is not the worker's");
    }

    #[test]
    fn a_signal_waits_while_all_are_blocked() {
        let blocked = block_all().unwrap();
        assert!(SigSet::thread_get_mask().unwrap().contains(nix::sys::signal::SIGHUP));
        drop(blocked);
        assert!(!SigSet::thread_get_mask().unwrap().contains(nix::sys::signal::SIGHUP));
    }
}
