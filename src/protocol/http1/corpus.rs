//! The corpus `tests/corpus`: one file for each message, and one that says what must be made of it.
//!
//! The messages are written with escapes (`\r \n \t \0 \\ \xHH`) and repetitions (`\{TEXT*COUNT}`); the line ends of the file
//! itself do not count. `UPDATE=1` writes the expectations anew, except for what an invalid message is refused with.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::protocol::properties::{Random, Seen, Transcript, cut, http1, mutate, transcript};
use crate::protocol::{Limits, Reuse};

struct Case {
    name: String,
    expectation: PathBuf,
    message: Vec<u8>,
}

fn cases(kind: &str) -> Vec<Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(kind);
    let mut paths: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "http"));
    paths.sort();
    assert!(paths.len() > 100);
    paths.into_iter().map(|path| Case::read(&path)).collect()
}

impl Case {
    fn read(path: &Path) -> Self {
        let text: String = fs::read_to_string(path).unwrap().replace('\n', "");
        let mut characters = text.chars();
        let message = unescape(&mut characters, false).0;
        Self { name: path.display().to_string(), expectation: path.with_extension("txt"), message }
    }

    fn expected(&self) -> String {
        fs::read_to_string(&self.expectation).unwrap_or_default()
    }

    /// Compares, or writes the expectation if that is wanted and the last line stays as it is.
    fn check(&self, actual: &str) {
        let expected = self.expected();
        let may_update = expected.is_empty() || expected.lines().last() == actual.lines().last();
        if std::env::var_os("UPDATE").is_some() && may_update {
            fs::write(&self.expectation, actual).unwrap();
        } else {
            assert_eq!(actual, expected, "{}", self.name);
        }
    }
}

/// Up to the end, or in a repetition up to its closing brace, with the count that stands before that.
fn unescape(characters: &mut std::str::Chars<'_>, repetition: bool) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    while let Some(character) = characters.next() {
        match character {
            '*' if repetition => {
                let count: String = characters.by_ref().take_while(|&character| character != '}').collect();
                return (bytes, count.parse().unwrap());
            }
            '\\' => match characters.next().unwrap() {
                'r' => bytes.push(b'\r'),
                'n' => bytes.push(b'\n'),
                't' => bytes.push(b'\t'),
                '0' => bytes.push(0),
                '\\' => bytes.push(b'\\'),
                'x' => {
                    let digits: String = characters.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).unwrap());
                }
                '{' => {
                    let (part, count) = unescape(characters, true);
                    bytes.extend(part.repeat(count));
                }
                other => panic!("unknown escape {other}"),
            },
            other => bytes.extend(other.to_string().bytes()),
        }
    }
    assert!(!repetition, "an open repetition");
    (bytes, 0)
}

