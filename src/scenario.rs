//! Tests in a process of their own, with one thread: for what must not happen to the test harness (fork, setuid, the
//! environment, titles) and cannot in its threads.
//!
//! A scenario is a function with an entry in [`SCENARIOS`]. A test runs it with [`command`], which executes the test
//! binary again; it runs there instead of `main`. What it prints is for the test to judge; a panic fails it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{listener, pidfile, process, systemd};

const VARIABLE: &str = "FERRICORN_TEST_SCENARIO";

const SCENARIOS: &[(&str, fn())] = &[
    ("inherit standard input", listener::tests::inherit_standard_input),
    ("bind for another owner", listener::tests::bind_for_another_owner),
    ("create pidfile", pidfile::tests::create_and_wait),
    ("service manager's variables", systemd::tests::read_variables),
    ("daemonize", process::tests::become_daemon),
    ("drop privileges", process::tests::drop_privileges),
    ("descriptors of children", process::tests::list_descriptors_of_child),
    ("titles", process::tests::change_titles),
    ("open files", process::tests::raise_limit),
];

/// Called before `main`.
pub(crate) fn run_if_asked() {
    let Ok(name) = std::env::var(VARIABLE) else { return };
    let passed = std::panic::catch_unwind(|| {
        let (_, run) = SCENARIOS.iter().find(|(known, _)| *known == name).expect("a known scenario");
        run();
    });
    std::process::exit(if passed.is_ok() { 0 } else { 101 });
}

/// A command that runs a scenario. Arguments that it is given are the scenario's.
pub(crate) fn command(name: &str) -> Command {
    let mut command = Command::new(program());
    command.env(VARIABLE, name);
    command
}

/// The same by way of a shell script, in which `"$0" "$@"` is the scenario (`exec` it to keep the pid).
pub(crate) fn script(script: &str, name: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).arg(program()).env(VARIABLE, name);
    command
}

fn program() -> PathBuf {
    std::env::current_exe().expect("the test binary")
}

/// What a scenario prints.
pub(crate) fn print(line: impl std::fmt::Display) {
    writeln!(std::io::stdout(), "{line}").expect("standard output");
}

/// The lines that a scenario printed, which must have passed.
#[track_caller]
pub(crate) fn lines(output: &Output) -> Vec<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// A directory of one test's, removed with all that is in it.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ferricorn-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a new directory");
        Self(path)
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Names of what is in it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("the directory");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
