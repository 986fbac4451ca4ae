//! Records beside requests, several requests on a connection, and the bodies.

use super::record::{self, Begin, Header, Kind, Pairs, ProtocolStatus, Role};
use crate::protocol::properties::{Seen, Transcript, conversation, gateway};
use crate::protocol::{Event, Head, Limits, Machine, Protocol, Reuse};

fn begin(id: u16, role: Role, keep: bool) -> Vec<u8> {
    let mut out = Vec::new();
    Begin { role, keep }.write(id, &mut out);
    out
}

fn one(kind: Kind, id: u16, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    record::record(kind, id, content, &mut out);
    out
}

fn params(variables: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/")].iter().chain(variables) {
        record::pair(name.as_bytes(), value.as_bytes(), &mut out);
    }
    out
}

fn head(id: u16, keep: bool, variables: &[(&str, &str)]) -> Vec<u8> {
    [begin(id, Role::Responder, keep), one(Kind::Params, id, &params(variables)), one(Kind::Params, id, b"")].concat()
}

fn watch(input: &[u8]) -> Transcript {
    gateway(Protocol::FastCgi, input, 7);
    conversation(Protocol::FastCgi, [input], &Limits::default())
}

/// The records in what was answered.
fn records(mut answers: &[u8]) -> Vec<(Kind, u16, Vec<u8>)> {
    let mut records = Vec::new();
    while let Some(header) = Header::parse(answers).unwrap() {
        let content = answers[record::HEADER_SIZE..record::HEADER_SIZE + usize::from(header.length)].to_vec();
        records.push((header.kind, header.request, content));
        answers = &answers[header.record_size()..];
    }
    assert!(answers.is_empty());
    records
}

fn ends(answers: &[u8]) -> Vec<(u16, ProtocolStatus)> {
    let ends = records(answers).into_iter().filter(|(kind, ..)| *kind == Kind::EndRequest);
    ends.map(|(_, id, content)| (id, record::End::parse(&content).unwrap().status)).collect()
}

fn body_of(transcript: &Transcript) -> Option<&[u8]> {
    transcript.seen.iter().find_map(|seen| if let Seen::Body(body) = seen { Some(body.as_slice()) } else { None })
}

#[test]
fn values_are_told_at_any_time_and_only_the_known_ones() {
    let mut asked = Vec::new();
    for name in ["FCGI_MPXS_CONNS", "FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_WHATEVER"] {
        record::pair(name.as_bytes(), b"", &mut asked);
    }
    let ask = one(Kind::GetValues, 0, &asked);
    let input =
        [ask.clone(), head(1, true, &[("CONTENT_LENGTH", "2")]), ask.clone(), one(Kind::Stdin, 1, b"a"), ask].concat();
    let input = [input, one(Kind::Stdin, 1, b"b"), one(Kind::Stdin, 1, b"")].concat();
    let transcript = watch(&input);
    assert_eq!(body_of(&transcript), Some(b"a".as_slice()));
    assert_eq!(transcript.seen.iter().filter(|seen| **seen == Seen::Reply(Reuse::KeepAlive)).count(), 3);
    let answers = records(&transcript.answers);
    let results: Vec<_> = answers.iter().filter(|(kind, ..)| *kind == Kind::GetValuesResult).collect();
    assert_eq!(results.len(), 3);
    for (_, id, content) in results {
        let pairs: Pairs<'_> = record::pairs(content);
        let pairs: Vec<_> = pairs.map(Result::unwrap).collect();
        let expected: [(&[u8], &[u8]); 3] =
            [(b"FCGI_MAX_CONNS", b"12"), (b"FCGI_MAX_REQS", b"12"), (b"FCGI_MPXS_CONNS", b"0")];
        assert_eq!((*id, pairs), (0, expected.to_vec()));
    }
}

#[test]
fn a_management_record_of_an_unknown_type_is_named_as_such() {
    let transcript = watch(&one(Kind::Other(77), 0, b"xyz"));
    assert_eq!(records(&transcript.answers), [(Kind::UnknownType, 0, vec![77, 0, 0, 0, 0, 0, 0, 0])]);
}

