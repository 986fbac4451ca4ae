//! Upgrades: how an arbiter runs a new binary on its own sockets, and how that one finds them.
//!
//! The old arbiter executes the file that it was itself started from, with its first arguments, directory and
//! environment, and with these variables:
//!
//! * `FERRICORN_PID`: the old arbiter.
//! * `FERRICORN_FD`: descriptors of the listening sockets that the old one made, separated by commas.
//! * `FERRICORN_LENT_FD`: the same for those that a service manager lent to it.
//! * `FERRICORN_READY_FD`: one end of a [`Channel`]. The new arbiter says ready over it, and learns from its closing that
//!   the old one has gone.

use std::cell::RefCell;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::{AccessFlags, access};

use super::Plan;
use super::sockets::{Legacy, Sockets};
use crate::app::{Factory, Hook};
use crate::channel::Channel;
use crate::error::Error;
use crate::launch::CommandLine;
use crate::listener::Listener;
use crate::sys::{self, Fork};

const PID: &str = "FERRICORN_PID";
const OWN: &str = "FERRICORN_FD";
const LENT: &str = "FERRICORN_LENT_FD";
const READY: &str = "FERRICORN_READY_FD";

/// Variables of a process that its successor must not see as they were.
const NOT_PASSED_ON: [&str; 7] = [PID, OWN, LENT, READY, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// How this process was started, so that a successor can be started the same way.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The binary. Not `/proc/self/exe`: that is the old one for ever, and `(deleted)` once it is replaced.
    program: PathBuf,
    /// What it was executed with, its name first.
    executed: Vec<OsString>,
    /// The arguments that are ours, behind the name of the command. The same, unless an interpreter runs us.
    pub(crate) arguments: Vec<OsString>,
    /// The working directory.
    pub(crate) directory: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Launch {
    /// Takes note of it; to be called before anything of it changes.
    ///
    /// # Errors
    /// The working directory is gone.
    pub(crate) fn capture(command_line: CommandLine) -> io::Result<Self> {
        let CommandLine { executed, arguments } = command_line;
        let directory = env::current_dir()?;
        let name = executed.first().map_or(OsStr::new(""), OsString::as_os_str);
        let searched = env::var_os("PATH").unwrap_or_default();
        let program = find_program(name, &directory, &searched).map_or_else(env::current_exe, Ok)?;
        Ok(Self { program, executed, arguments, directory, environment: env::vars_os().collect() })
    }

    /// Adds arguments to the command line, for whoever reads it again: a reload, a successor.
    pub(crate) fn add(&mut self, arguments: &[&str]) {
        for list in [&mut self.executed, &mut self.arguments] {
            list.extend(arguments.iter().map(OsString::from));
        }
    }

    /// Starts the successor.
    ///
    /// # Errors
    /// It could not be executed; nothing has changed.
    pub(crate) fn succeed(
        &self,
        sockets: &Sockets,
        variables: impl IntoIterator<Item = (&'static str, OsString)>,
        plan: Option<&RefCell<Plan>>,
    ) -> io::Result<Successor> {
        let (ours, theirs) = Channel::pair()?;
        let passed_on = |name: &OsStr| NOT_PASSED_ON.iter().all(|other| name != *other);
        let list = |lent: bool| {
            let listeners = sockets.iter().filter(|listener| listener.is_inherited() == lent);
            listeners.map(|listener| listener.as_fd().as_raw_fd().to_string()).collect::<Vec<_>>().join(",")
        };
        let mut command = Command::new(&self.program);
        command
            .args(self.executed.iter().skip(1))
            .current_dir(&self.directory)
            .env_clear()
            .envs(self.environment.iter().filter(|(name, _)| passed_on(name)).map(|(name, value)| (name, value)))
            .envs(variables)
            .env(PID, std::process::id().to_string())
            .env(OWN, list(false))
            .env(LENT, list(true))
            .env(READY, theirs.as_fd().as_raw_fd().to_string());
        if let Some(name) = self.executed.first() {
            command.arg0(name);
        }
        // This process has one thread: nothing else is executed while they are open to it.
        let _open: Vec<KeptOverExec<'_>> = sockets
            .iter()
            .map(AsFd::as_fd)
            .chain([theirs.as_fd()])
            .map(KeptOverExec::new)
            .collect::<io::Result<_>>()?;
        let hooked = plan.filter(|plan| plan.borrow().factory.hooks_exec());
        let pid = match hooked {
            Some(plan) => spawn_hooked(&mut command, plan.borrow_mut().factory.as_mut())?,
            None => i32::try_from(command.spawn()?.id()).unwrap_or(i32::MAX),
        };
        Ok(Successor { pid, channel: Some(ours) })
    }
}

/// Forks in full, so that the factory can say something in the child before that is another program.
fn spawn_hooked(command: &mut Command, factory: &mut dyn Factory) -> io::Result<i32> {
    factory.before_fork();
    let forked = if factory.has_threads() { sys::fork_beside_threads() } else { sys::fork() };
    if matches!(forked, Ok(Fork::Child)) {
        factory.after_fork_child();
        factory.hook(Hook::PreExec);
        let error = command.exec();
        // The arbiter learns of it by the end of the channel.
        log::error!("Upgrade failed: {error}");
        sys::exit_now(1);
    }
    factory.after_fork_parent();
    match forked? {
        Fork::Parent(pid) => Ok(pid),
        Fork::Child => sys::exit_now(1),
    }
}

/// A descriptor that is not closed on exec for a while.
struct KeptOverExec<'a>(BorrowedFd<'a>);

impl<'a> KeptOverExec<'a> {
    fn new(fd: BorrowedFd<'a>) -> io::Result<Self> {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(Self(fd))
    }
}

impl Drop for KeptOverExec<'_> {
    fn drop(&mut self) {
        if let Err(error) = fcntl(self.0, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
            log::error!("Cannot close descriptor {} on exec: {error}", self.0.as_raw_fd());
        }
    }
}

