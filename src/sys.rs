//! The only unsafe code of the crate: system calls behind safe functions. No policy.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::CStr;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::clock::Moment;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn clock(id: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to for the whole call; the clock ids used here exist on every Linux,
    // so the call cannot fail, and if it did `time` would still be initialised.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    time
}

fn moment(time: libc::timespec) -> Moment {
    Moment::from_nanos((time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64))
}

/// The monotonic clock.
pub(crate) fn now() -> Moment {
    moment(clock(libc::CLOCK_MONOTONIC))
}

/// The monotonic clock as of the last timer tick (some milliseconds old), for a few nanoseconds.
pub(crate) fn now_coarse() -> Moment {
    moment(clock(libc::CLOCK_MONOTONIC_COARSE))
}

/// Seconds since 1970 as of the last timer tick.
pub(crate) fn unix_time_coarse() -> u64 {
    clock(libc::CLOCK_REALTIME_COARSE).tv_sec as u64
}

thread_local! {
    static STANDS_BACK: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread has the policy SCHED_OTHER.
pub(crate) fn is_scheduled_as_usual() -> bool {
    // SAFETY: it takes a number and touches no memory.
    unsafe { libc::sched_getscheduler(0) == libc::SCHED_OTHER }
}

/// Gives this thread, which must be scheduled as usual or have done this before, the policy SCHED_BATCH, or the usual one.
/// What [`spawn`] starts has the usual one; other threads and processes that it makes inherit its own.
pub(crate) fn stand_back(stands_back: bool) -> io::Result<()> {
    let policy = if stands_back { libc::SCHED_BATCH } else { libc::SCHED_OTHER };
    set_policy(policy)?;
    STANDS_BACK.set(stands_back);
    Ok(())
}

fn set_policy(policy: libc::c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters live through the call, which touches nothing else.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) }).map(drop)
}

/// A civil date and time with its offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalTime {
    pub(crate) year: i32,
    /// 1 to 12
    pub(crate) month: u32,
    pub(crate) day: u32,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
    /// Seconds east of UTC.
    pub(crate) offset: i32,
}

/// The time of the local zone at `seconds` since 1970.
pub(crate) fn local_time(seconds: u64) -> LocalTime {
    let time = seconds as libc::time_t;
    // SAFETY: all-zero is a valid `tm`: integers and a pointer that is only read by whoever uses the zone's name, which
    // is nobody here.
    let mut tm: libc::tm = unsafe { mem::zeroed() };
    // SAFETY: both pointers are valid for the call; `localtime_r` keeps neither. On failure `tm` stays initialised.
    unsafe { libc::localtime_r(&raw const time, &raw mut tm) };
    LocalTime {
        year: tm.tm_year + 1900,
        month: tm.tm_mon as u32 + 1,
        day: tm.tm_mday as u32,
        hour: tm.tm_hour as u32,
        minute: tm.tm_min as u32,
        second: tm.tm_sec as u32,
        offset: tm.tm_gmtoff as i32,
    }
}

/// Which side of a [`fork`] this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fork {
    /// The parent, and the pid of the child.
    Parent(i32),
    /// The child.
    Child,
}

/// Forks.
///
/// # Errors
/// What fork(2) says, and `EDEADLK` in a process with several threads: the child would be left with the locks that the
/// others held.
pub(crate) fn fork() -> io::Result<Fork> {
    if has_other_threads() {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    fork_beside_threads()
}

/// Forks a process that may have threads, none of which runs code of this crate: an interpreter's, which has hooks that put
/// its own locks right in the child.
///
/// # Errors
/// What fork(2) says.
pub(crate) fn fork_beside_threads() -> io::Result<Fork> {
    // SAFETY: the child has this thread only. It finds no lock of this crate's or of std's taken, as other threads, if there
    // are any, run none of their code; the C library makes its own locks usable in the child.
    match check(unsafe { libc::fork() })? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// Ends the process at once, without running what was registered for its exit (a forked child owns none of it).
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Asks the kernel to kill this process when its parent dies.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }).map(drop)
}

/// Has this process, in place of init, inherit what its descendants leave behind.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: PR_SET_CHILD_SUBREAPER takes a number and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }).map(drop)
}

