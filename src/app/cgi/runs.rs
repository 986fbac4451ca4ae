//! Running programs: from a request that has arrived to a program that has ended, on the pump's thread.
//!
//! ```text
//!   Order::Start -> (queue) -> spawn -> Head -> First --2 ms--> Body: its Source reads
//!                                                 |                  | end, or the client has gone
//!                                                 +-- end --> Whole  v
//!                                                               +--> Over, and reaped when it has exited
//! ```
//!
//! Standard input needs nobody: it is a file that holds the body; or it is a pipe, if the body streams in. A program that has exited is not reaped before the
//! client has its output, so that nobody else gets its process group's number.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use slab::Slab;

use super::input::{Input, Passed};
use super::order::{EXITED, Job, Order, STDERR, STDIN, STDOUT};
use super::output::{Output, is_unsent, unsent};
use super::run::{Phase, Run, Spawned, is_orderly, spawn};
use super::stdin::Stdin;
use crate::app::pump::{self, Duty, Flow, Handle, Orders, Wants, Watch};
use crate::app::{Body, Response};

/// How long a program has between SIGTERM and SIGKILL.
const MERCY: Duration = Duration::from_secs(2);

/// How long is waited for the exit of a program that has closed its output, to see how it ends.
const EXIT: Duration = Duration::from_millis(200);

/// How long an answer whose head is there waits for the rest: most programs end at once, and then it leaves in one write,
/// with its length.
const TOGETHER: Duration = Duration::from_millis(2);

/// A program that has written less than this at once will hardly fill its pipe within [`TOGETHER`].
const LITTLE: usize = 4 * 1024;

/// Bytes that are read at once.
const STEP: usize = 64 * 1024;

/// How many programs there may be, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) programs: usize,
    pub(super) backlog: usize,
    pub(super) timeout: Duration,
}

/// The programs of a worker.
pub(super) struct Runs {
    orders: Arc<Orders<Order>>,
    limits: Limits,
    runs: Slab<Run>,
    /// Those that have not exited.
    running: usize,
    queue: VecDeque<Box<Job>>,
    serial: u64,
    nothing: Option<File>,
    buffer: Vec<u8>,
    /// Nothing is due before.
    earliest: Option<Instant>,
    /// Dropped when all programs have gone.
    stopping: Option<Sender<()>>,
}

impl Runs {
    pub(super) fn new(orders: Arc<Orders<Order>>, limits: Limits) -> Self {
        Self {
            orders,
            limits,
            runs: Slab::new(),
            running: 0,
            queue: VecDeque::new(),
            serial: 0,
            nothing: None,
            buffer: vec![0; STEP],
            earliest: None,
            stopping: None,
        }
    }

    fn id(&self, key: usize) -> Handle {
        Handle { key, serial: self.runs.get(key).map_or(0, |run| run.serial) }
    }

    /// The run of that id, if it is still there.
    fn run(&mut self, id: Handle) -> Option<&mut Run> {
        self.runs.get_mut(id.key).filter(|run| run.serial == id.serial)
    }

    fn enqueue(&mut self, job: Box<Job>) {
        if self.running < self.limits.programs {
            self.start(*job);
        } else if self.queue.len() < self.limits.backlog {
            let due = job.since + self.limits.timeout;
            self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
            self.queue.push_back(job);
        } else {
            log::warn!("{} is not run: {} programs run, and {} wait", job.name(), self.running, self.queue.len());
            job.later.send(busy());
        }
    }

    /// Starts those that wait, as far as there is room.
    fn advance(&mut self) {
        while self.running < self.limits.programs {
            let Some(job) = self.queue.pop_front() else { return };
            if pump::is_abandoned(&job.later, job.since) {
                log::debug!("{} is not run: its client has gone", job.name());
                job.later.send(pump::to_nobody());
            } else {
                self.start(*job);
            }
        }
    }

    fn start(&mut self, job: Job) {
        match self.nothing().and_then(|nothing| spawn(&job, nothing)) {
            Ok(spawned) => self.enter(job, spawned),
            Err(error) => {
                log::error!("{} cannot be run: {error}", job.name());
                let passing =
                    [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE].map(Some).contains(&error.raw_os_error());
                job.later.send(if passing { busy() } else { Response::error(502) });
            }
        }
    }

    /// What programs read that have no body to read.
    fn nothing(&mut self) -> io::Result<&File> {
        let nothing = match self.nothing.take() {
            Some(nothing) => nothing,
            None => File::open("/dev/null")?,
        };
        Ok(self.nothing.insert(nothing))
    }

