//! What a process does to itself: detach, drop privileges, name itself.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
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

/// Bytes of memory that a process occupies at the moment, if it is there.
pub(crate) fn resident(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    pages.checked_mul(size.try_into().ok()?)
}

/// Whether there is a process `pid`, whoever owns it. One that has ended and only was not reaped yet does not count.
pub(crate) fn is_alive(pid: i32) -> bool {
    if pid <= 0 {
        return false;
    }
    match nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) {
        Ok(()) | Err(nix::Error::EPERM) => !is_shadow(pid),
        Err(_) => false,
    }
}

/// Whether what kill(2) finds under a number is only a zombie, or a thread of another process.
fn is_shadow(pid: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    field("State:").is_some_and(|state| state.starts_with(['Z', 'X']))
        || field("Tgid:").and_then(|tgid| tgid.parse().ok()).is_some_and(|tgid: i32| tgid != pid)
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
        // It was closed, so the open above has got its number, and dup2(2) has left it closed on exec.
        fcntl(&null, FcntlArg::F_SETFD(FdFlag::empty()))?;
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
        let user_returns = !self.user.is_root() && setuid(Uid::from_raw(0)).is_ok();
        let group_returns = !self.user.is_root() && self.group.as_raw() != 0 && setgid(Gid::from_raw(0)).is_ok();
        if user_returns || group_returns {
            return Err(io::Error::other("the way back to root is still open"));
        }
        Ok(())
    }
}

/// All ones is no id: setresuid(2) and chown(2) take it for "leave it as it is".
fn parse_id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

struct FoundUser {
    uid: Uid,
    /// Its own group, if it is in the user database.
    gid: Option<Gid>,
    name: Option<CString>,
}

