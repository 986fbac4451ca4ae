//! The template: a process that loads the application once for a generation, and forks the generation's workers.
//!
//! ```text
//!   arbiter                 template                   in between            worker
//!      | order: nr, channel -->|                            |                   |
//!      |                       |-- fork ------------------->|-- fork ---------->|
//!      |                       |                            | exit              |  now the arbiter's child
//!      |<-- "born" over the channel, with the pid as the kernel knows it -------|
//!      | "begin" -------------------------------------------------------------->|  lives as any worker
//! ```
//!
//! The arbiter is what the kernel calls a child subreaper, so a worker becomes its child when the process in between ends.
//! What it is told about pids it believes from the kernel only: the template runs the application's code.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread::sleep;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getppid};

use super::children::Generation;
use super::decision::Event;
use super::fork::{BOOT_FAILED, fork_from};
use super::nursery::Expected;
use super::{Arbiter, Plan};
use crate::app::{Application, Hook, LoadError};
use crate::channel::{Birth, Channel, Message, Order, Received};
use crate::listener::Listener;
use crate::logging;
use crate::process;
use crate::scoreboard::Slot;
use crate::signals::{self, Signal, Signals};
use crate::sys::{self, Fork};
use crate::worker::handover::Ends;
use crate::worker::{self, Surroundings};

/// How long threads that have done their work are given to end.
const WINDING_UP: Duration = Duration::from_millis(200);

/// Whether the process has other threads, and will have them.
fn stays_threaded() -> bool {
    let since = sys::now();
    while sys::has_other_threads() {
        if sys::now().since(since) > WINDING_UP {
            return true;
        }
        sleep(Duration::from_millis(1));
    }
    false
}

