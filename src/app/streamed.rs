//! Bodies of requests that an application takes while they arrive.
//!
//! ```text
//!   socket -> connection -> BodyFeed ==[ CAPACITY bytes ]==> BodyStream -> application
//!                  ^                                             |
//!                  +----- waker: there is room, or 100 is due ---+
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::body::{Pull, Source};
use super::call;

/// Bytes that wait for the application at most, give or take what one read of the socket brings.
pub(crate) const CAPACITY: usize = 64 * 1024;

/// The body of a request whose application has asked for it to be [streamed](super::Application::streams).
#[derive(Debug)]
pub struct StreamedBody {
    stream: Mutex<Option<BodyStream>>,
    length: Option<u64>,
}

impl StreamedBody {
    /// The stream, once. If nobody takes it, or who has taken it drops it, what is still to come is read from the client
    /// and dropped.
    pub fn take(&self) -> Option<BodyStream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// All bytes of it, if the client has said how many they are.
    pub fn length(&self) -> Option<u64> {
        self.length
    }
}

/// A request's body that is still arriving.
///
/// It is [pulled](Source::pull), as the body of a response is, and may be one. Threads of an application's own may also
/// [`Read`] it, which waits for the client; the threads that call the application may not wait, and get an error in place
/// of that.
///
/// What is not taken stays with the client: only some 64 KiB are held.
#[derive(Debug)]
pub struct BodyStream {
    shared: Arc<Shared>,
    length: Option<u64>,
}

/// Why a body does not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// The client has gone, or the request is over.
    Disconnected,
    /// It is longer than `limit_request_body`. If nothing was answered, the client gets 413.
    TooLarge,
    /// It comes too slowly for `body_timeout` and `body_min_rate`. If nothing was answered, the client gets 408.
    TooSlow,
    /// It breaks the rules of its protocol. If nothing was answered, the client gets 400.
    Malformed,
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disconnected => "the client has gone before the end of its request",
            Self::TooLarge => "the body of the request is too large",
            Self::TooSlow => "the body of the request comes too slowly",
            Self::Malformed => "the body of the request is malformed",
        })
    }
}

impl std::error::Error for BodyFault {}