#[test]
fn a_request_beside_another_is_declined_and_one_behind_it_is_served() {
    let second = [head(2, true, &[]), one(Kind::Stdin, 2, b"no")].concat();
    let input = [
        head(1, true, &[("CONTENT_LENGTH", "4")]),
        one(Kind::Stdin, 1, b"ab"),
        second,
        one(Kind::Stdin, 1, b"cd"),
        one(Kind::Stdin, 1, b""),
        one(Kind::Stdin, 2, b""),
        head(3, true, &[]),
        one(Kind::Stdin, 3, b""),
    ]
    .concat();
    let transcript = watch(&input);
    let ended = [(2, ProtocolStatus::CannotMultiplex), (1, ProtocolStatus::Complete), (3, ProtocolStatus::Complete)];
    assert_eq!(ends(&transcript.answers), ended);
    assert_eq!(body_of(&transcript), Some(b"ab".as_slice()));
    assert!(transcript.seen.contains(&Seen::Body(b"cd".to_vec())));
    // The same while its variables are still arriving.
    let half = params(&[]);
    let input = [
        begin(1, Role::Responder, true),
        one(Kind::Params, 1, &half[..10]),
        begin(9, Role::Responder, true),
        one(Kind::Params, 9, b"xx"),
        one(Kind::Params, 1, &half[10..]),
        one(Kind::Params, 1, b""),
        one(Kind::Stdin, 1, b""),
    ]
    .concat();
    let ended = [(9, ProtocolStatus::CannotMultiplex), (1, ProtocolStatus::Complete)];
    assert_eq!(ends(&watch(&input).answers), ended);
}

#[test]
fn roles_that_are_not_played_are_declined_and_an_authorizer_has_no_body() {
    for role in [Role::Filter, Role::Other(9)] {
        let transcript = watch(
            &[begin(1, role, true), one(Kind::Params, 1, b""), head(1, true, &[]), one(Kind::Stdin, 1, b"")].concat(),
        );
        let ended = [(1, ProtocolStatus::UnknownRole), (1, ProtocolStatus::Complete)];
        assert_eq!(ends(&transcript.answers), ended);
        let transcript = watch(&begin(1, role, false));
        assert_eq!(transcript.seen, [Seen::Reply(Reuse::Close)]);
    }
    let authorizer = [
        begin(1, Role::Authorizer, true),
        one(Kind::Params, 1, &params(&[("CONTENT_LENGTH", "5")])),
        one(Kind::Params, 1, b""),
    ]
    .concat();
    let transcript = watch(&authorizer);
    let [Seen::Request(head), Seen::End(Reuse::KeepAlive)] = &transcript.seen[..] else { panic!("{transcript:?}") };
    assert!(head.contains("  param FCGI_ROLE=AUTHORIZER\n"), "{head}");
}

#[test]
fn an_abort_ends_the_request_wherever_it_is() {
    let abort = one(Kind::AbortRequest, 1, b"");
    let in_head = [begin(1, Role::Responder, true), one(Kind::Params, 1, b"\x01"), abort.clone()].concat();
    let in_body = [head(1, true, &[("CONTENT_LENGTH", "4")]), one(Kind::Stdin, 1, b"ab"), abort.clone()].concat();
    let next = [head(2, true, &[]), one(Kind::Stdin, 2, b"")].concat();
    for (input, expected) in [(in_head, Seen::Reply(Reuse::KeepAlive)), (in_body, Seen::Aborted(Reuse::KeepAlive))] {
        let transcript = watch(&[input, next.clone()].concat());
        assert!(transcript.seen.contains(&expected), "{:?}", transcript.seen);
        assert_eq!(ends(&transcript.answers), [(1, ProtocolStatus::Complete), (2, ProtocolStatus::Complete)]);
    }
    let transcript = watch(&[head(1, false, &[("CONTENT_LENGTH", "4")]), one(Kind::Stdin, 1, b"a"), abort].concat());
    assert_eq!(transcript.seen.last(), Some(&Seen::Aborted(Reuse::Close)));
}

