//! The arbiter: waits, reaps, and performs what [`state`] decides.
//!
//! It has one thread, runs no application code and touches no client. Nothing that fails here ends it: what cannot be
//! done now is tried again by a timer of [`state`]'s.

mod backoff;
mod children;
mod decision;
mod fork;
mod notice;
mod nursery;
mod scale;
#[cfg(test)]
mod simulator;
mod sockets;
mod spawn;
mod state;
mod template;
mod upgrade;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::sleep;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{self, kill};
use nix::unistd::Pid;

use children::{Generation, Status};
use decision::{Action, Event, Notification, Policy, Sent};
use notice::Notice;
use nursery::Nursery;
pub(crate) use sockets::{Legacy, Sockets};
use state::{FIRST_GENERATION, State};
use upgrade::Successor;
pub(crate) use upgrade::{Launch, Predecessor};

use crate::app::{Factory, Hook};
use crate::channel::{Channel, Message, Received};
use crate::clock::Moment;
use crate::error::Error;
use crate::listener;
use crate::logging;
use crate::pidfile::Pidfile;
use crate::process::{self, Identity};
use crate::scoreboard::Slot;
use crate::settings::Settings;
use crate::signals::{SIGNALS, Signal, Signals};
use crate::sys::{self, Change};
use crate::systemd::Notifier;
use crate::worker::handover::Ends;

/// What one generation of workers is made from.
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    /// Where its workers are, as an absolute path.
    pub(crate) directory: PathBuf,
    pub(crate) identity: Option<Identity>,
    pub(crate) factory: Box<dyn Factory>,
}

impl Plan {
    /// How its sockets are made.
    pub(crate) fn socket_policy(&self) -> listener::Policy {
        listener::Policy {
            backlog: self.settings.backlog,
            socket_mode: self.settings.socket_mode,
            owner: self.identity.as_ref().map(|identity| (identity.user(), identity.group())),
        }
    }

    /// Names this process in process listings.
    pub(crate) fn set_title(&self, role: &str) {
        let name = self.settings.proc_name.as_deref().or(self.settings.application.as_deref()).unwrap_or("ferricorn");
        process::set_title(&format!("ferricorn: {role} [{name}]"));
    }

    fn policy(&self) -> Policy {
        Policy {
            workers: self.settings.workers,
            most: self.settings.workers_most.max(self.settings.workers),
            idle: self.settings.worker_idle_timeout,
            timeout: self.settings.timeout,
            boot_timeout: self.settings.boot_timeout,
            graceful_timeout: self.settings.graceful_timeout,
            shutdown_delay: self.settings.shutdown_delay,
            lifetime: self.settings.worker_lifetime,
            memory_limit: Some(self.settings.worker_memory_hard).filter(|limit| *limit != u64::MAX),
            recycle_share: self.settings.recycle_share,
            daemon: self.settings.daemon,
            preload: self.settings.preload_app,
        }
    }
}

/// What an arbiter starts with.
pub(crate) struct Estate<'a> {
    pub(crate) plan: Plan,
    pub(crate) sockets: Sockets,
    pub(crate) pidfile: Option<Pidfile>,
    pub(crate) notifier: Notifier,
    pub(crate) launch: Launch,
    pub(crate) predecessor: Option<Predecessor>,
    /// Makes the next generation's plan from the command line, the environment and the file as they are now.
    pub(crate) replan: Box<dyn FnMut() -> Result<Plan, Error> + 'a>,
}

