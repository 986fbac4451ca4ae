//! What /proc says about processes, and signals to them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{SOON, poll_until};

/// Sends a signal; a process that has gone is no error.
pub(crate) fn signal(pid: i32, signal: Signal) {
    assert!(pid > 1, "a signal to pid {pid}");
    let _ = kill(Pid::from_raw(pid), signal);
}

fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in front may hold blanks and parentheses.
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace().map(str::to_owned).collect())
}

/// `R`, `S`, `T`, `Z`...; `None` if there is no such process.
pub(crate) fn state(pid: i32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

/// Whether it runs; a zombie does not.
pub(crate) fn is_alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// Clock ticks that it has spent, with those of the children it has waited for.
pub(crate) fn cpu_ticks(pid: i32) -> u64 {
    let Some(fields) = stat(pid) else { return 0 };
    fields.iter().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// The policy by which a thread is scheduled, the first one of a process by its pid, as sched(7) numbers them.
pub(crate) fn scheduling(pid: i32) -> i32 {
    stat(pid).and_then(|fields| fields.get(38)?.parse().ok()).expect("a process that runs")
}

/// Its thread of that name, which has a number as a process has; if there is one.
pub(crate) fn thread(pid: i32, name: &str) -> Option<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let is_named = |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|text| text.trim_end() == name);
    threads.map(|thread| thread.path()).find(is_named)?.file_name()?.to_str()?.parse().ok()
}

/// Its children that run, oldest first.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let mut pids: Vec<i32> =
        lists.flat_map(|list| list.split_ascii_whitespace().map(str::parse).collect::<Vec<_>>()).flatten().collect();
    pids.retain(|pid| is_alive(*pid));
    pids
}

/// Its zombies.
pub(crate) fn zombies(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids = list.split_ascii_whitespace().filter_map(|word| word.parse().ok());
    pids.filter(|pid| state(*pid) == Some('Z')).collect()
}

/// It and all that descend from it.
pub(crate) fn tree(pid: i32) -> Vec<i32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        found.extend(children(pid));
        next += 1;
    }
    found
}

/// Whether it waits for events, as a worker does that has booted and has nothing to do.
pub(crate) fn is_waiting(pid: i32) -> bool {
    let waits = |number: i64| {
        #[cfg(target_arch = "x86_64")]
        let also = number == libc::SYS_epoll_wait;
        #[cfg(not(target_arch = "x86_64"))]
        let also = false;
        also || number == libc::SYS_epoll_pwait
    };
    // Any of its threads may be the one.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .map(|thread| fs::read_to_string(thread.path().join("syscall")).unwrap_or_default())
        .any(|syscall| syscall.split(' ').next().and_then(|word| word.parse().ok()).is_some_and(waits))
}

/// A line of /proc/PID/status.
pub(crate) fn status(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
}

/// What `ps` shows.
pub(crate) fn title(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ")
}

pub(crate) fn working_directory(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// Its open descriptors and what they are.
pub(crate) fn descriptors(pid: i32) -> Vec<(i32, String)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
        })
        .collect();
    found.sort();
    found
}

/// Inodes of the sockets that it has open.
pub(crate) fn sockets(pid: i32) -> Vec<u32> {
    let inode = |text: &str| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    descriptors(pid).iter().filter_map(|(_, target)| inode(target)).collect()
}

/// Resident memory in KiB.
pub(crate) fn resident(pid: i32) -> u64 {
    kibibytes(pid, "VmRSS")
}

/// Resident memory in KiB, without pages of files, which come and go.
pub(crate) fn anonymous(pid: i32) -> u64 {
    kibibytes(pid, "RssAnon")
}

fn kibibytes(pid: i32, name: &str) -> u64 {
    let text = status(pid, name).unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Waits until it has no children that have ended and that it has not heard of.
#[track_caller]
pub(crate) fn wait_reaped(parent: i32) {
    poll_until("children that have ended to be reaped", SOON, || zombies(parent).is_empty().then_some(()));
}

/// Waits until none of them runs.
#[track_caller]
pub(crate) fn wait_gone(pids: &[i32], limit: Duration) {
    poll_until("processes to end", limit, || pids.iter().all(|pid| !is_alive(*pid)).then_some(()));
}
