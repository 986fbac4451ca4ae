//! What must hold for any input at all. Shared by the tests and, through `#[path]`, by the fuzz targets; whoever includes
//! this file has a module `api` beside it, with the protocol's public items.

use super::api::http1::Http1;
use super::api::proxy_protocol::{self, Versions};
use super::api::{Error, Event, FieldId, Head, Length, Limits, Machine, Progress, Protocol, Reuse, Target, Version};

pub(crate) const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

/// Limits that a short input can reach.
pub(crate) const TIGHT: Limits = Limits { request_line: 40, fields: 4, field_size: 50, head_size: 160, body_size: 40 };

/// What a connection's bytes were taken for, up to the first refusal or close.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transcript {
    pub(crate) seen: Vec<Seen>,
    /// Bytes at the end that nothing was made of.
    pub(crate) left: usize,
    /// Whether the machine says that it is between requests.
    pub(crate) idle: bool,
    /// What was answered.
    pub(crate) answers: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A head, written out.
    Request(String),
    /// All that came of the body, in one piece.
    Body(Vec<u8>),
    /// The request was complete, and was answered; then the connection stayed open or not.
    End(Reuse),
    Refused(Error),
    /// Something that is no request was answered.
    Reply(Reuse),
    /// The request was given up.
    Aborted(Reuse),
}

/// Feeds the machine `pieces`, one after the other, and answers each request as soon as it is complete.
pub(crate) fn transcript<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, limits: &Limits) -> Transcript {
    conversation(Protocol::Http, pieces, limits)
}

/// The same in any protocol.
pub(crate) fn conversation<'p>(
    protocol: Protocol,
    pieces: impl IntoIterator<Item = &'p [u8]>,
    limits: &Limits,
) -> Transcript {
    let (mut http, mut head) = (Machine::new(protocol), Head::default());
    let mut transcript = Transcript::default();
    let (mut buffer, mut start) = (Vec::new(), 0);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let input = &buffer[start..];
            let progress = match http.next_event(input, limits, &mut head) {
                Ok(progress) => progress,
                Err(error) => {
                    assert_eq!(http.next_event(input, limits, &mut head), Err(error), "a refusal is final");
                    assert!(!http.is_idle());
                    http.refuse_with(error.status(), &error.to_string(), None, &mut transcript.answers);
                    transcript.seen.push(Seen::Refused(error));
                    return transcript;
                }
            };
            assert!(progress.consumed <= input.len());
            transcript.note(progress, input, &head);
            start += progress.consumed;
            match progress.event {
                Event::NeedMore => break,
                Event::End if answer(&mut http, &mut transcript) == Reuse::Close => return transcript,
                Event::Reply | Event::Aborted => {
                    let reuse = http.reply(12, &mut transcript.answers);
                    let aborted = progress.event == Event::Aborted;
                    transcript.seen.push(if aborted { Seen::Aborted(reuse) } else { Seen::Reply(reuse) });
                    if reuse == Reuse::Close {
                        return transcript;
                    }
                }
                _ => {}
            }
        }
    }
    transcript.left = buffer.len() - start;
    transcript.idle = http.is_idle();
    transcript
}

fn answer(http: &mut Machine, transcript: &mut Transcript) -> Reuse {
    let out = &mut transcript.answers;
    http.respond(200, None, std::iter::empty(), Length::Known(2), DATE, out).expect("a plain answer can be sent");
    http.body(b"ok", out);
    let reuse = http.finish(out);
    transcript.seen.push(Seen::End(reuse));
    reuse
}

impl Transcript {
    fn note(&mut self, progress: Progress, input: &[u8], head: &Head) {
        match progress.event {
            Event::Request => {
                check_head(head);
                self.seen.push(Seen::Request(render(head)));
            }
            Event::Body { start, end } => {
                assert!(start < end && end <= progress.consumed, "a piece of body is not empty and is consumed");
                let piece = &input[start..end];
                match self.seen.last_mut() {
                    Some(Seen::Body(body)) => body.extend_from_slice(piece),
                    _ => self.seen.push(Seen::Body(piece.to_vec())),
                }
            }
            Event::End | Event::NeedMore | Event::Reply | Event::Aborted => {}
        }
    }

    /// Whether `self` can be what a beginning of the same bytes gives.
    pub(crate) fn is_beginning_of(&self, whole: &Self) -> bool {
        match self.seen.split_last() {
            Some((Seen::Body(part), before)) => {
                whole.seen.starts_with(before)
                    && matches!(whole.seen.get(before.len()), Some(Seen::Body(body)) if body.starts_with(part))
            }
            _ => whole.seen.starts_with(&self.seen),
        }
    }
}

