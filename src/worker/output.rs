//! What is still to be sent on a connection.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use bytes::Bytes;
use nix::sys::socket::{MsgFlags, send};
use rustix::net::SendFlags;
use socket2::SockRef;

use super::burst::MOST;
use super::flusher::Flusher;
use crate::app::{Pull, Segment, Source};
use crate::protocol::Machine;
use crate::scoreboard::Call;

/// Segments that one writev takes.
const VECTORS: usize = 16;

/// Pieces of a source are collected up to so many bytes before they are sent.
const COLLECTED: usize = 32 * 1024;

/// Bytes that one sendfile is asked for, so that one fast reader of a large file does not keep the others waiting.
const FILE_STEP: u64 = 1 << 20;

/// Bytes of a longer file that the kernel takes ahead of what the peer's window has room for. For one with a tiny window it
/// would take megabytes, in thousands of packets: that takes milliseconds, in which nobody else is served, and the memory is
/// occupied until the end.
const UNSENT: u32 = 128 * 1024;

/// Framed bytes, and behind them the part of a body that is sent from where it lies.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    sent: usize,
    body: Rest,
    /// What a source gave to be sent from where it lies, behind the framed bytes.
    piece: Bytes,
    /// The framed bytes are to be sent before the source is pulled again.
    due: bool,
    /// A file is under way for which [`begin_long_file`] was called.
    corked: bool,
}

/// The part of a body that has not been framed or sent.
#[derive(Debug, Default)]
pub(crate) enum Rest {
    /// Nothing.
    #[default]
    None,
    /// Segments, and how many bytes of them may be sent.
    Segments(VecDeque<Segment>, u64),
    /// A source, and what it wakes this connection with.
    Source(Box<dyn Source>, Waker),
    /// It will never come: the connection is to be closed when everything before it is sent.
    Missing,
}

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// All of it is sent.
    Everything,
    /// The body has ended; what was framed of it may not all be sent, and leaves with the end of the response.
    Ended,
    /// The socket is full.
    Blocked,
    /// The source has nothing now.
    Starved,
    /// It is to be pulled, which this thread may not do; everything before that is sent.
    Held,
    /// It was this connection's turn for long enough.
    Enough,
    /// It cannot be sent whole: the peer has gone, the file has shrunk or the source has failed.
    Broken,
}

/// In which way it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How<'a> {
    /// Files go by sendfile(2).
    pub(crate) sendfile: bool,
    /// Sources may be pulled.
    pub(crate) pulls: bool,
    /// Where that is noted: it is a call of the application.
    pub(crate) call: &'a Call,
}

impl Output {
    pub(crate) fn new(bytes: Vec<u8>, sent: usize, body: Rest) -> Self {
        Self { bytes, sent, body, piece: Bytes::new(), due: false, corked: false }
    }

    /// Takes `bytes` over, and leaves an empty buffer in their place.
    pub(crate) fn take_over(&mut self, bytes: &mut Vec<u8>) {
        std::mem::swap(&mut self.bytes, bytes);
        bytes.clear();
        self.sent = 0;
    }

    /// Sends framed bytes with no body behind them. Whether all of them went out.
    pub(crate) fn leave(&mut self, socket: BorrowedFd<'_>) -> bool {
        let framed = self.bytes.get(self.sent..).unwrap_or_default();
        // Whatever the reason is for none, the next flush meets it.
        self.sent += rustix::net::send(socket, framed, SendFlags::NOSIGNAL).unwrap_or(0);
        self.sent == self.bytes.len()
    }

    /// The buffer, empty, for the next response.
    pub(crate) fn into_buffer(mut self) -> Vec<u8> {
        self.bytes.clear();
        self.bytes
    }

    /// Whether the rest of a body lies behind the framed bytes, so that the response is not finished yet.
    pub(crate) fn has_body(&self) -> bool {
        !matches!(self.body, Rest::None)
    }

    /// Whether the rest comes from a source.
    pub(crate) fn is_pulled(&self) -> bool {
        matches!(self.body, Rest::Source(..))
    }

    /// Bytes of the body that were framed, and not sent from where they lie.
    pub(crate) fn unsent(&self) -> u64 {
        match &self.body {
            Rest::Segments(_, allowed) => *allowed,
            _ => self.piece.len() as u64,
        }
    }

