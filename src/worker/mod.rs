//! The life of a worker: load the application, say ready, turn the engine, drain, exit.

mod buffers;
mod connection;
mod date;
mod embedded;
mod engine;
mod exchange;
mod flusher;
mod gateway;
mod intake;
mod keeper;
mod mailbox;
mod output;
mod pace;
mod peers;
mod policy;
mod pressure;
mod queue;
mod refusal;
mod storage;
mod timers;
mod warmup;
mod wear;
mod world;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests;

use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use embedded::{Embedded, Waker};
use engine::Engine;
use policy::Policy;
use wear::{Spent, Wear};
use world::World;

use crate::app::{Application, Factory, Hook, LoadError};
use crate::channel::{Channel, Message, Received};
use crate::listener::Listener;
use crate::logging::{self, access::AccessLog};
use crate::process;
use crate::scoreboard::Slot;
use crate::settings::Settings;
use crate::signals::{Signal, Signals};

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

/// The channel, as the engine watches it.
const CHANNEL: usize = 0;
/// The signals, as the engine watches them.
const SIGNALS: usize = 1;

/// Signals that a worker listens to. It ignores those that a terminal sends to everybody but that are the arbiter's.
const LISTENED: [Signal; 5] = [Signal::Term, Signal::Int, Signal::Quit, Signal::Usr1, Signal::Usr2];

/// What a worker's life has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    GoOn,
    Ended,
}

/// Runs a worker in the process that was forked for it, and returns its exit code.
///
/// All signals are blocked when this is called, and the arbiter's handlers are no longer in place. `preloaded` is the
/// application if a template has loaded it.
pub(crate) fn run(
    surroundings: Surroundings<'_>,
    factory: &mut dyn Factory,
    preloaded: Option<Box<dyn Application>>,
) -> i32 {
    let pid = std::process::id();
    let lived = match factory.program() {
        Some(command) => command.and_then(|command| keeper::run(&surroundings, &command)),
        None => boot(&surroundings, factory, preloaded).map(|mut worker| {
            let code = worker.live(factory);
            if let Some(access) = &mut worker.world.access {
                access.finish();
            }
            code
        }),
    };
    let code = match lived {
        Ok(code) => code,
        Err(error) => {
            log::error!("Worker (pid:{pid}) failed to boot: {error}");
            error.exit_code()
        }
    };
    log::info!("Worker exiting (pid: {pid})");
    factory.exit();
    code
}

struct Worker<'a> {
    engine: Engine,
    world: World,
    signals: Signals,
    channel: &'a Channel,
    wear: Wear,
}

fn boot<'a>(
    surroundings: &'a Surroundings<'_>,
    factory: &mut dyn Factory,
    preloaded: Option<Box<dyn Application>>,
) -> Result<Worker<'a>, LoadError> {
    let settings = surroundings.settings;
    let failed = |what: &str, error: &dyn std::fmt::Display| LoadError::boot(format!("{what}: {error}"));
    let signals = Signals::install(&LISTENED).map_err(|error| failed("signal handlers", &error))?;
    let application = match preloaded {
        Some(application) => load(|| factory.adopt(application))?,
        None => load_and_warm_up(factory, settings)?,
    };
    let access = AccessLog::open(settings).map_err(|error| failed("access log", &error))?;
    let mut policy = Policy::from(settings);
    policy.protocols = surroundings.listeners.iter().map(Listener::protocol).collect();
    let (engine, letterbox) =
        Engine::new(surroundings.listeners, policy.connections).map_err(|error| failed("event loop", &error))?;
    let watch = |fd: std::os::fd::BorrowedFd<'_>, number| engine.watch(fd.as_raw_fd(), number);
    watch(surroundings.channel.as_fd(), CHANNEL)
        .and_then(|()| watch(signals.as_fd(), SIGNALS))
        .map_err(|error| failed("event loop", &error))?;
    let locals = surroundings.listeners.iter().map(|listener| listener.local().clone()).collect();
    let world = World::new(application, policy, locals, surroundings.slot, access, letterbox);
    factory.ready();
    engine.start().map_err(|error| failed("listeners", &error))?;
    // A channel that cannot be written to belongs to an arbiter that is gone; the loop will notice.
    let _ = surroundings.channel.send(Message::Ready);
    log::debug!("Worker {} is ready", surroundings.nr);
    Ok(Worker { engine, world, signals, channel: &surroundings.channel, wear: Wear::new(settings) })
}