#[test]
fn a_request_that_waits_for_its_answer_can_be_aborted() {
    let mut machine = Machine::new(Protocol::FastCgi);
    let input = [head(3, true, &[]), one(Kind::Stdin, 3, b"")].concat();
    let progress = machine.next_event(&input, &Limits::default(), &mut Head::default()).unwrap();
    assert_eq!((progress.event, machine.end_without_body()), (Event::Request, true));
    let abort = one(Kind::AbortRequest, 3, b"");
    for (follows, aborted) in [
        (abort.clone(), true),
        ([one(Kind::Data, 3, b""), abort.clone()].concat(), true),
        (one(Kind::AbortRequest, 4, b""), false),
        (abort[..7].to_vec(), false),
        ([head(3, true, &[]), abort].concat(), false),
        (Vec::new(), false),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), false),
    ] {
        assert_eq!(machine.is_aborted(&follows), aborted, "{}", follows.escape_ascii());
    }
    machine.finish(&mut Vec::new());
    assert!(!Machine::new(Protocol::FastCgi).is_aborted(&one(Kind::AbortRequest, 0, b"")));
}

#[test]
fn a_body_of_unknown_length_ends_with_its_stream_and_one_that_is_too_long_is_cut() {
    let stream = [one(Kind::Stdin, 1, b"ab"), one(Kind::Stdin, 1, b"cdef"), one(Kind::Stdin, 1, b"")].concat();
    for (length, expected) in [("", "abcdef"), ("3", "abc"), ("6", "abcdef")] {
        let transcript = watch(&[head(1, true, &[("CONTENT_LENGTH", length)]), stream.clone()].concat());
        assert_eq!(body_of(&transcript), Some(expected.as_bytes()), "{length:?}");
        assert_eq!(transcript.seen.last(), Some(&Seen::End(Reuse::KeepAlive)));
        let Seen::Request(head) = &transcript.seen[0] else { panic!() };
        assert_eq!(head.contains("  chunked"), length.is_empty(), "{head}");
    }
    // flup's client sends an empty DATA record behind the body.
    let transcript = watch(&[head(1, false, &[]), one(Kind::Stdin, 1, b""), one(Kind::Data, 1, b"")].concat());
    assert_eq!(transcript.seen.last(), Some(&Seen::End(Reuse::Close)));
}

#[test]
fn variables_may_be_spread_over_records_and_padded() {
    let whole = params(&[("HTTP_X", "y")]);
    for cut in [1, 5, whole.len() - 1] {
        let mut input = begin(1, Role::Responder, false);
        for part in [&whole[..cut], &whole[cut..]] {
            let header = Header { kind: Kind::Params, request: 1, length: part.len() as u16, padding: 3 };
            input.extend_from_slice(&header.to_bytes());
            input.extend_from_slice(part);
            input.extend_from_slice(b"PAD");
        }
        for kind in [Kind::Params, Kind::Stdin] {
            input.extend_from_slice(&Header { kind, request: 1, length: 0, padding: 2 }.to_bytes());
            input.extend_from_slice(b"PP");
        }
        let transcript = watch(&input);
        assert!(matches!(&transcript.seen[..], [Seen::Request(head), Seen::End(_)] if head.contains("x: y\n")));
        assert_eq!(transcript.left, 0);
    }
}

#[test]
fn the_last_answer_on_a_kept_connection_is_followed_by_a_record_that_means_nothing() {
    use super::FastCgi;
    use crate::protocol::{Event, Head, Length};
    let input = [head(1, true, &[]), one(Kind::Stdin, 1, b"")].concat();
    for closing in [false, true] {
        let (mut machine, mut head, mut out) = (FastCgi::default(), Head::default(), Vec::new());
        let progress = machine.next_event(&input, &Limits::default(), &mut head).unwrap();
        assert_eq!((progress.event, machine.end_without_body()), (Event::Request, true));
        if closing {
            machine.close_after_response();
        }
        machine.respond(200, None, std::iter::empty(), Length::Known(0), &mut out).unwrap();
        assert_eq!(machine.finish(&mut out), if closing { Reuse::Close } else { Reuse::KeepAlive });
        let last = records(&out).pop().unwrap();
        assert_eq!(last.0, if closing { Kind::GetValuesResult } else { Kind::EndRequest });
    }
}

