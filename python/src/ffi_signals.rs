//! Handlers of signals that stand before those of Python's `faulthandler`. The other file with unsafe code.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::sync::OnceLock;

use signal_hook::consts::{SIGABRT, SIGUSR2};

/// Called in the handler, with the signal's number: must do only what is async-signal-safe, and not panic.
pub(crate) type Before = fn(c_int);

/// What a handler of ours calls one after the other.
struct Chain {
    before: Before,
    dump: libc::sigaction,
    after: Option<libc::sigaction>,
}

static ON_USR2: OnceLock<Chain> = OnceLock::new();
static ON_ABRT: OnceLock<Chain> = OnceLock::new();

/// How a signal is handled at the moment.
pub(crate) struct Handler(libc::sigaction);

impl Handler {
    pub(crate) fn of(signal: c_int) -> io::Result<Self> {
        let mut action = MaybeUninit::uninit();
        // SAFETY: nothing is set; if the call succeeds it has written the whole value.
        unsafe {
            match libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) {
                0 => Ok(Self(action.assume_init())),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }
}

/// Has `before` called when `SIGUSR2` comes, then what handles it now, then `after`. The second time it does nothing.
pub(crate) fn stand_before_usr2(before: Before, after: Handler) -> io::Result<()> {
    stand_before(SIGUSR2, libc::SA_RESTART, &ON_USR2, before, Some(after))
}

/// Has `before` called when `SIGABRT` comes, then what handles it now, which ends the process or has somebody else do it.
pub(crate) fn stand_before_abrt(before: Before) -> io::Result<()> {
    stand_before(SIGABRT, libc::SA_NODEFER, &ON_ABRT, before, None)
}

fn stand_before(
    signal: c_int,
    flags: c_int,
    place: &'static OnceLock<Chain>,
    before: Before,
    after: Option<Handler>,
) -> io::Result<()> {
    let chain = Chain { before, dump: Handler::of(signal)?.0, after: after.map(|handler| handler.0) };
    if place.set(chain).is_err() {
        return Ok(());
    }
    // SAFETY: zeros are a valid value of this plain structure; its handler has the signature that SA_SIGINFO promises, and
    // does nothing that is not async-signal-safe, as the callers of this module have promised for `before`.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | flags;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(signal, &raw const action, ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(chain) = (if signal == SIGUSR2 { ON_USR2.get() } else { ON_ABRT.get() }) else { return };
    (chain.before)(signal);
    for action in [Some(&chain.dump), chain.after.as_ref()].into_iter().flatten() {
        let address = action.sa_sigaction;
        if address == libc::SIG_DFL || address == libc::SIG_IGN {
            continue;
        }
        // SAFETY: the address came from sigaction(2), so it is a handler that the kernel itself would call like this; its
        // flags say which of the two kinds it is. Who has installed it keeps it for as long as the process lives.
        unsafe {
            if action.sa_flags & libc::SA_SIGINFO == 0 {
                std::mem::transmute::<usize, extern "C" fn(c_int)>(address)(signal);
            } else {
                type WithInfo = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
                std::mem::transmute::<usize, WithInfo>(address)(signal, info, context);
            }
        }
    }
}

/// Writes to a descriptor, as a signal handler may.
pub(crate) fn write(fd: c_int, bytes: &[u8]) {
    // SAFETY: the descriptor is the log's, which is replaced before it is closed. If it is closed all the same, this fails.
    let _ = nix::unistd::write(unsafe { BorrowedFd::borrow_raw(fd) }, bytes);
}