/// Whether a process is a child of this one that was not reaped.
pub(crate) fn is_child(pid: i32) -> bool {
    // SAFETY: all-zero is a valid siginfo_t to be written to, which lives through the call; WNOWAIT leaves the child be.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let Ok(id) = libc::id_t::try_from(pid) else { return false };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: as above.
    pid > 0 && unsafe { libc::waitid(libc::P_PID, id, &raw mut info, options) } == 0
}

/// Gives memory back to the system that was freed.
pub(crate) fn trim_memory() {
    // SAFETY: malloc_trim may be called at any time, by any thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Unmaps the pages of code and constants that this process has looked at so far. Whoever needs one again is given it from
/// the page cache; those that were needed to start only are not this process's any more, and the system may use them otherwise.
pub(crate) fn unmap_clean_pages() {
    let Ok(mappings) = std::fs::read_to_string("/proc/self/smaps") else { return };
    let mut unwritable = None;
    for line in mappings.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("Anonymous:") if words.next() == Some("0") => {
                let Some((start, length)) = unwritable.take() else { continue };
                // SAFETY: these are pages of a file, mapped privately; none of them has been written to, and none may be.
                // Whoever reads them next gets the same bytes from the file.
                unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
            }
            Some(range) if !range.ends_with(':') => unwritable = unwritable_file(range, words),
            _ => {}
        }
    }
}

/// Where a mapping lies, and how long it is, if nobody may write to it and it is of a file; from a line of `smaps`.
fn unwritable_file<'a>(range: &str, mut words: impl Iterator<Item = &'a str>) -> Option<(usize, usize)> {
    let permissions = words.next()?;
    let path = words.nth(3)?;
    if !matches!(permissions, "r--p" | "r-xp") || !path.starts_with('/') || words.next().is_some() {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let [start, end] = [start, end].map(|bound| usize::from_str_radix(bound, 16).ok());
    Some((start?, end?.checked_sub(start?)?))
}

/// Puts a signal's disposition back to the default.
pub(crate) fn default_signal(signal: i32) -> io::Result<()> {
    // SAFETY: all-zero is a valid sigaction: SIG_DFL, no flags, an empty mask.
    let action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: `action` is valid for the call, and no handler is installed that could be unsound.
    check(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) }).map(drop)
}

/// Counts every delivery of `signal` in `counter`, in the signal handler.
pub(crate) fn count_signal(signal: i32, counter: &'static AtomicU32) -> io::Result<signal_hook::SigId> {
    let action = || {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    };
    // SAFETY: the action only adds to an atomic that lives for ever, which is async-signal-safe, and cannot panic.
    unsafe { signal_hook::low_level::register(signal, action) }
}

/// Takes over a descriptor that this process was given by its parent (`fd://N`, `LISTEN_FDS`).
///
/// # Errors
/// It is not open.
pub(crate) fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD touches no memory and is harmless on any number.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // SAFETY: it is open (checked above), and by the contract of inherited descriptors nobody else in this process owns
    // it: they are numbered by the parent, and each is adopted once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Accepts a connection: nonblocking, closed on exec. The address is `None` for a unix peer, and if it is not asked for.
pub(crate) fn accept(listener: BorrowedFd<'_>, named: bool) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    // SAFETY: all-zero is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut length = mem::size_of_val(&storage) as libc::socklen_t;
    let (address, room) =
        if named { ((&raw mut storage).cast(), &raw mut length) } else { (ptr::null_mut(), ptr::null_mut()) };
    // SAFETY: `storage` has room for `length` bytes, both live through the call; or there is no place for an address.
    let fd =
        check(unsafe { libc::accept4(listener.as_raw_fd(), address, room, libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) })?;
    // SAFETY: accept4 has just made this descriptor, so nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok((fd, socket_address(&storage)))
}

/// Takes a message and the descriptor that came with it, which is closed on exec; without waiting.
///
/// There is no descriptor if there was none, or no number for it.
pub(crate) fn receive_descriptor(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
    let mut space = nix::cmsg_space!(RawFd);
    let mut parts = [io::IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut received = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            for fd in fds {
                // SAFETY: the kernel has just made these descriptors for this process, so nobody else owns them.
                let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                received.get_or_insert(fd);
            }
        }
    }
    Ok((message.bytes, received))
}

