//! What a process does to itself: detach, drop privileges, name itself.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    Gid, Group, Uid, User, dup2_stderr, dup2_stdin, dup2_stdout, getgrouplist, getgroups, getresgid, getresuid, setgid,
    setgroups, setresgid, setresuid, setsid, setuid,
};

use crate::error::Error;
use crate::sys::{self, Fork};

/// This process's id, as signals and wait(2) have it.
pub(crate) fn pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// Whether there is a process `pid`, whoever owns it. One that has ended and only was not reaped yet does not count.
pub(crate) fn is_alive(pid: i32) -> bool {
    if pid <= 0 {
        return false;
    }
    match nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) {
        Ok(()) | Err(nix::Error::EPERM) => !is_zombie(pid),
        Err(_) => false,
    }
}

fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        // The state follows the name, which is in parentheses and may hold anything.
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
    })
}

/// Detaches from the terminal and from whoever started the process: two forks, a session of its own, umask 022, and
/// standard input, output and error at /dev/null. Other descriptors stay open.
///
/// It returns in the daemon only; the processes in between exit with 0.
///
/// # Errors
/// A fork failed, or /dev/null cannot be opened.
pub(crate) fn daemonize() -> io::Result<()> {
    leave_to_child()?;
    setsid()?;
    // The second child leads no session and so can never get a terminal.
    leave_to_child()?;
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    (0..=2).try_for_each(silence)
}

fn leave_to_child() -> io::Result<()> {
    match sys::fork()? {
        Fork::Parent(_) => sys::exit_now(0),
        Fork::Child => Ok(()),
    }
}

/// Points one of the standard descriptors (0, 1, 2) to /dev/null.
pub(crate) fn silence(standard: RawFd) -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    match standard {
        0 => dup2_stdin(&null)?,
        1 => dup2_stdout(&null)?,
        2 => dup2_stderr(&null)?,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    if null.as_raw_fd() == standard {
        // It was closed, so the open above has got its number; dup2(2) to itself leaves everything as it is.
        sys::leak(null.into());
    }
    Ok(())
}

/// Whom the workers run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    user: Uid,
    group: Gid,
    /// All groups of the process, `group` among them.
    groups: Vec<Gid>,
}

impl Identity {
    /// Looks up the settings `user` and `group`, names or numbers; `None` if neither is set.
    ///
    /// Without `group` it is the user's own. (Gunicorn keeps the arbiter's, which is root's as a rule.)
    ///
    /// # Errors
    /// There is no such user or group, or this process may not become it.
    pub(crate) fn resolve(user: Option<&str>, group: Option<&str>, initgroups: bool) -> Result<Option<Self>, Error> {
        if user.is_none() && group.is_none() {
            return Ok(None);
        }
        let entry = user.map(find_user).transpose()?;
        let uid = entry.as_ref().map_or_else(Uid::effective, |entry| entry.uid);
        let gid = match (group, &entry) {
            (Some(group), _) => find_group(group)?,
            (None, Some(FoundUser { gid: Some(gid), .. })) => *gid,
            (None, Some(_)) if uid == Uid::effective() => Gid::effective(),
            (None, _) => {
                let user = user.unwrap_or_default();
                return Err(Error::configuration(format!(
                    "User {user} is not in the user database, so its group must be set as well"
                )));
            }
        };
        let name = match &entry {
            Some(entry) => entry.name.clone(),
            None => User::from_uid(uid).ok().flatten().and_then(|user| CString::new(user.name).ok()),
        };
        let mut groups = match name {
            Some(name) if initgroups => getgrouplist(&name, gid)
                .map_err(|error| Error::configuration(format!("Can't list the groups of user {uid}: {error}")))?,
            _ => vec![gid],
        };
        groups.sort_unstable_by_key(|gid| gid.as_raw());
        groups.dedup();
        let identity = Self { user: uid, group: gid, groups };
        if !Uid::effective().is_root() && !identity.is_ours() {
            return Err(Error::configuration(format!(
                "Can't run workers as user {uid}, group {gid}: only root can change to others"
            )));
        }
        Ok(Some(identity))
    }

