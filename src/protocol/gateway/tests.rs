//! What web servers send, and what nobody should.

use crate::protocol::fastcgi::record::{self, Begin, Kind, Role};
use crate::protocol::head::Remote;
use crate::protocol::properties::{Seen, TIGHT, conversation, gateway};
use crate::protocol::{Error, Head, Limits, Machine, Protocol, Reuse};

const GATEWAYS: [Protocol; 3] = [Protocol::Uwsgi, Protocol::FastCgi, Protocol::Scgi];

type Variables<'a> = &'a [(&'a str, &'a str)];

/// A request in that protocol, with variables that all of them need.
fn request(protocol: Protocol, variables: Variables<'_>, body: &[u8]) -> Vec<u8> {
    let mut all = vec![("CONTENT_LENGTH", body.len().to_string())];
    all.extend([("SCGI", "1".to_owned()), ("REQUEST_METHOD", "GET".to_owned())]);
    all.extend(variables.iter().map(|(name, value)| (*name, (*value).to_owned())));
    if variables.iter().any(|(name, _)| *name == "CONTENT_LENGTH") {
        all.remove(0);
        all.sort_by_key(|(name, _)| *name != "CONTENT_LENGTH");
    }
    packet(protocol, &all, body)
}

fn packet(protocol: Protocol, variables: &[(&str, String)], body: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in variables {
        match protocol {
            Protocol::FastCgi => record::pair(name.as_bytes(), value.as_bytes(), &mut payload),
            Protocol::Scgi => payload.extend_from_slice(&[name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat()),
            _ => {
                for text in [name, value.as_str()] {
                    payload.extend_from_slice(&(text.len() as u16).to_le_bytes());
                    payload.extend_from_slice(text.as_bytes());
                }
            }
        }
    }
    match protocol {
        Protocol::FastCgi => {
            let mut out = Vec::new();
            Begin { role: Role::Responder, keep: false }.write(1, &mut out);
            record::stream(Kind::Params, 1, &payload, &mut out);
            record::end_stream(Kind::Params, 1, &mut out);
            record::stream(Kind::Stdin, 1, body, &mut out);
            record::end_stream(Kind::Stdin, 1, &mut out);
            out
        }
        Protocol::Scgi => [payload.len().to_string().as_bytes(), b":", &payload, b",", body].concat(),
        _ => [&[0], &(payload.len() as u16).to_le_bytes()[..], &[0], &payload, body].concat(),
    }
}

/// What is seen of those bytes, however they are split.
fn seen(protocol: Protocol, input: &[u8]) -> Vec<Seen> {
    gateway(protocol, input, input.len() as u64);
    conversation(protocol, [input], &Limits::default()).seen
}

/// The head, written out, that each of the protocols makes of the variables; they must agree.
fn head(variables: Variables<'_>) -> Result<String, Error> {
    let mut verdicts = GATEWAYS.map(|protocol| match seen(protocol, &request(protocol, variables, b"")).remove(0) {
        Seen::Request(head) => Ok(head),
        Seen::Refused(error) => Err(error),
        other => panic!("{other:?}"),
    });
    assert!(verdicts.windows(2).all(|pair| pair[0] == pair[1]), "{verdicts:?}");
    std::mem::replace(&mut verdicts[0], Ok(String::new()))
}

#[test]
fn what_nginx_sends_is_the_request_that_its_client_has_sent() {
    let expected = |path: &str, query: &str, host: &str| {
        let target = format!("{path}{query}");
        (format!("POST {target} HTTP/1.1\n"), format!("host: {host}\n"))
    };
    let corpus = |name: &str| std::fs::read(format!("tests/corpus/gateways/{name}")).unwrap();
    let cases = [
        (Protocol::Uwsgi, "nginx.uwsgi", expected("/u/a%2Fb%20c//d", "?q=%41&x", "ex.com"), "/u/a/b%20c/d"),
        (Protocol::Scgi, "nginx.scgi", expected("/s/a%20b", "?q", "ex.com"), "/s/a%20b"),
        (Protocol::FastCgi, "nginx.fastcgi", expected("/f/x.php/pi", "?q", "ex.com:81"), "/f/x.php/pi"),
    ];
    for (protocol, name, (line, host), path) in cases {
        let seen = seen(protocol, &corpus(name));
        let [Seen::Request(head), Seen::Body(body), Seen::End(Reuse::Close)] = &seen[..] else {
            panic!("{name}: {seen:?}")
        };
        assert_eq!(body, b"a=1");
        assert!(head.starts_with(&line), "{head}");
        for expected in [
            format!("  path {path}\n"),
            "  script name \n".to_owned(),
            "  length 3\n".to_owned(),
            "content-type: t/x\n".to_owned(),
            "x-dup: 1\nx-dup: 2\ncookie: a=1\ncookie: b=2\n".to_owned(),
            "authorization: Basic eDp5\n".to_owned(),
            host,
        ] {
            assert!(head.contains(&expected), "{name}: no {expected:?} in {head}");
        }
        for absent in ["proxy: ", "transfer-encoding: ", "REQUEST_URI", "DOCUMENT_ROOT"] {
            assert!(!head.contains(absent), "{name}: {absent} in {head}");
        }
        assert_eq!(head.matches("content-length: ").count(), 1, "{head}");
        assert_eq!(head.contains("  param REMOTE_USER=x\n"), protocol == Protocol::FastCgi, "{head}");
    }
    let kept = seen(Protocol::FastCgi, &corpus("nginx-keep.fastcgi"));
    assert_eq!(kept.iter().filter(|seen| **seen == Seen::End(Reuse::KeepAlive)).count(), 2, "{kept:?}");
}

#[test]
fn the_path_is_what_the_variables_say_in_the_order_of_their_worth() {
    // Variables; target, path, script name.
    let cases: &[(Variables<'_>, &str, &str, &str)] = &[
        (&[("REQUEST_URI", "/a%20b?c")], "/a%20b?c", "/a%20b", ""),
        (&[("PATH_INFO", "/a b")], "/a%20b", "/a%20b", ""),
        (&[("PATH_INFO", "/a"), ("QUERY_STRING", "b=c")], "/a?b=c", "/a", ""),
        (&[("SCRIPT_NAME", "/app"), ("PATH_INFO", "/a"), ("REQUEST_URI", "/app/a?b")], "/app/a?b", "/app/a", "/app"),
        (&[("SCRIPT_NAME", "/app"), ("PATH_INFO", ""), ("REQUEST_URI", "/app")], "/app", "/app", "/app"),
        (
            &[("SCRIPT_NAME", "/\u{e4}"), ("PATH_INFO", "/a"), ("REQUEST_URI", "/%c3%A4/a")],
            "/%c3%A4/a",
            "/%c3%A4/a",
            "/%c3%A4",
        ),
        (&[("SCRIPT_NAME", "/"), ("PATH_INFO", "/a"), ("REQUEST_URI", "/a")], "/a", "/a", ""),
        // Rewritten on the way.
        (&[("PATH_INFO", "/new"), ("REQUEST_URI", "/old?q")], "/old?q", "/new", ""),
        // Stock parameters of fastcgi_pass and scgi_pass.
        (&[("SCRIPT_NAME", "/a"), ("DOCUMENT_URI", "/a"), ("REQUEST_URI", "/a")], "/a", "/a", ""),
        (&[("SCRIPT_NAME", "/a"), ("REQUEST_URI", "/%61")], "/%61", "/%61", ""),
        (&[("SCRIPT_NAME", "/a")], "/a", "/a", ""),
        (&[("PATH_INFO", "")], "/", "/", ""),
        // mod_proxy_uwsgi.
        (&[("SCRIPT_NAME", "/a/b"), ("PATH_INFO", "/a/b"), ("REQUEST_URI", "/a/b")], "/a/b", "/a/b", ""),
        (&[("REQUEST_URI", "*"), ("REQUEST_METHOD", "OPTIONS")], "*", "*", ""),
        (&[("REQUEST_URI", "/?")], "/?", "/", ""),
        (&[("REQUEST_URI", "/a"), ("PATH_INFO", "/a\0b\n")], "/a", "/a%00b%0A", ""),
    ];
    for (variables, target, path, script) in cases {
        let with_nul = variables.iter().any(|(_, value)| value.contains('\0'));
        let heads: Vec<_> = if with_nul {
            // SCGI has no way to say it.
            let of = |protocol| match seen(protocol, &request(protocol, variables, b"")).remove(0) {
                Seen::Request(head) => head,
                other => panic!("{other:?}"),
            };
            vec![of(Protocol::Uwsgi), of(Protocol::FastCgi)]
        } else {
            vec![head(variables).unwrap_or_else(|error| panic!("{variables:?}: {error}"))]
        };
        for head in heads {
            let line = head.lines().next().unwrap();
            assert_eq!(line.split(' ').nth(1), Some(*target), "{variables:?}");
            for expected in [format!("  path {path}\n"), format!("  script name {script}\n")] {
                assert!(head.contains(&expected), "{variables:?}: no {expected:?} in {head}");
            }
        }
    }
}

#[test]
fn modifier_30_takes_the_script_name_off_the_path() {
    for (info, path, script) in
        [("/app/a", "/app/a", "/app"), ("/app", "/app", "/app"), ("/apple", "/app/apple", "/app")]
    {
        let variables = [("SCRIPT_NAME", "/app"), ("PATH_INFO", info), ("REQUEST_URI", path)];
        let mut input = request(Protocol::Uwsgi, &variables, b"");
        input[0] = 30;
        let seen = seen(Protocol::Uwsgi, &input);
        let Seen::Request(head) = &seen[0] else { panic!("{seen:?}") };
        assert!(
            head.contains(&format!("  path {path}\n  script name {script}\n"))
                || head.contains(&format!("  script name {script}\n")),
            "{head}"
        );
    }
}

#[test]
fn what_could_load_code_or_forge_a_key_is_left_out_and_the_rest_is_kept() {
    let head = head(&[
        ("REQUEST_URI", "/"),
        ("UWSGI_FILE", "/evil.py"),
        ("UWSGI_MODULE", "evil"),
        ("UWSGI_SCHEME", "https"),
        ("wsgi.url_scheme", "gopher"),
        ("SSL_CLIENT_CERT", "-----BEGIN\n-----END"),
        ("OUR_OWN", "\u{e4}"),
        ("SERVER_NAME", "shop.example"),
        ("SERVER_PORT", "443"),
    ])
    .unwrap();
    assert!(!head.contains("UWSGI") && !head.contains("wsgi") && !head.contains("evil"), "{head}");
    assert!(head.contains("  param SSL_CLIENT_CERT=-----BEGIN\\n-----END\n  param OUR_OWN=\\xc3\\xa4\n"), "{head}");
    assert!(head.contains("  server Some(\"shop.example\") Some(\"443\")\n"), "{head}");
}

#[test]
fn the_server_has_a_name_if_anything_names_it() {
    let cases: &[(Variables<'_>, &str)] = &[
        (
            &[("SERVER_NAME", ""), ("HTTP_HOST", "a.example:81"), ("SERVER_ADDR", "192.0.2.1")],
            "Some(\"a.example\") None",
        ),
        (&[("SERVER_NAME", ""), ("HTTP_HOST", "[::1]")], "Some(\"[::1]\") None"),
        (&[("SERVER_NAME", ""), ("HTTP_HOST", ""), ("SERVER_ADDR", "192.0.2.1")], "Some(\"192.0.2.1\") None"),
        (&[("SERVER_PORT", "x")], "None None"),
    ];
    for (variables, expected) in cases {
        let variables = [&[("REQUEST_URI", "/")], *variables].concat();
        let head = head(&variables).unwrap();
        assert!(head.contains(&format!("  server {expected}\n")), "{variables:?}: {head}");
    }
}

#[test]
fn variables_that_break_the_policy_are_refused_alike() {
    let long = "l".repeat(9000);
    let name = "N".repeat(257);
    let many: Vec<_> = (0..101).map(|number| (format!("HTTP_X{number}"), String::new())).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let crowd: Vec<_> = (0..1030).map(|number| (format!("V{number}"), String::new())).collect();
    let crowd: Vec<_> = crowd.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let cases: &[(Variables<'_>, Error)] = &[
        (&[("REQUEST_METHOD", "")], Error::MethodMissing),
        (&[("REQUEST_METHOD", "G T"), ("REQUEST_URI", "/")], Error::Method),
        (&[("REQUEST_METHOD", "ABCDEFGHIJABCDEFGHIJABCDEFGHIJABC"), ("REQUEST_URI", "/")], Error::MethodTooLong),
        (&[("REQUEST_METHOD", "CONNECT"), ("REQUEST_URI", "a:80")], Error::Connect),
        (&[], Error::PathMissing),
        (&[("REQUEST_URI", "a")], Error::Target),
        (&[("REQUEST_URI", "/a b")], Error::Target),
        (&[("REQUEST_URI", "/\u{e4}")], Error::Target),
        (&[("REQUEST_URI", "/"), ("QUERY_STRING", "a#b")], Error::Target),
        (&[("PATH_INFO", "a")], Error::Path),
        (&[("SCRIPT_NAME", "a"), ("PATH_INFO", "/a")], Error::Path),
        (&[("REQUEST_URI", "/"), ("CONTENT_LENGTH", "x")], Error::ContentLength),
        (&[("REQUEST_URI", "/"), ("CONTENT_LENGTH", "-1")], Error::ContentLength),
        (&[("REQUEST_URI", "/"), ("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "1")], Error::ContentLengthRepeated),
        (&[("REQUEST_URI", "/"), ("CONTENT_LENGTH", "99999999999")], Error::BodyTooLarge),
        (&[("REQUEST_URI", "/"), ("HTTP_HOST", "a b")], Error::Host),
        (&[("REQUEST_URI", "/"), ("HTTP_HOST", "a"), ("HTTP_HOST", "a")], Error::HostRepeated),
        (&[("REQUEST_URI", "/"), ("HTTP_X", "a\nb")], Error::FieldValue),
        (&[("REQUEST_URI", "/"), ("HTTP_X(Y", "a")], Error::VariableName),
        (&[("REQUEST_URI", "/"), ("HTTP_", "a")], Error::VariableName),
        (&[("REQUEST_URI", "/"), ("", "a")], Error::VariableName),
        (&[("REQUEST_URI", "/"), ("A B", "a")], Error::VariableName),
        (&[("REQUEST_URI", "/"), (&name, "a")], Error::VariableName),
        (&[("REQUEST_URI", &long)], Error::RequestLineTooLong),
        (&[("REQUEST_URI", "/"), ("HTTP_X", &long)], Error::FieldTooLarge),
        (&many, Error::TooManyFields),
        (&crowd, Error::TooManyVariables),
    ];
    for (variables, expected) in cases {
        assert_eq!(head(variables), Err(*expected), "{variables:.200?}");
    }
}

#[test]
fn packets_that_nobody_should_send_are_refused_with_a_reason() {
    let http = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice();
    let uwsgi = request(Protocol::Uwsgi, &[("REQUEST_URI", "/")], b"");
    let scgi = request(Protocol::Scgi, &[("REQUEST_URI", "/")], b"");
    let fastcgi = request(Protocol::FastCgi, &[("REQUEST_URI", "/")], b"");
    let netstring = |text: &[u8]| [text.len().to_string().as_bytes(), b":", text, b","].concat();
    let begin = |id: u16| {
        let mut out = Vec::new();
        Begin { role: Role::Responder, keep: false }.write(id, &mut out);
        out
    };
    let record = |kind, id, content: &[u8]| {
        let mut out = Vec::new();
        record::record(kind, id, content, &mut out);
        out
    };
    let short = {
        let variables =
            [("REQUEST_METHOD", "GET".to_owned()), ("REQUEST_URI", "/".to_owned()), ("CONTENT_LENGTH", "9".to_owned())];
        packet(Protocol::FastCgi, &variables, b"12345678")
    };
    let cases: Vec<(Protocol, Vec<u8>, Error)> = vec![
        (Protocol::Uwsgi, http.into(), Error::HttpToUwsgi),
        (Protocol::Uwsgi, b"POST".to_vec(), Error::HttpToUwsgi),
        (Protocol::FastCgi, http.into(), Error::HttpToFastCgi),
        (Protocol::Scgi, http.into(), Error::HttpToScgi),
        (Protocol::Http, uwsgi.clone(), Error::UwsgiToHttp),
        (Protocol::Http, fastcgi.clone(), Error::FastCgiToHttp),
        (Protocol::Http, scgi.clone(), Error::ScgiToHttp),
        (Protocol::Http, b"\x16\x03\x01\x02\0\x01".to_vec(), Error::TlsToHttp),
        (Protocol::Uwsgi, fastcgi.clone(), Error::FastCgiToUwsgi),
        (Protocol::Uwsgi, record(Kind::GetValues, 0, b""), Error::FastCgiToUwsgi),
        (Protocol::Uwsgi, scgi.clone(), Error::ScgiToUwsgi),
        (Protocol::FastCgi, uwsgi.clone(), Error::UwsgiToFastCgi),
        (Protocol::FastCgi, scgi.clone(), Error::ScgiToFastCgi),
        (Protocol::Scgi, uwsgi.clone(), Error::UwsgiToScgi),
        (Protocol::Scgi, fastcgi.clone(), Error::FastCgiToScgi),
        (Protocol::Uwsgi, b"1234567890:".to_vec(), Error::UwsgiModifier),
        (Protocol::Uwsgi, b"1\0".to_vec(), Error::UwsgiModifier),
        (Protocol::Scgi, b"\x01\x02".to_vec(), Error::ScgiLength),
        // Lengths that do not add up.
        (Protocol::Uwsgi, b"\0\x01\0\0A".to_vec(), Error::Variables),
        (Protocol::Uwsgi, b"\0\x05\0\0\x04\0ABC".to_vec(), Error::Variables),
        (Protocol::Uwsgi, b"\0\x05\0\0\x01\0A\xff\xff".to_vec(), Error::Variables),
        (Protocol::Uwsgi, b"\0\0\0\0".to_vec(), Error::MethodMissing),
        (Protocol::Uwsgi, b"\0\x02\0\0\0\0".to_vec(), Error::Variables),
        (Protocol::Uwsgi, b"\0\x07\0\0\x03\0A\0B\0\0".to_vec(), Error::VariableName),
        (Protocol::Uwsgi, b"\0\x08\0\0\x04\0A\r\nB\0\0".to_vec(), Error::VariableName),
        // SCGI.
        (Protocol::Scgi, b"012:".to_vec(), Error::ScgiLength),
        (Protocol::Scgi, b"0:,".to_vec(), Error::ScgiLength),
        (Protocol::Scgi, b":".to_vec(), Error::ScgiLength),
        (Protocol::Scgi, b"12x".to_vec(), Error::ScgiLength),
        (Protocol::Scgi, b"1234567890".to_vec(), Error::HeadTooLarge),
        (Protocol::Scgi, b"70000:".to_vec(), Error::HeadTooLarge),
        (Protocol::Scgi, b"3:A\0\0;".to_vec(), Error::ScgiComma),
        (Protocol::Scgi, b"-1:".to_vec(), Error::ScgiLength),
        (Protocol::Scgi, b" 3:".to_vec(), Error::ScgiLength),
        (Protocol::Scgi, netstring(b"A\0"), Error::Variables),
        (Protocol::Scgi, netstring(b"A\0b"), Error::Variables),
        (Protocol::Scgi, netstring(b"SCGI\x001\0CONTENT_LENGTH\x000\0"), Error::ScgiVariables),
        (Protocol::Scgi, netstring(b"CONTENT_LENGTH\x000\0"), Error::ScgiVariables),
        (Protocol::Scgi, netstring(b"CONTENT_LENGTH\x000\0SCGI\x002\0"), Error::ScgiVariables),
        // FastCGI.
        (Protocol::FastCgi, b"\x02".to_vec(), Error::FastCgiVersion),
        (Protocol::FastCgi, b"\x03".to_vec(), Error::FastCgiVersion),
        (Protocol::FastCgi, [&begin(1)[..], b"\x02"].concat(), Error::FastCgiVersion),
        (Protocol::FastCgi, record(Kind::BeginRequest, 1, b"\0\x01"), Error::FastCgiRecord),
        (Protocol::FastCgi, [begin(1), begin(1)].concat(), Error::FastCgiRecord),
        (Protocol::FastCgi, [begin(1), record(Kind::Stdin, 1, b"")].concat(), Error::FastCgiRecord),
        (
            Protocol::FastCgi,
            [
                begin(1),
                record(Kind::Params, 1, b"\x05\x05AB"),
                record(Kind::Params, 1, b""),
                record(Kind::Stdin, 1, b""),
            ]
            .concat(),
            Error::Variables,
        ),
        (Protocol::FastCgi, record(Kind::GetValues, 0, b"\x05"), Error::Variables),
        (Protocol::FastCgi, short, Error::BodyShort),
    ];
    for (protocol, input, expected) in cases {
        let seen = seen(protocol, &input);
        assert_eq!(seen.last(), Some(&Seen::Refused(expected)), "{protocol:?} {}", input.escape_ascii());
    }
}

/// Other plug-ins, code, the cache, signals, RPC, reloads, and the `H` of an answer by HTTP.
#[test]
fn every_modifier_of_uwsgi_but_those_for_requests_and_pings_is_refused() {
    let packet = request(Protocol::Uwsgi, &[("REQUEST_URI", "/")], b"");
    for modifier in (0..=u8::MAX).filter(|modifier| ![0, 30, 100].contains(modifier)) {
        let seen = seen(Protocol::Uwsgi, &[&[modifier], &packet[1..]].concat());
        assert_eq!(seen, [Seen::Refused(Error::UwsgiModifier)], "{modifier}");
    }
    let answer = b"HTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(seen(Protocol::Uwsgi, answer), [Seen::Refused(Error::HttpToUwsgi)]);
}

#[test]
fn a_refusal_is_answered_so_that_its_reader_understands_it() {
    let answers = |protocol, input: &[u8]| conversation(protocol, [input], &Limits::default()).answers;
    for protocol in GATEWAYS {
        let answer = answers(protocol, b"GET / HTTP/1.1\r\n\r\n");
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"), "{text}");
        assert!(text.contains("bind http://") && text.to_lowercase().contains(protocol.name()), "{text}");
    }
    for (here, there) in GATEWAYS.iter().flat_map(|here| GATEWAYS.map(|there| (*here, there))) {
        if here == there {
            continue;
        }
        let answer = answers(here, &request(there, &[("REQUEST_URI", "/")], b""));
        let text = String::from_utf8_lossy(&answer).into_owned();
        let start = match (here, there) {
            (_, Protocol::Scgi) | (Protocol::Scgi, Protocol::FastCgi) => "Status: 400 Bad Request\r\n",
            _ => "HTTP/1.1 400 Bad Request\r\n",
        };
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains(&format!("bind {}://", there.name())), "{text}");
        assert!(text.to_lowercase().contains(&format!("this port speaks {}", here.name())), "{text}");
    }
    let bad = |protocol| request(protocol, &[("REQUEST_URI", "/"), ("HTTP_HOST", "a b")], b"");
    assert!(answers(Protocol::Uwsgi, &bad(Protocol::Uwsgi)).starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
    assert!(answers(Protocol::Scgi, &bad(Protocol::Scgi)).starts_with(b"Status: 400 Bad Request\r\n"));
    let answer = answers(Protocol::FastCgi, &bad(Protocol::FastCgi));
    assert!(answer.starts_with(b"\x01\x07\0\x01"), "{}", answer.escape_ascii());
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(text.contains("ferricorn: Invalid HTTP Header: 'HOST'") && text.contains("Status: 400 Bad Request\r\n"));
    let answer = answers(Protocol::Http, &request(Protocol::Uwsgi, &[("REQUEST_URI", "/")], b""));
    assert!(String::from_utf8_lossy(&answer).contains("bind uwsgi://"));
}

#[test]
fn answers_are_framed_as_each_protocol_has_it() {
    let answers = |protocol| {
        let input = request(protocol, &[("REQUEST_URI", "/")], b"");
        String::from_utf8_lossy(&conversation(protocol, [&input[..]], &Limits::default()).answers).into_owned()
    };
    assert_eq!(answers(Protocol::Uwsgi), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(answers(Protocol::Scgi), "Status: 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(
        answers(Protocol::FastCgi),
        "\x01\x06\0\x01\0\x25\0\0Status: 200 OK\r\nContent-Length: 2\r\n\r\n\x01\x06\0\x01\0\x02\0\0ok\
         \x01\x06\0\x01\0\0\0\0\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0"
    );
}

#[test]
fn a_ping_is_answered() {
    let transcript = conversation(Protocol::Uwsgi, [&[100, 0, 0, 0][..]], &TIGHT);
    assert_eq!((transcript.seen, transcript.answers), (vec![Seen::Reply(Reuse::Close)], vec![100, 0, 0, 1]));
}

#[test]
fn what_is_just_within_the_limits_is_taken_and_one_more_is_not() {
    let accepted = |protocol, input: &[u8]| match conversation(protocol, [input], &Limits::default()).seen.remove(0) {
        Seen::Request(_) => Ok(()),
        Seen::Refused(error) => Err(error),
        other => panic!("{other:?}"),
    };
    let most = Limits::default().head_size;
    for protocol in GATEWAYS {
        // Bytes of variables; 16 bits say how many with uwsgi.
        let filled = |length: usize| {
            let parts =
                [("REQUEST_URI", "/"), ("CONTENT_LENGTH", "0"), ("SCGI", "1"), ("REQUEST_METHOD", "GET"), ("FILL", "")];
            let text: usize = parts.iter().map(|(name, value)| name.len() + value.len()).sum();
            let framing = match protocol {
                Protocol::Uwsgi => 4 * parts.len(),
                Protocol::Scgi => 2 * parts.len(),
                // The length of the long value takes four bytes.
                _ => 2 * parts.len() + 3,
            };
            let fill = "f".repeat(length - text - framing);
            request(protocol, &[("REQUEST_URI", "/"), ("FILL", &fill)], b"")
        };
        let (largest, beyond) = if protocol == Protocol::Uwsgi { (65_535, None) } else { (most, Some(most + 1)) };
        assert_eq!(accepted(protocol, &filled(largest)), Ok(()), "{protocol:?}");
        if let Some(beyond) = beyond {
            assert_eq!(accepted(protocol, &filled(beyond)), Err(Error::HeadTooLarge), "{protocol:?}");
        }
        // Variables, with the four that every request here has.
        for (count, expected) in [(1020, Ok(())), (1021, Err(Error::TooManyVariables))] {
            let names: Vec<_> = (0..count).map(|number| format!("V{number}")).collect();
            let mut variables = vec![("REQUEST_URI", "/")];
            variables.extend(names.iter().map(|name| (name.as_str(), "")));
            assert_eq!(accepted(protocol, &request(protocol, &variables, b"")), expected, "{protocol:?} {count}");
        }
        for (length, expected) in [(256, Ok(())), (257, Err(Error::VariableName))] {
            let name = "N".repeat(length);
            let input = request(protocol, &[("REQUEST_URI", "/"), (&name, "a")], b"");
            assert_eq!(accepted(protocol, &input), expected, "{protocol:?} {length}");
        }
    }
}

#[test]
fn the_number_of_a_request_is_any_and_comes_back() {
    let mut payload = Vec::new();
    for (name, value) in [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/")] {
        record::pair(name.as_bytes(), value.as_bytes(), &mut payload);
    }
    for id in [1, 7, 300, u16::MAX] {
        let mut input = Vec::new();
        Begin { role: Role::Responder, keep: false }.write(id, &mut input);
        record::stream(Kind::Params, id, &payload, &mut input);
        record::end_stream(Kind::Params, id, &mut input);
        record::end_stream(Kind::Stdin, id, &mut input);
        gateway(Protocol::FastCgi, &input, u64::from(id));
        let transcript = conversation(Protocol::FastCgi, [&input[..]], &Limits::default());
        assert_eq!(transcript.seen.last(), Some(&Seen::End(Reuse::Close)), "{id}");
        let mut answers = &transcript.answers[..];
        while let Some(header) = record::Header::parse(answers).unwrap() {
            assert_eq!(header.request, id);
            answers = &answers[header.record_size()..];
        }
    }
}

#[test]
fn nothing_of_a_gateways_request_is_left_for_one_that_comes_by_http() {
    let limits = Limits::default();
    for protocol in GATEWAYS {
        let variables = [
            ("SCRIPT_NAME", "/app"),
            ("PATH_INFO", "/a"),
            ("REMOTE_USER", "admin"),
            ("SERVER_NAME", "shop.example"),
            ("SERVER_PORT", "443"),
            ("HTTPS", "on"),
            ("REMOTE_ADDR", "192.0.2.7"),
        ];
        for text in ["GET /other/b HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://a/other/b HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let mut head = Head::default();
            let input = request(protocol, &variables, b"");
            Machine::new(protocol).next_event(&input, &limits, &mut head).unwrap();
            assert_eq!((head.protocol(), head.script_name()), (protocol, "/app"));
            Machine::new(Protocol::Http).next_event(text.as_bytes(), &limits, &mut head).unwrap();
            assert_eq!((head.protocol(), head.script_name()), (Protocol::Http, ""), "after {protocol:?}");
            assert_eq!((head.server_name(), head.server_port(), head.is_secure()), (None, None, false));
            assert_eq!((head.path_info(), head.params().count(), head.remote()), ("/other/b", 0, Remote::Unknown));
        }
    }
}