/// The address at the other end of a connected socket; `None` if that is no IP address.
pub(crate) fn peer_address(socket: BorrowedFd<'_>) -> Option<SocketAddr> {
    // SAFETY: all-zero is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut length = mem::size_of_val(&storage) as libc::socklen_t;
    // SAFETY: `storage` has room for `length` bytes, both live through the call.
    let result = unsafe { libc::getpeername(socket.as_raw_fd(), (&raw mut storage).cast(), &raw mut length) };
    if result == 0 { socket_address(&storage) } else { None }
}

fn socket_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that a sockaddr_in was written here, and the storage is large and aligned enough.
            let address = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let address = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            Some(
                SocketAddrV6::new(ip, u16::from_be(address.sin6_port), address.sin6_flowinfo, address.sin6_scope_id)
                    .into(),
            )
        }
        _ => None,
    }
}

/// Makes a listening TCP socket drop requests to connect, so that its accept queue can be emptied for good.
///
/// Nobody is refused or reset by this: a client that is just connecting tries again. What is not a lone SYN passes, for
/// a handshake that has begun must complete: its client already takes the connection for made.
pub(crate) fn drop_incoming(listener: BorrowedFd<'_>) -> io::Result<()> {
    const FLAGS_OFFSET: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    // The filter of a TCP socket sees packets from their TCP header on.
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, FLAGS_OFFSET),
        instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN | ACK),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `filter` points to its program, both live through the call; the kernel copies and checks the program.
    check(unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            mem::size_of_val(&filter) as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Memory that this process and all it forks share, zeroed, as `count` values of `T`. It is never unmapped.
pub(crate) fn shared_slots<T: SharedZeroable>(count: usize) -> io::Result<&'static [T]> {
    let length = mem::size_of::<T>().checked_mul(count.max(1)).ok_or(io::ErrorKind::OutOfMemory)?;
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory that is in use.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is page-aligned, `count * size_of::<T>()` bytes long and never unmapped; all-zero is a valid
    // `T` and all its fields are atomics, so sharing it with other processes is no data race (`SharedZeroable`'s terms).
    Ok(unsafe { std::slice::from_raw_parts(memory.cast::<T>(), count) })
}

/// A type that consists of atomic integers only, so that zeroed memory is one and other processes may write to it.
///
/// # Safety
/// Exactly that must be true of the type, and its alignment at most a page.
pub(crate) unsafe trait SharedZeroable: Sync {}

// SAFETY: all its fields are `AtomicU64` or structs and arrays of them, its alignment is 64.
unsafe impl SharedZeroable for crate::scoreboard::Slot {}

/// Leaks a descriptor's number: it stays open for the rest of the process (and past an exec, if it is not closed then).
pub(crate) fn leak(fd: OwnedFd) -> RawFd {
    fd.into_raw_fd()
}

/// Another descriptor for the same open file.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC touches no memory; on a number that is not open it fails.
    let duplicate = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: fcntl has just made it, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

/// Makes a listening TCP socket refuse to connect: the same end as [`drop_incoming`] has, for processes without
/// CAP_NET_ADMIN on kernels that ask for it.
pub(crate) fn refuse_incoming(listener: BorrowedFd<'_>) -> io::Result<()> {
    // No interface has this number (the kernel takes any), so no request to connect finds the socket; what is queued or
    // has begun its handshake has left it behind.
    let interface: libc::c_int = libc::c_int::MAX;
    // SAFETY: the option's value is an int, which lives through the call.
    check(unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTOIFINDEX,
            (&raw const interface).cast(),
            mem::size_of_val(&interface) as libc::socklen_t,
        )
    })
    .map(drop)
}

/// How long ago a TCP socket has received data last (or was connected, if it has received none). `None` for others.
pub(crate) fn since_last_data(socket: BorrowedFd<'_>) -> Option<Duration> {
    tcp_info(socket).map(|info| Duration::from_millis(info.tcpi_last_data_recv.into()))
}

/// How many connections wait to be accepted at a listening TCP socket. `None` for others.
pub(crate) fn accept_queue(listener: BorrowedFd<'_>) -> Option<u32> {
    // What counts unacknowledged segments for connections is the queue's length for listeners.
    tcp_info(listener).map(|info| info.tcpi_unacked)
}