/// The arbiter's process.
pub(crate) struct Arbiter<'a> {
    pid: i32,
    state: State,
    plans: BTreeMap<Generation, Rc<std::cell::RefCell<Plan>>>,
    /// The generation whose settings the logs and the pidfile follow.
    followed: Generation,
    sockets: Sockets,
    workers: BTreeMap<i32, Option<Channel>>,
    /// Workers that were forked, ever.
    age: u64,
    /// How many there are to be, as the factories were told.
    told: usize,
    nursery: Nursery,
    scoreboard: &'static [Slot],
    /// By which workers hand connections over, kept open here so that none is lost between two workers.
    handover: Option<Ends>,
    /// `None` in a worker.
    signals: Option<Signals>,
    pidfile: Option<Pidfile>,
    notifier: Notifier,
    /// Workers are to look into the accept queues before the arbiter sleeps again.
    look: bool,
    /// What the service manager is told to be wrong.
    trouble: Option<String>,
    next_watchdog: Moment,
    launch: Launch,
    predecessor: Option<Predecessor>,
    successor: Option<Successor>,
    replan: Box<dyn FnMut() -> Result<Plan, Error> + 'a>,
}

/// Messages of a worker that are read at a time, whatever it says.
const MESSAGES: usize = 16;
/// How long to wait when it is impossible to wait for something.
const PAUSE: Duration = Duration::from_millis(100);

impl<'a> Arbiter<'a> {
    /// Catches signals from now on.
    ///
    /// # Errors
    /// Signals or shared memory cannot be had.
    pub(crate) fn new(estate: Estate<'a>) -> io::Result<Self> {
        let Estate { plan, sockets, pidfile, notifier, launch, predecessor, replan } = estate;
        let pid = process::pid();
        let told = plan.policy().first();
        let seed = sys::now().as_nanos() ^ u64::from(pid.unsigned_abs()).rotate_left(32);
        Ok(Self {
            pid,
            state: State::new(plan.policy(), predecessor.is_some(), seed),
            plans: BTreeMap::from([(FIRST_GENERATION, Rc::new(plan.into()))]),
            followed: FIRST_GENERATION,
            sockets,
            workers: BTreeMap::new(),
            age: 0,
            told,
            nursery: Nursery::default(),
            scoreboard: sys::shared_slots(state::MAX_CHILDREN)?,
            handover: Some(Ends::new()?),
            signals: Some(Signals::install(&SIGNALS.map(|row| row.signal))?),
            pidfile,
            notifier,
            look: false,
            trouble: None,
            next_watchdog: Moment::default(),
            launch,
            predecessor,
            successor: None,
            replan,
        })
    }

    /// Runs until it is told to stop and all workers have gone, and returns the exit code.
    pub(crate) fn run(mut self) -> i32 {
        let mut exit = self.handle(Event::Tick);
        while exit.is_none() {
            let woken = self.wait(self.due());
            exit = self.serve(woken);
        }
        if !self.state.shares_listeners() {
            self.sockets.unlink();
        }
        self.remove_pidfile();
        self.hook(Hook::OnExit);
        exit.unwrap_or_default()
    }

    /// When it has to wake up, whatever happens.
    fn due(&self) -> Option<Moment> {
        let watchdog = self.notifier.watchdog_interval().map(|_| self.next_watchdog);
        [self.state.deadline(), watchdog].into_iter().flatten().min()
    }

    /// Sleeps until something happens or is due.
    fn wait(&self, due: Option<Moment>) -> Woken {
        let now = sys::now();
        let successor = self.successor.as_ref().and_then(|successor| successor.channel.as_ref());
        let predecessor = self.predecessor.as_ref().map(|predecessor| &predecessor.channel);
        let links = self.workers.iter().filter_map(|(pid, channel)| Some((Source::Worker(*pid), channel.as_ref()?)));
        let links = links
            .chain(self.nursery.templates().map(|(pid, channel)| (Source::Template(pid), channel)))
            .chain(self.nursery.expected().map(|(nr, channel)| (Source::Expected(nr), channel)))
            .chain(successor.map(|channel| (Source::Successor, channel)))
            .chain(predecessor.map(|channel| (Source::Predecessor, channel)));
        let (mut sources, mut fds): (Vec<_>, Vec<_>) =
            links.map(|(source, channel)| (source, PollFd::new(channel.as_fd(), PollFlags::POLLIN))).unzip();
        if let Some(signals) = &self.signals {
            sources.push(Source::Signals);
            fds.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
        }
        if self.state.sleeps() {
            // Somebody has to be there when a client comes.
            for listener in self.sockets.iter() {
                sources.push(Source::Listener);
                fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
            }
        }
        match poll(&mut fds, timeout(due, now)) {
            // A signal, of which the self-pipe tells as well.
            Ok(_) | Err(nix::Error::EINTR) => {
                let ready = sources.into_iter().zip(fds).filter(|(_, fd)| fd.any() != Some(false));
                Woken(ready.map(|(source, _)| source).collect())
            }
            // No memory, or a limit of open files that was lowered to less than we have.
            Err(_) => {
                sleep(PAUSE);
                Woken(sources)
            }
        }
    }

