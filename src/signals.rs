//! Signals as values, by way of a self-pipe.

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
