//! A thread of an application's own, which waits for the descriptors of programs and of other servers.
//!
//! The engine never waits for them, and does not know of them: an application hands an order to its pump, which works on
//! the engine's behalf and answers through a [`Later`](super::Later). A body goes no such way: its
//! [`Source`](super::Source) reads from the descriptor itself when the client has room, and only asks the pump to be
//! woken. So a slow client holds back its own program, and nobody else.
//!
//! The thread begins with the first order, and so after every fork.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

use super::{Later, Response};
use crate::scheduling::Scheduling;

/// What a pump is there to do.
pub(super) trait Duty {
    /// What it is told.
    type Order: Send + 'static;

    /// Takes an order.
    fn take(&mut self, order: Self::Order, watch: &Watch);

    /// A descriptor is ready that is watched under the [`token`] of that key and kind.
    fn ready(&mut self, key: usize, kind: u64, watch: &Watch);

    /// Does what is due, and says when it wants to be asked again at the latest.
    fn tend(&mut self, now: Instant, watch: &Watch) -> Option<Instant>;
}

/// Names something that a pump works at, now or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) key: usize,
    pub(super) serial: u64,
}

/// Kinds of descriptors that one thing may have, each watched under a token of its own.
const KINDS: u64 = 4;

impl Handle {
    /// What its descriptor of that kind is watched under.
    pub(super) fn token(self, kind: u64) -> u64 {
        token(self.key, kind)
    }
}

/// What the descriptor of that kind is watched under that belongs to whatever has that key.
pub(super) fn token(key: usize, kind: u64) -> u64 {
    debug_assert!(kind < KINDS);
    key as u64 * KINDS + kind
}

/// Whether the client of a request that waits since then has gone. One that waits for less time is taken to be there: it may
/// only have said that it sends nothing more.
pub(super) fn is_abandoned(later: &Later, since: Instant) -> bool {
    since.elapsed() >= PERHAPS_GONE && !later.is_wanted()
}

/// For a request whose client has gone: the status with which nginx logs it. Nobody is sent it.
pub(super) fn to_nobody() -> Response {
    Response::new(499)
}

/// As for requests that wait for the application.
pub(super) const PERHAPS_GONE: Duration = Duration::from_secs(1);

/// What a pump waits for.
#[derive(Debug)]
pub(super) struct Watch {
    epoll: Epoll,
}

/// For which kind of readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// Something can be read, or never will be again.
    Read,
    /// Something can be written.
    Write,
    /// Either.
    Both,
}

impl Wants {
    fn flags(self) -> EpollFlags {
        let flags = match self {
            Self::Read => EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP,
            Self::Write => EpollFlags::EPOLLOUT,
            Self::Both => EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLOUT,
        };
        flags | EpollFlags::EPOLLONESHOT
    }
}

impl Watch {
    /// Waits once for a descriptor that is not waited for yet. Closing it ends that.
    pub(super) fn add(&self, fd: impl AsFd, token: u64, wants: Wants) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(wants.flags(), token))?)
    }

    /// Waits once more for one that was [added](Self::add).
    pub(super) fn again(&self, fd: impl AsFd, token: u64, wants: Wants) -> io::Result<()> {
        Ok(self.epoll.modify(fd, &mut EpollEvent::new(wants.flags(), token))?)
    }
}

/// The way to a pump; any thread may use it.
#[derive(Debug)]
pub(super) struct Orders<O> {
    inbox: Mutex<Vec<O>>,
    bell: EventFd,
    watch: Watch,
}

/// The token of the bell.
const BELL: u64 = u64::MAX;

/// How long is waited for the end of programs.
const STOPPING: Duration = Duration::from_millis(500);

/// Events that one wait takes.
const BATCH: usize = 64;