fn find_user(user: &str) -> Result<FoundUser, Error> {
    let number = parse_id(user).map(Uid::from_raw);
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
    if let Some(number) = parse_id(group) {
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
    let mut kept: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            sys::close_on_exec(first, fd - 1)?;
        }
        first = fd.saturating_add(1).max(first);
    }
    sys::close_on_exec(first, RawFd::MAX)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use std::process::{Command, Stdio};

    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    use nix::unistd::{Pid, getppid, getsid};

    use super::*;
    use crate::scenario::{self, Scratch};

    #[test]
    fn a_process_is_alive_until_it_has_ended_reaped_or_not() {
        assert!(is_alive(pid()) && is_alive(1));
        assert!(!is_alive(0) && !is_alive(-1) && !is_alive(i32::MAX));
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let child_pid = i32::try_from(child.id()).unwrap();
        assert!(is_alive(child_pid));
        drop(child.stdin.take());
        let zombie = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(Pid::from_raw(child_pid)), zombie).unwrap();
        assert!(!is_alive(child_pid));
        child.wait().unwrap();
        assert!(!is_alive(child_pid));
    }

    #[test]
    fn a_thread_is_not_a_process() {
        let thread = std::thread::spawn(|| {
            let thread = nix::unistd::gettid().as_raw();
            (thread == pid()) == is_alive(thread)
        });
        assert!(thread.join().unwrap());
    }

    #[test]
    fn a_daemon_has_nothing_of_whoever_started_it() {
        let scratch = Scratch::new();
        let fifo = scratch.join("report");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let mut starter = scenario::command("daemonize").arg(&fifo).spawn().unwrap();
        assert!(starter.wait().unwrap().success(), "the starter exits at once");
        let report = fs::read_to_string(&fifo).unwrap();
        assert_eq!(
            report,
            "session of another: true\nleader: false\nterminal: false\numask: 022\n\
             standard: [\"/dev/null\", \"/dev/null\", \"/dev/null\"]\norphan: true\n"
        );
    }

    pub(crate) fn become_daemon() {
        use std::fmt::Write as _;
        let (starter, session) = (pid(), getsid(None).unwrap());
        daemonize().unwrap();
        let mut report = String::new();
        writeln!(report, "session of another: {}", getsid(None).unwrap() != session).unwrap();
        writeln!(report, "leader: {}", getsid(None).unwrap().as_raw() == pid()).unwrap();
        writeln!(report, "terminal: {}", fs::File::open("/dev/tty").is_ok()).unwrap();
        let mask = umask(Mode::empty());
        writeln!(report, "umask: 0{:o}", mask.bits()).unwrap();
        let standard = [0, 1, 2].map(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).unwrap());
        writeln!(report, "standard: {standard:?}").unwrap();
        writeln!(report, "orphan: {}", pid() != starter && getppid().as_raw() != starter).unwrap();
        fs::write(std::env::args_os().nth(1).unwrap(), report).unwrap();
    }

    #[test]
    fn users_and_groups_are_names_or_numbers_and_errors_come_early() {
        crate::root::needed();
        let nobody = User::from_name("nobody").unwrap().unwrap();
        let (uid, gid, uid_text) = (nobody.uid.as_raw(), nobody.gid.as_raw(), nobody.uid.to_string());
        let daemon = Group::from_name("daemon").unwrap().unwrap().gid.as_raw();
        let identity = |user: u32, group: u32| Some((user, group, vec![group]));
        let cases = [
            (None, None, None),
            (Some("nobody"), None, identity(uid, gid)),
            (Some(&*uid_text), None, identity(uid, gid)),
            (Some("nobody"), Some("daemon"), identity(uid, daemon)),
            (Some("nobody"), Some("4321"), identity(uid, 4321)),
            (Some("54321"), Some("4321"), identity(54321, 4321)),
            (None, Some("daemon"), identity(0, daemon)),
            (Some("root"), None, identity(0, 0)),
        ];
        for (user, group, expected) in cases {
            let identity = Identity::resolve(user, group, false).unwrap();
            let raw = identity.map(|identity| {
                let groups = identity.groups.iter().map(|gid| gid.as_raw()).collect();
                (identity.user().as_raw(), identity.group().as_raw(), groups)
            });
            assert_eq!(raw, expected, "{user:?} {group:?}");
        }
        let errors = [
            (Some("no-such-user"), None, "There is no user 'no-such-user'"),
            (Some(""), None, "There is no user ''"),
            (Some("-1"), None, "There is no user '-1'"),
            (Some("nobody"), Some("no-such-group"), "There is no group 'no-such-group'"),
            (Some("54321"), None, "User 54321 is not in the user database, so its group must be set as well"),
            (Some("4294967295"), Some("1"), "There is no user '4294967295'"),
            (Some("1"), Some("4294967295"), "There is no group '4294967295'"),
        ];
        for (user, group, message) in errors {
            let error = Identity::resolve(user, group, false).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), (message, 1));
        }
    }

    #[test]
    fn privileges_are_dropped_for_good() {
        crate::root::needed();
        let nobody = User::from_name("nobody").unwrap().unwrap();
        let daemon = Group::from_name("daemon").unwrap().unwrap().gid;
        let mut all = getgrouplist(c"nobody", daemon).unwrap();
        all.sort_unstable_by_key(|gid| gid.as_raw());
        all.dedup();
        let all = all.iter().map(Gid::to_string).collect::<Vec<_>>().join(" ");
        let (user, group, daemon) = (nobody.uid.to_string(), nobody.gid.to_string(), daemon.to_string());
        let cases = [
            (["nobody", "", ""], &*user, &*group, &*group),
            (["nobody", "daemon", ""], &*user, &*daemon, &*daemon),
            (["54321", "4321", "initgroups"], "54321", "4321", "4321"),
            (["nobody", "daemon", "initgroups"], &*user, &*daemon, &*all),
        ];
        for (arguments, user, group, groups) in cases {
            let lines = scenario::lines(&scenario::command("drop privileges").args(arguments).output().unwrap());
            let expected = [
                format!("Uid: {user} {user} {user} {user}"),
                format!("Gid: {group} {group} {group} {group}"),
                format!("Groups: {groups}"),
                "CapPrm: 0000000000000000".to_owned(),
                "CapEff: 0000000000000000".to_owned(),
                "NoNewPrivs: 1".to_owned(),
                "back to root: false".to_owned(),
                format!("again: Ok({user})"),
                "to root: Err(\"Can't run workers as user 0, group 0: only root can change to others\")".to_owned(),
            ];
            assert_eq!(lines, expected, "{arguments:?}");
        }
    }

    pub(crate) fn drop_privileges() {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [user, group, initgroups] = &arguments[..] else { panic!("three arguments") };
        let set = |value: &String| if value.is_empty() { None } else { Some(value.clone()) };
        // What must not survive.
        setgroups(&[Gid::from_raw(0), Gid::from_raw(7), Gid::from_raw(8)]).unwrap();
        let resolve = |user: Option<&str>, group: Option<&str>| Identity::resolve(user, group, !initgroups.is_empty());

        let identity = resolve(set(user).as_deref(), set(group).as_deref()).unwrap().unwrap();
        identity.assume().unwrap();
        forbid_new_privileges().unwrap();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        for name in ["Uid:", "Gid:", "Groups:", "CapPrm:", "CapEff:", "NoNewPrivs:"] {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            scenario::print(line.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
        }
        scenario::print(format_args!("back to root: {}", setuid(Uid::from_raw(0)).is_ok()));
        let again = resolve(set(user).as_deref(), set(group).as_deref())
            .map(|identity| identity.unwrap())
            .inspect(|identity| identity.assume().unwrap());
        let again = again.map(|identity| identity.user().as_raw());
        scenario::print(format_args!("again: {again:?}"));
        let root = resolve(Some("root"), None).map_err(|error| error.to_string());
        scenario::print(format_args!("to root: {root:?}"));
    }

    #[test]
    fn children_see_the_standard_descriptors_and_those_that_were_kept() {
        let script = "exec 5</dev/null 7</dev/null 9</dev/null; exec \"$0\" \"$@\"";
        for (keep, seen) in [("", "0 1 2"), ("7", "0 1 2 7"), ("9 5", "0 1 2 5 9"), ("0 7 7 -3 400", "0 1 2 7")] {
            let output = scenario::script(script, "descriptors of children").args(keep.split_whitespace()).output();
            assert_eq!(scenario::lines(&output.unwrap()), [seen], "{keep:?}");
        }
    }

    pub(crate) fn list_descriptors_of_child() {
        let keep: Vec<RawFd> = std::env::args().skip(1).map(|fd| fd.parse().unwrap()).collect();
        close_inherited_descriptors(&keep).unwrap();
        let stray = fs::File::open("/dev/null").unwrap();
        if keep.is_empty() {
            fcntl(&stray, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
            // As an old kernel has it.
            sys::close_each_on_exec(3, RawFd::MAX).unwrap();
        }
        assert!(fs::metadata("/proc/self/fd/7").is_ok(), "nothing is closed here");
        // The shell expands the pattern itself, by a descriptor that it closes before echo reads the result.
        let child = Command::new("sh")
            .args([
                "-c",
                "for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12; do
            test -e /proc/$$/fd/$fd && printf '%s ' $fd; done",
            ])
            .output()
            .unwrap();
        scenario::print(String::from_utf8(child.stdout).unwrap().trim());
    }

    #[test]
    fn titles_of_any_length_are_shown_and_the_environment_survives() {
        let mut command = scenario::command("titles");
        command.args(["module:app", "-w", "2"]).env("FIRST", "1").env("LARGE", "x".repeat(500)).env("LAST", "é");
        let lines = scenario::lines(&command.output().unwrap());
        let long = format!("ferricorn: worker [{}]", "module.application:".repeat(20));
        assert_eq!(
            lines,
            ["short", "short", &long, "ferricorn: work", "again", "true", "true", "1", "500", "é", "1 é"]
        );
    }

    pub(crate) fn change_titles() {
        let shown = || {
            let bytes = fs::read("/proc/self/cmdline").unwrap();
            let title = bytes.split(|byte| *byte == 0).next().unwrap();
            String::from_utf8(title.to_vec()).unwrap()
        };
        let name = || fs::read_to_string("/proc/self/comm").unwrap().trim().to_owned();
        let arguments = std::env::args().count();
        set_title("short");
        scenario::print(shown());
        scenario::print(name());
        set_title(&format!("ferricorn: worker [{}]", "module.application:".repeat(20)));
        scenario::print(shown());
        scenario::print(name());
        set_title("again");
        scenario::print(shown());
        set_title(&"y".repeat(1 << 20));
        let cut = shown();
        scenario::print(cut.len() > 500 && cut.bytes().all(|byte| byte == b'y'));
        scenario::print(std::env::args_os().count() == arguments);
        scenario::print(std::env::var("FIRST").unwrap());
        scenario::print(std::env::var("LARGE").unwrap().len());
        scenario::print(std::env::var("LAST").unwrap());
        let child = Command::new("sh").args(["-c", "echo $FIRST $LAST"]).output().unwrap();
        scenario::print(String::from_utf8(child.stdout).unwrap().trim());
    }

    #[test]
    fn the_limit_of_open_files_is_raised_as_far_as_it_goes() {
        let script = "ulimit -Sn 64 && ulimit -Hn 200 && exec \"$0\"";
        let output = scenario::script(script, "open files").output().unwrap();
        assert_eq!(scenario::lines(&output), ["200", "200"]);
    }

    pub(crate) fn raise_limit() {
        scenario::print(raise_open_files_limit().unwrap());
        scenario::print(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0);
    }

    #[test]
    fn a_process_with_threads_neither_forks_nor_changes_its_environment() {
        let (ready, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv().is_err());
        assert_eq!(sys::fork().unwrap_err().raw_os_error(), Some(libc::EDEADLK));
        assert_eq!(sys::remove_variable("PATH").unwrap_err().raw_os_error(), Some(libc::EDEADLK));
        assert!(std::env::var_os("PATH").is_some());
        drop(ready);
        assert!(thread.join().unwrap());
    }
}
