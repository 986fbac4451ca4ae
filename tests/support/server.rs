//! A server under test, as a child process.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::address::free_port;
use super::{Address, Answer, Client, Directory, SOON, client, poll_until, process};

/// The command.
pub(crate) fn ferricorn() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ferricorn"))
}

/// A program of tests/faults, brought up to date first: `cargo test --test tests` builds the command, but not these.
pub(crate) fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(|| {
        let directory = ferricorn().parent().expect("the directory of the command");
        let target = directory.parent().expect("the target directory");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", "probe", "--example", "ledger", "--example", "hello"]);
        cargo.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
        if directory.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo.status().expect("cargo runs");
        assert!(status.success(), "cargo cannot build tests/faults/probe.rs");
        directory.join("examples")
    });
    directory.join(name)
}

/// How a server is to be started.
#[derive(Debug)]
pub(crate) struct Builder {
    program: PathBuf,
    /// Words in front of the program: `setpriv`, `sh -c`...
    wrapper: Vec<OsString>,
    args: Vec<OsString>,
    application: Option<OsString>,
    env: Vec<(OsString, OsString)>,
    address: Option<Address>,
    protocol: Option<String>,
    directory: Directory,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    binds: bool,
}

impl Builder {
    fn new(program: PathBuf, application: Option<OsString>) -> Self {
        Self {
            program,
            wrapper: Vec::new(),
            args: Vec::new(),
            application,
            env: Vec::new(),
            address: None,
            directory: Directory::new(),
            stdin: None,
            stdout: None,
            stderr: None,
            binds: true,
            protocol: None,
        }
    }

    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(OsString::from));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// In place of a free TCP port of 127.0.0.1.
    pub(crate) fn bind(mut self, address: Address) -> Self {
        self.address = Some(address);
        self
    }

    /// Gives no `--bind`; the server is nevertheless expected at this address.
    pub(crate) fn bound_to(mut self, address: Address) -> Self {
        self.binds = false;
        self.bind(address)
    }

    /// With that protocol in front of the address.
    pub(crate) fn speaking(mut self, protocol: &str) -> Self {
        self.protocol = Some(protocol.to_owned());
        self
    }

    pub(crate) fn program(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    /// Runs it by way of another program.
    pub(crate) fn wrapper(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(OsString::from).collect();
        self
    }

    pub(crate) fn stdin(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.stdin = Some(fd.into());
        self
    }

    pub(crate) fn stdout(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.stdout = Some(fd.into());
        self
    }

    pub(crate) fn stderr(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.stderr = Some(fd.into());
        self
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Where the server keeps the ids that it has answered.
    pub(crate) fn ledger(self) -> Self {
        let path = self.directory.join("answered");
        self.env("LEDGER_FILE", path)
    }

    /// Starts it and waits until all its workers are ready.
    #[track_caller]
    pub(crate) fn start(self) -> Server {
        let workers = self.workers();
        let mut server = self.spawn();
        server.wait_ready(workers);
        server
    }

    /// How many workers are asked for, if that is said on the command line.
    fn workers(&self) -> usize {
        let at = self.args.iter().position(|arg| arg == "-w" || arg == "--workers");
        let count = at.and_then(|at| self.args.get(at + 1)?.to_str()?.parse().ok());
        count.unwrap_or(1)
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn spawn(self) -> Server {
        let address = self.address.clone().unwrap_or_else(|| Address::tcp(free_port()));
        let mut words =
            self.wrapper.iter().chain([self.program.as_os_str().to_owned()].iter()).cloned().collect::<Vec<_>>();
        if self.binds {
            let scheme = self.protocol.map(|protocol| format!("{protocol}://")).unwrap_or_default();
            words.extend(["-b".into(), format!("{scheme}{}", address.bind()).into()]);
        }
        words.extend(self.args.iter().cloned());
        words.extend(self.application.iter().cloned());
        let (out, log) = (self.directory.join("stdout"), self.directory.join("stderr"));
        let file = |path: &Path| File::create(path).expect("a file for the output");
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_remove("PORT")
            .env_remove("WEB_CONCURRENCY")
            .env("RUST_BACKTRACE", "0")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(self.stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(self.stdout.map_or_else(|| Stdio::from(file(&out)), Stdio::from))
            .stderr(self.stderr.map_or_else(|| Stdio::from(file(&log)), Stdio::from))
            .process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {words:?}: {error}"));
        let pid = child.id().cast_signed();
        Server { child, pid, address, out, log, directory: self.directory, others: Vec::new() }
    }

    /// Runs it to its end, which must come soon.
    #[track_caller]
    pub(crate) fn run(self) -> Finished {
        let mut server = self.spawn();
        let status = server.wait_exit(SOON);
        Finished { code: status.code(), stdout: server.stdout(), stderr: server.log() }
    }
}

/// What a server that has ended left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A running server. Dropping it kills it with all its descendants.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// The arbiter's.
    pub(crate) pid: i32,
    pub(crate) address: Address,
    pub(crate) directory: Directory,
    out: PathBuf,
    log: PathBuf,
    others: Vec<i32>,
}

impl Server {
    /// The application of tests/faults/probe.rs.
    pub(crate) fn probe() -> Builder {
        Builder::new(example("probe"), None)
    }

    /// The command, serving a directory.
    pub(crate) fn files(root: &Path) -> Builder {
        let mut application = OsString::from("files://");
        application.push(root);
        Self::serving(application)
    }

    /// The command, serving what is named.
    pub(crate) fn serving(application: impl Into<OsString>) -> Builder {
        Builder::new(ferricorn().to_owned(), Some(application.into()))
    }

    /// The command, with no application but what is mounted.
    pub(crate) fn command_for_mounts() -> Builder {
        Builder::new(ferricorn().to_owned(), None)
    }

    /// The command without an application.
    pub(crate) fn command() -> Builder {
        let mut builder = Builder::new(ferricorn().to_owned(), None);
        builder.binds = false;
        builder
    }

    #[track_caller]
    pub(crate) fn wait_ready(&mut self, count: usize) {
        poll_until("the server to answer", SOON, || {
            if let Some(status) = self.exited() {
                panic!("the server has ended with {status}:\n{}", self.log());
            }
            // Connecting comes first: with a connection in the queue, the first worker is not waiting for long.
            Client::connect(&self.address).ok()
        });
        poll_until("its workers", SOON, || {
            if let Some(status) = self.exited() {
                panic!("the server has ended with {status}:\n{}", self.log());
            }
            let waiting = self.workers().into_iter().filter(|pid| process::is_waiting(*pid)).count();
            (waiting >= count).then_some(())
        });
    }

    /// How it has ended, if it has.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for the server")
    }

    #[track_caller]
    pub(crate) fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        poll_until("the server to end", limit, || self.exited())
    }

    /// Waits for an orderly end and returns its exit code.
    #[track_caller]
    pub(crate) fn wait_code(&mut self, limit: Duration) -> i32 {
        let status = self.wait_exit(limit);
        status.code().unwrap_or_else(|| panic!("it was ended by signal {:?}", status.signal()))
    }

    /// What it wrote to standard error: its log.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// What it wrote to standard output.
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.out).unwrap_or_default()).into_owned()
    }

    /// Waits for a log line that holds `text`, and returns it.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        self.wait_for_log_times(text, 1)
    }

    /// Waits until that many lines of the log hold `text`, and returns the last of them.
    #[track_caller]
    pub(crate) fn wait_for_log_times(&self, text: &str, times: usize) -> String {
        poll_until(&format!("log line {times} with {text:?}"), SOON, || {
            self.log().lines().filter(|line| line.contains(text)).nth(times - 1).map(str::to_owned)
        })
    }

    /// Log lines that hold `text`.
    pub(crate) fn count_log(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        process::signal(self.pid, signal);
    }

    /// Its workers that run, oldest first.
    pub(crate) fn workers(&self) -> Vec<i32> {
        let mut pids = process::children(self.pid);
        pids.retain(|pid| !process::title(*pid).contains(": template"));
        pids
    }

    /// Its templates that run, oldest first.
    pub(crate) fn templates(&self) -> Vec<i32> {
        let mut pids = process::children(self.pid);
        pids.retain(|pid| process::title(*pid).contains(": template"));
        pids
    }

    /// Waits until there is one template, which is none of `old`.
    #[track_caller]
    pub(crate) fn wait_template(&self, old: &[i32]) -> i32 {
        poll_until(&format!("a template in place of {old:?}"), SOON, || {
            Some(self.templates()).filter(|pids| pids.len() == 1 && !old.contains(&pids[0])).map(|pids| pids[0])
        })
    }

    /// Waits until there are that many workers.
    #[track_caller]
    pub(crate) fn wait_workers(&self, count: usize) -> Vec<i32> {
        poll_until(&format!("{count} workers"), SOON, || Some(self.workers()).filter(|pids| pids.len() == count))
    }

    /// Waits until there are that many workers, none of them among `old`.
    #[track_caller]
    pub(crate) fn wait_replaced(&self, old: &[i32], count: usize) -> Vec<i32> {
        poll_until(&format!("{count} workers in place of {old:?}"), SOON, || {
            Some(self.workers()).filter(|pids| pids.len() == count && !pids.iter().any(|pid| old.contains(pid)))
        })
    }

    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Answer {
        client::get(&self.address, target)
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        Client::to(&self.address)
    }

    /// The pid of a worker that answers.
    #[track_caller]
    pub(crate) fn answering(&self) -> i32 {
        self.get("/pid").text().trim().parse().expect("a pid")
    }

    /// Another process to be ended with this server: it left its process group.
    pub(crate) fn adopt(&mut self, pid: i32) {
        self.others.push(pid);
    }

    /// Ids that the application has answered, in the order in which it did.
    pub(crate) fn answered(&self) -> PathBuf {
        self.directory.join("answered")
    }

    /// Sends SIGTERM and waits for exit code 0.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let code = self.wait_code(SOON);
        assert_eq!(code, 0, "the exit code after SIGTERM; the log:\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut pids = if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            process::tree(self.pid)
        } else {
            Vec::new()
        };
        pids.extend(self.others.iter().flat_map(|pid| process::tree(*pid)));
        for pid in pids.into_iter().filter(|pid| process::is_alive(*pid)) {
            process::signal(pid, Signal::SIGKILL);
        }
        // Whoever has lost its parent is still in the group.
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(self.pid), Signal::SIGKILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.log.display(), self.log());
        }
    }
}

/// A second name for a program, which a test may replace without touching the first.
pub(crate) fn link_program(program: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(program, to).or_else(|_| fs::copy(program, to).map(drop))
}