fn render(transcript: &Transcript) -> String {
    let mut text = String::new();
    for seen in &transcript.seen {
        match seen {
            Seen::Request(head) if head.len() > 4000 => {
                let line = head.lines().next().unwrap_or_default();
                let _ = writeln!(text, "{:.60} ... {} lines, {} bytes", line, head.lines().count(), head.len());
            }
            Seen::Request(head) => text.push_str(head),
            Seen::Body(body) if body.len() > 400 => {
                let sum = body.iter().fold(0u32, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
                let _ = writeln!(text, "body of {} bytes, sum {sum:08x}", body.len());
            }
            Seen::Body(body) => {
                let _ = writeln!(text, "body \"{}\"", body.escape_ascii());
            }
            Seen::End(Reuse::KeepAlive) => text.push_str("end\n"),
            Seen::End(Reuse::Close) => text.push_str("end, close\n"),
            Seen::Refused(error) => {
                let _ = writeln!(text, "error {} {}", error.status(), error.reason());
            }
            Seen::Reply(_) | Seen::Aborted(_) => text.push_str("not of HTTP\n"),
        }
    }
    if transcript.left > 0 {
        let _ = writeln!(text, "{} bytes left", transcript.left);
    }
    text
}

/// The same whole, byte by byte, and cut at every place (of long messages, at some).
fn check_splits(case: &Case, whole: &Transcript) {
    let (message, limits) = (case.message.as_slice(), Limits::default());
    assert_eq!(&transcript(message.chunks(1), &limits), whole, "{} byte by byte", case.name);
    let step = 1 + message.len() / 600;
    for at in (0..=message.len()).step_by(step) {
        let (first, second) = message.split_at(at);
        assert_eq!(&transcript([first, second], &limits), whole, "{} cut at {at}", case.name);
    }
    let mut random = Random(message.len() as u64);
    for _ in 0..20 {
        assert_eq!(&transcript(cut(message, &mut random), &limits), whole, "{} cut into pieces", case.name);
    }
}

#[test]
fn valid_messages_are_taken_as_they_are_meant() {
    for case in cases("valid") {
        let limits = Limits::default();
        let whole = transcript([case.message.as_slice()], &limits);
        let refused = whole.seen.iter().any(|seen| matches!(seen, Seen::Refused(_)));
        assert!(!refused, "{} {:?}", case.name, whole.seen.last());
        case.check(&render(&whole));
        check_splits(&case, &whole);
        let step = 1 + case.message.len() / 600;
        for length in (0..case.message.len()).step_by(step) {
            let prefix = transcript([&case.message[..length]], &limits);
            assert!(prefix.is_beginning_of(&whole), "{} cut off at {length}: {:?}", case.name, prefix.seen);
        }
    }
}

#[test]
fn a_valid_message_leaves_the_next_one_alone() {
    let next = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n".as_slice();
    for case in cases("valid") {
        let alone = transcript([case.message.as_slice()], &Limits::default());
        if !alone.idle || alone.left > 0 {
            // Unfinished, or the last one on its connection.
            continue;
        }
        let both = transcript([case.message.as_slice(), next], &Limits::default());
        let after = &both.seen[alone.seen.len()..];
        assert_eq!(both.seen[..alone.seen.len()], alone.seen, "{}", case.name);
        let [Seen::Request(head), Seen::End(Reuse::KeepAlive)] = after else { panic!("{} {after:?}", case.name) };
        assert!(head.starts_with("GET /next HTTP/1.1\n"), "{}", case.name);
    }
}

#[test]
fn invalid_messages_are_refused_with_their_reason() {
    for case in cases("invalid") {
        let limits = Limits::default();
        let whole = transcript([case.message.as_slice()], &limits);
        case.check(&render(&whole));
        check_splits(&case, &whole);
        let next = b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n0\r\n\r\n".as_slice();
        assert_eq!(transcript([case.message.as_slice(), next], &limits), whole, "{} and what follows", case.name);
        let answer = String::from_utf8_lossy(&whole.answers);
        let Some(Seen::Refused(error)) = whole.seen.last() else { panic!("{} is accepted", case.name) };
        let status_line = format!("HTTP/1.1 {} ", error.status());
        assert!(answer.contains(&status_line), "{} {answer}", case.name);
        assert!(answer.contains("\r\nConnection: close\r\n"), "{} {answer}", case.name);
    }
}

/// 10,000 of them by default, other ones with `SEED`, more with `ROUNDS`.
#[test]
fn changed_messages_are_the_same_however_they_are_split() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let mut messages: Vec<_> = cases("valid").into_iter().chain(cases("invalid")).map(|case| case.message).collect();
    messages.retain(|message| message.len() < 2000);
    let seed = number("SEED", 1);
    let mut random = Random(seed);
    for round in 0..number("ROUNDS", 10_000) {
        let message = mutate(&messages[random.below(messages.len())], &messages, &mut random);
        let result = std::panic::catch_unwind(|| http1(&message, round));
        assert!(result.is_ok(), "SEED={seed}, round {round}: {}", message.escape_ascii());
    }
}