/// Where a connection puts what arrives. Dropping it before [`end`](Self::end) breaks the body off.
#[derive(Debug)]
pub(crate) struct BodyFeed(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    end: Option<Result<(), BodyFault>>,
    /// The application waits for bytes.
    reader: Option<Waker>,
    /// The connection waits for the application.
    feeder: Option<Waker>,
    /// The application has asked for bytes.
    asked: bool,
    /// It does not want any more.
    dropped: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body of which nothing has come, and where it is put.
pub(crate) fn streamed(length: Option<u64>) -> (BodyFeed, StreamedBody) {
    let shared = Arc::new(Shared::default());
    let stream = BodyStream { shared: Arc::clone(&shared), length };
    (BodyFeed(shared), StreamedBody { stream: Mutex::new(Some(stream)), length })
}

impl BodyFeed {
    /// Whether more may be put here. If not, what `waker` makes is woken when it may.
    pub(crate) fn has_room(&self, waker: impl FnOnce() -> Waker) -> bool {
        let mut state = self.0.state();
        let room = state.dropped || state.bytes.len() < CAPACITY;
        if !room {
            state.feeder = Some(waker());
        }
        room
    }

    /// Whether the application has asked for it. If not, what `waker` makes is woken when it does.
    pub(crate) fn is_asked(&self, waker: impl FnOnce() -> Waker) -> bool {
        let mut state = self.0.state();
        if !state.asked && !state.dropped {
            state.feeder = Some(waker());
        }
        state.asked
    }

    /// Puts bytes behind the others; nobody's are dropped.
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut state = self.0.state();
        if state.dropped || bytes.is_empty() {
            return;
        }
        state.bytes.extend(bytes);
        self.tell(state);
    }

    /// Nothing more comes.
    pub(crate) fn end(&self, how: Result<(), BodyFault>) {
        let mut state = self.0.state();
        state.end.get_or_insert(how);
        self.tell(state);
    }

    fn tell(&self, mut state: MutexGuard<'_, State>) {
        let reader = state.reader.take();
        drop(state);
        self.0.arrived.notify_one();
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Drop for BodyFeed {
    fn drop(&mut self) {
        self.end(Err(BodyFault::Disconnected));
    }
}

impl BodyStream {
    /// All bytes of it, if the client has said how many they are.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Why it has [failed](Pull::Failed), if it has.
    pub fn fault(&self) -> Option<BodyFault> {
        self.shared.state().end?.err()
    }
}

/// The connection is woken for what it waits for.
fn wake_feeder(mut state: MutexGuard<'_, State>) {
    let feeder = state.feeder.take();
    drop(state);
    if let Some(feeder) = feeder {
        feeder.wake();
    }
}

impl Source for BodyStream {
    /// Appends all that has come. [`Pull::Failed`] says that the rest never will.
    fn pull(&mut self, waker: &Waker, out: &mut Vec<u8>) -> Pull {
        let mut state = self.shared.state();
        state.asked = true;
        let pull = match (state.bytes.is_empty(), state.end) {
            (false, _) => {
                let (first, second) = state.bytes.as_slices();
                out.extend_from_slice(first);
                out.extend_from_slice(second);
                state.bytes.clear();
                Pull::More
            }
            (true, Some(Ok(()))) => Pull::End,
            (true, Some(Err(_))) => Pull::Failed,
            (true, None) => {
                state.reader = Some(waker.clone());
                Pull::Pending
            }
        };
        wake_feeder(state);
        pull
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Read for BodyStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut state = self.shared.state();
        if !std::mem::replace(&mut state.asked, true) {
            wake_feeder(state);
            state = self.shared.state();
        }
        while state.bytes.is_empty() {
            match state.end {
                Some(Ok(())) => return Ok(0),
                Some(Err(fault)) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, fault)),
                // Nobody else could bring the bytes.
                None if call::thread().is_some() => {
                    return Err(io::Error::new(
                        io::ErrorKind::WouldBlock,
                        "a thread that calls the application cannot wait for a client",
                    ));
                }
                None => state = self.shared.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
        let count = state.bytes.read(buffer)?;
        if state.bytes.len() <= CAPACITY / 2 {
            wake_feeder(state);
        }
        Ok(count)
    }
}

impl Drop for BodyStream {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.dropped = true;
        state.bytes = VecDeque::new();
        wake_feeder(state);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Counter {
        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn pair() -> (BodyFeed, BodyStream, Arc<Counter>, Waker) {
        let (feed, body) = streamed(None);
        let counter = Arc::new(Counter::default());
        (feed, body.take().unwrap(), Arc::clone(&counter), counter.into())
    }

    #[test]
    fn who_has_nothing_is_woken_and_who_has_no_room_is_too() {
        let (feed, mut stream, counter, waker) = pair();
        let mut out = Vec::new();
        assert!(!feed.is_asked(|| waker.clone()));
        assert_eq!((stream.pull(&waker, &mut out), counter.count()), (Pull::Pending, 1), "it was asked for");
        feed.push(b"first");
        assert_eq!(counter.count(), 2);
        assert_eq!((stream.pull(&waker, &mut out), &out[..]), (Pull::More, &b"first"[..]));
        assert!(feed.is_asked(|| unreachable!()) && feed.has_room(|| unreachable!()));
        feed.push(&[b'x'; CAPACITY]);
        assert!(!feed.has_room(|| waker.clone()));
        assert_eq!((stream.pull(&waker, &mut out), counter.count()), (Pull::More, 3), "there is room");
        feed.end(Ok(()));
        drop(feed);
        assert_eq!((stream.pull(&waker, &mut out), stream.fault()), (Pull::End, None));
        assert_eq!(out.len(), 5 + CAPACITY);
    }

    #[test]
    fn what_has_come_before_a_fault_is_given_out() {
        for fault in [None, Some(BodyFault::TooLarge)] {
            let (feed, mut stream, _, waker) = pair();
            feed.push(b"part");
            if let Some(fault) = fault {
                feed.end(Err(fault));
            }
            drop(feed);
            let mut out = Vec::new();
            assert_eq!((stream.pull(&waker, &mut out), stream.pull(&waker, &mut out)), (Pull::More, Pull::Failed));
            assert_eq!((&out[..], stream.fault()), (&b"part"[..], Some(fault.unwrap_or(BodyFault::Disconnected))));
            assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn a_thread_may_wait_for_it_and_what_nobody_wants_is_dropped() {
        let (feed, mut stream, counter, waker) = pair();
        let reader = std::thread::spawn(move || {
            let (mut read, mut buffer) = (Vec::new(), [0; 1000]);
            while read.len() < 3 * CAPACITY {
                let count = stream.read(&mut buffer).unwrap();
                read.extend_from_slice(&buffer[..count]);
            }
            read.len()
        });
        let mut pushed = 0;
        while pushed < 3 * CAPACITY {
            if feed.has_room(|| waker.clone()) {
                feed.push(&[b'x'; CAPACITY / 4]);
                pushed += CAPACITY / 4;
            } else {
                std::thread::yield_now();
            }
        }
        assert_eq!(reader.join().unwrap(), 3 * CAPACITY);
        let _ = counter;
        feed.push(&[b'x'; 2 * CAPACITY]);
        assert!(feed.has_room(|| unreachable!("nobody wants it, so there is room for everything")));
    }
}