fn tcp_info(socket: BorrowedFd<'_>) -> Option<libc::tcp_info> {
    // SAFETY: all-zero is a valid `tcp_info`, a structure of integers.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = mem::size_of_val(&info) as libc::socklen_t;
    // SAFETY: at most `length` bytes are written to `info`, and both live through the call.
    let got = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut length)
    };
    (got == 0).then_some(info)
}

/// Bytes that a socket has taken and its peer has not (`SIOCOUTQ`); 0 if it cannot say.
pub(crate) fn unsent(socket: BorrowedFd<'_>) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, which lives through the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if done < 0 { 0 } else { u64::try_from(bytes).unwrap_or(0) }
}

/// Keeps the handshakes of a listening TCP socket half open until data comes (`TCP_DEFER_ACCEPT`).
#[cfg(test)]
pub(crate) fn defer_accept(listener: BorrowedFd<'_>, seconds: libc::c_int) -> io::Result<()> {
    // SAFETY: the option's value is an int, which lives through the call.
    check(unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            mem::size_of_val(&seconds) as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Runs before `main`, and so before the test harness has any thread: see `crate::scenario`.
#[cfg(test)]
#[used]
#[unsafe(link_section = ".init_array")]
static SCENARIO: extern "C" fn() = {
    extern "C" fn start() {
        crate::scenario::run_if_asked();
    }
    start
};

/// Whether this process has other threads; where /proc is missing, it has none by the arbiter's design.
pub(crate) fn has_other_threads() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1)
}

/// Removes an environment variable.
///
/// # Errors
/// `EDEADLK` in a process with several threads: another might be reading the environment.
pub(crate) fn remove_variable(name: &str) -> io::Result<()> {
    if has_other_threads() {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    // SAFETY: no other thread exists (checked above) that could read the environment meanwhile.
    unsafe { std::env::remove_var(name) };
    Ok(())
}

/// Sets close-on-exec for all descriptors from `first` to `last`, open or not.
pub(crate) fn close_on_exec(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC nothing is closed, only flags are set; no memory is touched.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { close_each_on_exec(first, last) }
}

/// The same for kernels before 5.11 and sandboxes that do not know the call.
pub(crate) fn close_each_on_exec(first: RawFd, last: RawFd) -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        if let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse().ok())
            && (first..=last).contains(&fd)
        {
            // SAFETY: F_SETFD closes nothing and touches no memory; on a number that is not open any more it fails.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

unsafe extern "C" {
    static mut environ: *mut *mut libc::c_char;
}

/// Where the kernel put this process's arguments and, behind them as a rule, its environment: what `ps` shows.
#[derive(Debug)]
struct TitleArea {
    start: usize,
    arguments_end: usize,
    /// The same as `arguments_end` if the environment lies elsewhere.
    environment_end: usize,
    /// How far it may be written to. Invariant: `start < arguments_end <= end <= environment_end`.
    end: usize,
}

impl TitleArea {
    fn find() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // Fields 48 to 51 of proc(5) are arg_start, arg_end, env_start and env_end; the name in front may hold blanks.
        let mut numbers = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(45);
        let mut next = || numbers.next()?.parse::<usize>().ok();
        let (start, arguments_end, environment_start, environment_end) = (next()?, next()?, next()?, next()?);
        if start == 0 || arguments_end <= start {
            return None;
        }
        let contiguous = environment_start == arguments_end && environment_end > environment_start;
        let environment_end = if contiguous { environment_end } else { arguments_end };
        Some(Self { start, arguments_end, environment_end, end: arguments_end })
    }

    /// Takes the place of the environment too, whose strings move to the heap for good. Not with other threads.
    fn extend(&mut self) {
        if self.end == self.environment_end || has_other_threads() {
            return;
        }
        let environment = self.arguments_end..self.environment_end;
        // SAFETY: `environ` is NULL or the C library's NULL-terminated array of NUL-terminated strings, and no other
        // thread exists (checked above) that reads or changes it. Its entries may be written to: setenv(3) does the same.
        // The copies are leaked, so whoever gets a pointer to one from getenv(3) may keep it.
        unsafe {
            let mut entry = environ;
            while !entry.is_null() && !(*entry).is_null() {
                if environment.contains(&(*entry as usize)) {
                    *entry = std::ffi::CStr::from_ptr(*entry).to_owned().into_raw();
                }
                entry = entry.add(1);
            }
        }
        self.end = self.environment_end;
    }

    fn write(&mut self, title: &[u8]) {
        if title.len() >= self.arguments_end - self.start {
            self.extend();
        }
        let room = self.end - self.start;
        let length = title.len().min(room - 1);
        // SAFETY: the kernel says that this process's arguments, and its environment if `end` is beyond them, lie there,
        // in its own writable stack. Nobody holds a reference into them: std and clap copy arguments, which have been
        // read before a title is set, and the environment has moved away. The last byte stays NUL, so that even old
        // pointers into the area lead to terminated strings.
        unsafe {
            let start = self.start as *mut u8;
            std::ptr::copy_nonoverlapping(title.as_ptr(), start, length);
            std::ptr::write_bytes(start.add(length), 0, room - length);
        }
    }
}

