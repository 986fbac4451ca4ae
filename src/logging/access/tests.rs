use std::fs::{self, File};
use std::io::Read;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::format::tests::{entry, head, peer};
use super::*;
use crate::logging::scratch::Scratch;

fn open(scratch: &Scratch, name: &str, format: &str) -> AccessLog {
    let accesslog = Some(scratch.path(name).to_str().unwrap().to_owned());
    let settings = Settings { accesslog, access_log_format: format.to_owned(), ..Settings::default() };
    AccessLog::open(&settings).unwrap().unwrap()
}

/// A log on a pipe, and the pipe's other end.
fn open_pipe(scratch: &Scratch, format: &str) -> (AccessLog, File) {
    let path = scratch.path("pipe");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    // For reading and writing, which does not wait for the other side.
    let reader = File::options().read(true).write(true).open(&path).unwrap();
    (open(scratch, "pipe", format), reader)
}

#[test]
fn there_is_no_log_if_none_is_asked_for() {
    assert!(AccessLog::open(&Settings::default()).unwrap().is_none());
}

#[test]
fn lines_are_written_together_at_the_flush() {
    let scratch = Scratch::new();
    let mut log = open(&scratch, "log", "%(h)s %(s)s");
    let (head, peer) = (head("GET", "/", &[]), peer("192.0.2.1:1"));
    log.line(&entry(&head, &peer));
    log.line(&entry(&head, &peer));
    assert!(log.is_waiting());
    assert_eq!(scratch.read("log"), "");
    log.flush();
    assert!(!log.is_waiting());
    assert_eq!(scratch.read("log"), "192.0.2.1 200\n192.0.2.1 200\n");
}

#[test]
fn a_file_that_was_moved_away_is_made_again() {
    let scratch = Scratch::new();
    let mut log = open(&scratch, "log", "%(s)s");
    let (head, peer) = (head("GET", "/", &[]), peer("192.0.2.1:1"));
    log.line(&entry(&head, &peer));
    fs::rename(scratch.path("log"), scratch.path("log.1")).unwrap();
    log.reopen();
    log.line(&Entry { status: 404, ..entry(&head, &peer) });
    log.flush();
    assert_eq!((scratch.read("log.1").as_str(), scratch.read("log").as_str()), ("200\n", "404\n"));

    fs::remove_file(scratch.path("log")).unwrap();
    fs::create_dir(scratch.path("log")).unwrap();
    log.reopen();
    log.line(&entry(&head, &peer));
    log.flush();
    assert_eq!((log.is_waiting(), log.lost()), (false, 0));
}

#[test]
fn a_blocked_pipe_costs_lines_and_nothing_else() {
    let scratch = Scratch::new();
    let (mut log, mut reader) = open_pipe(&scratch, "%(U)s");
    let path = format!("/{}", "p".repeat(998));
    let (head, peer) = (head("GET", &path, &[]), peer("192.0.2.1:1"));
    const LINES: usize = 3000;
    for _ in 0..LINES {
        log.line(&entry(&head, &peer));
        log.flush();
    }
    assert!(log.is_waiting());
    assert!(log.waiting.len() <= MOST_WAITING + 1000);
    let lost = log.lost() as usize;
    assert!(lost > 1000, "{lost}");

    // The reader comes back: everything that was not lost arrives, in whole lines.
    let line = format!("{path}\n");
    let mut buffer = vec![0; line.len()];
    for number in 0..LINES - lost {
        log.flush();
        reader.read_exact(&mut buffer).unwrap();
        assert_eq!(buffer, line.as_bytes(), "line {number}");
    }
    log.flush();
    assert!(!log.is_waiting());
    assert!(log.waiting.capacity() <= KEPT);
    assert_eq!(log.lost() as usize, lost);
}

#[test]
fn a_line_is_no_longer_than_a_pipe_takes_at_once() {
    let scratch = Scratch::new();
    let (mut log, mut reader) = open_pipe(&scratch, "%(U)s%(s)s");
    let (head, peer) = (head("GET", &"/".repeat(10_000), &[]), peer("192.0.2.1:1"));
    log.line(&entry(&head, &peer));
    log.flush();
    let mut line = vec![0; 4096];
    reader.read_exact(&mut line).unwrap();
    assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(4095));
    assert!(!log.is_waiting());

    let mut log = open(&scratch, "log", "%(U)s%(s)s");
    log.line(&entry(&head, &peer));
    log.flush();
    assert!(scratch.read("log").ends_with("/200\n"));
}

#[test]
fn a_reader_that_has_gone_costs_the_lines() {
    let scratch = Scratch::new();
    let (mut log, reader) = open_pipe(&scratch, "%(s)s");
    drop(reader);
    let (head, peer) = (head("GET", "/", &[]), peer("192.0.2.1:1"));
    log.line(&entry(&head, &peer));
    log.line(&entry(&head, &peer));
    log.flush();
    assert_eq!((log.is_waiting(), log.lost()), (false, 2));
}

#[test]
fn a_full_disk_keeps_the_lines_for_a_while() {
    let accesslog = Some("/dev/full".to_owned());
    let mut log = AccessLog::open(&Settings { accesslog, ..Settings::default() }).unwrap().unwrap();
    let (head, peer) = (head("GET", "/", &[]), peer("192.0.2.1:1"));
    log.line(&entry(&head, &peer));
    log.flush();
    assert_eq!((log.is_waiting(), log.lost()), (true, 0));
}

#[test]
fn a_log_that_cannot_be_opened_is_named() {
    let accesslog = Some("/nowhere/log".to_owned());
    let error = AccessLog::open(&Settings { accesslog, ..Settings::default() }).unwrap_err();
    assert!(error.to_string().contains("accesslog = \"/nowhere/log\""), "{error}");
    assert_eq!(error.exit_code(), 1);
}
