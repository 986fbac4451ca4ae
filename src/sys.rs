//! The only unsafe code of the crate: system calls behind safe functions. No policy.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU32;

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
    if std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    // SAFETY: the process has one thread (checked above; where /proc is missing, by the arbiter's design), so the child
    // gets a consistent copy of everything.
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

/// Accepts a connection: nonblocking, closed on exec. The address is `None` for a unix peer.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    // SAFETY: all-zero is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut length = mem::size_of_val(&storage) as libc::socklen_t;
    // SAFETY: `storage` has room for `length` bytes, both live through the call.
    let fd = check(unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            (&raw mut storage).cast(),
            &raw mut length,
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        )
    })?;
    // SAFETY: accept4 has just made this descriptor, so nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok((fd, socket_address(&storage)))
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

/// Makes a listening TCP socket drop whatever arrives for it, so that its accept queue can be emptied for good.
///
/// Nobody is refused or reset by this: a client that is just connecting tries again.
pub(crate) fn drop_incoming(listener: BorrowedFd<'_>) -> io::Result<()> {
    let mut program = [libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 }];
    let filter = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    // SAFETY: `filter` points to one instruction, both live through the call; the kernel copies and checks the program.
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

// SAFETY: all its fields are `AtomicU64`, its alignment is 64.
unsafe impl SharedZeroable for crate::scoreboard::Slot {}

/// The argument area of this process, which process listings show.
#[derive(Debug)]
struct ArgumentArea {
    start: usize,
    length: usize,
}

fn argument_area() -> Option<&'static ArgumentArea> {
    static AREA: std::sync::OnceLock<Option<ArgumentArea>> = std::sync::OnceLock::new();
    AREA.get_or_init(|| {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The 48th and 49th fields of proc(5) are arg_start and arg_end; the name in front may hold blanks.
        let mut numbers = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(45);
        let start = numbers.next()?.parse().ok()?;
        let end: usize = numbers.next()?.parse().ok()?;
        Some(ArgumentArea { start, length: end.checked_sub(start)? })
    })
    .as_ref()
}

/// Sets what `ps` shows for this process, as far as the space of its original arguments goes, and its short name.
pub(crate) fn set_process_title(title: &str) {
    let name: Vec<u8> = title.bytes().filter(|byte| *byte != 0).take(15).chain([0]).collect();
    // SAFETY: PR_SET_NAME reads a NUL-terminated string, which `name` is.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    let Some(area) = argument_area() else { return };
    let text = title.as_bytes();
    let length = text.len().min(area.length.saturating_sub(1));
    // SAFETY: the kernel says that this process's arguments lie there, in its own writable stack. Nothing in the process
    // holds a reference into them: std and clap copy arguments, and the arguments have been read before this is called.
    unsafe {
        let start = area.start as *mut u8;
        std::ptr::copy_nonoverlapping(text.as_ptr(), start, length);
        std::ptr::write_bytes(start.add(length), 0, area.length - length);
    }
}

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