/// The arbiter that is to replace this one.
#[derive(Debug)]
pub(crate) struct Successor {
    pub(crate) pid: i32,
    /// Our end, until theirs is closed.
    pub(crate) channel: Option<Channel>,
}

/// The arbiter that this one is to replace.
#[derive(Debug)]
pub(crate) struct Predecessor {
    /// Our end of its channel.
    pub(crate) channel: Channel,
}

impl Predecessor {
    /// The arbiter that started this process by an upgrade, if one did, and the sockets it passed on. Its variables are
    /// removed from the environment.
    ///
    /// # Errors
    /// What it passed on is unusable.
    pub(crate) fn from_environment() -> Result<Option<(Self, Legacy)>, Error> {
        let [pid, own, lent, ready] = [PID, OWN, LENT, READY].map(take_variable);
        if pid.is_none() {
            return Ok(None);
        }
        let invalid = |name: &str| Error::configuration(format!("{name} is not what an arbiter would have set"));
        let ready = ready.and_then(|fd| fd.parse().ok()).ok_or_else(|| invalid(READY))?;
        let channel = sys::adopt(ready).map_err(|_| invalid(READY))?;
        fcntl(&channel, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|_| invalid(READY))?;
        let fds = |name: &str, list: Option<String>| -> Result<Vec<RawFd>, Error> {
            let list = list.unwrap_or_default();
            let numbers = list.split(',').filter(|number| !number.is_empty());
            numbers.map(|number| number.parse().map_err(|_| invalid(name))).collect()
        };
        let own = fds(OWN, own)?.into_iter().map(Listener::take_over).collect::<Result<_, _>>()?;
        let lent = fds(LENT, lent)?.into_iter().map(Listener::inherit).collect::<Result<_, _>>()?;
        Ok(Some((Self { channel: channel.into() }, Legacy { own, lent, succeeding: true })))
    }
}

fn take_variable(name: &str) -> Option<String> {
    let value = env::var(name).ok()?;
    if let Err(error) = sys::remove_variable(name) {
        log::warn!("Can't remove {name} from the environment, children will see it: {error}");
    }
    Some(value)
}

/// Where the shell found the program of that name.
fn find_program(name: &OsStr, directory: &Path, searched: &OsStr) -> Option<PathBuf> {
    let path = Path::new(name);
    if name.is_empty() {
        return None;
    }
    if name.as_encoded_bytes().contains(&b'/') {
        return Some(directory.join(path));
    }
    let mut candidates = env::split_paths(searched).map(|place| directory.join(place).join(path));
    candidates.find(|candidate| candidate.is_file() && access(candidate, AccessFlags::X_OK).is_ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::scenario::Scratch;

    #[test]
    fn the_program_is_found_where_the_shell_has_found_it() {
        let scratch = Scratch::new();
        let make = |place: &str, mode: u32| {
            let path = scratch.join(place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        make("a/plain", 0o644);
        let right = make("b/plain", 0o755);
        let searched = env::join_paths([scratch.join("a"), scratch.join("b")]).unwrap();
        let directory = scratch.join("");
        let find = |name: &str| find_program(name.as_ref(), &directory, &searched);
        assert_eq!(find("plain"), Some(right.clone()));
        assert_eq!(find("b/plain"), Some(right.clone()));
        assert_eq!(find(right.to_str().unwrap()), Some(right));
        assert_eq!(find("missing"), None);
        assert_eq!(find(""), None);
    }
}