    /// The user.
    pub(crate) fn user(&self) -> Uid {
        self.user
    }

    /// The group.
    pub(crate) fn group(&self) -> Gid {
        self.group
    }

    fn is_ours(&self) -> bool {
        self.user == Uid::effective() && self.group == Gid::effective()
    }

    /// Becomes it, for good, and makes sure of it.
    ///
    /// The kernel clears the parent-death signal at this, so that is to be asked for afterwards.
    ///
    /// # Errors
    /// It did not work: the process is in a state between and must exit.
    pub(crate) fn assume(&self) -> io::Result<()> {
        if !Uid::effective().is_root() && self.is_ours() {
            return Ok(());
        }
        setgroups(&self.groups)?;
        setresgid(self.group, self.group, self.group)?;
        setresuid(self.user, self.user, self.user)?;
        self.verify()
    }

    fn verify(&self) -> io::Result<()> {
        let users = getresuid()?;
        let groups = getresgid()?;
        let mut all = getgroups()?;
        all.sort_unstable_by_key(|gid| gid.as_raw());
        let holds = [users.real, users.effective, users.saved].iter().all(|user| *user == self.user)
            && [groups.real, groups.effective, groups.saved].iter().all(|group| *group == self.group)
            && all == self.groups;
        if !holds {
            return Err(io::Error::other("user and groups are not what was asked for"));
        }
        if !self.user.is_root()
            && (setuid(Uid::from_raw(0)).is_ok() || (self.group.as_raw() != 0 && setgid(Gid::from_raw(0)).is_ok()))
        {
            return Err(io::Error::other("the way back to root is still open"));
        }
        Ok(())
    }
}

struct FoundUser {
    uid: Uid,
    /// Its own group, if it is in the user database.
    gid: Option<Gid>,
    name: Option<CString>,
}

fn find_user(user: &str) -> Result<FoundUser, Error> {
    let number = user.parse().ok().map(Uid::from_raw);
    let entry = match number {
        Some(uid) => User::from_uid(uid),
        None => User::from_name(user),
    };
    let entry = entry.map_err(|error| Error::configuration(format!("Can't look up user '{user}': {error}")))?;
    match (entry, number) {
        (Some(entry), _) => Ok(FoundUser { uid: entry.uid, gid: Some(entry.gid), name: CString::new(entry.name).ok() }),
        (None, Some(uid)) => Ok(FoundUser { uid, gid: None, name: None }),
        (None, None) => Err(Error::configuration(format!("There is no user '{user}'"))),
    }
}

fn find_group(group: &str) -> Result<Gid, Error> {
    if let Ok(number) = group.parse() {
        return Ok(Gid::from_raw(number));
    }
    Group::from_name(group)
        .map_err(|error| Error::configuration(format!("Can't look up group '{group}': {error}")))?
        .map(|group| group.gid)
        .ok_or_else(|| Error::configuration(format!("There is no group '{group}'")))
}

/// Makes sure that this process and what it executes never get more rights than it has now (set-id programs).
pub(crate) fn forbid_new_privileges() -> io::Result<()> {
    Ok(nix::sys::prctl::set_no_new_privs()?)
}

/// Sets the file mode creation mask.
pub(crate) fn set_umask(mask: u32) {
    umask(Mode::from_bits_truncate(mask));
}

/// Sets what process listings show.
pub(crate) fn set_title(title: &str) {
    sys::set_process_title(title);
}

/// Keeps descriptors that this process was given by mistake from its children: all from 3 on are closed on exec, but for
/// those in `keep`. Nothing is closed here: somebody in this process may own it.
pub(crate) fn close_inherited_descriptors(keep: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            sys::close_on_exec(first, fd - 1)?;
        }
        first = fd.saturating_add(1).max(first);
    }
    sys::close_on_exec(first, u32::MAX)
}

/// Descriptors at most that the limit is raised to: some programs close every number up to it.
const OPEN_FILES: u64 = 1 << 20;

/// Raises the soft limit of open files to the hard one, and says what it is now.
pub(crate) fn raise_open_files_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(OPEN_FILES).max(soft);
    if wanted > soft {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    }
    Ok(wanted)
}
