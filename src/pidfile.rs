//! The file that holds the arbiter's pid.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::inode::{DirectoryLock, Inode};
use crate::process;

/// A pidfile of this process. It stays when this value is dropped (forked children drop it too): see [`Self::remove`].
#[derive(Debug)]
pub(crate) struct Pidfile {
    path: PathBuf,
    inode: Inode,
    pid: u32,
}

impl Pidfile {
    /// Writes this process's pid to `path`, which appears complete or not at all.
    ///
    /// # Errors
    /// Another process has it and lives, it holds something else than a pid, or it cannot be written.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let failed =
            |error: io::Error| Error::configuration(format!("Can't write pid file '{}': {error}", path.display()));
        let absolute = std::path::absolute(path).map_err(failed)?;
        let _lock = DirectoryLock::of(&absolute);
        match holder(path).map_err(failed)? {
            Some(pid) if pid != process::pid() && process::is_alive(pid) => {
                return Err(Error::configuration(format!(
                    "Already running on PID {pid} (or pid file '{}' is stale)",
                    path.display()
                )));
            }
            _ => {}
        }
        let pid = std::process::id();
        let inode = replace(&absolute, &format!("{pid}\n")).map_err(failed)?;
        Ok(Self { path: absolute, inode, pid })
    }

    /// Moves it to another path, as a successor does that has become the only arbiter.
    ///
    /// # Errors
    /// As for [`Self::create`]; the old file stays then.
    pub(crate) fn rename(&mut self, path: &Path) -> Result<(), Error> {
        let renamed = Self::create(path)?;
        if renamed.path != self.path {
            // A leftover under the old name is stale once this process has gone, and is replaced then.
            let _ = self.remove();
        }
        *self = renamed;
        Ok(())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, if it is still ours: this process made it, nobody has replaced it or written another pid to it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let _lock = DirectoryLock::of(&self.path);
        let ours = std::process::id() == self.pid
            && self.inode.is_at(&self.path)
            && holder(&self.path)? == i32::try_from(self.pid).ok();
        if ours { fs::remove_file(&self.path) } else { Ok(()) }
    }
}

/// The pid that a file holds; `None` if there is no file, or an empty one.
fn holder(path: &Path) -> io::Result<Option<i32>> {
    // Nonblocking, lest a FIFO of that name hold up the start.
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("there is something that is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(32).read_to_end(&mut bytes)?;
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return Ok(None);
    }
    let pid = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).filter(|pid| *pid > 0);
    pid.map(Some).ok_or_else(|| io::Error::other("there is a file that holds no pid, which is left alone"))
}

