//! Drives [`State`] through random schedules against a fake kernel, and checks its invariants after every step.
//!
//! A schedule follows from its seed alone. First comes chaos: signals, crashes, hangs, failing forks, slow and broken
//! boots, stopped processes, late and doubled messages, upgrades, and an arbiter that itself stands still for a while. Then
//! the faults end, and exactly the right workers must come to serve (or, if it was told to stop, all must go).
//!
//! `FERRICORN_SIM_SCHEDULES` sets how many schedules are run, `FERRICORN_SIM_SEED` replays one and prints what happened.

mod choices;
mod kernel;
mod templates;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::env;
use std::fmt::Write;
use std::time::Duration;

use templates::{Order, Template};

use choices::{some_policy, some_quality};

use super::backoff::Random;
use super::children::{Generation, Status};
use super::decision::{Event, Policy};
use super::state::{FIRST_GENERATION, MAX_WORKERS, State};
use crate::clock::Moment;
use crate::signals::Signal;

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;
/// How late something may be done that was due.
const SLACK: Duration = Duration::from_millis(20);

type Verdict = Result<(), String>;

/// What happens in the world, whether the arbiter hears of it or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    ReadyArrives(i32),
    SpentArrives(i32),
    CloseArrives(i32),
    CallBegins(i32),
    Dies(i32, Death),
    Reap(i32, Death),
    Halts(i32),
    Continues(i32),
    HaltArrives(i32),
    ContinueArrives(i32),
    TemplateIsReady(i32),
    TemplateCloses(i32),
    TemplateDies(i32, Death),
    TemplateReap(i32, Death),
    /// The worker with that number, which that template was asked for.
    Born(usize, i32),
    StillBorn(usize, i32),
    OrderFails(usize, i32),
    UpgradeIsReady,
    UpgradeIsLost,
    UpgradeDies(i32, Death),
    PredecessorDies,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Death {
    Code(i32),
    Signal(i32),
}

/// What becomes of the workers of a generation.
#[derive(Clone, Copy, Debug)]
enum Quality {
    Good,
    SlowBoot,
    /// Half of the boots fail.
    Flaky,
    BootFails(i32),
    BootHangs,
    CrashesSoon,
    HangsSoon,
}

/// What a worker takes notice of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hearing {
    All,
    NoDrain,
    OnlyKill,
}

#[derive(Clone, Debug)]
struct Process {
    pid: i32,
    nr: usize,
    generation: Generation,
    policy: Policy,
    hearing: Hearing,
    /// When it must be ready, as the arbiter counts.
    boot_by: Option<Moment>,
    halted: bool,
    /// Since when the arbiter knows that it is halted.
    known_halted: Option<Moment>,
    in_call: Option<Moment>,
    forked: Moment,
    /// Since when it is to be replaced.
    spent: Option<Moment>,
    /// It occupies too much memory.
    bloated: bool,
    /// It has heard that the server is about to stop.
    told: bool,
    dead: bool,
    /// The arbiter has heard that it is ready.
    ready: bool,
    /// The arbiter has told it to go.
    leaving: bool,
    /// The arbiter has told it to go before it heard that it is ready.
    cancelled: bool,
    /// When the arbiter must have sent KILL.
    kill_by: Option<Moment>,
    aborted: bool,
    killed: bool,
}

/// What the simulator itself expects of the number of workers.
#[derive(Clone, Copy, Debug)]
struct Expected {
    generation: Generation,
    target: usize,
    workers: usize,
    most: usize,
    proven: bool,
    /// Boots that have failed before one was ready.
    failures: u32,
}

impl Expected {
    fn new(generation: Generation, policy: &Policy) -> Self {
        let Policy { workers, most, .. } = *policy;
        Self { generation, target: policy.first(), workers, most, proven: false, failures: 0 }
    }
}