    /// Handles what has happened; the exit code when it is over.
    fn serve(&mut self, Woken(mut sources): Woken) -> Option<i32> {
        let signals = match &mut self.signals {
            Some(signals) if sources.contains(&Source::Signals) => signals.take(),
            _ => Default::default(),
        };
        if signals.iter().any(|(signal, _)| *signal != Signal::Chld) {
            // Whoever has sent it may have been served by a worker, so what that said before comes first: a reload right
            // after the start must find that there is a generation to go back to.
            sources = self.wait(Some(sys::now())).0;
        }
        for source in sources {
            let exit = match source {
                Source::Signals => None,
                Source::Worker(pid) => self.hear_worker(pid),
                Source::Template(pid) => self.hear_template(pid),
                Source::Expected(nr) => self.hear_expected(nr, None),
                Source::Successor => self.hear_successor(),
                Source::Predecessor => self.hear_predecessor(),
                Source::Listener => self.handle(Event::Measured { queued: self.sockets.queued().max(1) }),
            };
            if exit.is_some() {
                return exit;
            }
        }
        if signals.iter().any(|(signal, _)| *signal == Signal::Usr2)
            && let Some(code) = self.reap()
        {
            // A new binary that has gone is not in the way of the next.
            return Some(code);
        }
        let mut reap = false;
        for (signal, count) in signals {
            reap |= signal == Signal::Chld;
            if let Some(code) = self.handle(Event::Signal(signal, count)) {
                return Some(code);
            }
        }
        let exit = if reap { self.reap() } else { None };
        if std::mem::take(&mut self.look) {
            self.look();
        }
        if let Some(interval) = self.notifier.watchdog_interval() {
            let now = sys::now();
            if now >= self.next_watchdog {
                self.notifier.watchdog();
                self.next_watchdog = now + interval;
            }
        }
        exit.or_else(|| self.handle(Event::Tick))
    }

    fn hear_worker(&mut self, pid: i32) -> Option<i32> {
        for _ in 0..MESSAGES {
            match self.workers.get(&pid)?.as_ref()?.receive() {
                Received::Message(Message::Ready) => {
                    if let Some(code) = self.handle(Event::Ready { pid }) {
                        return Some(code);
                    }
                }
                Received::Message(Message::Look) => self.look = true,
                Received::Message(Message::Spent) => {
                    if let Some(code) = self.handle(Event::Spent { pid }) {
                        return Some(code);
                    }
                }
                Received::Message(_) => {}
                Received::Nothing => return None,
                Received::Closed => return self.hang_up(pid),
            }
        }
        // The others first: what is left here wakes us again.
        None
    }

    /// Has the workers look into the accept queues. An exclusive wake-up that went to a worker which then died, or left the
    /// listeners, is not repeated for the others: a connection would wait until the next one comes.
    fn look(&self) {
        for channel in self.workers.values().flatten() {
            // One that is full has other things to tell, and looks when it has read them.
            let _ = channel.send(Message::Look);
        }
    }

    fn hang_up(&mut self, pid: i32) -> Option<i32> {
        *self.workers.get_mut(&pid)? = None;
        self.handle(Event::ChannelClosed { pid })
    }