/// What a head must be, whatever bytes it was made of.
fn check_head(head: &Head) {
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    assert!(token(head.method()) && head.method().len() <= 32);
    assert!(head.target().bytes().all(|b| b.is_ascii_graphic() && b != b'#' && b != b'\\'));
    assert!(!(head.is_chunked() && head.content_length().is_some()));
    match head.form() {
        Target::Origin => assert!(head.path().starts_with('/')),
        Target::Absolute => {
            assert!(head.path().starts_with('/') && head.authority().is_some_and(|text| !text.is_empty()))
        }
        Target::Asterisk => assert!(head.path() == "*" && head.method() == "OPTIONS"),
    }
    let mut hosts = 0;
    for field in head.fields() {
        assert!(token(field.name));
        assert!(field.value.iter().all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f)));
        assert!(!field.value.first().is_some_and(|b| b" \t".contains(b)));
        assert!(!field.value.last().is_some_and(|b| b" \t".contains(b)));
        let known = FieldId::ALL.iter().find(|id| id.name().eq_ignore_ascii_case(field.name));
        assert_eq!(field.id, known.copied().unwrap_or_default());
        if field.id == FieldId::Host {
            hosts += 1;
            assert_eq!(head.authority().map(str::as_bytes), Some(field.value));
        }
    }
    let gateway = head.protocol().is_gateway();
    assert!(hosts == 1 || (hosts == 0 && (gateway || head.version() == Version::Http10)));
    assert!(head.path().starts_with(head.script_name()) && head.path().ends_with(head.path_info()));
    for (name, value) in head.params() {
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
        assert!(!name.starts_with("HTTP_") && !name.starts_with("UWSGI_") && !value.contains(&0));
    }
}

fn render(head: &Head) -> String {
    let mut text = format!("{} {} {}\n", head.method(), head.target(), head.version().as_str());
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name}{value}\n"));
    line("path ", head.path());
    if let Some(query) = head.query() {
        line("query ", query);
    }
    if let Some(authority) = head.authority() {
        line("authority ", authority);
    }
    match head.content_length() {
        Some(length) => line("length ", &length.to_string()),
        None if head.is_chunked() => line("chunked", ""),
        None => {}
    }
    if head.expects_continue() {
        line("expects continue", "");
    }
    if head.protocol().is_gateway() {
        line("script name ", head.script_name());
        line("path info ", head.path_info());
        line("server ", &format!("{:?} {:?}", head.server_name(), head.server_port()));
        for (name, value) in head.params() {
            line("param ", &format!("{name}={}", value.escape_ascii()));
        }
    }
    for field in head.fields() {
        text.push_str(&format!("{}: {}\n", field.name, field.value.escape_ascii()));
    }
    text
}

/// Numbers that look random (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// Below `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// `input` cut at places that `random` chooses.
pub(crate) fn cut<'i>(mut input: &'i [u8], random: &mut Random) -> Vec<&'i [u8]> {
    let mut pieces = Vec::new();
    let longest = 1 + random.below(input.len().clamp(1, 64));
    while !input.is_empty() {
        let (piece, rest) = input.split_at((1 + random.below(longest)).min(input.len()));
        pieces.push(piece);
        input = rest;
    }
    pieces
}

/// However a connection's bytes are split, the events and the answers are the same; and nothing panics.
pub(crate) fn http1(input: &[u8], seed: u64) {
    let mut random = Random(seed);
    for limits in [Limits::default(), TIGHT] {
        let whole = transcript([input], &limits);
        assert_eq!(transcript(cut(input, &mut random), &limits), whole, "{}", input.escape_ascii());
        if input.len() <= 4096 {
            assert_eq!(transcript(input.chunks(1), &limits), whole, "{}", input.escape_ascii());
        }
        let prefix = transcript([&input[..random.below(input.len() + 1)]], &limits);
        assert!(prefix.is_beginning_of(&whole), "{}", input.escape_ascii());
    }
}

/// As [`http1`], of a protocol that web servers speak.
pub(crate) fn gateway(protocol: Protocol, input: &[u8], seed: u64) {
    let mut random = Random(seed);
    for limits in [Limits::default(), TIGHT] {
        let whole = conversation(protocol, [input], &limits);
        assert_eq!(conversation(protocol, cut(input, &mut random), &limits), whole, "{}", input.escape_ascii());
        if input.len() <= 4096 {
            assert_eq!(conversation(protocol, input.chunks(1), &limits), whole, "{}", input.escape_ascii());
        }
        let prefix = conversation(protocol, [&input[..random.below(input.len() + 1)]], &limits);
        assert!(prefix.is_beginning_of(&whole), "{}", input.escape_ascii());
    }
}

/// As [`http1`], of a chunked body; and what is accepted is what a plain reading of the grammar gives.
pub(crate) fn chunked(body: &[u8], seed: u64) {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice();
    let input = [head, body].concat();
    http1(&input, seed);
    let seen = transcript([input.as_slice()], &Limits::default()).seen;
    let accepted = match seen.get(1..) {
        Some([Seen::Body(data), Seen::End(_), ..]) => Some(data.clone()),
        Some([Seen::End(_), ..]) => Some(Vec::new()),
        _ => None,
    };
    if let Some(data) = accepted {
        assert_eq!(Some(data), plain_reading(body), "{}", body.escape_ascii());
    }
}