    /// Sends what the socket takes, pulling the source when everything before it has been sent.
    ///
    /// Returns the bytes that were sent, too.
    pub(crate) fn flush(
        &mut self,
        socket: BorrowedFd<'_>,
        machine: &mut Machine,
        scratch: &mut Vec<u8>,
        flusher: &mut Flusher,
        how: How<'_>,
    ) -> (Flushed, u64) {
        let mut total = 0;
        loop {
            match self.step(socket, machine, scratch, flusher, how) {
                Ok(Step::Sent(count)) => {
                    total += count;
                    if total > 4 * FILE_STEP {
                        return (Flushed::Enough, total);
                    }
                }
                Ok(Step::Framed) => {}
                Ok(Step::Stop(flushed)) => return (flushed, total),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (Flushed::Blocked, total),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return (Flushed::Broken, total),
            }
        }
    }

    fn step(
        &mut self,
        socket: BorrowedFd<'_>,
        machine: &mut Machine,
        scratch: &mut Vec<u8>,
        flusher: &mut Flusher,
        how: How<'_>,
    ) -> io::Result<Step> {
        let framed = self.bytes.get(self.sent..).unwrap_or_default();
        match &mut self.body {
            Rest::None if framed.is_empty() => Ok(Step::Stop(Flushed::Everything)),
            Rest::None | Rest::Missing if !framed.is_empty() => {
                let count = send(socket.as_raw_fd(), framed, MsgFlags::MSG_NOSIGNAL)?;
                self.sent += count;
                Ok(Step::Sent(count as u64))
            }
            Rest::None => Ok(Step::Stop(Flushed::Everything)),
            Rest::Missing => Ok(Step::Stop(Flushed::Broken)),
            Rest::Source(..) if !self.piece.is_empty() => self.send_piece(socket, machine),
            Rest::Source(..) if !framed.is_empty() && (self.due || framed.len() >= COLLECTED || !how.pulls) => {
                self.due = true;
                let count = send(socket.as_raw_fd(), framed, MsgFlags::MSG_NOSIGNAL)?;
                self.sent += count;
                self.due = self.sent < self.bytes.len();
                Ok(Step::Sent(count as u64))
            }
            // To pull is to call.
            Rest::Source(..) if !how.pulls => Ok(Step::Stop(Flushed::Held)),
            Rest::Source(source, waker) => {
                scratch.clear();
                let (before, sent) = (crate::sys::now_coarse(), self.sent);
                let call = how.call;
                call.begin(before);
                let pull = if framed.is_empty() {
                    pull(source.as_mut(), waker, scratch)
                } else {
                    let (bytes, sent) = (&mut self.bytes, &mut self.sent);
                    flusher.meanwhile(socket, bytes, sent, || pull(source.as_mut(), waker, scratch))
                };
                call.end();
                let flushed = (self.sent - sent) as u64;
                if self.sent == self.bytes.len() {
                    self.bytes.clear();
                    self.sent = 0;
                }
                // A piece that was long in coming leaves at once.
                self.due = crate::sys::now_coarse() != before;
                if !scratch.is_empty() {
                    machine.body(scratch, &mut self.bytes);
                } else if let Some(mut piece) = source.take_piece() {
                    if machine.frames_in_place() {
                        let allowed = machine.frame(piece.len() as u64, &mut self.bytes);
                        piece.truncate(usize::try_from(allowed).unwrap_or(usize::MAX));
                        self.piece = piece;
                    } else {
                        machine.body(&piece, &mut self.bytes);
                    }
                }
                match pull {
                    Pull::More => Ok(Step::Sent(flushed)),
                    Pull::Pending if self.bytes.is_empty() => Ok(Step::Stop(Flushed::Starved)),
                    Pull::Pending => {
                        self.due = true;
                        Ok(Step::Sent(flushed))
                    }
                    Pull::End => {
                        self.body = Rest::None;
                        Ok(Step::Stop(Flushed::Ended))
                    }
                    Pull::Failed => {
                        self.body = Rest::Missing;
                        Ok(Step::Sent(flushed))
                    }
                }
            }
            Rest::Segments(segments, allowed) => {
                while segments.front().is_some_and(Segment::is_empty) {
                    segments.pop_front();
                }
                if *allowed == 0 || segments.is_empty() {
                    self.body = Rest::None;
                    return Ok(Step::Framed);
                }
                if let Some(Segment::File(range)) = segments.front_mut() {
                    if !framed.is_empty() {
                        let count = send(
                            socket.as_raw_fd(),
                            framed,
                            MsgFlags::from_bits_retain(libc::MSG_MORE | libc::MSG_NOSIGNAL),
                        )?;
                        self.sent += count;
                        return Ok(Step::Sent(count as u64));
                    }
                    let count = if how.sendfile {
                        let mut offset = i64::try_from(range.offset).map_err(|_| io::ErrorKind::InvalidInput)?;
                        let length = range.length.min(*allowed).min(FILE_STEP) as usize;
                        if length > UNSENT as usize && !std::mem::replace(&mut self.corked, true) {
                            begin_long_file(socket);
                        }
                        nix::sys::sendfile::sendfile64(socket, &*range.file, Some(&mut offset), length)?
                    } else {
                        use std::os::unix::fs::FileExt;
                        scratch.resize(64 * 1024, 0);
                        let length = range.length.min(*allowed).min(scratch.len() as u64) as usize;
                        let room = scratch.get_mut(..length).unwrap_or_default();
                        let read = range.file.read_at(room, range.offset)?;
                        if read == 0 {
                            0
                        } else {
                            send(socket.as_raw_fd(), room.get(..read).unwrap_or_default(), MsgFlags::MSG_NOSIGNAL)?
                        }
                    } as u64;
                    if count == 0 {
                        // The file has become shorter than it was when its length was promised.
                        return Ok(Step::Stop(Flushed::Broken));
                    }
                    range.offset += count;
                    range.length -= count;
                    *allowed -= count;
                    if self.corked && (range.length == 0 || *allowed == 0) {
                        self.corked = false;
                        let _ = SockRef::from(&socket).set_tcp_cork(false);
                    }
                    return Ok(Step::Sent(count));
                }
                let mut vectors = Vec::with_capacity(VECTORS);
                if !framed.is_empty() {
                    vectors.push(IoSlice::new(framed));
                }
                let mut room = *allowed;
                for segment in segments.iter().take(VECTORS) {
                    let Segment::Bytes(bytes) = segment else { break };
                    let length = room.min(bytes.len() as u64) as usize;
                    vectors.push(IoSlice::new(bytes.get(..length).unwrap_or_default()));
                    room -= length as u64;
                }
                let count = nix::sys::uio::writev(socket, &vectors)?;
                let of_frame = count.min(framed.len());
                self.sent += of_frame;
                let mut of_body = count - of_frame;
                *allowed -= of_body as u64;
                while of_body > 0 {
                    let Some(Segment::Bytes(bytes)) = segments.front_mut() else { break };
                    let step = of_body.min(bytes.len());
                    bytes::Buf::advance(bytes, step);
                    of_body -= step;
                    if bytes.is_empty() {
                        segments.pop_front();
                    }
                }
                Ok(Step::Sent(count as u64))
            }
        }
    }