    fn hear_successor(&mut self) -> Option<i32> {
        let successor = self.successor.as_mut()?;
        match successor.channel.as_ref()?.receive() {
            Received::Message(Message::Ready) => self.handle(Event::UpgradeReady),
            Received::Message(_) | Received::Nothing => None,
            Received::Closed => {
                successor.channel = None;
                self.handle(Event::UpgradeLost)
            }
        }
    }

    fn hear_predecessor(&mut self) -> Option<i32> {
        if self.predecessor.as_ref()?.channel.receive() != Received::Closed {
            return None;
        }
        self.predecessor = None;
        self.look = true;
        self.handle(Event::PredecessorGone)
    }

    /// Takes note of all children that have changed. Strangers, whom others left to us, are reaped in silence.
    fn reap(&mut self) -> Option<i32> {
        while let Some((pid, change)) = sys::changed_child() {
            let event = match change {
                Change::Exited(code) => Event::Exited { pid, status: Status::Code(code) },
                Change::Signaled(signal) => Event::Exited { pid, status: Status::Signal(signal) },
                Change::Stopped => Event::Halted { pid },
                Change::Continued => Event::Continued { pid },
            };
            let exited = matches!(event, Event::Exited { .. });
            if exited {
                // What it said before it ended comes first.
                let heard = self.prepare_to_reap(pid).or_else(|| self.hear_worker(pid));
                if heard.is_some() {
                    return heard;
                }
                if self.workers.remove(&pid).is_some() {
                    self.hook(Hook::ChildExit { pid });
                }
                self.look = true;
            }
            let code = self.handle(event).or_else(|| if exited { self.bury_template(pid) } else { None });
            if code.is_some() {
                return code;
            }
        }
        None
    }

    /// Lets the state decide about an event, and performs what it decides.
    fn handle(&mut self, event: Event) -> Option<i32> {
        let mut events = VecDeque::from([event]);
        let mut actions = Vec::new();
        while let Some(event) = events.pop_front() {
            self.state.step(sys::now(), event, &mut actions);
            self.tell_target();
            for action in actions.drain(..) {
                match self.perform(action) {
                    Done::Silently => {}
                    Done::Answer(answer) if answer.goes_first() => events.push_front(answer),
                    Done::Answer(answer) => events.push_back(answer),
                    Done::Exit(code) => return Some(code),
                }
            }
        }
        None
    }

    /// Tells the factory that is followed.
    fn hook(&self, hook: Hook) {
        if let Some(plan) = self.plans.get(&self.followed) {
            plan.borrow_mut().factory.hook(hook);
        }
    }

    fn tell_target(&mut self) {
        let new = self.state.target();
        let old = std::mem::replace(&mut self.told, new);
        if new != old {
            self.hook(Hook::WorkersChanged { new, old: Some(old) });
        }
    }

    fn perform(&mut self, action: Action) -> Done {
        match action {
            Action::Fork { nr, generation } => return Done::Answer(self.fork(nr, generation)),
            Action::ForkTemplate { generation } => return Done::Answer(self.fork_template(generation)),
            Action::Ask { template, nr, generation } => {
                return self.ask(template, nr, generation).map_or(Done::Silently, Done::Answer);
            }
            Action::Send { pid, signal } => send(pid, signal.number()),
            Action::Drain { pid, queue } => {
                self.say(
                    pid,
                    match (queue, self.state.wants_nobody()) {
                        (true, _) => Message::DrainQueue,
                        (false, true) => Message::DrainAlone,
                        (false, false) => Message::Drain,
                    },
                );
                send(pid, Some(signal::SIGTERM));
            }
            Action::Cancel { pid } => {
                self.say(pid, Message::Drain);
                send(pid, Some(signal::SIGTERM));
            }
            Action::Stop { pid } => {
                self.say(pid, Message::Stop);
                send(pid, Some(signal::SIGQUIT));
            }
            Action::Inspect { pid, nr } => {
                let slot = self.scoreboard.get(nr);
                let in_call_since = slot.and_then(Slot::in_call_since);
                let at_rest = slot.filter(|slot| slot.idle_connections() == Some(0)).map(Slot::steps);
                return Done::Answer(Event::Inspected { pid, in_call_since, at_rest });
            }
            Action::Weigh { pid } => {
                return process::resident(pid)
                    .map_or(Done::Silently, |resident| Done::Answer(Event::Weighed { pid, resident }));
            }
            Action::MeasureQueues => return Done::Answer(Event::Measured { queued: self.sockets.queued() }),
            Action::SayLeaving { pid } => self.say(pid, Message::Leaving),
            Action::LoadSettings { generation } => return Done::Answer(self.load(generation)),
            Action::Keep { generation } => self.keep(generation),
            Action::StopIncoming => self.sockets.stop_incoming(),
            Action::ReopenLogs => logging::reopen(),
            Action::Upgrade => return Done::Answer(self.upgrade()),
            Action::EndUpgrade => self.successor = None,
            Action::Promote => self.promote(),
            Action::Notify(notification) => self.notify(notification),
            Action::Log(notice) => self.log(&notice),
            Action::Exit(code) => return Done::Exit(code),
        }
        Done::Silently
    }