#[test]
fn records_in_front_of_a_request_are_no_part_of_it() {
    let stale = one(Kind::Params, 1, &params(&[("HTTP_X_STALE", "1")]));
    let request = [head(1, true, &[("CONTENT_LENGTH", "0")]), one(Kind::Stdin, 1, b"")].concat();
    let transcript = watch(&[stale, request].concat());
    assert!(matches!(transcript.seen.first(), Some(Seen::Request(text)) if !text.contains("stale")), "{transcript:?}");
}

#[test]
fn records_that_belong_to_no_request_change_none() {
    let plain = [head(1, true, &[("CONTENT_LENGTH", "2")]), one(Kind::Stdin, 1, b"ab"), one(Kind::Stdin, 1, b"")];
    let expected = watch(&plain.concat());
    assert_eq!(body_of(&expected), Some(&b"ab"[..]));
    for kind in [Kind::Params, Kind::Stdin, Kind::Data, Kind::AbortRequest] {
        for content in [&b""[..], b"\x01\x01XY"] {
            // Of a request that never began, in front of this one, in its middle, and behind it.
            for at in 0..=plain.len() {
                let mut input = plain.to_vec();
                input.insert(at, one(kind, 9, content));
                let transcript = watch(&input.concat());
                assert_eq!(
                    (&transcript.seen, &transcript.answers),
                    (&expected.seen, &expected.answers),
                    "{kind:?} {at}"
                );
            }
        }
    }
}

#[test]
fn a_refusal_goes_to_the_request_that_has_begun_and_to_no_earlier_one() {
    use super::FastCgi;
    use crate::protocol::{Event, Head, Length};
    let earlier = [head(1, true, &[]), one(Kind::Stdin, 1, b"")].concat();
    let behind = |rest: &[u8]| [&earlier, rest].concat();
    let body = [head(2, true, &[("CONTENT_LENGTH", "4")]), one(Kind::Stdin, 2, b"ab")].concat();
    // What has come when it is refused, for instance as the rest takes too long; whom the refusal is for.
    let cases: [(Vec<u8>, Option<u16>); 8] = [
        (b"".into(), None),
        (b"\x01\x01\0".into(), None),
        (behind(b""), None),
        (behind(b"\x01\x01\0"), None),
        (begin(2, Role::Responder, true), Some(2)),
        (behind(&[begin(2, Role::Responder, true), one(Kind::Params, 2, b"\x05")].concat()), Some(2)),
        (body.clone(), Some(2)),
        (behind(&[body, one(Kind::AbortRequest, 2, b"")].concat()), None),
    ];
    for (input, expected) in cases {
        let (mut machine, mut head, mut at) = (FastCgi::default(), Head::default(), 0);
        loop {
            let progress = machine.next_event(&input[at..], &Limits::default(), &mut head).unwrap();
            at += progress.consumed;
            match progress.event {
                Event::NeedMore => break,
                Event::End => {
                    machine.respond(200, None, std::iter::empty(), Length::Known(0), &mut Vec::new()).unwrap();
                    assert_eq!(machine.finish(&mut Vec::new()), Reuse::KeepAlive);
                }
                Event::Aborted => assert_eq!(machine.reply(1, &mut Vec::new()), Reuse::KeepAlive),
                _ => {}
            }
        }
        let mut out = Vec::new();
        machine.refuse_with(408, "too slow", &mut out);
        let mut records = records(&out);
        let shown = input.escape_ascii();
        let Some(id) = expected else {
            assert_eq!(records, [], "{shown}");
            continue;
        };
        // The connection is about to be closed, and nobody may take it for one that is kept.
        assert_eq!(records.pop(), Some((Kind::GetValuesResult, 0, Vec::new())), "{shown}");
        let kinds: Vec<_> = records.iter().map(|(kind, id, _)| (*kind, *id)).collect();
        let stream = [Kind::Stderr, Kind::Stderr, Kind::Stdout, Kind::Stdout, Kind::EndRequest];
        assert_eq!(kinds, stream.map(|kind| (kind, id)), "{shown}");
        assert!(records[2].2.starts_with(b"Status: 408 Request Timeout\r\n"), "{shown}");
    }
}
