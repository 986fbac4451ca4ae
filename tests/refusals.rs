//! What the server answers itself, in place of an application: well-formed by every protocol.

use crate::support::doors::{Ask, Door};
use crate::support::gateways::nginx;
use crate::support::{Answer, Client, Server, client};

/// A request that the server answers by itself.
struct Case {
    status: u16,
    args: &'static [&'static str],
    ask: Ask<'static>,
    /// So many bytes at its end are not sent, and so many of FastCGI's records.
    withheld: [usize; 2],
    logged: &'static str,
}

impl Case {
    fn new(status: u16, args: &'static [&'static str], ask: Ask<'static>, logged: &'static str) -> Self {
        Self { status, args, ask, withheld: [0; 2], logged }
    }
}

/// All that the server says, which must be one answer and nothing else.
fn whole(door: Door, bytes: &[u8], head_only: bool, what: &str) -> Answer {
    match door.parse(bytes, head_only, true) {
        Ok((answer, taken)) if taken == bytes.len() => answer,
        other => panic!("{what}: {other:?} of {}", bytes.escape_ascii()),
    }
}

#[test]
fn what_the_server_answers_itself_is_an_answer_by_each_protocol() {
    const WATCHED: &[&str] = &["-w", "1", "--request-timeout", "0.3"];
    let get = |target| Ask::new("GET", target);
    let post = Ask::new("POST", "/echo").body(b"0123456789");
    let cases = [
        Case::new(400, &[], get("/").variables(&[("HTTP_HOST", "a b")]), "(bad-host)"),
        Case { withheld: [40; 2], ..Case::new(408, &["--header-timeout", "1"], get("/"), "(head-timeout)") },
        Case { withheld: [5, 19], ..Case::new(408, &["--body-timeout", "1"], post, "(body-timeout)") },
        Case::new(413, &["--limit-request-body", "2"], post, "(body-too-large)"),
        Case::new(413, &["--limit-request-body", "2"], Ask { chunked: true, ..post }, "(body-too-large)"),
        Case::new(
            414,
            &["--limit-request-line", "20"],
            get("/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            "(request-line-too-long)",
        ),
        Case::new(431, &["--limit-request-fields", "1"], get("/").variables(&[("HTTP_A", "")]), "(too-many-fields)"),
        Case::new(500, &[], get("/panic"), "told to panic"),
        Case::new(500, &[], get("/drop"), ""),
        Case::new(503, &["--body-memory", "1", "--body-disk", "1"], post, "(body-quota)"),
        // The answer of somebody who does not answer; of a call that does not return; and of one for HEAD.
        Case::new(504, WATCHED, get("/later/30000"), "request_timeout"),
        Case::new(504, WATCHED, get("/sleep/2000"), "REQUEST TIMEOUT"),
        Case::new(504, WATCHED, Ask { method: "POST", ..get("/sleep/2000").body(b"body") }, "REQUEST TIMEOUT"),
        Case::new(504, WATCHED, Ask::new("HEAD", "/sleep/2000"), "REQUEST TIMEOUT"),
    ];
    for case in cases {
        for door in Door::GATEWAYS {
            let (ask, what) = (case.ask, format!("{:?} to {door:?}", case.ask));
            if ask.chunked && !door.streams() {
                continue;
            }
            let server = Server::probe().speaking(door.protocol()).args(case.args).start();
            let mut client = Client::to(&server.address);
            let bytes = door.request(ask);
            let withheld = case.withheld[usize::from(door.streams())];
            client.send(&bytes[..bytes.len() - withheld]).expect("sent");
            let head_only = ask.method == "HEAD";
            // A connection that is kept is not closed behind an answer that the application might have given.
            let kept = door.keeps() && case.status == 500 || ask.target.starts_with("/later");
            let answer = if kept && door.keeps() {
                client.answer_by(door, head_only).unwrap_or_else(|error| panic!("{what}: {error}\n{}", server.log()))
            } else {
                whole(door, &client.rest().expect("an end"), head_only, &what)
            };
            assert_eq!(answer.status, case.status, "{what}: {}", answer.text());
            assert_eq!(answer.body.is_empty(), head_only, "{what}: {}", answer.text());
            assert_eq!(answer.field("content-type"), Some("text/html"), "{what}");
            if door.keeps() && !kept {
                assert!(answer.closes(), "{what}: nobody has said that the connection is closed");
            }
            server.wait_for_log(case.logged);
        }
    }
}

#[test]
fn a_web_server_passes_on_that_a_call_has_taken_too_long() {
    for protocol in ["uwsgi", "fastcgi", "scgi"] {
        let server = Server::probe().speaking(protocol).args(&["-w", "1", "--request-timeout", "0.3"]).start();
        let (_nginx, front) = nginx(protocol, &server.address);
        for target in ["/sleep/2000", "/later/30000"] {
            let answer = client::get(&front, target);
            assert_eq!(answer.status, 504, "{protocol} {target}: {}", answer.text());
        }
        assert_eq!(client::get(&front, "/").text(), "hello", "{protocol}");
    }
}
