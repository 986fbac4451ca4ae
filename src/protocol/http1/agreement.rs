//! Plain heads, as both passes see them: what the quick one accepts, the strict one accepts with the same result.

use super::plain;
use super::request::whole;
use crate::protocol::{FieldId, Head, Limits};

const LIMITS: Limits = Limits { request_line: 60, fields: 4, field_size: 60, head_size: 200, body_size: 1000 };

/// The head before, which the quick pass remembers: the lines of the one that is replaced byte by byte below, as they are, one
/// further, and the last ones changed.
const BEFORE: [&[u8]; 4] = [
    b"GET /a?b HTTP/1.1\r\nHost: a.b:80\r\nContent-Length: 3\r\nX-Other: c d\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a.b:80\r\nDnt: 1\r\nContent-Length: 3\r\nX-Other: c d\r\n\r\n",
    b"POST /a/much/longer/target HTTP/1.0\r\nHost: a.b:80\r\nContent-Length: 33\r\nX-Other:c d\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// What both passes make of it: the first one's result, if it has one, must be the other's, whatever was there before.
fn is_plain(input: &[u8], limits: &Limits) -> bool {
    let mut theirs = Head::default();
    let strict = whole(input, limits, &mut theirs);
    let recognised = BEFORE.map(|before| {
        let (mut fresh, mut again) = (Head::default(), Head::default());
        assert_eq!(plain::head(before, &Limits::default(), &mut again), Some(before.len()));
        let found = [&mut fresh, &mut again].map(|ours| {
            let length = plain::head(input, limits, ours)?;
            assert_eq!(strict, Ok(Some(length)), "{}", input.escape_ascii());
            // What the quick pass remembers.
            ours.forget();
            (ours.ids, ours.limits, ours.valid_host) = (0, theirs.limits, theirs.valid_host.clone());
            assert_eq!(format!("{ours:?}"), format!("{theirs:?}"), "{}", input.escape_ascii());
            Some(length)
        });
        assert_eq!(found[0], found[1], "{} behind {}", input.escape_ascii(), before.escape_ascii());
        found[0].is_some()
    });
    assert!(recognised.windows(2).all(|both| both[0] == both[1]));
    if recognised[0] {
        comes_again(input, limits);
    }
    recognised[0]
}

/// The same head once more comes to the same, though it may not be looked at again.
fn comes_again(input: &[u8], limits: &Limits) {
    let mut head = Head::default();
    let length = plain::head(input, limits, &mut head);
    let first = format!("{head:?}");
    head.number = 7;
    assert_eq!(plain::head(input, limits, &mut head), length, "{}", input.escape_ascii());
    assert_eq!(head.repeats(7), head.ids & FieldId::PRIVATE == 0, "{}", input.escape_ascii());
    head.repeated = Default::default();
    assert_eq!(format!("{head:?}"), first, "{}", input.escape_ascii());
}

#[test]
fn plain_heads_are_recognised() {
    let plain: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a/b?c=d&e HTTP/1.1\r\nHost: a:80\r\nAccept: */*\r\n\r\nGET",
        b"POST /? HTTP/1.0\r\n\r\n",
        b"PUT /? HTTP/1.1\r\nhost:a\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n",
        b"REPORT /%20 HTTP/1.1\r\nHOST: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET // HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=\"d\"; e=\xfc\r\nConnection: keep-alive, close\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: inner\xe2\x82\xacblanks  stay\r\nHost: [::1]:8000\r\n\r\n",
        b"GET /0123456789/012345678?0123456789012345 HTTP/1.1\r\nHost: a\r\nA-Field-Of-Its-Own: 0123456789\r\n\r\n",
    ];
    for head in plain {
        assert!(is_plain(head, &LIMITS), "{}", head.escape_ascii());
    }
}

#[test]
fn what_is_not_plain_is_left_to_others() {
    let other: [&[u8]; 12] = [
        b"",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a \r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\tb\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    for head in other {
        assert!(!is_plain(head, &LIMITS), "{}", head.escape_ascii());
    }
}

/// Every byte at every place of a head: what is recognised, httparse and the checks on top of it accept as well.
#[test]
fn nothing_is_recognised_that_the_strict_pass_refuses() {
    let head = b"GET /a?b HTTP/1.1\r\nHost: a.b:80\r\nContent-Length: 3\r\nX-Other: c d\r\n\r\n";
    assert!(is_plain(head, &LIMITS));
    let mut recognised = 0;
    for place in 0..head.len() {
        for byte in 0..=255 {
            let mut replaced = head.to_vec();
            replaced[place] = byte;
            let mut inserted = head.to_vec();
            inserted.insert(place, byte);
            recognised += usize::from(is_plain(&replaced, &LIMITS)) + usize::from(is_plain(&inserted, &LIMITS));
        }
        let mut removed = head.to_vec();
        removed.remove(place);
        recognised += usize::from(is_plain(&removed, &LIMITS));
    }
    assert!(recognised > 5000, "{recognised}: they are hardly compared");
}

/// A head that was not accepted has left its lines where those of the one before were.
#[test]
fn nothing_is_remembered_of_a_head_that_was_not_plain() {
    let odd: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \t\r\nDnt: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nDnt: 1 \r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nDnt: 1\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nDnt: 1",
    ];
    let plain = b"GET / HTTP/1.1\r\nHost: a\r\nDnt: 1\r\n\r\n";
    for odd in odd {
        let (mut head, mut fresh) = (Head::default(), Head::default());
        for input in [plain, odd, plain] {
            let _ = plain::head(input, &LIMITS, &mut head).or_else(|| whole(input, &LIMITS, &mut head).ok().flatten());
        }
        assert_eq!(plain::head(plain, &LIMITS, &mut fresh), Some(plain.len()));
        assert_eq!(head.repeated(1), 0);
        (head.repeated, fresh.repeated) = Default::default();
        assert_eq!(format!("{head:?}"), format!("{fresh:?}"), "{}", odd.escape_ascii());
    }
}

#[test]
fn a_head_knows_which_lines_the_request_before_had_and_no_secrets_are_compared() {
    let head = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
    let before = "Accept: b\r\nDnt: 1\r\nCookie: c\r\nAuthorization: d\r\nX: e\r\n";
    let host = FieldId::Host.bit();
    let cases = [
        (before, host | FieldId::Accept.bit() | FieldId::Dnt.bit()),
        ("Accept: c\r\nDnt: 1\r\n", host | FieldId::Dnt.bit()),
        ("accept: b\r\nDnt:1\r\n", host),
        ("Dnt: 1\r\nAccept: b\r\n", host),
        ("Accept: b\r\nDnt: 1\r\nAccept: c\r\n", host | FieldId::Dnt.bit()),
        ("Accept: bc\r\nDnt: 11\r\n", host),
        ("", host),
    ];
    for (fields, repeated) in cases {
        let mut parsed = Head::default();
        plain::head(&head(before), &Limits::default(), &mut parsed).unwrap();
        parsed.number = 7;
        plain::head(&head(fields), &Limits::default(), &mut parsed).unwrap();
        assert_eq!((parsed.repeated(7), parsed.repeated(8), parsed.number()), (repeated, 0, 0), "{fields:?}");
        // That one was called for nothing: nobody can know its number.
        plain::head(&head(fields), &Limits::default(), &mut parsed).unwrap();
        assert_eq!((parsed.repeated(7), parsed.repeated(0)), (0, 0), "{fields:?}");
    }
}

#[test]
fn a_head_is_known_as_a_whole_only_to_the_last_letter() {
    let before = b"GET /a HTTP/1.1\r\nHost: a\r\nDnt: 1\r\n\r\n";
    let cases: [(&[u8], bool); 7] = [
        (before, true),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nDnt: 1\r\n\r\nGET /b", true),
        (b"GET /b HTTP/1.1\r\nHost: a\r\nDnt: 1\r\n\r\n", false),
        (b"GET /a HTTP/1.0\r\nHost: a\r\nDnt: 1\r\n\r\n", false),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nDnt: 1\r\n\r\n", false),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nDnt: 1\r\nAccept: b\r\n\r\n", false),
        (b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", false),
    ];
    for (input, whole) in cases {
        let mut head = Head::default();
        plain::head(before, &Limits::default(), &mut head).unwrap();
        head.number = 7;
        plain::head(input, &Limits::default(), &mut head).unwrap();
        assert_eq!(
            (head.repeats(7), head.repeats(8), head.repeats(0)),
            (whole, false, false),
            "{}",
            input.escape_ascii()
        );
        head.forget();
        assert!(!head.repeats(7));
    }
}

/// What was within other limits is not within these for that.
#[test]
fn limits_hold_for_a_head_that_comes_again() {
    let input = b"POST /0123456789 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nAccept: 0123456789\r\n\r\n";
    let wide = Limits::default();
    let tight = [
        Limits { request_line: 20, ..wide },
        Limits { fields: 2, ..wide },
        Limits { field_size: 12, ..wide },
        Limits { head_size: input.len() - 1, ..wide },
        Limits { body_size: 4, ..wide },
    ];
    for limits in tight {
        let mut head = Head::default();
        assert!(plain::head(input, &wide, &mut head).is_some());
        assert_eq!(plain::head(input, &limits, &mut head), None, "{limits:?}");
    }
}

#[test]
fn limits_hold() {
    let head = b"GET /0123456789 HTTP/1.1\r\nHost: a\r\nA: 0123456789\r\nB: c\r\nD: e\r\n\r\n";
    assert!(is_plain(head, &LIMITS));
    let tight = [
        Limits { request_line: 23, ..LIMITS },
        Limits { fields: 3, ..LIMITS },
        Limits { field_size: 12, ..LIMITS },
        Limits { head_size: head.len() - 1, ..LIMITS },
    ];
    for limits in tight {
        assert!(!is_plain(head, &limits), "{limits:?}");
    }
    let just = Limits { request_line: 24, fields: 4, field_size: 13, head_size: head.len(), body_size: 0 };
    assert!(is_plain(head, &just));
}
