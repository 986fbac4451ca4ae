//! Why a message is refused: the stable codes, the statuses and the words.

use std::fmt;

macro_rules! errors {
    ($($(#[$doc:meta])* $variant:ident = $reason:literal, $status:literal, $text:literal;)+) => {
        /// Why a request is refused. Each variant has a stable reason code, a status, and words for the answer's body,
        /// Gunicorn's where it has any. Nothing that the peer sent is repeated in them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Error {
            $($(#[$doc])* $variant,)+
        }

        impl Error {
            /// Every one of them.
            pub const ALL: &'static [Error] = &[$(Error::$variant,)+];

            /// The stable code that stands in the log, such as `bad-request-line`.
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$variant => $reason,)+ }
            }

            /// The status of the answer.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

errors! {
    /// A line of the head ends in LF without CR (RFC 9112 §2.2).
    BareLf = "bare-lf", 400, "Invalid HTTP Header: a line must end with CRLF";
    /// More empty lines in front of a request line than the two that are skipped.
    EmptyLines = "empty-lines", 400, "Invalid Request Line: it is empty";
    /// Not `method SP target SP version`; HTTP/0.9 as well.
    RequestLine = "bad-request-line", 400, "Invalid Request Line";
    /// The request line is over its limit.
    RequestLineTooLong = "request-line-too-long", 414, "Request Line is too large";
    /// The method is not a token.
    Method = "bad-method", 400, "Invalid Method";
    /// The method has more than 32 bytes.
    MethodTooLong = "method-too-long", 501, "Invalid Method: it is too long";
    /// CONNECT: this is no proxy.
    Connect = "connect", 501, "Invalid Method: CONNECT is not supported";
    /// A byte that may not be in a target, or a form that the method does not allow.
    Target = "bad-target", 400, "Invalid Request Line: the request target is invalid";
    /// Not `HTTP/` digit `.` digit.
    Version = "bad-version", 400, "Invalid HTTP Version";
    /// A version that is not 1.x.
    VersionNotSupported = "version-not-supported", 505, "Invalid HTTP Version: only HTTP/1.0 and HTTP/1.1 are supported";
    /// A field name that is empty or no token, or no colon after it.
    FieldName = "bad-field-name", 400, "Invalid HTTP header name";
    /// Blanks between a field name and its colon (RFC 9112 §5.1).
    FieldNameBlank = "blank-before-colon", 400, "Invalid HTTP header name: blanks before the colon";
    /// A line that begins with a blank, continuing the one before (RFC 9112 §5.2) or in front of the first (§2.2).
    Folding = "obsolete-folding", 400, "Obsolete line folding is unacceptable";
    /// A control character in a field value, a lone CR among them.
    FieldValue = "bad-field-value", 400, "Invalid HTTP Header: its value has a control character";
    /// A field line is over its limit.
    FieldTooLarge = "field-too-large", 431, "Error parsing headers: 'limit request headers fields size'";
    /// There are more fields than the limit.
    TooManyFields = "too-many-fields", 431, "Error parsing headers: 'limit request headers fields'";
    /// The head as a whole is over its limit.
    HeadTooLarge = "head-too-large", 431, "Error parsing headers: 'max buffer headers'";
    /// A head that the checks let through and the parser does not. That is a fault of ours.
    Head = "bad-head", 400, "Invalid HTTP Header";
    /// HTTP/1.1 without `Host` (RFC 9112 §3.2).
    HostMissing = "host-missing", 400, "Invalid HTTP Header: 'HOST' is missing";
    /// `Host` more than once.
    HostRepeated = "host-repeated", 400, "Invalid HTTP Header: 'HOST' is repeated";
    /// A `Host`, or the authority of an absolute target, that is no host and port.
    Host = "bad-host", 400, "Invalid HTTP Header: 'HOST'";
    /// `Content-Length` more than once, even if equal.
    ContentLengthRepeated = "content-length-repeated", 400, "Invalid HTTP Header: 'CONTENT-LENGTH' is repeated";
    /// A `Content-Length` that is not digits alone.
    ContentLength = "bad-content-length", 400, "Invalid HTTP Header: 'CONTENT-LENGTH'";
    /// `Content-Length` and `Transfer-Encoding` in one request (RFC 9112 §6.1).
    LengthAndCoding = "content-length-with-transfer-encoding", 400,
        "Invalid HTTP Header: 'CONTENT-LENGTH' beside 'TRANSFER-ENCODING'";
    /// `Transfer-Encoding` more than once.
    TransferEncodingRepeated = "transfer-encoding-repeated", 400, "Invalid HTTP Header: 'TRANSFER-ENCODING' is repeated";
    /// `Transfer-Encoding` in a request of HTTP/1.0 (RFC 9112 §6.1).
    TransferEncodingVersion = "transfer-encoding-in-http10", 400, "Invalid HTTP Header: 'TRANSFER-ENCODING' in HTTP/1.0";
    /// Codings that are no tokens, or whose last is not `chunked`, or where that is not the only one of its kind.
    TransferEncoding = "bad-transfer-encoding", 400, "Invalid HTTP Header: 'TRANSFER-ENCODING'";
    /// A coding under `chunked` that this server does not know.
    TransferCoding = "unsupported-transfer-coding", 501, "Unsupported transfer coding";
    /// An `Expect` other than `100-continue`.
    Expectation = "unknown-expectation", 417, "Unable to comply with expectation";
    /// The body is over its limit.
    BodyTooLarge = "body-too-large", 413, "Request body is too large";
    /// A chunk size that is not 1 to 16 hexadecimal digits, or is 2^63 or more.
    ChunkSize = "bad-chunk-size", 400, "Invalid chunk size";
    /// A chunk's line does not end in CRLF.
    ChunkLine = "bad-chunk-line", 400, "Invalid chunk size: its line must end with CRLF";
    /// Chunk extensions that do not follow the grammar (RFC 9112 §7.1.1).
    ChunkExtension = "bad-chunk-extension", 400, "Invalid chunk extension";
    /// More chunk extensions than anyone needs.
    ChunkExtensionsTooLarge = "chunk-extensions-too-large", 400, "Invalid chunk extension: it is too large";
    /// A chunk's data are not followed by CRLF.
    ChunkEnd = "bad-chunk-end", 400, "Invalid chunk: its data must end with CRLF";
    /// A trailer field that is malformed.
    Trailer = "bad-trailer", 400, "Invalid HTTP trailer";
    /// A trailer field that must not come after the body (RFC 9110 §6.5.1).
    TrailerForbidden = "forbidden-trailer", 400, "Invalid HTTP trailer: a field that must not be one";
    /// The trailer section is over its limit.
    TrailersTooLarge = "trailers-too-large", 431, "Error parsing trailers: too large";
    /// Trusted forwarded fields contradict each other about the scheme.
    Scheme = "contradictory-scheme", 400, "Contradictory scheme headers";
    /// A uwsgi packet came to an HTTP port.
    UwsgiToHttp = "uwsgi-to-http", 400,
        "This port speaks HTTP, and the request is a uwsgi packet: use proxy_pass in place of uwsgi_pass, or bind uwsgi://";
    /// A FastCGI record came to an HTTP port.
    FastCgiToHttp = "fastcgi-to-http", 400,
        "This port speaks HTTP, and the request is a FastCGI record: use proxy_pass in place of fastcgi_pass, or bind \
         fastcgi://";
    /// An SCGI request came to an HTTP port.
    ScgiToHttp = "scgi-to-http", 400,
        "This port speaks HTTP, and the request is an SCGI one: use proxy_pass in place of scgi_pass, or bind scgi://";
    /// A TLS handshake came to an HTTP port.
    TlsToHttp = "tls-to-http", 400,
        "This port speaks HTTP, and the request is a TLS handshake: use http:// in place of https://";
    /// HTTP came to a uwsgi port.
    HttpToUwsgi = "http-to-uwsgi", 400,
        "This port speaks uwsgi, and the request is HTTP: use uwsgi_pass in place of proxy_pass, or bind http://";
    /// HTTP came to a FastCGI port.
    HttpToFastCgi = "http-to-fastcgi", 400,
        "This port speaks FastCGI, and the request is HTTP: use fastcgi_pass in place of proxy_pass, or bind http://";
    /// HTTP came to an SCGI port.
    HttpToScgi = "http-to-scgi", 400,
        "This port speaks SCGI, and the request is HTTP: use scgi_pass in place of proxy_pass, or bind http://";
    /// A FastCGI record came to a uwsgi port.
    FastCgiToUwsgi = "fastcgi-to-uwsgi", 400,
        "This port speaks uwsgi, and the request is a FastCGI record: use uwsgi_pass in place of fastcgi_pass, or bind fastcgi://";
    /// An SCGI request came to a uwsgi port.
    ScgiToUwsgi = "scgi-to-uwsgi", 400,
        "This port speaks uwsgi, and the request is an SCGI one: use uwsgi_pass in place of scgi_pass, or bind scgi://";
    /// A uwsgi packet came to a FastCGI port.
    UwsgiToFastCgi = "uwsgi-to-fastcgi", 400,
        "This port speaks FastCGI, and the request is a uwsgi packet: use fastcgi_pass in place of uwsgi_pass, or bind uwsgi://";
    /// An SCGI request came to a FastCGI port.
    ScgiToFastCgi = "scgi-to-fastcgi", 400,
        "This port speaks FastCGI, and the request is an SCGI one: use fastcgi_pass in place of scgi_pass, or bind scgi://";
    /// A uwsgi packet came to an SCGI port.
    UwsgiToScgi = "uwsgi-to-scgi", 400,
        "This port speaks SCGI, and the request is a uwsgi packet: use scgi_pass in place of uwsgi_pass, or bind uwsgi://";
    /// A FastCGI record came to an SCGI port.
    FastCgiToScgi = "fastcgi-to-scgi", 400,
        "This port speaks SCGI, and the request is a FastCGI record: use scgi_pass in place of fastcgi_pass, or bind fastcgi://";
    /// A uwsgi packet that asks for something else than a request or a ping.
    UwsgiModifier = "uwsgi-modifier", 501,
        "Unsupported uwsgi packet: only modifiers 0 and 30 (requests) and 100 (ping) are served";
    /// Not a record of FastCGI 1.0.
    FastCgiVersion = "fastcgi-version", 400, "Invalid FastCGI record: it is not of version 1";
    /// A record that may not come where it came, or is not of the size that it must have.
    FastCgiRecord = "fastcgi-record", 400, "Invalid FastCGI record: its place or its size is wrong";
    /// The length of the netstring is not digits without a leading zero and a colon.
    ScgiLength = "scgi-length", 400, "Invalid SCGI request: it does not begin with the length of a netstring";
    /// The netstring is not followed by a comma.
    ScgiComma = "scgi-comma", 400, "Invalid SCGI request: no comma behind the netstring";
    /// `CONTENT_LENGTH` is not the first variable, or `SCGI` is not `1`.
    ScgiVariables = "scgi-variables", 400,
        "Invalid SCGI request: CONTENT_LENGTH must be the first variable, and SCGI must be 1";
    /// Names and values of variables do not fill what holds them, exactly.
    Variables = "bad-variables", 400, "Invalid variables: their lengths do not add up";
    /// The name of a variable is empty, longer than 256 bytes, or has a control character.
    VariableName = "bad-variable-name", 400, "Invalid variables: a name that is none";
    /// The value of a variable has a NUL.
    VariableValue = "bad-variable-value", 400, "Invalid variables: a value with a NUL";
    /// There are more variables than anyone needs.
    TooManyVariables = "too-many-variables", 431, "Invalid variables: there are too many";
    /// No `REQUEST_METHOD`.
    MethodMissing = "request-method-missing", 400, "Invalid variables: 'REQUEST_METHOD' is missing";
    /// None of the variables that name a path.
    PathMissing = "path-missing", 400, "Invalid variables: neither 'REQUEST_URI' nor 'PATH_INFO' is there";
    /// A path that does not begin with a slash.
    Path = "bad-path", 400, "Invalid variables: the path does not begin with a slash";
    /// The body ended before it had the bytes that `CONTENT_LENGTH` promised.
    BodyShort = "body-too-short", 400, "Request body is shorter than its Content-Length";
    /// The head did not arrive in time.
    HeadTimeout = "head-timeout", 408, "Request headers did not arrive in time";
    /// The body did not arrive in time, or too slowly.
    BodyTimeout = "body-timeout", 408, "Request body did not arrive in time";
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Error {}

/// Why a response of an application cannot be sent. The application is at fault; the peer gets a 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResponseError {
    /// No request waits for a response, or it has one already.
    OutOfTurn,
    /// The status is not 200 to 599 (for an interim response: 102 to 199).
    Status,
    /// The words behind the status contain a control character.
    Reason,
    /// A field name is no token.
    FieldName,
    /// A field value contains a control character.
    FieldValue,
    /// `Content-Length` is no number, comes twice, or is not the length of the body.
    ContentLength,
}

impl ResponseError {
    /// The stable code that stands in the log.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::OutOfTurn => "response-out-of-turn",
            Self::Status => "bad-response-status",
            Self::Reason => "bad-response-reason",
            Self::FieldName => "bad-response-field-name",
            Self::FieldValue => "bad-response-field-value",
            Self::ContentLength => "bad-response-content-length",
        }
    }
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfTurn => "no request waits for this response",
            Self::Status => "the status of the response is not one that may be sent",
            Self::Reason => "the reason of the response contains a control character",
            Self::FieldName => "the name of a response field is not a token",
            Self::FieldValue => "the value of a response field contains a control character",
            Self::ContentLength => "the response's Content-Length is invalid, repeated, or not the length of its body",
        })
    }
}

impl std::error::Error for ResponseError {}
