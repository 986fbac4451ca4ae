use std::fs;

use super::*;
use crate::logging::scratch::Scratch;

fn escaped(message: &str, several: bool) -> String {
    let mut line = b"[start] ".to_vec();
    escape(&mut line, message, several);
    String::from_utf8(line).unwrap()
}

/// A log of a test's own.
fn open(path: &str) -> ErrorLog {
    let destination = Destination::named(path, Standard::Error).unwrap();
    let sink = Sink::open(&destination, None).ok();
    ErrorLog { destination: Some(destination), sink, ..ErrorLog::new() }
}

#[test]
fn a_line_begins_as_gunicorns() {
    let mut line = Vec::new();
    line_start(&mut line, "INFO");
    let line = String::from_utf8(line).unwrap();
    let shape: String = line.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    let pid: String = std::process::id().to_string().chars().map(|_| '9').collect();
    let expected = format!("[9999-99-99 99:99:99 +9999] [{pid}] [INFO] ");
    assert_eq!(shape.replace('-', "+"), expected.replace('-', "+"));
}

#[test]
fn no_message_can_begin_a_line() {
    let cases = [
        ("plain, ümlaut, \t tab", "plain, ümlaut, \t tab"),
        ("end\n", "end"),
        ("a\n[2026-11-22", r"a\n[2026-11-22"),
        ("a\r\nb", r"a\r\nb"),
        ("\u{1b}[31m\0\u{7f}", r"\x1b[31m\x00\x7f"),
        ("\u{85}\u{2028}\u{9b}", r"\u{85}\u{2028}\u{9b}"),
    ];
    for (message, expected) in cases {
        assert_eq!(escaped(message, false), format!("[start] {expected}\n"));
    }
}

#[test]
fn only_a_traceback_has_several_lines_and_all_are_indented() {
    assert_eq!(
        escaped("Traceback:\n  File \"x\"\n[2026-11-22 forged\r\x1b\n", true),
        "[start] Traceback:\n    File \"x\"\n  [2026-11-22 forged\\r\\x1b\n"
    );
}

#[test]
fn lines_are_cut_so_that_a_pipe_takes_them_at_once() {
    for text in ["x".repeat(10_000), "\u{9b}".repeat(10_000), "ü".repeat(10_000)] {
        let line = escaped(&text, false);
        assert!(line.len() <= PIECE && line.len() > PIECE - 64 && line.ends_with("[...]\n"), "{}", line.len());
        let lines = escaped(&format!("{text}\n{text}"), true);
        assert!(lines.lines().all(|line| line.len() < PIECE));
        assert_eq!(lines.lines().count(), 2);
    }
    let endless = escaped(&"line\n".repeat(100_000), true);
    assert!(endless.len() <= LONGEST + 64 && endless.ends_with("\n  [...]\n"), "{}", endless.len());
}

#[test]
fn what_is_lost_is_counted_and_said_once_a_second_when_writing_works_again() {
    let scratch = Scratch::new();
    let before = lost();
    let mut log = open("/dev/full");
    log.write(b"one\n");
    log.write(b"two\nthree\n");
    assert_eq!(log.unreported, 3);
    assert!(lost() >= before + 3);

    let path = scratch.path("log");
    log.sink = open(path.to_str().unwrap()).sink;
    log.write(b"four\n");
    let text = scratch.read("log");
    assert!(text.starts_with("four\n[") && text.ends_with("[WARNING] 3 log lines were lost\n"), "{text}");
    assert_eq!(log.unreported, 0);

    log.lose(2);
    log.write(b"five\n");
    assert!(scratch.read("log").ends_with("five\n"), "said again within a second");
    log.reported = Some(Moment::default());
    log.write(b"six\n");
    assert!(scratch.read("log").ends_with("[WARNING] 2 log lines were lost\n"));
}

#[test]
fn a_file_that_was_moved_away_is_made_again() {
    let scratch = Scratch::new();
    let mut log = open(scratch.path("log").to_str().unwrap());
    log.write(b"one\n");
    fs::rename(scratch.path("log"), scratch.path("log.1")).unwrap();
    log.reopen().unwrap();
    log.write(b"two\n");
    assert_eq!((scratch.read("log.1").as_str(), scratch.read("log").as_str()), ("one\n", "two\n"));

    fs::remove_file(scratch.path("log")).unwrap();
    fs::create_dir(scratch.path("log")).unwrap();
    assert!(log.reopen().is_err());
    log.write(b"three\n");
    assert_eq!(log.unreported, 0, "the old file is kept");
}

#[test]
fn the_log_of_the_process_follows_its_settings() {
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path(name).to_str().unwrap().to_owned();
    let settings = Settings { errorlog: path("first"), accesslog: Some(path("access")), ..Settings::default() };
    init(&settings).unwrap();
    log::info!("informed\n[forged]");
    log::debug!("not logged");
    log::error!(target: TRACEBACK, "Traceback\n  line");
    crate::logging::critical!("WORKER TIMEOUT (pid:{})", 1);
    let text = scratch.read("first");
    for part in ["[INFO] informed\\n[forged]\n", "[ERROR] Traceback\n    line\n", "[CRITICAL] WORKER TIMEOUT (pid:1)\n"]
    {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
    assert!(!text.contains("not logged"), "{text}");
    assert!(scratch.path("access").exists());

    let missing = Settings { errorlog: "/nowhere/log".to_owned(), ..settings.clone() };
    assert!(init(&missing).unwrap_err().to_string().contains("errorlog = \"/nowhere/log\""));
    let second = Settings { errorlog: path("second"), loglevel: LevelFilter::Off, ..settings };
    init(&second).unwrap();
    log::error!("below critical");
    crate::logging::critical!("critical");
    let text = scratch.read("second");
    assert!(text.contains("[CRITICAL] critical") && !text.contains("below"), "{text}");

    fs::rename(scratch.path("second"), scratch.path("moved")).unwrap();
    reopen();
    crate::logging::critical!("after");
    assert!(scratch.read("second").contains("after"));
}
