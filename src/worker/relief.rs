//! The thread that keeps the engine going while every application thread is busy.
//!
//! It sleeps until its alarm rings, which the leader sets when a wait has given it something to do. If nobody waits for
//! readiness then, and no call begins or ends for a tick, it passes the lead to a thread that sleeps, or leads itself: it
//! flushes responses, reads requests, keeps deadlines, and leaves complete requests to the first that can serve them.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::alarm::TICK;
use super::core::Accepting;
use super::engine::{Engine, Turned};
use super::handover::Handover;
use super::lead::Relieved;
use super::pool::{self, Finish};
use super::world::World;
use crate::channel::Channel;

/// How long it waits at most for something to happen, before it looks whether it leads still.
const LOOK: Duration = Duration::from_millis(100);

/// After so many ticks of work in which no call lasted for one, it looks more seldom until one does.
const CALM: u32 = 500;

/// How often it looks then, in ticks: each look takes the processor from whoever works.
const SELDOM: u32 = 4;

/// Starts the relief thread of an engine that has an alarm.
///
/// # Errors
/// The system has no room for another thread.
pub(crate) fn start(
    engine: &Arc<Engine>,
    mut world: World,
    channel: &Arc<Channel>,
    finish: &Arc<Finish>,
) -> io::Result<()> {
    let (engine, channel, finish) = (Arc::clone(engine), Arc::clone(channel), Arc::clone(finish));
    let run = move || run(&engine, &mut world, &channel, &finish);
    std::thread::Builder::new().name("relief".to_owned()).spawn(run).map(drop)
}

fn run(engine: &Engine, world: &mut World, channel: &Channel, finish: &Finish) {
    let Some(alarm) = &engine.alarm else { return };
    let mut calm = 0;
    loop {
        alarm.wait();
        while !engine.lead.rest() {
            let steps = world.slot.steps();
            let ticks = if calm < CALM { 1 } else { SELDOM };
            std::thread::sleep(TICK * ticks);
            calm = calm.saturating_add(ticks);
            if world.slot.steps() == steps && engine.lead.relieve() == Relieved::Leads {
                calm = 0;
                engine.stand_in(world, channel);
                finish.tell_if_done(engine, world);
                engine.wake_leader(world);
            }
        }
    }
}

impl Engine {
    /// Leads in place of application threads until one of them is back.
    fn stand_in(&self, world: &mut World, channel: &Channel) {
        self.step_back();
        if let Some(alarm) = &self.alarm {
            // From here on it rings when somebody takes the lead.
            alarm.unset();
        }
        while self.lead.relief_leads() {
            match self.collect(Some(Duration::ZERO)) {
                Ok((_, now)) => world.tick(now),
                Err(error) => {
                    log::error!("The event loop has failed: {error}");
                    break;
                }
            }
            let mut turned = Turned::default();
            self.work(world, &mut turned);
            self.finish(world, &mut turned);
            // The worker is told of them by a thread of its own.
            self.core().watched |= turned.watched;
            if turned.swallowed {
                pool::tell_siblings(channel);
            }
            let full = self.lead.relief_leads() && self.hand_over_held(world);
            self.wait_beside(full);
        }
        self.step_forward();
    }

    /// Wakes whoever came back, and may have begun to wait before there was what is left to do. A worker that drains may also
    /// be at its end now, and was not for as long as this thread looked for what siblings had handed over.
    fn wake_leader(&self, world: &World) {
        let left = {
            let core = self.core();
            core.has_work() || core.watched != 0
        };
        if left || world.draining {
            self.ring();
        }
    }

    /// Leaves what siblings should rather see to.
    fn step_back(&self) {
        let mut core = self.core();
        if core.accepting == Accepting::Yes && !core.left {
            self.leave_listeners();
            core.left = true;
            core.unwatched.get_or_insert(crate::sys::now_coarse());
        }
    }

    /// Undoes it; whoever leads again does so, too.
    pub(super) fn step_forward(&self) {
        let mut core = self.core();
        if core.left && core.accepting == Accepting::Yes && self.enter_listeners().is_err() {
            core.accepting = Accepting::Full;
        }
        core.left = false;
    }

    /// Waits as a bystander (a wait of the epoll instance's own would take wake-ups away from siblings), also for room in the
    /// channel if that is full.
    fn wait_beside(&self, full: bool) {
        let now = crate::sys::now_coarse();
        let timeout = self.core().next_timer(now).map_or(LOOK, |next| next.min(LOOK));
        let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
        let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::ZERO);
        let Some(alarm) = &self.alarm else { return };
        let mut fds = vec![PollFd::new(self.fd(), PollFlags::POLLIN), PollFd::new(alarm.as_fd(), PollFlags::POLLIN)];
        let inlet = self.handover.as_ref().filter(|_| full).map(Handover::inlet);
        fds.extend(inlet.map(|inlet| PollFd::new(inlet, PollFlags::POLLOUT)));
        // If it is interrupted, the next look comes early.
        let _ = poll(&mut fds, timeout);
    }
}
