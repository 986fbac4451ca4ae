//! Responses of HTTP/1.1, whose framing is checked.

/// A response, complete and valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) version: String,
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a field, which must not come twice.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} comes twice in {:?}", self.fields);
        value
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the server has announced that it is going to close the connection.
    pub(crate) fn closes(&self) -> bool {
        let connection = self.field("connection").unwrap_or_default();
        let says = |token: &str| connection.split(',').any(|word| word.trim().eq_ignore_ascii_case(token));
        says("close") || (self.version == "HTTP/1.0" && !says("keep-alive"))
    }
}

/// Why bytes are no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// More bytes may make it one.
    Incomplete,
    /// Nothing can.
    Invalid(String),
}

fn invalid<T>(what: impl Into<String>) -> Result<T, Flaw> {
    Err(Flaw::Invalid(what.into()))
}

/// Reads one response from the front of `bytes`, and says how many bytes it took. `head_only`: it answers a HEAD.
pub(crate) fn parse(bytes: &[u8], head_only: bool, ended: bool) -> Result<(Answer, usize), Flaw> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > 1 << 16 { invalid("a head without end") } else { Err(Flaw::Incomplete) };
    };
    let Ok(head) = std::str::from_utf8(&bytes[..end]) else { return invalid("a head that is no text") };
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let mut words = status_line.splitn(3, ' ');
    let (version, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !matches!(version, "HTTP/1.0" | "HTTP/1.1") || status.len() != 3 {
        return invalid(format!("status line {status_line:?}"));
    }
    let Ok(status) = status.parse::<u16>() else { return invalid(format!("status line {status_line:?}")) };
    let mut fields = Vec::new();
    for line in lines {
        match line.split_once(':') {
            Some((name, value)) if !name.is_empty() && !name.contains([' ', '\t']) => {
                fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
            }
            _ => return invalid(format!("field {line:?}")),
        }
    }
    let mut answer = Answer {
        version: version.to_owned(),
        status,
        reason: words.next().unwrap_or_default().to_owned(),
        fields,
        body: Vec::new(),
    };
    let rest = &bytes[end + 4..];
    let length = match answer.field("content-length").map(str::parse::<usize>) {
        None => None,
        Some(Ok(length)) => Some(length),
        Some(Err(_)) => return invalid("Content-Length"),
    };
    let taken = if head_only || status < 200 || matches!(status, 204 | 304) {
        0
    } else if answer.field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        if length.is_some() {
            return invalid("Content-Length beside Transfer-Encoding");
        }
        unchunk(rest, &mut answer.body)?
    } else if let Some(length) = length {
        let Some(body) = rest.get(..length) else { return Err(Flaw::Incomplete) };
        answer.body = body.to_vec();
        length
    } else if ended {
        answer.body = rest.to_vec();
        rest.len()
    } else {
        return Err(Flaw::Incomplete);
    };
    Ok((answer, end + 4 + taken))
}

fn unchunk(bytes: &[u8], body: &mut Vec<u8>) -> Result<usize, Flaw> {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else { return Err(Flaw::Incomplete) };
        let digits = std::str::from_utf8(&rest[..end]).unwrap_or_default();
        let Ok(size) = usize::from_str_radix(digits, 16) else { return invalid(format!("chunk size {digits:?}")) };
        at += end + 2;
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Err(Flaw::Incomplete) };
        if &chunk[size..] != b"\r\n" {
            return invalid("a chunk without its end");
        }
        at += size + 2;
        if size == 0 {
            return Ok(at);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}