struct World {
    random: Random,
    now: Moment,
    state: State,
    processes: Vec<Process>,
    templates: Vec<Template>,
    orders: Vec<Order>,
    queue: BinaryHeap<Reverse<(Moment, u64, Happening)>>,
    serial: u64,
    next_pid: i32,
    qualities: BTreeMap<Generation, (Quality, Policy)>,
    daemon: bool,
    current: Expected,
    fallback: Option<Expected>,
    forks_fail: bool,
    /// When a fork has failed that was not tried again yet.
    failed_fork: Option<Moment>,
    chaos: bool,
    ever_ready: bool,
    paused: bool,
    stopping: bool,
    /// Until then, it serves on though it was told to stop.
    farewell: Option<Moment>,
    code: i32,
    exited: bool,
    predecessor: bool,
    upgrade: Option<i32>,
    upgrade_ready: bool,
    last_load: Option<Moment>,
    reload_wanted: bool,
    /// Until then, overdue workers are excused: the arbiter stood still.
    excused: Moment,
    trace: Option<String>,
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let daemon = random.below(2) == 0;
        let policy = some_policy(&mut random, daemon);
        let predecessor = random.below(8) == 0;
        let quality = if random.below(3) == 0 { some_quality(&mut random) } else { Quality::Good };
        let mut world = Self {
            now: Moment::from_nanos(SECOND + random.below(1000 * SECOND)),
            state: State::new(policy, predecessor, random.next()),
            random,
            processes: Vec::new(),
            templates: Vec::new(),
            orders: Vec::new(),
            queue: BinaryHeap::new(),
            serial: 0,
            next_pid: 100,
            qualities: BTreeMap::from([(FIRST_GENERATION, (quality, policy))]),
            daemon,
            current: Expected::new(FIRST_GENERATION, &policy),
            fallback: None,
            forks_fail: false,
            failed_fork: None,
            chaos: true,
            ever_ready: false,
            paused: false,
            stopping: false,
            farewell: None,
            code: 0,
            exited: false,
            predecessor,
            upgrade: None,
            upgrade_ready: false,
            last_load: None,
            reload_wanted: false,
            excused: Moment::default(),
            trace: trace.then(String::new),
        };
        world.note(|_| format!("{policy:?}"));
        if predecessor {
            world.later(20 * SECOND, Happening::PredecessorDies);
        }
        world
    }

    fn run(&mut self) -> Verdict {
        self.deliver(Event::Tick)?;
        for _ in 0..10 + self.random.below(40) {
            match self.random.below(3) {
                0 => self.fault()?,
                1 => self.pass(SECOND)?,
                _ => self.pass(20 * MILLISECOND)?,
            }
            if self.exited {
                return Ok(());
            }
        }
        self.settle()
    }

    /// Something goes wrong, or somebody wants something.
    fn fault(&mut self) -> Verdict {
        match self.random.below(100) {
            0..10 => self.signal(Signal::Hup),
            10..16 => self.signal(Signal::Ttin),
            16..22 => self.signal(Signal::Ttou),
            22..24 => self.signal(Signal::Usr1),
            24..28 => self.signal(Signal::Usr2),
            28..31 => self.signal(Signal::Winch),
            31 => {
                let signal = self.one_of(&[Signal::Term, Signal::Int, Signal::Quit]);
                self.signal(signal)
            }
            32 => self.signal(Signal::Term),
            33..40 => {
                for _ in 0..self.random.below(8) {
                    self.signal(Signal::Hup)?;
                    self.pass(200 * MILLISECOND)?;
                }
                Ok(())
            }
            40..48 => {
                self.forks_fail = !self.forks_fail;
                self.note(|world| format!("forks fail: {}", world.forks_fail));
                Ok(())
            }
            48..52 => self.template_fault(),
            52..60 => {
                let deaths = [Death::Signal(9), Death::Signal(11), Death::Code(1), Death::Code(0), Death::Signal(15)];
                let death = self.one_of(&deaths);
                self.some_process(|pid| Happening::Dies(pid, death))
            }
            60..66 => self.some_process(Happening::Halts),
            66..70 => self.some_process(Happening::Continues),
            70..74 => self.some_process(Happening::CallBegins),
            74..76 => self.some_process(Happening::SpentArrives),
            76 => {
                let position = self.random.below(self.processes.len() as u64) as usize;
                if let Some(process) = self.processes.get_mut(position) {
                    process.bloated = true;
                }
                Ok(())
            }
            77 => self.template_fault(),
            78..82 => self.some_process(Happening::CloseArrives),
            82..86 => self.some_process(Happening::ReadyArrives),
            86..90 => {
                // About processes that were reaped long ago, or never were.
                let pid = 90 + self.random.below(40) as i32;
                let status = Status::Code(3);
                let event = self.one_of(&[Event::Ready { pid }, Event::Halted { pid }, Event::Exited { pid, status }]);
                let known = self.find(pid).is_some() || self.find_template(pid).is_some();
                if known || self.upgrade == Some(pid) { Ok(()) } else { self.deliver(event) }
            }
            90..94 => {
                let length = Duration::from_nanos(self.random.below(100 * SECOND));
                self.note(|_| format!("the arbiter stands still for {length:?}"));
                self.now = self.now + length;
                self.excused = self.now + Duration::from_secs(2);
                Ok(())
            }
            94..96 if self.state.sleeps() => self.deliver(Event::Measured { queued: 1 }),
            _ => self.pass(40 * SECOND),
        }
    }

    /// The faults are over: what must be comes to be.
    fn settle(&mut self) -> Verdict {
        self.note(|_| "the faults are over".to_owned());
        self.chaos = false;
        self.forks_fail = false;
        self.qualities.values_mut().for_each(|(quality, _)| *quality = Quality::Good);
        for pid in self.processes.iter().map(|process| process.pid).collect::<Vec<_>>() {
            self.later(0, Happening::Continues(pid));
        }
        if self.random.below(2) == 0 {
            self.signal(Signal::Hup)?;
        }
        if self.random.below(8) == 0 {
            self.signal(Signal::Term)?;
        }
        // Boot timeouts, graceful timeouts, back-off and overdue workers, one after the other.
        let end = self.now + Duration::from_secs(600);
        self.pass_until(end)?;
        if self.stopping {
            return self.check(self.exited, "the arbiter was told to stop, and is still there");
        }
        self.check(!self.reload_wanted, "a HUP was forgotten")?;
        if self.state.sleeps() {
            self.check(
                self.state.deadline().is_none_or(|due| due.since(self.now) > Duration::from_secs(1)),
                "sleeps lightly",
            )?;
            self.deliver(Event::Measured { queued: 1 })?;
            let end = self.now + Duration::from_secs(120);
            while self.processes.iter().all(|process| !process.ready) && self.now < end {
                let soon = self.now + Duration::from_millis(100);
                self.pass_until(soon)?;
            }
            self.check(self.now < end, "nobody is there though somebody has come")?;
            // And then all is quiet again.
            let end = self.now + Duration::from_secs(120);
            self.pass_until(end)?;
        }
        let Expected { generation, target, .. } = self.current;
        let policy = self.policy();
        let serves = |process: &&Process| process.ready && !process.leaving && process.generation == generation;
        let serving = self.processes.iter().filter(serves).count();
        if policy.lifetime.is_some() {
            // One may just be replaced.
            let late =
                |process: &Process| process.spent.is_some_and(|since| self.now.since(since) > Duration::from_secs(120));
            self.check(!self.processes.iter().any(late), "a worker is not replaced")?;
            self.check(serving >= target, "too few workers")?;
            return self.check(self.processes.len() <= 2 * target + 2, "workers are left over");
        }
        self.check_settled_templates()?;
        self.check(serving == target, "not the right number of workers")?;
        self.check(self.processes.len() == serving, "a worker is left over")
    }

    /// Lets some time pass, `longest` at most, and all that happens in it.
    fn pass(&mut self, longest: u64) -> Verdict {
        let end = self.now + Duration::from_nanos(self.random.below(longest));
        self.pass_until(end)
    }

    fn pass_until(&mut self, end: Moment) -> Verdict {
        let mut steps = 0;
        while let Some(next) = self.next().filter(|next| *next <= end && !self.exited) {
            self.step(next)?;
            steps += 1;
            self.check(steps < 10_000, "the arbiter does not come to rest")?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    /// The next moment at which something happens.
    fn next(&self) -> Option<Moment> {
        let queued = self.queue.peek().map(|Reverse((at, ..))| *at);
        [queued, self.state.deadline()].into_iter().flatten().min()
    }

    /// Lets happen what is next.
    fn step(&mut self, next: Moment) -> Verdict {
        let late = Duration::from_nanos(self.random.below(2 * MILLISECOND));
        self.now = self.now.max(next + late);
        while let Some(Reverse((at, _, happening))) = self.queue.peek().copied() {
            if at > self.now || self.exited {
                break;
            }
            self.queue.pop();
            self.note(|_| format!("{happening:?}"));
            self.happen(happening)?;
        }
        if self.state.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.stopping |= self.farewell.is_some_and(|end| end <= self.now);
            self.deliver(Event::Tick)?;
            let spins = !self.exited && self.state.deadline().is_some_and(|deadline| deadline <= self.now);
            self.check(!spins, "the next deadline is not in the future")?;
        }
        self.check_deadlines()
    }

    fn happen(&mut self, happening: Happening) -> Verdict {
        let now = self.now;
        match happening {
            Happening::ReadyArrives(pid) => {
                self.expect_of_ready(pid);
                self.deliver(Event::Ready { pid })?;
                let farewell = self.farewell.is_some() && !self.stopping;
                let told = self.find(pid).is_none_or(|process| process.told || !process.ready || process.leaving);
                self.check(told || !farewell, "a new worker does not know that the server is about to stop")
            }
            Happening::SpentArrives(pid) => {
                if let Some(process) = self.find(pid).filter(|process| process.ready && !process.leaving) {
                    process.spent.get_or_insert(now);
                }
                self.deliver(Event::Spent { pid })
            }
            Happening::CloseArrives(pid) => {
                let Some(process) = self.find(pid) else { return Ok(()) };
                let soon = now + Duration::from_secs(2);
                if process.ready || process.leaving {
                    process.limit(soon);
                } else {
                    process.boot_by = Some(process.boot_by.map_or(soon, |by| by.min(soon)));
                }
                self.deliver(Event::ChannelClosed { pid })
            }
            Happening::CallBegins(pid) => {
                let chaos = self.chaos;
                if let Some(process) = self.find(pid).filter(|process| process.ready && chaos) {
                    process.in_call.get_or_insert(now);
                }
                Ok(())
            }
            Happening::Halts(pid) => {
                if let Some(process) = self.find(pid) {
                    process.halted = true;
                    self.later(10 * MILLISECOND, Happening::HaltArrives(pid));
                }
                Ok(())
            }
            Happening::Continues(pid) => {
                if let Some(process) = self.find(pid) {
                    process.halted = false;
                    self.later(10 * MILLISECOND, Happening::ContinueArrives(pid));
                }
                Ok(())
            }
            Happening::HaltArrives(pid) => {
                let Some(process) = self.find(pid).filter(|process| process.halted) else { return Ok(()) };
                process.known_halted.get_or_insert(now);
                self.deliver(Event::Halted { pid })
            }
            Happening::ContinueArrives(pid) => {
                let Some(process) = self.find(pid).filter(|process| !process.halted) else { return Ok(()) };
                process.known_halted = None;
                self.deliver(Event::Continued { pid })
            }
            Happening::Dies(pid, death) => {
                let Some(process) = self.find(pid).filter(|process| !process.dead) else { return Ok(()) };
                if process.halted && death != Death::Signal(9) {
                    self.at(now + Duration::from_secs(1), Happening::Dies(pid, death));
                } else {
                    process.dead = true;
                    process.in_call = None;
                    self.later(5 * MILLISECOND, Happening::Reap(pid, death));
                }
                Ok(())
            }
            Happening::Reap(pid, death) => {
                let status = death.into();
                let hopeless = self.expect_of_death(pid, status);
                let generation = self.current.generation;
                self.processes.retain(|process| process.pid != pid);
                let may_halt = !self.ever_ready && (self.predecessor || matches!(status, Status::Code(3 | 4)));
                self.code = if may_halt { 3 } else { 0 };
                self.deliver(Event::Exited { pid, status })?;
                self.code = 0;
                self.check(!hopeless || self.current.generation != generation, "a hopeless generation is not given up")
            }
            Happening::UpgradeIsReady if self.upgrade.is_some() => {
                self.upgrade_ready = true;
                self.deliver(Event::UpgradeReady)
            }
            Happening::UpgradeIsLost if self.upgrade.is_some() => self.deliver(Event::UpgradeLost),
            Happening::UpgradeDies(pid, death) if self.upgrade == Some(pid) => {
                self.upgrade = None;
                if std::mem::take(&mut self.paused) {
                    self.current.target = self.current.workers.max(self.current.most.min(1));
                }
                self.deliver(Event::Exited { pid, status: death.into() })
            }
            Happening::PredecessorDies => {
                self.predecessor = false;
                self.deliver(Event::PredecessorGone)
            }
            Happening::UpgradeIsReady | Happening::UpgradeIsLost | Happening::UpgradeDies(..) => Ok(()),
            of_templates => self.happen_to_templates(of_templates),
        }
    }

    fn signal(&mut self, signal: Signal) -> Verdict {
        if self.exited {
            return Ok(());
        }
        let count = 1 + self.random.below(3) as u32;
        match signal {
            Signal::Term if self.may_pause() => self.farewell = Some(self.now + self.policy().shutdown_delay),
            Signal::Term | Signal::Int | Signal::Quit => self.stopping = true,
            _ if self.stopping || self.farewell.is_some() => {}
            Signal::Hup => self.reload_wanted = true,
            Signal::Ttin => {
                self.paused = false;
                self.expect_targets(|target| (target + count as usize).min(MAX_WORKERS));
            }
            Signal::Ttou => self.expect_targets(|target| target.saturating_sub(count as usize).max(target.min(1))),
            Signal::Winch if self.daemon => {
                self.paused = true;
                self.expect_targets(|_| 0);
            }
            _ => {}
        }
        self.deliver(Event::Signal(signal, count))
    }

    fn expect_targets(&mut self, change: impl Fn(usize) -> usize) {
        let pauses = change(1) == 0;
        for expected in std::iter::once(&mut self.current).chain(&mut self.fallback) {
            expected.target = change(expected.target);
            if expected.most > expected.workers && !pauses {
                (expected.workers, expected.most) = (change(expected.workers), change(expected.most));
            }
        }
    }

    /// Whether the server is to go on for a while when it is told to stop.
    fn may_pause(&self) -> bool {
        let shared = self.predecessor || self.upgrade.is_some();
        let delay = self.policy().shutdown_delay;
        !self.stopping && self.farewell.is_none() && !delay.is_zero() && self.ever_ready && !shared
    }

    fn policy(&self) -> Policy {
        self.qualities[&self.current.generation].1
    }

    fn graceful_timeout(&self) -> Duration {
        self.policy().graceful_timeout
    }

    fn expect_of_ready(&mut self, pid: i32) {
        let graceful = self.graceful_timeout();
        let now = self.now;
        if let Some(process) = self.find(pid).filter(|process| process.cancelled && !process.killed) {
            process.cancelled = false;
            process.kill_by = Some(now + graceful);
        }
        let Some(process) = self.find(pid).filter(|process| !process.leaving && !process.ready) else { return };
        process.ready = true;
        process.boot_by = None;
        process.kill_by = None;
        let generation = process.generation;
        self.ever_ready = true;
        if generation == self.current.generation {
            self.current.proven = true;
            self.fallback = None;
        }
    }

    /// Whether the generation of a worker that has died must be given up.
    fn expect_of_death(&mut self, pid: i32, status: Status) -> bool {
        let generation = self.current.generation;
        let boots = |process: &&mut Process| !process.ready && !process.leaving && process.generation == generation;
        if self.stopping || self.current.proven || self.find(pid).filter(boots).is_none() {
            return false;
        }
        self.current.failures += 1;
        self.fallback.is_some() && (self.current.failures >= 3 || matches!(status, Status::Code(3 | 4)))
    }

    /// Gives the arbiter an event, performs what it decides, and checks that it may decide that.
    fn deliver(&mut self, event: Event) -> Verdict {
        let mut events = VecDeque::from([event]);
        let mut actions = Vec::new();
        while let Some(event) = events.pop_front() {
            self.note(|_| format!("> {event:?}"));
            self.state.step(self.now, event, &mut actions);
            for action in actions.drain(..) {
                self.note(|_| format!("< {action:?}"));
                self.check(!self.exited, "an action after the exit")?;
                match self.perform(action)? {
                    Some(answer) if answer.goes_first() => events.push_front(answer),
                    answer => events.extend(answer),
                }
            }
        }
        Ok(())
    }

    /// What was due is done.
    fn check_deadlines(&self) -> Verdict {
        self.check_templates()?;
        let past = |due: Option<Moment>| self.is_past(due);
        for process in self.processes.iter().filter(|process| !process.killed && !self.exited) {
            self.check(!past(process.kill_by), "a worker outlives its deadline")?;
            let after =
                |since: Option<Moment>| since.zip(process.policy.timeout).map(|(since, timeout)| since + timeout);
            if !process.leaving {
                self.check(!past(process.boot_by), "a worker boots for too long")?;
                self.check(!past(after(process.known_halted)), "a worker is halted for too long")?;
                self.check(!past(after(process.in_call)), "a worker is in a call for too long")?;
                let life = process.policy.lifetime.map(|lifetime| process.forked + lifetime + lifetime / 10);
                let ages = process.ready && process.spent.is_none() && !self.stopping;
                self.check(!ages || !past(life), "a worker lives for too long")?;
            }
        }
        Ok(())
    }

    fn is_past(&self, due: Option<Moment>) -> bool {
        due.is_some_and(|due| self.now > due.max(self.excused) + SLACK)
    }

    fn check(&self, holds: bool, otherwise: &str) -> Verdict {
        if holds { Ok(()) } else { Err(format!("{otherwise} at {}", self.now.as_nanos())) }
    }

    fn known(&mut self, pid: i32) -> Result<&mut Process, String> {
        self.find(pid).ok_or_else(|| format!("an action for process {pid}, which is none of ours"))
    }

    fn find(&mut self, pid: i32) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.pid == pid)
    }

    fn some_process(&mut self, happening: impl Fn(i32) -> Happening) -> Verdict {
        let position = self.random.below(self.processes.len() as u64) as usize;
        match self.processes.get(position).map(|process| process.pid) {
            Some(pid) => self.happen(happening(pid)),
            None => Ok(()),
        }
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.random.below(choices.len() as u64) as usize]
    }

    /// Something happens within that time.
    fn later(&mut self, within: u64, happening: Happening) {
        let delay = Duration::from_nanos(self.random.below(within));
        self.at(self.now + delay, happening);
    }

    fn at(&mut self, moment: Moment, happening: Happening) {
        self.serial += 1;
        self.queue.push(Reverse((moment, self.serial, happening)));
    }

    fn note(&mut self, what: impl Fn(&Self) -> String) {
        if self.trace.is_some() {
            let line = what(self);
            let at = self.now.as_nanos() as f64 / SECOND as f64;
            if let Some(trace) = &mut self.trace {
                let _ = writeln!(trace, "{at:12.6} {line}");
            }
        }
    }
}

impl Process {
    fn limit(&mut self, deadline: Moment) {
        self.kill_by = Some(self.kill_by.map_or(deadline, |old| old.min(deadline)));
    }
}

impl From<Death> for Status {
    fn from(death: Death) -> Self {
        match death {
            Death::Code(code) => Self::Code(code),
            Death::Signal(signal) => Self::Signal(signal),
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// Schedules that are run if the environment says nothing.
const SCHEDULES: u64 = 200_000;

#[test]
fn no_schedule_breaks_an_invariant() {
    if let Some(seed) = number("FERRICORN_SIM_SEED") {
        let mut world = World::new(seed, true);
        let verdict = world.run();
        panic!("seed {seed}: {verdict:?}\n{}", world.trace.unwrap_or_default());
    }
    let schedules = number("FERRICORN_SIM_SCHEDULES").unwrap_or(SCHEDULES);
    let first = number("FERRICORN_SIM_FIRST").unwrap_or(0);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for seed in (first..first + schedules).skip(thread as usize).step_by(threads as usize) {
                    if let Err(broken) = World::new(seed, false).run() {
                        panic!("{broken}: replay with FERRICORN_SIM_SEED={seed}");
                    }
                }
            });
        }
    });
}