/// Sets what `ps` shows for this process, and its short name.
///
/// The title takes the place of the arguments; a longer one also that of the original environment, whose strings move
/// elsewhere (`/proc/PID/environ` shows nothing sensible from then on). It is cut where even that is too short, and at
/// the end of the arguments if the process has several threads by then.
pub(crate) fn set_process_title(title: &str) {
    static AREA: std::sync::LazyLock<std::sync::Mutex<Option<TitleArea>>> =
        std::sync::LazyLock::new(|| std::sync::Mutex::new(TitleArea::find()));

    let name: Vec<u8> = title.bytes().filter(|byte| *byte != 0).take(15).chain([0]).collect();
    // SAFETY: PR_SET_NAME reads a NUL-terminated string, which `name` is.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    if let Some(area) = &mut *AREA.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
        area.write(title.as_bytes());
    }
}

/// Sets an environment variable.
///
/// # Errors
/// `EDEADLK` in a process with several threads: another might be reading the environment.
pub(crate) fn set_variable(name: &str, value: &str) -> io::Result<()> {
    if has_other_threads() {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    // SAFETY: no other thread exists (checked above) that could read the environment meanwhile.
    unsafe { std::env::set_var(name, value) };
    Ok(())
}

/// What has become of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has ended, with that code.
    Exited(i32),
    /// It was ended by that signal, which may be one without a name.
    Signaled(i32),
    /// Job control has stopped it.
    Stopped,
    /// It runs again.
    Continued,
}

/// A child that has changed, and is reaped if it has ended; `None` if there is none.
pub(crate) fn changed_child() -> Option<(i32, Change)> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid to write to for the whole call.
        let result =
            check(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED) });
        let pid = match result {
            Ok(0) => return None,
            Ok(pid) => pid,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // ECHILD: there are none.
            Err(_) => return None,
        };
        if libc::WIFEXITED(status) {
            return Some((pid, Change::Exited(libc::WEXITSTATUS(status))));
        } else if libc::WIFSIGNALED(status) {
            return Some((pid, Change::Signaled(libc::WTERMSIG(status))));
        } else if libc::WIFSTOPPED(status) {
            return Some((pid, Change::Stopped));
        } else if libc::WIFCONTINUED(status) {
            return Some((pid, Change::Continued));
        }
    }
}

/// A program to be started.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    /// The file, with a slash in its name.
    pub(crate) path: &'a CStr,
    /// Its arguments, with the one that names it.
    pub(crate) arguments: &'a [&'a CStr],
    /// `NAME=value`, and nothing else is in its environment.
    pub(crate) environment: &'a [&'a CStr],
    /// Where it starts.
    pub(crate) directory: &'a CStr,
    /// Its standard input, output and error; it gets no other descriptor.
    pub(crate) standard: [BorrowedFd<'a>; 3],
    /// What it gets when the thread that has started it ends.
    pub(crate) death: Signal,
}

/// What the child of [`spawn`] reads, and the one field that it writes.
struct Launch {
    path: *const libc::c_char,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
    directory: *const libc::c_char,
    standard: [RawFd; 3],
    death: libc::c_int,
    parent: libc::pid_t,
    /// The policy is to be the usual one.
    stands_back: bool,
    error: libc::c_int,
}

