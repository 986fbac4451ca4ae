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
/// All signals are blocked when this is called, and the arbiter's handlers are no longer in place.
pub(crate) fn run(surroundings: Surroundings<'_>, factory: &mut dyn Factory) -> i32 {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use crate::channel::{Message, Received};
    use crate::signals::{Signal, Signals};

    log::info!("Booting worker with pid: {}", std::process::id());
    let Ok(mut signals) = Signals::install(&[Signal::Term, Signal::Int, Signal::Quit, Signal::Usr1, Signal::Usr2])
    else {
        return 3;
    };
    match std::env::var("STAND_IN").as_deref() {
        Ok("exit1") => return 1,
        Ok("exit3") => return 3,
        Ok("slow") => std::thread::sleep(std::time::Duration::from_secs(3)),
        _ => {}
    }
    if let Err(error) = factory.load() {
        return error.exit_code();
    }
    let _ = surroundings.channel.send(Message::Ready);
    loop {
        let mut fds = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(surroundings.channel.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut fds, PollTimeout::NONE);
        if signals.take().iter().any(|(signal, _)| !matches!(signal, Signal::Usr1 | Signal::Usr2)) {
            break;
        }
        match surroundings.channel.receive() {
            Received::Nothing | Received::Message(Message::Ready) => {}
            _ => break,
        }
    }
    log::info!("Worker exiting (pid: {})", std::process::id());
    0
}
