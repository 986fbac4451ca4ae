//! How long a request has waited for the worker.
//!
//! What the kernel holds for a busy worker has no time on it, so it is asked: but only when the request can have waited for
//! long enough to matter, which the moments of the last two waits tell for nothing.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::clock::Moment;
use crate::sys;

/// A request that cannot have waited for longer has not waited to speak of.
const WORTH_ASKING: Duration = Duration::from_millis(20);

/// The clocks are no finer.
const FINEST: Duration = Duration::from_millis(5);

/// Requests that have waited so long may have nobody left who waits for the answer.
pub(crate) const PERHAPS_GONE: Duration = Duration::from_secs(1);

/// How often it is said that requests are turned away.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);

/// How long the request waited that has just been read from `socket` and is about to be started. The last wait for events
/// ended at `woken`, the one before it at `earlier`: nothing that the last one told of was there before that.
#[inline]
pub(crate) fn waited(socket: BorrowedFd<'_>, earlier: Moment, woken: Moment, start: Moment) -> Duration {
    if is_worth_asking(earlier, start) {
        asked(socket, start.since(earlier), start.since(woken))
    } else {
        Duration::ZERO
    }
}

/// Whether what can have come since `earlier` may have waited by `now` for long enough to matter.
#[inline]
pub(crate) fn is_worth_asking(earlier: Moment, now: Moment) -> bool {
    now >= earlier + WORTH_ASKING
}

#[cold]
fn asked(socket: BorrowedFd<'_>, longest: Duration, shortest: Duration) -> Duration {
    // Unix sockets do not know.
    let waited = sys::since_last_data(socket).map_or(shortest, |since| since.clamp(shortest.min(longest), longest));
    if waited < FINEST { Duration::ZERO } else { waited }
}

/// Requests that were turned away, for the log.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway {
    count: u64,
    told: Option<Moment>,
}

impl TurnedAway {
    /// One more. The number since it was last said, if it is to be said again.
    pub(crate) fn note(&mut self, now: Moment) -> Option<u64> {
        self.count += 1;
        if self.told.is_some_and(|told| now.since(told) < BETWEEN_WARNINGS) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::from_nanos(1_000_000_000 + milliseconds * 1_000_000)
    }

    #[test]
    fn the_kernel_knows_since_when_tcp_data_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.write_all(b"x").unwrap();
        std::thread::sleep(Duration::from_millis(60));
        let long = waited(server.as_fd(), at(0), at(900), at(1000));
        assert!((100..=1000).contains(&long.as_millis()), "never less than since it was told of: {long:?}");
        let asked = waited(server.as_fd(), at(0), at(1000), at(1000));
        assert!(asked >= Duration::from_millis(40), "{asked:?}");
        assert_eq!(waited(server.as_fd(), at(970), at(1000), at(1000)), Duration::from_millis(30), "{asked:?}");
        assert_eq!(waited(server.as_fd(), at(990), at(1000), at(1000)), Duration::ZERO);
    }

    #[test]
    fn unix_sockets_are_taken_to_have_waited_since_they_were_told_of() {
        let (socket, _other) = UnixStream::pair().unwrap();
        assert_eq!(waited(socket.as_fd(), at(0), at(600), at(1000)), Duration::from_millis(400));
    }

    #[test]
    fn the_log_hears_of_requests_that_were_turned_away_now_and_then() {
        let mut away = TurnedAway::default();
        let told: Vec<_> = [0, 1, 5_000, 9_999, 10_000, 10_001].map(|now| away.note(at(now))).into();
        assert_eq!(told, [Some(1), None, None, None, Some(4), None]);
    }
}