    fn log(&mut self, notice: &Notice) {
        match notice.level() {
            Some(level) => log::log!(level, "{notice}"),
            None => logging::critical!("{notice}"),
        }
        if matches!(notice, Notice::GivenUp { .. }) {
            self.trouble = Some("the last reload failed: its workers did not become ready".to_owned());
        }
    }

    fn say(&self, pid: i32, message: Message) {
        let worker = self.workers.get(&pid).and_then(Option::as_ref);
        let Some(channel) = worker.or_else(|| self.nursery.channel(pid)) else { return };
        if let Err(error) = channel.send(message) {
            log::debug!("Worker (pid:{pid}) does not listen: {error}");
        }
    }

    fn load(&mut self, generation: Generation) -> Event {
        self.trouble = None;
        let mut load = || {
            let plan = (self.replan)()?;
            let rebound = self.sockets.extend(generation, &plan.settings, &plan.socket_policy())?;
            logging::init(&plan.settings).inspect_err(|_| self.sockets.retract(generation))?;
            Ok::<_, Error>((plan, rebound))
        };
        match load() {
            Ok((plan, rebound)) => {
                let policy = plan.policy();
                self.followed = generation;
                self.plans.insert(generation, Rc::new(plan.into()));
                let old = std::mem::replace(&mut self.told, policy.first());
                self.hook(Hook::WorkersChanged { new: policy.first(), old: Some(old) });
                self.hook(Hook::OnReload);
                Event::SettingsLoaded { generation, policy, rebound }
            }
            Err(error) => {
                self.go_back();
                log::error!("Reload failed, the old settings stay: {error}");
                self.trouble = Some(format!("the last reload failed: {error}"));
                Event::SettingsFailed
            }
        }
    }

    fn keep(&mut self, generation: Generation) {
        self.plans.retain(|other, _| *other == generation);
        self.sockets.keep(generation, self.state.shares_listeners());
        let Some(plan) = self.plans.get(&generation).map(Rc::clone) else { return };
        plan.borrow().set_title("master");
        let settings = &plan.borrow().settings;
        if std::mem::replace(&mut self.followed, generation) != generation {
            self.go_back();
            if let Err(error) = logging::init(settings) {
                log::error!("Cannot log as before: {error}");
            }
        }
        if let Err(error) = self.move_pidfile(settings) {
            log::error!("{error}");
        }
    }

    /// Goes to the directory that the settings name that are followed.
    fn go_back(&self) {
        let Some(plan) = self.plans.get(&self.followed) else { return };
        let directory = &plan.borrow().directory;
        if let Err(error) = std::env::set_current_dir(directory) {
            log::error!("Can't change to directory '{}': {error}", directory.display());
        }
    }