/// What the arbiter does about templates.
impl Arbiter<'_> {
    /// Forks a template; in the template and its workers, it never returns.
    pub(super) fn fork_template(&mut self, generation: Generation) -> Event {
        match self.try_fork_template(generation) {
            Ok(pid) => Event::TemplateForked { generation, pid },
            Err(error) => Event::TemplateForkFailed { errno: error.raw_os_error().unwrap_or_default() },
        }
    }

    fn try_fork_template(&mut self, generation: Generation) -> io::Result<i32> {
        let Some(plan) = self.plans.get(&generation).map(Rc::clone) else {
            debug_assert!(false, "no plan for generation {generation}");
            return Err(io::ErrorKind::InvalidInput.into());
        };
        sys::adopt_orphans()?;
        let (ours, theirs) = Channel::pair()?;
        let Some(pid) = fork_from(&plan)? else {
            drop(ours);
            self.be_template(generation, &mut plan.borrow_mut(), theirs)
        };
        self.nursery.templates.insert(pid, Some(ours));
        Ok(pid)
    }

    fn be_template(&mut self, generation: Generation, plan: &mut Plan, channel: Channel) -> ! {
        let life = AssertUnwindSafe(|| {
            plan.factory.after_fork_child();
            self.forget();
            let listeners = std::mem::take(&mut self.sockets).into_listeners(generation, &plan.settings);
            let pid = process::pid();
            let booted =
                self.settle(generation, plan, "template").map_err(|error| LoadError::boot(error.to_string())).and_then(
                    |()| Template::boot(plan, listeners, self.scoreboard, self.handover.take(), self.pid, channel),
                );
            match booted {
                Ok(template) => template.live(),
                Err(error) => {
                    log::error!("Template (pid:{pid}) failed to boot: {error}");
                    error.exit_code()
                }
            }
        });
        // The panic hook has printed what it was.
        let code = catch_unwind(life).unwrap_or(1);
        let _ = io::stdout().flush();
        sys::exit_now(code);
    }

    /// Has a template fork a worker. `None` if the answer is yet to come.
    pub(super) fn ask(&mut self, template: i32, nr: usize, generation: Generation) -> Option<Event> {
        self.age += 1;
        let age = self.age;
        self.hook_of(generation, Hook::PreFork { age });
        match self.try_ask(template, nr) {
            Ok(channel) => {
                self.nursery.expected.push(Expected { nr, generation, age, template, channel });
                None
            }
            Err(error) => {
                self.hook_of(generation, Hook::Forked { age, pid: None });
                Some(Event::ForkFailed { nr, errno: error.raw_os_error().unwrap_or_default() })
            }
        }
    }

    /// Tells the factory of a generation, while there is one.
    fn hook_of(&self, generation: Generation, hook: Hook) {
        if let Some(plan) = self.plans.get(&generation) {
            plan.borrow_mut().factory.hook(hook);
        }
    }

    /// Takes a worker out of those that are waited for: it has come to be, or it never will.
    fn settle_expected(&mut self, nr: usize, pid: Option<i32>) -> Option<Expected> {
        let expected = self.nursery.take(nr)?;
        self.hook_of(expected.generation, Hook::Forked { age: expected.age, pid });
        Some(expected)
    }

    fn try_ask(&mut self, template: i32, nr: usize) -> io::Result<Channel> {
        let Some(slot) = self.scoreboard.get(nr) else {
            debug_assert!(false, "no slot {nr}");
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let channel = self.nursery.channel(template).ok_or_else(|| io::Error::from_raw_os_error(libc::EPIPE))?;
        let (ours, theirs) = Channel::pair()?;
        ours.ask_credentials()?;
        slot.clear();
        channel.order(nr as u64, self.age, &theirs)?;
        Ok(ours)
    }

    pub(super) fn hear_template(&mut self, pid: i32) -> Option<i32> {
        for _ in 0..super::MESSAGES {
            match self.nursery.channel(pid)?.receive() {
                Received::Message(Message::Ready) => {
                    if let Some(code) = self.handle(Event::TemplateReady { pid }) {
                        return Some(code);
                    }
                }
                Received::Message(Message::Failed) => {
                    let expected = self.nursery.expected.iter().find(|expected| expected.template == pid);
                    let nr = expected.map(|expected| expected.nr);
                    if let Some(Expected { nr, .. }) = nr.and_then(|nr| self.settle_expected(nr, None)) {
                        // The template has logged which error it was.
                        let code = self.handle(Event::ForkFailed { nr, errno: libc::EAGAIN });
                        if code.is_some() {
                            return code;
                        }
                    }
                }
                Received::Message(_) => {}
                Received::Nothing => return None,
                Received::Closed => {
                    *self.nursery.templates.get_mut(&pid)? = None;
                    return self.handle(Event::ChannelClosed { pid });
                }
            }
        }
        None
    }

    /// Looks whether a worker that was asked for has come to be. `reaped` is a process that was ours until just now.
    pub(super) fn hear_expected(&mut self, nr: usize, reaped: Option<i32>) -> Option<i32> {
        let expected = self.nursery.expected.iter().find(|expected| expected.nr == nr)?;
        let birth = expected.channel.receive_born();
        if birth == Birth::Awaited {
            return None;
        }
        let known = |pid: &i32| self.workers.contains_key(pid) || self.nursery.templates.contains_key(pid);
        let pid = match birth {
            Birth::Of(pid) if !known(&pid) && (Some(pid) == reaped || sys::is_child(pid)) => Some(pid),
            _ => None,
        };
        let Expected { channel, .. } = self.settle_expected(nr, pid)?;
        let Some(pid) = pid else { return self.handle(Event::Unborn { nr }) };
        // If it cannot be told, it is about to be reaped.
        let _ = channel.send(Message::Begin);
        self.workers.insert(pid, Some(channel));
        self.handle(Event::Forked { nr, pid })
    }

    /// Takes note of the end of a process that may be a template's, or a worker of which nothing has been heard.
    pub(super) fn prepare_to_reap(&mut self, pid: i32) -> Option<i32> {
        let numbers: Vec<usize> = self.nursery.expected.iter().map(|expected| expected.nr).collect();
        for nr in numbers {
            let code = self.hear_expected(nr, Some(pid));
            if code.is_some() {
                return code;
            }
        }
        self.hear_template(pid)
    }

    /// A template was reaped: who was not born by now never will be.
    pub(super) fn bury_template(&mut self, pid: i32) -> Option<i32> {
        self.nursery.templates.remove(&pid)?;
        let orphaned = |expected: &&Expected| expected.template == pid;
        let numbers: Vec<usize> = self.nursery.expected.iter().filter(orphaned).map(|expected| expected.nr).collect();
        for nr in numbers {
            let code = self.hear_expected(nr, None);
            if code.is_some() {
                return code;
            }
            if self.settle_expected(nr, None).is_some() {
                let code = self.handle(Event::Unborn { nr });
                if code.is_some() {
                    return code;
                }
            }
        }
        None
    }
}

/// The template's process.
struct Template<'a> {
    plan: &'a mut Plan,
    application: Box<dyn Application>,
    listeners: Vec<Listener>,
    scoreboard: &'static [Slot],
    handover: Option<Ends>,
    arbiter: i32,
    channel: Channel,
    signals: Signals,
}

/// Signals that a template listens to.
const LISTENED: [Signal; 4] = [Signal::Term, Signal::Int, Signal::Quit, Signal::Usr1];
/// How long a worker sleeps between two looks whether it has become the arbiter's child.
const LOOK: Duration = Duration::from_micros(50);