    fn enter(&mut self, mut job: Job, mut spawned: Spawned) {
        let now = Instant::now();
        self.serial += 1;
        let (stdin, pipe) = (std::mem::replace(&mut job.stdin, Stdin::Nothing), spawned.stdin.take());
        let key = self.runs.insert(Run::new(job, spawned, self.serial, now));
        self.running += 1;
        self.set_due(key, now + self.limits.timeout);
        let id = self.id(key);
        let watch = self.orders.watch();
        let Some(run) = self.runs.get_mut(key) else { return };
        self.earliest = [self.earliest, run.look].into_iter().flatten().min();
        if let (Stdin::Stream(body), Some(pipe)) = (stdin, pipe) {
            run.input = Some(Input::new(pipe, body, Arc::clone(&self.orders), id));
        }
        let mut watched = watch.add(&run.pidfd, id.token(EXITED), Wants::Read);
        if let (Phase::Head { stdout, .. }, Some(stderr)) = (&run.phase, &run.stderr) {
            watched = watched
                .and_then(|()| watch.add(stdout, id.token(STDOUT), Wants::Read))
                .and_then(|()| watch.add(stderr, id.token(STDERR), Wants::Read));
        }
        if let Some(input) = &run.input {
            watched = watched.and_then(|()| watch.add(&input.pipe, id.token(STDIN), Wants::Write));
        }
        if let Err(error) = watched {
            log::error!("{} cannot be waited for: {error}", run.name);
            run.give_up(503);
            run.signal(Signal::SIGKILL);
        }
    }

    fn set_due(&mut self, key: usize, due: Instant) {
        if let Some(run) = self.runs.get_mut(key) {
            run.due = Some(due);
            self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
        }
    }

    /// Gives the program what has come of the request's body.
    fn write_stdin(&mut self, key: usize) {
        let id = self.id(key);
        let Some(run) = self.runs.get_mut(key) else { return };
        let Some(input) = &mut run.input else { return };
        if !run.terminated {
            // It could not answer before it had this.
            run.due = Some(Instant::now() + self.limits.timeout);
        }
        match input.pass() {
            Passed::Full => {
                if self.orders.watch().again(&input.pipe, id.token(STDIN), Wants::Write).is_err() {
                    run.input = None;
                }
            }
            Passed::Awaited => {}
            Passed::Over => run.input = None,
            Passed::Broken(fault) => {
                log::debug!("{} (pid:{}) is ended: {fault}", run.name, run.pid);
                run.input = None;
                run.give_up(502);
                self.terminate(key);
            }
        }
    }

    /// Reads what the program has written, as far as that is for us to read.
    fn read_stdout(&mut self, key: usize) {
        loop {
            let Some(run) = self.runs.get_mut(key) else { return };
            let stdout = match &run.phase {
                Phase::Head { stdout, .. } | Phase::First { stdout, .. } | Phase::Dropped(stdout) => stdout,
                Phase::Body(flow) => return flow.wake(),
                Phase::Whole { .. } | Phase::Over => return,
            };
            match pump::read(stdout.as_fd(), &mut self.buffer) {
                Ok(0) => return self.output_ended(key),
                Ok(count) => {
                    let limits = self.limits;
                    let bytes = self.buffer.get(..count).unwrap_or_default();
                    if !run.take_output(bytes, Instant::now() + limits.timeout) {
                        run.give_up(502);
                        self.terminate(key);
                    } else if run.has_collected_enough() {
                        return self.begin_body(key);
                    } else if count < STEP && run.exit.is_none() {
                        // That was all there is; epoll says so if there is more by now.
                        return self.wait_for_output(key, count);
                    }
                }
                Err(Errno::EAGAIN) => return self.wait_for_output(key, STEP),
                Err(error) => {
                    log::error!("{}: its output cannot be read: {error}", run.name);
                    run.give_up(502);
                    return self.terminate(key);
                }
            }
        }
    }

    /// Has the pump woken for more output; `count` bytes came last.
    ///
    /// An answer that has begun waits for the program's end or for [`TOGETHER`] in any case, so nobody needs to be woken
    /// for each line that is written meanwhile, nor for the end of the output.
    fn wait_for_output(&mut self, key: usize, count: usize) {
        let id = self.id(key);
        let Some(run) = self.runs.get_mut(key) else { return };
        let stdout = match &run.phase {
            Phase::First { stdout, .. } => {
                let begin = *run.begin.get_or_insert_with(|| Instant::now() + TOGETHER);
                self.earliest = Some(self.earliest.map_or(begin, |earliest| earliest.min(begin)));
                if count < LITTLE && run.exit.is_none() {
                    return;
                }
                stdout
            }
            Phase::Head { stdout, .. } | Phase::Dropped(stdout) => stdout,
            Phase::Whole { .. } | Phase::Body(_) | Phase::Over => return,
        };
        if let Err(error) = self.orders.watch().again(stdout, id.token(STDOUT), Wants::Read) {
            log::error!("{}: its output cannot be waited for: {error}", run.name);
            run.give_up(502);
            self.terminate(key);
        }
    }

