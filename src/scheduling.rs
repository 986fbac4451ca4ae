//! Whether a thread that wakes takes the processor from whoever has it.
//!
//! A web server on the same processor connects or sends, and before it gets any further, the kernel has the worker run that
//! has waited for this: each request costs two switches of processes, and either finds the caches full of the other's. A
//! thread of the policy `SCHED_BATCH` (sched(7)) runs when the one before has done what it had to do, and finds several
//! requests, or a program's answer in whole that was written line by line. With nginx on its processor a worker saves two
//! fifths of what a request costs so, and all are sooner answered. Where another processor is idle it makes no difference:
//! the thread wakes there.
//!
//! What computes for long without a pause, some other program, keeps such a thread from running for milliseconds each time
//! it wakes. So the kernel's record of how long it has waited is looked at, and a thread that waits for long does not stand
//! back. Nor does one that seldom wakes, which has nothing to gain.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::clock::Moment;

/// How often it is thought about.
const PERIOD: Duration = Duration::from_millis(100);

/// How long it may wait for the processor when it wakes, on average.
const LONGEST: Duration = Duration::from_millis(1);

/// How often it wakes a second, at least, to begin with it.
const MANY: u64 = 1_000;

/// How often it wakes a second, at most, to end it: fewer than before, as it finds more each time.
const FEW: u64 = 100;

/// How long it does not try again when it had to wait for too long: twice as long each time, between these.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(64));

/// Of a thread, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Record {
    /// Ready to run, while others did.
    waited: Duration,
    /// How often it was given a processor.
    runs: u64,
}

impl Record {
    /// From what `/proc/PID/task/TID/schedstat` says: nanoseconds on a processor, nanoseconds of waiting, runs.
    fn parse(text: &[u8]) -> Option<Self> {
        let mut numbers = std::str::from_utf8(text).ok()?.split_ascii_whitespace().skip(1).map(str::parse);
        let (waited, runs) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self { waited: Duration::from_nanos(waited), runs })
    }
}

/// What is decided from one look to the next.
#[derive(Debug, Default)]
struct Decision {
    stands_back: bool,
    seen: Option<(Moment, Record)>,
    /// How long the next pause is.
    pause: Duration,
    /// Until when it is paused.
    until: Option<Moment>,
}

impl Decision {
    /// Whether the thread is to stand back, by what has happened since the last look.
    fn at(&mut self, now: Moment, record: Record) -> bool {
        let Some((then, before)) = self.seen.replace((now, record)) else { return self.stands_back };
        let runs = record.runs.saturating_sub(before.runs).max(1);
        let waited = record.waited.saturating_sub(before.waited);
        let nanoseconds = u64::try_from(now.since(then).as_nanos()).unwrap_or(u64::MAX).max(1);
        let a_second = runs.saturating_mul(1_000_000_000) / nanoseconds;
        if self.stands_back {
            if waited.as_nanos() / u128::from(runs) > LONGEST.as_nanos() {
                self.stands_back = false;
                self.until = Some(now + self.pause.max(PAUSES.0));
                self.pause = (self.pause * 2).clamp(PAUSES.0 * 2, PAUSES.1);
            } else if a_second < FEW {
                self.stands_back = false;
                self.pause = PAUSES.0;
            }
        } else if a_second >= MANY && self.until.is_none_or(|until| now >= until) {
            self.stands_back = true;
        }
        self.stands_back
    }
}

/// How a thread is scheduled.
#[derive(Debug)]
pub(crate) struct Scheduling {
    record: File,
    decision: Decision,
    /// When to look.
    next: Moment,
}

impl Scheduling {
    /// That of the calling thread; if it is scheduled as usual, and the kernel keeps records of it.
    pub(crate) fn here(now: Moment) -> Option<Self> {
        if !crate::sys::is_scheduled_as_usual() {
            return None;
        }
        let record = File::open("/proc/thread-self/schedstat").ok()?;
        Some(Self { record, decision: Decision::default(), next: now })
    }

    /// Thinks about it, if it is time to. Whether it can be thought about again: the kernel may refuse.
    #[inline]
    pub(crate) fn look(&mut self, now: Moment) -> bool {
        now < self.next || self.look_now(now)
    }