impl<'a> Template<'a> {
    fn boot(
        plan: &'a mut Plan,
        listeners: Vec<Listener>,
        scoreboard: &'static [Slot],
        handover: Option<Ends>,
        arbiter: i32,
        channel: Channel,
    ) -> Result<Self, LoadError> {
        log::info!("Booting template with pid: {}", process::pid());
        let signals =
            Signals::install(&LISTENED).map_err(|error| LoadError::boot(format!("signal handlers: {error}")))?;
        let application = worker::load_and_warm_up(plan.factory.as_mut(), &plan.settings)?;
        plan.factory.freeze();
        // What was needed for loading only would be copied whenever a worker uses it again.
        sys::trim_memory();
        sys::unmap_clean_pages();
        if !plan.factory.has_threads() && stays_threaded() {
            return Err(LoadError::boot(
                "the application has started threads, which its workers would not have: it cannot be preloaded",
            ));
        }
        // A channel that cannot be written to belongs to an arbiter that is gone.
        let _ = channel.send(Message::Ready);
        Ok(Self { plan, application, listeners, scoreboard, handover, arbiter, channel, signals })
    }

    fn live(mut self) -> i32 {
        loop {
            let fds = [self.channel.as_fd(), self.signals.as_fd()];
            let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            self.application.idle(&mut || {
                // What interrupts it is told by the descriptors, too.
                let _ = poll(&mut fds, PollTimeout::NONE);
            });
            for (signal, _) in self.signals.take() {
                if signal != Signal::Usr1 {
                    return 0;
                }
                logging::reopen();
                self.plan.factory.reopened();
            }
            match self.channel.receive_order() {
                Order::Nothing => {}
                Order::Stop => return 0,
                Order::Fork { nr, age, channel } => {
                    if self.fork() {
                        return self.be_worker(nr as usize, age, channel);
                    }
                }
            }
        }
    }
}

/// How workers come to be.
impl Template<'_> {
    /// Forks; true in the worker.
    fn fork(&mut self) -> bool {
        let forked = self.try_fork();
        if let Err(error) = &forked {
            log::debug!("Template (pid:{}) cannot fork a worker: {error}", process::pid());
            let _ = self.channel.send(Message::Failed);
        }
        forked.unwrap_or(false)
    }

    fn try_fork(&mut self) -> io::Result<bool> {
        let blocked = signals::block_all()?;
        self.plan.factory.before_fork();
        // Its threads, if it has any, are an interpreter's, as was made sure of.
        let forked = sys::fork_beside_threads();
        if matches!(forked, Ok(Fork::Child)) {
            blocked.keep();
            self.fork_again();
            return Ok(true);
        }
        self.plan.factory.after_fork_parent();
        drop(blocked);
        match forked? {
            Fork::Child => Ok(true),
            Fork::Parent(between) => loop {
                match waitpid(Pid::from_raw(between), None) {
                    Err(nix::Error::EINTR) => {}
                    Ok(WaitStatus::Exited(_, 0)) | Err(_) => return Ok(false),
                    Ok(WaitStatus::Exited(_, errno)) => return Err(io::Error::from_raw_os_error(errno)),
                    Ok(_) => return Err(io::ErrorKind::Interrupted.into()),
                }
            },
        }
    }

    /// In the process in between, which runs no code of the application's: returns in its child, once that is the
    /// arbiter's.
    fn fork_again(&self) {
        let between = Pid::this();
        match sys::fork_beside_threads() {
            Ok(Fork::Parent(_)) => sys::exit_now(0),
            Err(error) => sys::exit_now(error.raw_os_error().unwrap_or(libc::EAGAIN)),
            Ok(Fork::Child) => {
                self.plan.set_title("worker");
                while getppid() == between {
                    sleep(LOOK);
                }
            }
        }
    }

    /// Goes on as a worker.
    fn be_worker(self, nr: usize, age: u64, channel: Channel) -> i32 {
        let Self { plan, application, listeners, scoreboard, handover, arbiter, channel: template, signals } = self;
        drop(template);
        signals.forget();
        let begin = || {
            // Only now: before, it was the process in between whose end would have been heeded.
            sys::die_with_parent()?;
            if getppid().as_raw() != arbiter {
                return Ok(false);
            }
            channel.send(Message::Born)?;
            Ok::<_, io::Error>(channel.await_begin())
        };
        match begin() {
            Ok(true) => {}
            // The arbiter is gone, or has given up waiting.
            Ok(false) | Err(_) => return 0,
        }
        plan.factory.after_fork_child();
        log::info!("Booting worker with pid: {}", process::pid());
        plan.factory.hook(Hook::PostFork { age });
        plan.set_title("worker");
        let Some(slot) = scoreboard.get(nr) else { return BOOT_FAILED };
        let surroundings =
            Surroundings { nr, channel, listeners: &listeners, slot, scoreboard, handover, settings: &plan.settings };
        worker::run(surroundings, plan.factory.as_mut(), Some(application))
    }
}
