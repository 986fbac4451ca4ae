//! The life of a worker: load the application, say ready, turn the engine, drain, exit.

mod accepting;
mod alarm;
mod attempts;
mod buffers;
mod burst;
mod connection;
mod core;
mod date;
mod embedded;
mod engine;
mod entrance;
mod exchange;
mod exit;
mod flusher;
mod gateway;
pub(crate) mod handover;
mod intake;
mod keeper;
mod lead;
mod mailbox;
mod output;
mod pace;
mod parcel;
mod peers;
mod policy;
mod pool;
mod pressure;
mod queue;
mod refusal;
mod relief;
mod sharing;
mod storage;
mod timers;
mod warmup;
mod watchdog;
mod wear;
mod world;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use self::core::Drain;
pub use embedded::{Embedded, Waker};
use engine::Engine;
use handover::{Ends, Handover};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use policy::Policy;
use pool::Finish;
use wear::{Spent, Wear};
use world::{Common, World};

use crate::app::{Application, Factory, Hook, LoadError};
use crate::channel::{Channel, Message, Received};
use crate::clock::Moment;
use crate::listener::Listener;
use crate::logging;
use crate::logging::access::{AccessLog, SharedAccessLog};
use crate::process;
use crate::scoreboard::{MAX_THREADS, Slot};
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
    /// The slots of all workers.
    pub(crate) scoreboard: &'static [Slot],
    /// The channel that connections are handed over by.
    pub(crate) handover: Option<Ends>,
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
        None => boot(surroundings, factory, preloaded).map(|(mut worker, worlds)| {
            let code = worker.live(worlds, factory);
            if let Some(access) = &worker.access {
                access.lock().finish();
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

struct Worker {
    engine: Arc<Engine>,
    signals: Signals,
    channel: Arc<Channel>,
    finish: Arc<Finish>,
    access: Option<SharedAccessLog>,
    slot: &'static Slot,
    drains: bool,
    wear: Wear,
}

fn boot(
    surroundings: Surroundings<'_>,
    factory: &mut dyn Factory,
    preloaded: Option<Box<dyn Application>>,
) -> Result<(Worker, Vec<World>), LoadError> {
    let Surroundings { nr, channel, listeners, slot, scoreboard, handover, settings } = surroundings;
    let failed = |what: &str, error: &dyn std::fmt::Display| LoadError::boot(format!("{what}: {error}"));
    let signals = Signals::install(&LISTENED).map_err(|error| failed("signal handlers", &error))?;
    let threads = settings.threads.clamp(1, MAX_THREADS);
    let mut applications = vec![match preloaded {
        Some(application) => load(|| factory.adopt(application))?,
        None => load_and_warm_up(factory, settings)?,
    }];
    for _ in 1..threads {
        applications.push(load(|| factory.load())?);
    }
    let access = AccessLog::open(settings).map_err(|error| failed("access log", &error))?.map(SharedAccessLog::new);
    let mut policy = Policy::from(settings);
    policy.protocols = listeners.iter().map(Listener::protocol).collect();
    let handover = handover.map(|ends| Handover::new(ends, scoreboard, nr));
    let (engine, letterbox) = Engine::new(listeners, policy.connections, settings.relief, handover)
        .map_err(|error| failed("event loop", &error))?;
    let (lead, alarm) = (engine.lead(), engine.alarm());
    slot.begin_threads(threads);
    let locals = listeners.iter().map(|listener| Arc::new(listener.local().clone())).collect();
    let common = Common { policy, locals, slot, access: access.clone(), letterbox, lead, alarm, threads };
    let worlds = applications.into_iter().enumerate();
    let mut worlds: Vec<_> =
        worlds.map(|(thread, application)| World::new(application, thread, common.clone())).collect();
    let (engine, channel) = (Arc::new(engine), Arc::new(channel));
    let finish = Arc::new(Finish::new().map_err(|error| failed("event loop", &error))?);
    if settings.relief {
        relief::start(&engine, World::relief(common), &channel, &finish)
            .map_err(|error| failed("relief thread", &error))?;
    }
    if let Some(ladder) = watchdog::Ladder::from(settings) {
        let notes = worlds.iter_mut().map(World::note_calls).collect();
        ladder.start(slot, notes, factory.watcher()).map_err(|error| failed("watchdog thread", &error))?;
    }
    factory.ready();
    engine.start().map_err(|error| failed("listeners", &error))?;
    // A channel that cannot be written to belongs to an arbiter that is gone; the loop will notice.
    let _ = channel.send(Message::Ready);
    log::debug!("Worker {nr} is ready");
    Ok((Worker { engine, signals, channel, finish, access, slot, drains: false, wear: Wear::new(settings) }, worlds))
}

/// Loads the application, and has it answer the first request if the settings say so.
pub(crate) fn load_and_warm_up(
    factory: &mut dyn Factory,
    settings: &Settings,
) -> Result<Box<dyn Application>, LoadError> {
    let mut application = load(|| factory.load())?;
    if let Some(target) = &settings.warmup {
        warmup::warm_up(factory, application.as_mut(), target, settings);
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

impl Worker {
    fn live(&mut self, mut worlds: Vec<World>, factory: &mut dyn Factory) -> i32 {
        let lived = match worlds.pop() {
            Some(world) if worlds.is_empty() => self.live_alone(world, factory),
            last => self.live_with(worlds.into_iter().chain(last).collect(), factory),
        };
        lived.unwrap_or_else(|error| {
            log::error!("The event loop has failed: {error}");
            1
        })
    }

    /// This thread calls the application.
    fn live_alone(&mut self, mut world: World, factory: &mut dyn Factory) -> std::io::Result<i32> {
        let watch = |fd: BorrowedFd<'_>, number| self.engine.watch(fd.as_raw_fd(), number);
        world.serve_here();
        watch(self.channel.as_fd(), CHANNEL)?;
        watch(self.signals.as_fd(), SIGNALS)?;
        loop {
            let turned = self.engine.turn(&mut world, None)?;
            if turned.swallowed {
                pool::tell_siblings(&self.channel);
            }
            let (channel, signals) = (turned.watched & (1 << CHANNEL) != 0, turned.watched & (1 << SIGNALS) != 0);
            if self.heed(factory, channel, signals) == Life::Ended {
                return Ok(0);
            }
            if self.drains && self.engine.is_finished(&mut world) {
                return Ok(0);
            }
            self.look_for_wear(world.requests, world.now);
        }
    }

    /// Other threads call the application, so that this one hears what the arbiter says, whatever they do.
    fn live_with(&mut self, worlds: Vec<World>, factory: &mut dyn Factory) -> std::io::Result<i32> {
        for world in worlds {
            pool::start(Arc::clone(&self.engine), world, factory.thread_life(), &self.channel, &self.finish)?;
        }
        loop {
            let fds = [self.channel.as_fd(), self.signals.as_fd(), self.finish.as_fd()];
            let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let mut polled = Ok(0);
            let timeout = if self.wear.is_bounded() { PollTimeout::from(1000_u16) } else { PollTimeout::NONE };
            factory.idle(&mut || polled = poll(&mut fds, timeout));
            match polled {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [channel, signals, finished] = fds.map(|fd| fd.any() == Some(true));
            if self.heed(factory, channel, signals) == Life::Ended {
                return Ok(0);
            }
            if finished && let Some(code) = self.finish.code() {
                return Ok(code);
            }
            self.look_for_wear(self.slot.answered(), crate::sys::now());
        }
    }

    fn heed(&mut self, factory: &mut dyn Factory, channel: bool, signals: bool) -> Life {
        if channel && self.read_channel(factory) == Life::Ended {
            return Life::Ended;
        }
        if signals { self.take_signals(factory) } else { Life::GoOn }
    }

    fn read_channel(&mut self, factory: &mut dyn Factory) -> Life {
        loop {
            match self.channel.receive() {
                Received::Message(Message::Drain) => self.drain(factory, Drain::Retire),
                Received::Message(Message::DrainAlone) => self.drain(factory, Drain::Stop),
                Received::Message(Message::DrainQueue) => self.drain(factory, Drain::StopQueue),
                Received::Message(Message::Stop) => return interrupt(factory),
                Received::Message(Message::Look) => self.engine.look(),
                Received::Message(Message::Leaving) => self.engine.lead().leave(),
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
        let taken = self.signals.take();
        // What the arbiter has to say about it comes first.
        if taken.iter().any(|(signal, _)| *signal == Signal::Term) && self.read_channel(factory) == Life::Ended {
            return Life::Ended;
        }
        for (signal, _) in taken {
            match signal {
                Signal::Term if self.drains => {}
                Signal::Term => self.drain(factory, Drain::Retire),
                Signal::Int | Signal::Quit => return interrupt(factory),
                Signal::Usr1 => {
                    self.reopen_logs();
                    factory.reopened();
                }
                Signal::Usr2 => log::info!(
                    "Worker (pid:{}): {} connections, {} requests answered, {} log lines lost, waiting for events",
                    std::process::id(),
                    self.engine.connections(),
                    self.slot.answered(),
                    logging::lost() + self.access.as_ref().map_or(0, |access| access.lock().lost())
                ),
                _ => {}
            }
        }
        Life::GoOn
    }

    /// Asks for a successor when the time has come.
    fn look_for_wear(&mut self, requests: u64, now: Moment) {
        let resident = || process::resident(process::pid());
        match self.wear.check(requests, now, resident) {
            None => return,
            Some(Spent::Requests) => log::info!("Autorestarting worker after current request."),
            Some(Spent::Memory(bytes)) => {
                log::info!("Autorestarting worker after current request: it occupies {} MiB.", bytes >> 20);
            }
        }
        // An arbiter that does not listen has other worries.
        let _ = self.channel.send(Message::Spent);
    }

    fn drain(&mut self, factory: &mut dyn Factory, how: Drain) {
        if !std::mem::replace(&mut self.drains, true) {
            factory.drain();
        }
        self.engine.ask_drain(how);
    }

    fn reopen_logs(&mut self) {
        logging::reopen();
        if let Some(access) = &self.access {
            access.lock().reopen();
        }
    }
}
