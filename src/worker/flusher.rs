//! Sends what is ready while an application takes its time over the next piece.
//!
//! The pieces of a streamed body are collected to leave in few writes, as long as they come quickly one after the other.
//! PEP 3333 allows that to those who "use a different thread to ensure that the block continues to be transmitted while
//! the application produces the next block": this is the thread. It sleeps while nothing is streamed.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, send};

/// What waits longer than one to two of these is sent.
const TICK: Duration = Duration::from_millis(1);

/// After so many ticks without anything to do the thread sleeps until it is woken.
const IDLE_TICKS: u32 = 50;

/// The thread, from its first use on.
#[derive(Debug, Default)]
pub(crate) struct Flusher {
    shared: Option<Arc<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lent: Option<Lent>,
    /// Counts what was lent.
    serial: u64,
    asleep: bool,
    ended: bool,
}

/// Bytes and where they go. The socket stays open until they are taken back.
#[derive(Debug)]
struct Lent {
    socket: RawFd,
    bytes: Vec<u8>,
    sent: usize,
}

impl Flusher {
    /// Does `act`, and sees to it that `bytes` from `sent` on, which it must not depend on, are sent if it takes long.
    pub(crate) fn meanwhile<R>(
        &mut self,
        socket: BorrowedFd<'_>,
        bytes: &mut Vec<u8>,
        sent: &mut usize,
        act: impl FnOnce() -> R,
    ) -> R {
        let Some(shared) = self.start() else {
            // Without the thread they go now. What the socket does not take is sent later.
            *sent +=
                send(socket.as_raw_fd(), bytes.get(*sent..).unwrap_or_default(), MsgFlags::MSG_NOSIGNAL).unwrap_or(0);
            return act();
        };
        let mut state = shared.state();
        state.lent = Some(Lent { socket: socket.as_raw_fd(), bytes: std::mem::take(bytes), sent: *sent });
        state.serial += 1;
        if std::mem::take(&mut state.asleep) {
            shared.bell.notify_one();
        }
        drop(state);
        // Should it panic, the bytes are gone, and so is the connection; the socket's number must not be kept.
        let guard = TakeBack(shared);
        let result = act();
        if let Some(lent) = guard.take() {
            (*bytes, *sent) = (lent.bytes, lent.sent);
        }
        result
    }

    fn start(&mut self) -> Option<&Shared> {
        if self.shared.is_none() {
            let shared = Arc::new(Shared::default());
            let owned = Arc::clone(&shared);
            // Signals are for the thread that was there first.
            let blocked = crate::signals::block_all().ok()?;
            let thread = std::thread::Builder::new().name("flusher".to_owned()).stack_size(128 * 1024);
            thread.spawn(move || owned.run()).ok()?;
            drop(blocked);
            self.shared = Some(shared);
        }
        self.shared.as_deref()
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.state().ended = true;
            shared.bell.notify_one();
        }
    }
}

struct TakeBack<'a>(&'a Shared);

impl TakeBack<'_> {
    fn take(&self) -> Option<Lent> {
        self.0.state().lent.take()
    }
}

impl Drop for TakeBack<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.take();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let (mut seen, mut idle) = (0, 0);
        let mut state = self.state();
        while !state.ended {
            state = if idle > IDLE_TICKS {
                idle = 0;
                state.asleep = true;
                self.bell.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.bell.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0
            };
            let unchanged = std::mem::replace(&mut seen, state.serial) == state.serial;
            match &mut state.lent {
                Some(lent) if lent.sent < lent.bytes.len() => {
                    idle = 0;
                    if unchanged {
                        let unsent = lent.bytes.get(lent.sent..).unwrap_or_default();
                        // An error shows when the next piece is sent.
                        lent.sent +=
                            send(lent.socket, unsent, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT).unwrap_or(0);
                    }
                }
                _ if unchanged => idle += 1,
                _ => idle = 0,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::Flusher;

    #[test]
    fn what_is_ready_is_sent_while_the_next_piece_takes_its_time() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let mut flusher = Flusher::default();
        for _ in 0..3 {
            let (mut bytes, mut sent) = (b"-ready".to_vec(), 1);
            let received = flusher.meanwhile(ours.as_fd(), &mut bytes, &mut sent, || {
                let mut received = [0; 5];
                theirs.read_exact(&mut received).unwrap();
                received
            });
            assert_eq!((&received, bytes.as_slice(), sent), (b"ready", b"-ready".as_slice(), 6));
            // Longer than it takes the thread to fall asleep.
            std::thread::sleep(2 * super::TICK * super::IDLE_TICKS);
        }
    }
}