impl<O: Send + 'static> Orders<O> {
    /// Starts a pump, which lets those [go first](Scheduling) that it waits for, if it `may_stand_back`; `make` makes its duty.
    ///
    /// # Errors
    /// No descriptors or no threads are left.
    pub(super) fn start<D>(name: &str, may_stand_back: bool, make: impl FnOnce(Arc<Self>) -> D) -> io::Result<Arc<Self>>
    where
        D: Duty<Order = O> + Send + 'static,
    {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        let orders = Arc::new(Self { inbox: Mutex::default(), bell, watch: Watch { epoll } });
        let mut duty = make(Arc::clone(&orders));
        let theirs = Arc::clone(&orders);
        // Signals are for the worker's first thread; a thread inherits the mask of the one that starts it.
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
        let started =
            std::thread::Builder::new().name(name.to_owned()).spawn(move || theirs.work(&mut duty, may_stand_back));
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
        started?;
        Ok(orders)
    }

    /// Gives an order.
    pub(super) fn send(&self, order: O) {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.push(order);
        if inbox.len() == 1 {
            // An eventfd refuses only when it has been rung 2^64 times.
            let _ = self.bell.write(1);
        }
    }

    /// For those who wait for descriptors themselves.
    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    fn work(&self, duty: &mut impl Duty<Order = O>, may_stand_back: bool) {
        let mut scheduling = may_stand_back.then(|| Scheduling::here(crate::sys::now_coarse())).flatten();
        let mut events = [EpollEvent::empty(); BATCH];
        let mut until = None;
        loop {
            let timeout = until.map_or(EpollTimeout::NONE, timeout);
            let count = match self.watch.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => {
                    log::error!("Programs cannot be waited for any more: {error}");
                    return;
                }
            };
            for event in events.iter().take(count) {
                if event.data() == BELL {
                    // It is readable, or somebody was quicker.
                    let _ = self.bell.read();
                    let orders = std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
                    for order in orders {
                        guarded(|| duty.take(order, &self.watch));
                    }
                } else if let Ok(key) = usize::try_from(event.data() / KINDS) {
                    guarded(|| duty.ready(key, event.data() % KINDS, &self.watch));
                }
            }
            if scheduling.as_mut().is_some_and(|scheduling| !scheduling.look(crate::sys::now_coarse())) {
                scheduling = None;
            }
            until = guarded(|| duty.tend(Instant::now(), &self.watch)).flatten();
        }
    }
}

/// The pump of a worker, once there is one. A fork leaves it behind.
#[derive(Debug)]
pub(super) struct Pump<O>(Arc<Mutex<Option<Owned<O>>>>);

#[derive(Debug)]
struct Owned<O> {
    process: u32,
    orders: Arc<Orders<O>>,
}

impl<O> Default for Pump<O> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<O> Clone for Pump<O> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<O: Send + 'static> Pump<O> {
    /// The way to it; it is started if this process has none.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn orders(&self, start: impl FnOnce() -> io::Result<Arc<Orders<O>>>) -> io::Result<Arc<Orders<O>>> {
        let process = std::process::id();
        let mut pump = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owned) = pump.as_ref().filter(|owned| owned.process == process) {
            return Ok(Arc::clone(&owned.orders));
        }
        Ok(Arc::clone(&pump.insert(Owned { process, orders: start()? }).orders))
    }

    /// Has it end its programs, and waits a moment for that. The kernel tells them of their parent's end, too; this
    /// reaches their children.
    pub(super) fn stop(&self, order: impl FnOnce(Sender<()>) -> O) {
        let owned = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Owned { orders, .. }) = owned.filter(|owned| owned.process == std::process::id()) {
            let (gone, all_gone) = mpsc::channel();
            orders.send(order(gone));
            let _ = all_gone.recv_timeout(STOPPING);
        }
    }
}

/// What a pump and the source of a body that it has begun know of each other.
#[derive(Debug)]
pub(super) struct Flow {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    waker: Option<Waker>,
    /// Whether the output is to be taken for complete, once that can be said.
    complete: Option<bool>,
    /// Since when the source has waited for the program; `None` while the program waits for the client.
    waiting: Option<Instant>,
}

impl Flow {
    pub(super) fn new(complete: Option<bool>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { waker: None, complete, waiting: None }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There may be something to read.
    pub(super) fn wake(&self) {
        let waker = self.state().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What has been written is, or is not, all that the program meant to write.
    pub(super) fn conclude(&self, complete: bool) {
        self.state().complete.get_or_insert(complete);
        self.wake();
    }

    /// The source has nothing, and waits to be woken.
    pub(super) fn wait(&self, waker: &Waker) {
        let mut state = self.state();
        state.waker = Some(waker.clone());
        state.waiting.get_or_insert_with(Instant::now);
    }

    /// The source has got something.
    pub(super) fn go_on(&self) {
        self.state().waiting = None;
    }

    /// What was concluded.
    pub(super) fn concluded(&self) -> Option<bool> {
        self.state().complete
    }

    /// What was concluded; if nothing has been, the source is woken when it is.
    pub(super) fn concluded_or_wait(&self, waker: &Waker) -> Option<bool> {
        let mut state = self.state();
        if state.complete.is_none() {
            state.waker = Some(waker.clone());
        }
        state.complete
    }

    /// Since when nothing has come, if the client is not the one that is waited for.
    pub(super) fn waiting(&self) -> Option<Instant> {
        self.state().waiting
    }
}

/// A request that makes us panic is one that fails, and no more.
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    // The panic hook has printed what it was.
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Whole milliseconds, and not too few.
fn timeout(until: Instant) -> EpollTimeout {
    let milliseconds = until.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
    EpollTimeout::try_from(i32::try_from(milliseconds).unwrap_or(i32::MAX)).unwrap_or(EpollTimeout::ZERO)
}

/// Reads once, over interruptions.
pub(super) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match nix::unistd::read(fd, buffer) {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