    /// Sends the framed bytes and the piece behind them.
    fn send_piece(&mut self, socket: BorrowedFd<'_>, machine: &mut Machine) -> io::Result<Step> {
        let framed = self.bytes.get(self.sent..).unwrap_or_default();
        let count = nix::sys::uio::writev(socket, &[IoSlice::new(framed), IoSlice::new(&self.piece)])?;
        let of_frame = count.min(framed.len());
        self.sent += of_frame;
        bytes::Buf::advance(&mut self.piece, count - of_frame);
        if self.piece.is_empty() {
            self.piece = Bytes::new();
            self.bytes.clear();
            self.sent = 0;
            // Ends the chunk, if it is one.
            machine.body(&[], &mut self.bytes);
        }
        Ok(Step::Sent(count as u64))
    }

    /// Appends bytes behind everything else; only right when no body is left.
    pub(crate) fn extend(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        append(&mut self.bytes);
    }
}

/// Outputs that are used again.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    // Boxed as connections hold them.
    #[expect(clippy::vec_box, reason = "the boxes are what is lent")]
    free: Vec<Box<Output>>,
}

impl Spare {
    /// Those with larger buffers are not kept.
    const LARGEST: usize = 16 * 1024;

    /// An output without a body.
    pub(crate) fn lend(&mut self) -> Box<Output> {
        self.free.pop().unwrap_or_default()
    }

    /// Takes one back that had no body. More than leave together are not kept.
    pub(crate) fn take_back(&mut self, output: Box<Output>) {
        if self.free.len() < MOST && output.bytes.capacity() <= Self::LARGEST {
            self.free.push(output);
        }
    }
}

enum Step {
    /// So many bytes went out.
    Sent(u64),
    /// More bytes are ready to go out.
    Framed,
    /// That is as far as it goes.
    Stop(Flushed),
}

/// The next piece of a source. One that panics has failed.
fn pull(source: &mut dyn Source, waker: &Waker, scratch: &mut Vec<u8>) -> Pull {
    // The panic's message has been printed by the panic hook.
    catch_unwind(AssertUnwindSafe(|| source.pull(waker, scratch))).unwrap_or_else(|_| {
        log::error!("Error handling request: the source of its response panicked");
        Pull::Failed
    })
}