    fn move_pidfile(&mut self, settings: &Settings) -> Result<(), Error> {
        let path = settings.pidfile.as_deref().map(|path| pidfile_path(path, self.predecessor.is_some()));
        match (&mut self.pidfile, path) {
            (Some(pidfile), Some(path)) if std::path::absolute(&path).is_ok_and(|path| path == pidfile.path()) => {}
            (Some(pidfile), Some(path)) => pidfile.rename(&path)?,
            (None, Some(path)) => self.pidfile = Some(Pidfile::create(&path)?),
            (Some(_), None) => self.remove_pidfile(),
            (None, None) => {}
        }
        Ok(())
    }

    fn remove_pidfile(&mut self) {
        if let Some(Err(error)) = self.pidfile.take().map(|pidfile| pidfile.remove()) {
            log::warn!("Cannot remove the pid file: {error}");
        }
    }

    fn upgrade(&mut self) -> Event {
        let plan = self.plans.get(&self.followed).map(Rc::clone);
        match self.launch.succeed(&self.sockets, self.notifier.variables(), plan.as_deref()) {
            Ok(successor) => {
                let pid = successor.pid;
                self.successor = Some(successor);
                Event::UpgradeStarted { pid }
            }
            Err(error) => {
                log::error!("Upgrade failed: {error}");
                Event::UpgradeFailed
            }
        }
    }

    fn promote(&mut self) {
        self.predecessor = None;
        self.notifier.main_pid(self.pid);
        let Some(plan) = self.plans.get(&self.followed).map(Rc::clone) else { return };
        if let Err(error) = self.move_pidfile(&plan.borrow().settings) {
            log::error!("{error}");
        }
    }

    fn notify(&mut self, notification: Notification) {
        match notification {
            Notification::Ready => {
                self.notifier.ready(&match &self.trouble {
                    Some(trouble) => format!("Serving; {trouble}"),
                    None => "Serving".to_owned(),
                });
                if let Some(predecessor) = &self.predecessor {
                    // If it is gone, its end of the channel tells.
                    let _ = predecessor.channel.send(Message::Ready);
                }
                // From now on next to nothing happens here; until then, pages of all kinds were looked at once, and what
                // settings were read with has been freed.
                sys::trim_memory();
                sys::unmap_clean_pages();
            }
            Notification::Reloading => self.notifier.reloading(sys::now()),
            Notification::Stopping => self.notifier.stopping(),
            Notification::Successor(pid) => self.notifier.main_pid(pid),
        }
    }
}

/// Where an arbiter that is to be named `path` has its pidfile while its predecessor has that one.
pub(crate) fn pidfile_path(path: &Path, succeeding: bool) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(if succeeding { ".2" } else { "" });
    name.into()
}

/// What has something to say.
struct Woken(Vec<Source>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Signals,
    Worker(i32),
    Template(i32),
    /// The worker with that number, which a template was asked for.
    Expected(usize),
    Successor,
    Predecessor,
    /// A listening socket, while there are no workers.
    Listener,
}

/// What came of an action.
enum Done {
    Silently,
    Answer(Event),
    Exit(i32),
}

impl Sent {
    fn number(self) -> Option<signal::Signal> {
        Some(match self {
            Self::Abort => signal::SIGABRT,
            Self::Kill => signal::SIGKILL,
            Self::Quit => signal::SIGQUIT,
            Self::Reopen => signal::SIGUSR1,
        })
    }
}

/// Sends a child a signal. It was not reaped, so nobody else can have its pid.
fn send(pid: i32, signal: Option<signal::Signal>) {
    debug_assert!(pid > 0);
    if let Err(error) = kill(Pid::from_raw(pid), signal) {
        log::error!("Cannot signal process {pid}: {error}");
    }
}

/// How long to wait until `due`, rounded up.
fn timeout(due: Option<Moment>, now: Moment) -> PollTimeout {
    let Some(due) = due else { return PollTimeout::NONE };
    let milliseconds = (due.since(now) + Duration::from_nanos(999_999)).as_millis();
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}
