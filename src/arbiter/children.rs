//! The table of children: which workers there are, and what is expected of each by when.

use std::time::Duration;

use crate::clock::Moment;

/// Numbers the settings that workers were started with; a reload makes the next one.
pub(crate) type Generation = u32;

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Loads the application.
    Booting,
    /// Accepts connections since then.
    Ready(Moment),
    /// Was told to go.
    Leaving(Cause),
}

/// Why a worker was told to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It is not needed any more, and finishes what is in flight.
    Drained,
    /// The same before it has said that it is ready. It may be ready all the same, and serve.
    Cancelled,
    /// It was stopped at once.
    Stopped,
    /// It was in one call of the application for too long.
    Overdue,
    /// It took too long to boot.
    BootOverdue,
    /// It occupies too much memory.
    TooLarge,
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// With that exit code.
    Code(i32),
    /// By that signal.
    Signal(i32),
}

/// A worker that was forked and has not been reaped.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    /// Its slot; no other child has it.
    pub(crate) nr: usize,
    /// Its process.
    pub(crate) pid: i32,
    /// The generation that it was forked for.
    pub(crate) generation: Generation,
    /// Where it is in its life.
    pub(crate) phase: Phase,
    /// When it was forked.
    pub(crate) forked: Moment,
    /// How many times in a row its predecessors in this place have failed.
    pub(crate) failures: u32,
    /// How long one call of its application may take.
    pub(crate) timeout: Option<Duration>,
    /// Booting: when it must be ready. Else: when it is killed.
    pub(crate) deadline: Option<Moment>,
    /// When the scoreboard is looked at for how long it has been in a call.
    pub(crate) check: Option<Moment>,
    /// It is to be replaced, and serves until it is.
    pub(crate) spent: bool,
    /// When it has lived long enough.
    pub(crate) end_of_life: Option<Moment>,
    /// It was in a call of the application when the scoreboard was looked at last.
    pub(crate) busy: bool,
    /// It had nothing to do then, and so many calls behind it.
    pub(crate) at_rest: Option<u64>,
    /// Nor had it had anything to do since the time before.
    pub(crate) rested: bool,
    /// Since when it is stopped by job control.
    pub(crate) halted: Option<Moment>,
    /// It was sent SIGKILL: nothing is left to be done to it.
    pub(crate) killed: bool,
}

impl Child {
    /// Whether it accepts connections as far as is known.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready(_))
    }

    /// Whether it loads the application.
    pub(crate) fn is_booting(&self) -> bool {
        self.phase == Phase::Booting
    }

    /// Whether it counts as one of the workers that there should be.
    pub(crate) fn is_staying(&self) -> bool {
        !matches!(self.phase, Phase::Leaving(_))
    }

    /// The next moment at which something has to be done about it.
    pub(crate) fn due(&self) -> Option<Moment> {
        if self.killed {
            return None;
        }
        [self.deadline, self.check, self.halt_deadline(), self.retirement()].into_iter().flatten().min()
    }

    /// When it is to be replaced for its age.
    pub(crate) fn retirement(&self) -> Option<Moment> {
        self.end_of_life.filter(|_| self.is_ready() && !self.spent)
    }

    /// When it has been stopped by job control for too long.
    pub(crate) fn halt_deadline(&self) -> Option<Moment> {
        match (self.halted, self.timeout) {
            (Some(since), Some(timeout)) if self.is_staying() => Some(since + timeout),
            _ => None,
        }
    }

    /// Brings its deadline forward.
    pub(crate) fn limit(&mut self, deadline: Moment) {
        self.deadline = Some(self.deadline.map_or(deadline, |old| old.min(deadline)));
    }
}

/// All children, in the order in which they were forked.
///
/// Invariant: no pid and no `nr` occurs twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children(Vec<Child>);

impl Children {
    /// Adds one.
    pub(crate) fn insert(&mut self, child: Child) {
        debug_assert!(self.0.iter().all(|other| other.pid != child.pid && other.nr != child.nr));
        self.0.push(child);
    }

    /// Takes one out that was reaped.
    pub(crate) fn remove(&mut self, pid: i32) -> Option<Child> {
        let position = self.0.iter().position(|child| child.pid == pid)?;
        Some(self.0.remove(position))
    }

    /// The one with that pid.
    pub(crate) fn find(&mut self, pid: i32) -> Option<&mut Child> {
        self.0.iter_mut().find(|child| child.pid == pid)
    }

    /// All of them, oldest first.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Child> {
        self.0.iter()
    }

    /// The same, to change them.
    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Child> {
        self.0.iter_mut()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many fit a description.
    pub(crate) fn count(&self, fits: impl Fn(&Child) -> bool) -> usize {
        self.0.iter().filter(|child| fits(child)).count()
    }

    /// The lowest number below `limit` that no child has, and that is none of `others`.
    pub(crate) fn free_nr(&self, others: &[usize], limit: usize) -> Option<usize> {
        let mut taken = vec![false; self.0.len() + others.len() + 1];
        for nr in self.0.iter().map(|child| child.nr).chain(others.iter().copied()) {
            if let Some(taken) = taken.get_mut(nr) {
                *taken = true;
            }
        }
        taken.iter().position(|taken| !taken).filter(|nr| *nr < limit)
    }
}