    /// The program has closed its output before anybody else read from it.
    fn output_ended(&mut self, key: usize) {
        let Some(run) = self.runs.get_mut(key) else { return };
        match std::mem::replace(&mut run.phase, Phase::Over) {
            Phase::Head { later, head, .. } => {
                log::error!("{} (pid:{}): {}", run.name, run.pid, head.ended());
                later.send(Response::error(502));
            }
            Phase::First { later, response, body, .. } => {
                run.phase = Phase::Whole { later, response, body };
                run.ended = true;
                if run.exit.is_some() {
                    run.conclude();
                } else {
                    self.set_due(key, Instant::now() + EXIT);
                }
            }
            _ => {}
        }
        self.settle(key);
    }

    /// Answers, and leaves the rest of the output to whoever sends it.
    fn begin_body(&mut self, key: usize) {
        let run_id = self.id(key);
        let Some(run) = self.runs.get_mut(key) else { return };
        if !matches!(run.phase, Phase::First { .. }) {
            return;
        }
        let Phase::First { later, stdout, response, body } = std::mem::replace(&mut run.phase, Phase::Over) else {
            return;
        };
        if is_unsent(&response, run.bodiless) {
            run.phase = Phase::Dropped(stdout);
            later.send(unsent(response));
            return self.read_stdout(key);
        }
        let flow = Flow::new(run.exit.map(is_orderly));
        run.phase = Phase::Body(Arc::clone(&flow));
        let source = Output {
            first: body,
            stdout: Some(stdout),
            flow,
            orders: Arc::clone(&self.orders),
            run: run_id,
            finished: false,
        };
        later.send(response.with_body(Body::Source(Box::new(source))));
    }

    fn read_stderr(&mut self, key: usize) {
        let id = self.id(key);
        let Some(run) = self.runs.get_mut(key) else { return };
        let now = Instant::now();
        while let Some(stderr) = &run.stderr {
            match pump::read(stderr.as_fd(), &mut self.buffer) {
                Ok(0) => run.stderr = None,
                Ok(count) => run.lines.push(self.buffer.get(..count).unwrap_or_default(), now),
                Err(Errno::EAGAIN) => {
                    if self.orders.watch().again(stderr, id.token(STDERR), Wants::Read).is_err() {
                        run.stderr = None;
                    }
                    return;
                }
                Err(_) => run.stderr = None,
            }
        }
        run.lines.finish(now);
    }