/// Loads the application, and has it answer the first request if the settings say so.
pub(crate) fn load_and_warm_up(
    factory: &mut dyn Factory,
    settings: &Settings,
) -> Result<Box<dyn Application>, LoadError> {
    let mut application = load(|| factory.load())?;
    if let Some(target) = &settings.warmup {
        warmup::warm_up(application.as_mut(), target, settings);
    }
    Ok(application)
}

fn load(load: impl FnOnce() -> Result<Box<dyn Application>, LoadError>) -> Result<Box<dyn Application>, LoadError> {
    // The panic's message has been printed by the panic hook.
    catch_unwind(AssertUnwindSafe(load))
        .unwrap_or_else(|_| Err(LoadError::boot("the application panicked while it was loaded")))
}

fn interrupt(factory: &mut dyn Factory) -> Life {
    factory.hook(Hook::WorkerInt);
    Life::Ended
}

impl Worker<'_> {
    fn live(&mut self, factory: &mut dyn Factory) -> i32 {
        loop {
            let turned = match self.engine.turn(&mut self.world, None) {
                Ok(turned) => turned,
                Err(error) => {
                    log::error!("The event loop has failed: {error}");
                    return 1;
                }
            };
            if turned.swallowed {
                self.tell_siblings();
            }
            if turned.watched & (1 << CHANNEL) != 0 && self.read_channel(factory) == Life::Ended {
                return 0;
            }
            if turned.watched & (1 << SIGNALS) != 0 && self.take_signals(factory) == Life::Ended {
                return 0;
            }
            if self.world.draining && self.engine.connections() == 0 {
                return 0;
            }
            self.look_for_wear();
        }
    }

    fn read_channel(&mut self, factory: &mut dyn Factory) -> Life {
        loop {
            match self.channel.receive() {
                Received::Message(Message::Drain) => self.drain(factory, false),
                Received::Message(Message::DrainQueue) => self.drain(factory, true),
                Received::Message(Message::Stop) => return interrupt(factory),
                Received::Message(Message::Look) => self.engine.look(),
                Received::Message(Message::Leaving) => self.world.leaving = true,
                Received::Message(
                    Message::Ready | Message::Born | Message::Begin | Message::Failed | Message::Spent,
                ) => {}
                Received::Nothing => return Life::GoOn,
                Received::Closed => {
                    log::info!("The arbiter is gone, shutting down");
                    return Life::Ended;
                }
            }
        }
    }

    fn take_signals(&mut self, factory: &mut dyn Factory) -> Life {
        for (signal, _) in self.signals.take() {
            match signal {
                Signal::Term => self.drain(factory, false),
                Signal::Int | Signal::Quit => return interrupt(factory),
                Signal::Usr1 => {
                    self.reopen_logs();
                    factory.reopened();
                }
                Signal::Usr2 => log::info!(
                    "Worker (pid:{}): {} connections, {} requests answered, {} log lines lost, waiting for events",
                    std::process::id(),
                    self.engine.connections(),
                    self.world.requests,
                    logging::lost() + self.world.access.as_ref().map_or(0, AccessLog::lost)
                ),
                _ => {}
            }
        }
        Life::GoOn
    }

    /// Asks for a successor when the time has come.
    fn look_for_wear(&mut self) {
        let resident = || process::resident(process::pid());
        match self.wear.check(self.world.requests, self.world.now, resident) {
            None => return,
            Some(Spent::Requests) => log::info!("Autorestarting worker after current request."),
            Some(Spent::Memory(bytes)) => {
                log::info!("Autorestarting worker after current request: it occupies {} MiB.", bytes >> 20);
            }
        }
        // An arbiter that does not listen has other worries.
        let _ = self.channel.send(Message::Spent);
    }

    fn drain(&mut self, factory: &mut dyn Factory, queue: bool) {
        if !self.world.draining {
            factory.drain();
        }
        self.engine.drain(&mut self.world, queue);
        self.tell_siblings();
    }

    fn tell_siblings(&self) {
        // An arbiter that does not listen is gone, and so are the siblings.
        let _ = self.channel.send(Message::Look);
    }

    fn reopen_logs(&mut self) {
        logging::reopen();
        if let Some(access) = &mut self.world.access {
            access.reopen();
        }
    }
}