    fn look_now(&mut self, now: Moment) -> bool {
        self.next = now + PERIOD;
        let stands_back = self.decision.stands_back;
        let mut text = [0; 64];
        let record = self.record.read_at(&mut text, 0).ok().and_then(|length| Record::parse(text.get(..length)?));
        // Who cannot know how long it waits does not stand back.
        let changes = record.is_some_and(|record| self.decision.at(now, record)) != stands_back;
        (!changes || crate::sys::stand_back(!stands_back).is_ok()) && record.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::os::fd::AsFd;

    use nix::sys::signal::Signal;
    use nix::sys::wait::waitpid;
    use nix::unistd::Pid;

    use super::*;

    /// A thread under some load: what it wakes for, and how long it waits then.
    struct Thread {
        decision: Decision,
        now: Moment,
        record: Record,
    }

    impl Thread {
        fn new() -> Self {
            let mut thread =
                Self { decision: Decision::default(), now: Moment::from_nanos(1), record: Record::default() };
            thread.passes(PERIOD, 0, 0);
            thread
        }

        /// So much time, with so many wake-ups a second that each wait so many microseconds. Whether it stands back then.
        fn passes(&mut self, time: Duration, a_second: u64, waits: u64) -> bool {
            self.now = self.now + time;
            let runs = a_second * time.as_millis() as u64 / 1_000;
            self.record.runs += runs;
            self.record.waited += Duration::from_micros(runs * waits);
            self.decision.at(self.now, self.record)
        }
    }

    #[test]
    fn who_often_wakes_stands_back_until_it_seldom_does() {
        let mut thread = Thread::new();
        assert!(!thread.passes(PERIOD, 900, 20));
        assert!(thread.passes(PERIOD, 5_000, 20), "it wakes for each request");
        assert!(thread.passes(PERIOD, 700, 400), "it wakes for several of them, and waits for what they come from");
        assert!(!thread.passes(PERIOD, 50, 10), "there is little to do");
        assert!(thread.passes(PERIOD, 2_000, 10), "that it was given up is no reason not to begin again");
        assert!(!thread.passes(Duration::from_secs(3_600), 0, 0), "it has slept");
    }

    #[test]
    fn who_has_to_wait_for_long_does_not_and_tries_more_and_more_seldom() {
        let mut thread = Thread::new();
        let mut tries = Vec::new();
        for period in 0..6_000 {
            let waits = if thread.decision.stands_back { 2_500 } else { 10 };
            if thread.passes(PERIOD, 1_200, waits) {
                tries.push(period);
            }
        }
        let pauses: Vec<_> = tries.windows(2).map(|pair| (pair[1] - pair[0] - 1) / 10).collect();
        assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 32, 64, 64], "seconds");
    }

    #[test]
    fn records_are_as_the_kernel_writes_them() {
        let record = Record { waited: Duration::from_nanos(2_345), runs: 678 };
        assert_eq!(Record::parse(b"123456789 2345 678\n"), Some(record));
        for wrong in ["", "1 2", "1 x 3\n", "1 -2 3\n", "\u{7f}"] {
            assert_eq!(Record::parse(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_thread_that_stands_back_has_its_policy_alone_and_what_it_starts_has_not() {
        let policy = || policy_in(&std::fs::read_to_string("/proc/thread-self/stat").expect("a thread has a state"));
        std::thread::spawn(move || {
            let mut scheduling = Scheduling::here(crate::sys::now()).expect("the kernel keeps records");
            scheduling.decision.seen = Some((crate::sys::now(), Record::default()));
            scheduling.record = file_of("1 1000 1000000000\n");
            assert!(scheduling.look(crate::sys::now()));
            assert_eq!(policy(), Some(libc::SCHED_BATCH));
            assert_eq!(policy_in(&output_of(c"/bin/cat", c"/proc/self/stat")), Some(libc::SCHED_OTHER));
            assert!(Scheduling::here(crate::sys::now()).is_none(), "somebody has chosen it");
            scheduling.record = file_of("");
            assert!(!scheduling.look(crate::sys::now() + PERIOD), "nobody says how long it waits any more");
            assert_eq!(policy(), Some(libc::SCHED_OTHER));
        })
        .join()
        .expect("the thread's checks hold");
        assert_eq!(policy(), Some(libc::SCHED_OTHER), "of another thread");
    }

    /// The 41st field, of those behind the name (proc(5)).
    fn policy_in(stat: &str) -> Option<i32> {
        stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(38)?.parse().ok()
    }

    fn file_of(text: &str) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("it is written");
        file
    }

    fn output_of(path: &CStr, argument: &CStr) -> String {
        let (null, mut output) = (File::open("/dev/null").expect("nothing"), tempfile::tempfile().expect("a file"));
        let program = crate::sys::Program {
            path,
            arguments: &[path, argument],
            environment: &[],
            directory: c"/",
            standard: [null.as_fd(), output.as_fd(), null.as_fd()],
            death: Signal::SIGKILL,
        };
        let (pid, _pidfd) = crate::sys::spawn(&program).expect("it starts");
        waitpid(Pid::from_raw(pid), None).expect("it ends");
        let mut text = String::new();
        output.seek(SeekFrom::Start(0)).expect("it is a file");
        output.read_to_string(&mut text).expect("it is text");
        text
    }
}
