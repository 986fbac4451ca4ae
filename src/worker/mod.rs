//! The life of a worker.

use crate::app::Factory;
use crate::channel::Channel;
use crate::listener::Listener;
use crate::scoreboard::Slot;
use crate::settings::Settings;

/// What the arbiter gives a worker that it has just forked.
pub(crate) struct Surroundings<'a> {
    /// Its number.
    pub(crate) nr: usize,
    /// The pid of the arbiter: if it is not the parent any more, the arbiter is gone.
    pub(crate) arbiter: i32,
    /// Its end of the channel.
    pub(crate) channel: Channel,
    /// The listeners, bound by the arbiter.
    pub(crate) listeners: &'a [Listener],
    /// Its place on the scoreboard.
    pub(crate) slot: &'static Slot,
    /// The settings of its generation.
    pub(crate) settings: &'a Settings,
}

/// Runs a worker in the process that was forked for it, and returns its exit code.
///
/// All signals are blocked when this is called, and the arbiter's handlers are still in place.
pub(crate) fn run(_surroundings: Surroundings<'_>, _factory: &mut dyn Factory) -> i32 {
    0
}