    fn exited(&mut self, key: usize) {
        let id = self.id(key);
        let Some(run) = self.runs.get_mut(key) else { return };
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::PIDFd(run.pidfd.as_fd()), flags) {
            Ok(WaitStatus::StillAlive) => {
                let _ = self.orders.watch().again(&run.pidfd, id.token(EXITED), Wants::Read);
                return;
            }
            Ok(status) => run.exit = Some(status),
            // Somebody else has reaped it; how it has ended is not to be known any more.
            Err(_) => run.exit = Some(WaitStatus::Exited(run.pid, 0)),
        }
        match run.exit {
            Some(WaitStatus::Signaled(_, signal, _)) if !run.terminated => {
                log::error!("{} (pid:{}) was ended by {signal}", run.name, run.pid);
            }
            Some(WaitStatus::Exited(_, code)) if code != 0 => {
                log::debug!("{} (pid:{}) exited with {code}", run.name, run.pid);
            }
            _ => {}
        }
        self.running = self.running.saturating_sub(1);
        run.input = None;
        // What it wrote before is still there.
        self.read_stderr(key);
        self.read_stdout(key);
        if let Some(run) = self.runs.get_mut(key) {
            run.conclude();
        }
        self.settle(key);
        if self.running == 0 {
            self.stopping = None;
        }
        self.advance();
    }

    /// Forgets a run that nobody waits for.
    fn settle(&mut self, key: usize) {
        let Some(run) = self.runs.get_mut(key) else { return };
        if run.exit.is_none() || !matches!(run.phase, Phase::Over | Phase::Dropped(_)) {
            return;
        }
        run.lines.finish(Instant::now());
        // It has exited; if somebody else has reaped it, that is as good.
        let _ = waitid(Id::PIDFd(run.pidfd.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
        self.runs.remove(key);
    }

    /// Ends a program, with a warning.
    fn terminate(&mut self, key: usize) {
        let Some(run) = self.runs.get_mut(key) else { return };
        if !run.terminated {
            run.terminated = true;
            run.signal(Signal::SIGTERM);
            self.set_due(key, Instant::now() + MERCY);
        }
    }

    /// Does what is due for one run.
    fn look_at(&mut self, key: usize, now: Instant) {
        let Some(run) = self.runs.get_mut(key) else { return };
        if run.begin.take_if(|begin| *begin <= now).is_some() {
            // A client that waits for more should see what there is.
            self.begin_body(key);
        }
        let Some(run) = self.runs.get_mut(key) else { return };
        if run.is_abandoned(now) {
            log::debug!("{} (pid:{}) is ended: its client has gone", run.name, run.pid);
            run.abandon();
            return self.terminate(key);
        }
        if run.due.is_none_or(|due| due > now) {
            return;
        }
        run.due = None;
        if run.terminated {
            return run.signal(Signal::SIGKILL);
        }
        if run.input.as_ref().is_some_and(|input| input.awaits_client) {
            // It is the client's turn, which the worker times.
            return self.set_due(key, now + self.limits.timeout);
        }
        match &run.phase {
            Phase::Whole { .. } | Phase::Body(_) if std::mem::take(&mut run.ended) => {
                // It goes on without an output; that is all right, for as long as any program may be silent.
                run.conclude();
                return self.set_due(key, now + self.limits.timeout);
            }
            Phase::Body(flow) => {
                let since = flow.waiting().unwrap_or(now);
                if now.saturating_duration_since(since) < self.limits.timeout {
                    return self.set_due(key, since + self.limits.timeout);
                }
            }
            _ => {}
        }
        let seconds = self.limits.timeout.as_secs_f64();
        log::error!("{} (pid:{}) has written nothing for {seconds} s: it is ended", run.name, run.pid);
        run.give_up(504);
        self.terminate(key);
    }

    fn expire_queue(&mut self, now: Instant) {
        while let Some(job) = self.queue.front() {
            if now < job.since + self.limits.timeout {
                return;
            }
            if let Some(job) = self.queue.pop_front() {
                log::warn!("{} is not run: {} programs run, and none has ended in time", job.name(), self.running);
                job.later.send(busy());
            }
        }
    }
}

impl Duty for Runs {
    type Order = Order;

    fn take(&mut self, order: Order, _: &Watch) {
        match order {
            Order::Start(job) => self.enqueue(job),
            Order::Ended(id) => {
                let Some(run) = self.run(id) else { return };
                run.ended = true;
                if run.exit.is_none() && !run.terminated {
                    self.set_due(id.key, Instant::now() + EXIT);
                }
            }
            Order::Dropped { run: id, finished } => {
                let Some(run) = self.run(id) else { return };
                run.phase = Phase::Over;
                let runs_on = run.exit.is_none();
                if runs_on && !finished {
                    log::debug!("{} (pid:{}) is ended: nobody reads its output any more", run.name, run.pid);
                    self.terminate(id.key);
                }
                self.settle(id.key);
            }
            Order::Arrived(id) => {
                if self.run(id).is_some() {
                    self.write_stdin(id.key);
                }
            }
            Order::Stop(gone) => {
                self.runs.iter().for_each(|(_, run)| run.signal(Signal::SIGKILL));
                if self.running > 0 {
                    self.stopping = Some(gone);
                }
            }
        }
    }

    fn ready(&mut self, key: usize, kind: u64, _: &Watch) {
        match kind {
            STDOUT => self.read_stdout(key),
            STDERR => self.read_stderr(key),
            STDIN => self.write_stdin(key),
            _ => self.exited(key),
        }
    }

    fn tend(&mut self, now: Instant, _: &Watch) -> Option<Instant> {
        if self.earliest.is_some_and(|earliest| earliest <= now) {
            self.earliest = None;
            let keys: Vec<usize> = self.runs.iter().map(|(key, _)| key).collect();
            for key in keys {
                self.look_at(key, now);
            }
            self.expire_queue(now);
            let of_runs = self.runs.iter().flat_map(|(_, run)| [run.due, run.look, run.begin]).flatten().min();
            let of_queue = self.queue.front().map(|job| job.since + self.limits.timeout);
            self.earliest = [of_runs, of_queue].into_iter().flatten().min();
        }
        self.earliest
    }
}

fn busy() -> Response {
    Response::error(503).with_field("Retry-After", "1")
}