/// Limits what the kernel takes ahead, and has it send full segments only: sendfile(2) gives it 64 KiB at a time, and with
/// `TCP_NODELAY` each acknowledgement that comes in between has the beginning of a segment sent, for which the peer is woken
/// once more. A unix socket has neither option, nor the need.
fn begin_long_file(socket: BorrowedFd<'_>) {
    let socket = SockRef::from(&socket);
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
    let _ = socket.set_tcp_cork(true);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::app::FileRange;
    use crate::protocol::Protocol;
    use crate::scoreboard::Slot;

    struct Untouchable;

    impl Source for Untouchable {
        fn pull(&mut self, _: &Waker, _: &mut Vec<u8>) -> Pull {
            panic!("it was pulled");
        }
    }

    fn how(pulls: bool) -> How<'static> {
        let slot: &'static Slot = crate::sys::shared_slots(1).unwrap().first().unwrap();
        How { sendfile: true, pulls, call: slot.call(0) }
    }

    #[test]
    fn who_may_not_pull_sends_all_that_was_pulled_before() {
        for length in [10, 1_000_000] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).and_then(|()| theirs.set_nonblocking(true)).unwrap();
            let how = how(false);
            let (mut machine, mut scratch) = (Machine::new(Protocol::Http), Vec::new());
            let mut flusher = Flusher::default();
            let source = Rest::Source(Box::new(Untouchable), Waker::noop().clone());
            let mut output = Output::new(vec![b'x'; length], 0, source);
            let (mut received, mut buffer) = (0, vec![0; 1 << 20]);
            loop {
                let (flushed, sent) = output.flush(ours.as_fd(), &mut machine, &mut scratch, &mut flusher, how);
                assert!(sent > 0);
                while let Ok(count @ 1..) = theirs.read(&mut buffer) {
                    received += count;
                }
                if flushed == Flushed::Held {
                    break;
                }
                assert_eq!(flushed, Flushed::Blocked);
            }
            assert_eq!(received, length);
        }
    }

    /// Both ends of a TCP connection, of which the second may be told to have a small window.
    fn connection(window: Option<usize>) -> (std::net::TcpStream, socket2::Socket) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        if let Some(bytes) = window {
            client.set_recv_buffer_size(bytes).unwrap();
        }
        client.connect(&listener.local_addr().unwrap().into()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        (ours, client)
    }

    fn file(length: u64) -> Output {
        let file = tempfile::tempfile().unwrap();
        file.set_len(length).unwrap();
        let range = FileRange { file: Arc::new(file), offset: 0, length };
        Output::new(Vec::new(), 0, Rest::Segments(VecDeque::from([Segment::File(range)]), length))
    }

    #[test]
    fn of_a_long_file_the_kernel_takes_little_ahead_of_a_reader_with_a_tiny_window() {
        const LENGTH: u64 = 32 << 20;
        let (ours, _client) = connection(Some(2048));
        let mut output = file(LENGTH);
        let how = how(true);
        let (mut machine, mut scratch) = (Machine::new(Protocol::Http), Vec::new());
        let mut taken = 0;
        loop {
            let (flushed, sent) = output.flush(ours.as_fd(), &mut machine, &mut scratch, &mut Flusher::default(), how);
            taken += sent;
            match flushed {
                Flushed::Enough => {}
                Flushed::Blocked => break,
                other => panic!("{other:?} after {taken} bytes"),
            }
        }
        // Beside the limit, what the window and the packet under way hold.
        assert!(taken < 8 * u64::from(UNSENT), "{taken} bytes");
    }

    #[test]
    fn the_last_bytes_of_a_long_file_are_not_kept_back() {
        const LENGTH: u64 = (4 << 20) + 1;
        let (ours, mut client) = connection(None);
        let mut output = file(LENGTH);
        let how = how(true);
        let (mut machine, mut scratch) = (Machine::new(Protocol::Http), Vec::new());
        let reader = std::thread::spawn(move || std::io::copy(&mut client, &mut std::io::sink()).unwrap());
        loop {
            let (flushed, _) = output.flush(ours.as_fd(), &mut machine, &mut scratch, &mut Flusher::default(), how);
            match flushed {
                Flushed::Blocked => {
                    assert!(SockRef::from(&ours).tcp_cork().unwrap());
                    let mut room = [PollFd::new(ours.as_fd(), PollFlags::POLLOUT)];
                    assert_eq!(poll(&mut room, PollTimeout::from(5000_u16)), Ok(1));
                }
                Flushed::Enough | Flushed::Ended => {}
                Flushed::Everything => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(!SockRef::from(&ours).tcp_cork().unwrap());
        drop(ours);
        assert_eq!(reader.join().unwrap(), LENGTH);
    }
}