/// The data of a chunked body, read line by line without regard to extensions and trailers.
fn plain_reading(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let end = body.windows(2).position(|pair| pair == b"\r\n")?;
        let line = std::str::from_utf8(body[..end].split(|&byte| byte == b';').next()?).ok()?;
        let size = usize::from_str_radix(line, 16).ok()?;
        body = &body[end + 2..];
        if size == 0 {
            return Some(data);
        }
        data.extend_from_slice(body.get(..size)?);
        body = body.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

/// No beginning of a PROXY header gets another verdict than "incomplete" or that of the whole; no version takes what
/// "either" does not.
pub(crate) fn proxy(input: &[u8]) {
    for versions in [Versions::V1, Versions::V2, Versions::Either] {
        let whole = proxy_protocol::parse(input, versions);
        if let Ok(Some(header)) = whole {
            assert!(header.consumed <= input.len() && header.consumed <= 4096);
            assert_eq!(
                whole,
                proxy_protocol::parse(&input[..header.consumed], versions),
                "what follows does not matter"
            );
            assert_eq!(whole, proxy_protocol::parse(input, Versions::Either));
        }
        for length in 0..input.len().min(300) {
            let prefix = proxy_protocol::parse(&input[..length], versions);
            assert!(prefix == Ok(None) || prefix == whole, "{}", input.escape_ascii());
        }
    }
}

/// Whatever an application answers, either nothing is appended, or one head that says what was meant.
pub(crate) fn response(input: &[u8], seed: u64) {
    let mut random = Random(seed);
    let request = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HEAD / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ];
    let request = request[random.below(request.len())].as_bytes();
    let (mut http, mut head) = (Http1::new(), Head::default());
    let progress = http.next_event(request, &Limits::default(), &mut head);
    assert!(progress.is_ok_and(|progress| progress.event == Event::Request));
    assert!(http.next_event(&[], &Limits::default(), &mut head).is_ok_and(|progress| progress.event == Event::End));

    let mut lines = input.split(|&byte| byte == b'|');
    let reason = lines.next().and_then(|line| std::str::from_utf8(line).ok()).filter(|text| !text.is_empty());
    let fields: Vec<_> =
        lines.take(50).map(|line| line.split_at(line.iter().position(|&b| b == b'=').unwrap_or(line.len()))).collect();
    let status = [200, 204, 304, 404, 500, random.below(1200) as u16][random.below(6)];
    let length = if random.below(2) == 0 { Length::Unknown } else { Length::Known(random.below(100) as u64) };
    let mut out = b"before".to_vec();
    let pairs = fields.iter().map(|(name, value)| (*name, value.strip_prefix(b"=").unwrap_or(value)));
    if http.respond(status, reason.map(str::as_bytes), pairs, length, DATE, &mut out).is_err() {
        assert_eq!(out, b"before");
        return;
    }
    let head = out.strip_prefix(b"before").expect("what stood there stands there").to_vec();
    let mut parsed = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut parsed);
    let complete = response.parse(&head);
    assert_eq!(complete, Ok(httparse::Status::Complete(head.len())), "{}", head.escape_ascii());
    assert_eq!(response.code, Some(status));
    assert!(head.iter().enumerate().all(|(index, &b)| b != b'\n' || index > 0 && head[index - 1] == b'\r'));
    assert!(head.iter().filter(|&&b| b == b'\r').count() == head.iter().filter(|&&b| b == b'\n').count());
    let named = |name: &str| response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    assert!(named("Server") == 1 && named("Date") == 1 && named("Connection") <= 1);
    assert!(named("Content-Length") + named("Transfer-Encoding") <= 1);
    assert!(response.headers.len() <= fields.len() + 4);
    let body_start = out.len();
    http.body(b"hello", &mut out);
    http.finish(&mut out);
    if status == 204 || status == 304 || request.starts_with(b"HEAD") {
        assert_eq!(out.len(), body_start);
    }
}

/// `input` with a few changes, some of them such as a parser dislikes.
pub(crate) fn mutate(input: &[u8], others: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const LIKED: &[&[u8]] = &[
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"\0",
        b":",
        b",",
        b";",
        b"=",
        b"\"",
        b"\\",
        b"0",
        b"1",
        b"ffff",
        b"\x80",
        b"\x7f",
        b"\r\n\r\n",
        b"Host: b\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"HTTP/1.0",
        b"HTTP/1.5",
        b"http://b",
        b"0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(8)).min(bytes.len());
        match random.below(6) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, LIKED[random.below(LIKED.len())].iter().copied())),
            2 => drop(bytes.splice(at..end, LIKED[random.below(LIKED.len())].iter().copied())),
            3 if at < bytes.len() => bytes[at] = random.next() as u8,
            4 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ if !others.is_empty() => {
                let other = &others[random.below(others.len())];
                let from = random.below(other.len() + 1);
                let until = (from + random.below(64)).min(other.len());
                drop(bytes.splice(at..at, other[from..until].iter().copied()));
            }
            _ => {}
        }
    }
    bytes
}