/// Puts a file with `content` at `path`, over whatever is there.
fn replace(path: &Path, content: &str) -> io::Result<Inode> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it has no file name"))?;
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    temporary_name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(temporary_name);
    // A namesake can only be left over from a process with our pid, that is, one that has gone.
    let _ = fs::remove_file(&temporary);
    let write = || {
        let mut file: File = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(content.as_bytes())?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        let inode = Inode::from(&file.metadata()?);
        fs::rename(&temporary, path)?;
        Ok(inode)
    };
    write().inspect_err(|_: &io::Error| {
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use std::io::BufRead;
    use std::os::unix::fs::symlink;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::scenario::{self, Scratch};

    fn ours() -> String {
        format!("{}\n", std::process::id())
    }

    /// A process that lives until it is dropped.
    struct Living(Child);

    impl Living {
        fn new() -> Self {
            Self(Command::new("sleep").arg("60").spawn().unwrap())
        }
    }

    impl Drop for Living {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    fn dead_pid() -> u32 {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn holds_the_pid_and_a_newline_readable_by_all() {
        let scratch = Scratch::new();
        let pidfile = Pidfile::create(&scratch.join("server.pid")).unwrap();
        assert_eq!(fs::read_to_string(pidfile.path()).unwrap(), ours());
        assert_eq!(fs::metadata(pidfile.path()).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(scratch.names(), ["server.pid"]);
        pidfile.remove().unwrap();
        assert!(scratch.names().is_empty());
        pidfile.remove().expect("a file that has gone is no error");
    }

    #[test]
    fn the_file_of_a_living_process_is_refused_and_left_alone() {
        let scratch = Scratch::new();
        let path = scratch.join("server.pid");
        let living = Living::new();
        fs::write(&path, format!("{}\n", living.0.id())).unwrap();
        let error = Pidfile::create(&path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("Already running on PID {} (or pid file '{}' is stale)", living.0.id(), path.display())
        );
        assert_eq!(error.exit_code(), 1);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", living.0.id()));
        assert_eq!(scratch.names(), ["server.pid"]);
    }

    #[test]
    fn a_stale_file_is_replaced() {
        let scratch = Scratch::new();
        let path = scratch.join("server.pid");
        for stale in [format!("{}\n", dead_pid()), String::new(), "\n".to_owned(), ours(), i32::MAX.to_string()] {
            fs::write(&path, stale).unwrap();
            Pidfile::create(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), ours());
        }
    }

    #[test]
    fn what_is_no_pidfile_is_refused_and_left_alone() {
        let scratch = Scratch::new();
        for content in ["root:x:0:0:", "12 13\n", "-1\n", "0\n", "99999999999\n", "\0"] {
            let path = scratch.join("precious");
            fs::write(&path, content).unwrap();
            let error = Pidfile::create(&path).unwrap_err();
            assert!(error.to_string().contains("holds no pid"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        for path in ["/dev/null", "/dev/full"].map(Path::new) {
            assert!(Pidfile::create(path).unwrap_err().to_string().contains("not a regular file"));
        }
        let fifo = scratch.join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(Pidfile::create(&fifo).unwrap_err().to_string().contains("not a regular file"));
        assert!(Pidfile::create(&scratch.join("")).is_err());
        assert_eq!(scratch.names(), ["fifo", "precious"]);
    }

    #[test]
    fn a_symbolic_link_is_replaced_not_written_through() {
        let scratch = Scratch::new();
        fs::write(scratch.join("target"), "").unwrap();
        symlink(scratch.join("target"), scratch.join("server.pid")).unwrap();
        Pidfile::create(&scratch.join("server.pid")).unwrap();
        assert_eq!(fs::read_to_string(scratch.join("target")).unwrap(), "");
        assert_eq!(fs::read_to_string(scratch.join("server.pid")).unwrap(), ours());
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let scratch = Scratch::new();
        let path = scratch.join("missing/server.pid");
        let error = Pidfile::create(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("'{}'", path.display())) && error.contains("No such file"), "{error}");
    }

    #[test]
    fn only_our_own_file_is_removed() {
        let scratch = Scratch::new();
        let path = scratch.join("server.pid");

        let pidfile = Pidfile::create(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        pidfile.remove().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n", "another pid was written to it");

        fs::remove_file(&path).unwrap();
        let pidfile = Pidfile::create(&path).unwrap();
        let successor = Pidfile::create(&path).unwrap();
        pidfile.remove().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), ours(), "another file has taken its place");

        Pidfile { pid: 1, ..successor }.remove().unwrap();
        assert_eq!(scratch.names(), ["server.pid"], "a forked child's copy");
    }

    #[test]
    fn is_renamed_when_the_new_name_is_free_or_stale() {
        let scratch = Scratch::new();
        let (old, new) = (scratch.join("server.pid.2"), scratch.join("server.pid"));
        let mut pidfile = Pidfile::create(&old).unwrap();

        let living = Living::new();
        fs::write(&new, format!("{}\n", living.0.id())).unwrap();
        assert!(pidfile.rename(&new).unwrap_err().to_string().starts_with("Already running"));
        assert_eq!((pidfile.path(), scratch.names().len()), (&*old, 2));
        drop(living);

        pidfile.rename(&new).unwrap();
        assert_eq!(scratch.names(), ["server.pid"]);
        pidfile.rename(&new).expect("to the same name");
        assert_eq!(fs::read_to_string(pidfile.path()).unwrap(), ours());
        pidfile.remove().unwrap();
        assert!(scratch.names().is_empty());
    }

    /// Says what came of it, then waits for the end of standard input before it exits.
    pub(crate) fn create_and_wait() {
        let path = std::env::args_os().nth(1).unwrap();
        let mut line = String::new();
        io::stdin().read_line(&mut line).unwrap();
        match Pidfile::create(Path::new(&path)) {
            Ok(_) => scenario::print("created"),
            Err(error) => scenario::print(error),
        }
        io::stdin().read_line(&mut line).unwrap();
    }

    #[test]
    fn of_several_starters_at_once_one_has_it() {
        let scratch = Scratch::new();
        let path = scratch.join("server.pid");
        for round in 0..10 {
            if round % 2 == 0 {
                fs::write(&path, format!("{}\n", dead_pid())).unwrap();
            }
            let mut starters: Vec<Child> = (0..3)
                .map(|_| {
                    let mut command = scenario::command("create pidfile");
                    command.arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
                })
                .collect();
            for starter in &mut starters {
                starter.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
            }
            let mut outcomes = Vec::new();
            for starter in &mut starters {
                let mut line = String::new();
                io::BufReader::new(starter.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
                outcomes.push((starter.id(), line));
            }
            for starter in &mut starters {
                drop(starter.stdin.take());
                assert!(starter.wait().unwrap().success());
            }
            let winners: Vec<u32> =
                outcomes.iter().filter(|(_, line)| line == "created\n").map(|(pid, _)| *pid).collect();
            assert_eq!(winners.len(), 1, "round {round}: {outcomes:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", winners[0]));
            let refused = format!("Already running on PID {}", winners[0]);
            assert_eq!(outcomes.iter().filter(|(_, line)| line.starts_with(&refused)).count(), 2, "{outcomes:?}");
        }
    }

    #[test]
    fn a_disk_that_takes_no_file_is_a_clear_error_and_leaves_nothing_behind() {
        let scratch = Scratch::new();
        let stale = format!("{}\n", dead_pid());
        let path = scratch.join("server.pid");
        fs::write(&path, &stale).unwrap();
        // Without SIGXFSZ, a file over `ulimit -f` is refused as by a full disk; and nobody can make a file in /proc.
        let cases = [
            ("trap '' XFSZ && ulimit -f 0 &&", path.as_path(), "File too large"),
            ("", Path::new("/proc/server.pid"), "No such file or directory"),
        ];
        for (hinder, path, reason) in cases {
            let script = format!("{hinder} exec \"$0\" \"$@\" </dev/null");
            let output = scenario::script(&script, "create pidfile").arg(path).output().unwrap();
            let lines = scenario::lines(&output);
            let expected = format!("Can't write pid file '{}'", path.display());
            assert!(lines[0].starts_with(&expected) && lines[0].contains(reason), "{lines:?}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), stale, "the old file stays");
        assert_eq!(scratch.names(), ["server.pid"], "no other is left");
    }
}