/// Starts a program in a process group of its own, with default dispositions for all signals and none blocked; returns
/// its pid and a pidfd.
///
/// The child borrows this process's memory until it executes the program (as with `vfork`), so the cost does not grow
/// with this process. What `posix_spawn` lacks is that a program ends with whoever has started it.
///
/// # Errors
/// The child cannot be made, or cannot become the program.
pub(crate) fn spawn(program: &Program<'_>) -> io::Result<(i32, OwnedFd)> {
    const STACK: usize = 32 * 1024;
    let pointers =
        |texts: &[&CStr]| texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
    let (arguments, environment) = (pointers(program.arguments), pointers(program.environment));
    // One that stands where another is to go would be overwritten before its turn.
    let moved =
        program.standard.map(|fd| if fd.as_raw_fd() > 2 { Ok(None) } else { duplicate(fd.as_raw_fd()).map(Some) });
    let mut standard = program.standard.map(|fd| fd.as_raw_fd());
    let mut kept = Vec::new();
    for (place, moved) in standard.iter_mut().zip(moved) {
        if let Some(fd) = moved? {
            *place = fd.as_raw_fd();
            kept.push(fd);
        }
    }
    let mut launch = Launch {
        path: program.path.as_ptr(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        directory: program.directory.as_ptr(),
        standard,
        death: program.death as libc::c_int,
        parent: std::process::id().cast_signed(),
        stands_back: STANDS_BACK.get(),
        error: 0,
    };
    // Not filled with anything: the child touches little of it.
    let mut stack = Vec::<u128>::with_capacity(STACK / mem::size_of::<u128>());
    let mut pidfd: libc::c_int = -1;
    let mut all: libc::sigset_t = EMPTY_SIGNALS;
    let mut before: libc::sigset_t = EMPTY_SIGNALS;
    // SAFETY: both sets are valid to write to. With every signal blocked, no handler runs in the child before it has
    // set them to their defaults.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
    }
    // SAFETY: the child runs `become_program` on a stack of its own while this thread is suspended (CLONE_VFORK), until
    // it has executed the program or ended; so `launch`, what it points to, the stack and `pidfd` outlive its use of
    // them, and nobody else touches them meanwhile. It shares no descriptor table and no signal dispositions with us.
    let pid = unsafe {
        libc::clone(
            become_program,
            stack.spare_capacity_mut().as_mut_ptr_range().end.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD,
            (&raw mut launch).cast(),
            &raw mut pidfd,
        )
    };
    let cloned = check(pid);
    // SAFETY: `before` was filled in above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    let pid = cloned?;
    drop(kept);
    // SAFETY: clone has succeeded, and so made this descriptor, which nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    // SAFETY: the child wrote it through the pointer that it was given, which the compiler might not reckon with.
    let error = unsafe { std::ptr::read_volatile(&raw const launch.error) };
    if error != 0 {
        let mut status = 0;
        // SAFETY: `status` is valid to write to; the child has ended and is ours.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        return Err(io::Error::from_raw_os_error(error));
    }
    Ok((pid, pidfd))
}

// SAFETY: a signal set is an array of integers, all-zero is a valid one.
const EMPTY_SIGNALS: libc::sigset_t = unsafe { mem::zeroed() };

/// The child of [`spawn`]: system calls only, as its memory is the parent's.
extern "C" fn become_program(launch: *mut libc::c_void) -> libc::c_int {
    let launch: *mut Launch = launch.cast();
    // SAFETY: `spawn` passes a pointer to a `Launch` that lives, with all it points to, until this process has executed
    // the program or ended. Nothing here allocates, locks or unwinds; every call is a plain system call.
    unsafe {
        let fail = || {
            (*launch).error = *libc::__errno_location();
            libc::_exit(127)
        };
        let mut default: libc::sigaction = mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=64 {
            // Refused for KILL, STOP and the C library's own.
            libc::sigaction(signal, &raw const default, std::ptr::null_mut());
        }
        if (*launch).stands_back {
            // One that goes on with it works as well.
            let _ = set_policy(libc::SCHED_OTHER);
        }
        libc::setpgid(0, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, (*launch).death);
        if libc::getppid() != (*launch).parent || libc::chdir((*launch).directory) != 0 {
            fail();
        }
        for (number, fd) in (*launch).standard.iter().enumerate() {
            if libc::dup2(*fd, number as libc::c_int) < 0 {
                fail();
            }
        }
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        let none = EMPTY_SIGNALS;
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::execve((*launch).path, (*launch).arguments, (*launch).environment);
        fail();
    }
    127
}
