//! The answers that are not files: refusals and redirects, in the form of Gunicorn's error pages.

use nix::errno::Errno;

use crate::app::Response;

/// Why there is no file in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    PreconditionFailed,
    RangeNotSatisfiable,
    Internal,
    Unavailable,
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        match error {
            // EXDEV and ELOOP are symbolic links out of the root or to themselves, ENXIO is a socket. They are not told
            // from files that do not exist.
            Errno::ENOENT
            | Errno::ENOTDIR
            | Errno::ENAMETOOLONG
            | Errno::EXDEV
            | Errno::ELOOP
            | Errno::ENXIO
            | Errno::ENODEV => Self::NotFound,
            Errno::EACCES | Errno::EPERM => Self::Forbidden,
            Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EAGAIN => {
                log::error!("Error handling request: cannot open a file: {}", error.desc());
                Self::Unavailable
            }
            _ => {
                log::error!("Error handling request: cannot read a file: {}", error.desc());
                Self::Internal
            }
        }
    }
}

/// What may be done with a file.
pub(super) const ALLOW: &str = "GET, HEAD, OPTIONS";

macro_rules! page {
    ($reason:literal, $message:literal) => {
        concat!(
            "<html>\n  <head>\n    <title>",
            $reason,
            "</title>\n  </head>\n  <body>\n    <h1><p>",
            $reason,
            "</p></h1>\n    ",
            $message,
            "\n  </body>\n</html>\n"
        )
    };
}

pub(super) fn refusal(refusal: Refusal) -> Response {
    let (status, text) = match refusal {
        Refusal::BadRequest => (400, page!("Bad Request", "The path of this address is not well-formed.")),
        Refusal::Forbidden => (403, page!("Forbidden", "The server may not read this file.")),
        Refusal::NotFound => (404, page!("Not Found", "There is no such file.")),
        Refusal::MethodNotAllowed => (405, page!("Method Not Allowed", "Files can only be read.")),
        Refusal::NotAcceptable => (406, page!("Not Acceptable", "The file is not there in an accepted encoding.")),
        Refusal::PreconditionFailed => (412, page!("Precondition Failed", "The file is not the one expected.")),
        Refusal::RangeNotSatisfiable => (416, page!("Range Not Satisfiable", "The file is shorter than that.")),
        Refusal::Internal => (500, page!("Internal Server Error", "The file cannot be read.")),
        Refusal::Unavailable => (503, page!("Service Unavailable", "The server is too busy to read the file.")),
    };
    let response = html(status, text);
    match refusal {
        Refusal::MethodNotAllowed => response.with_field("Allow", ALLOW),
        Refusal::NotAcceptable => response.with_field("Vary", "Accept-Encoding"),
        _ => response,
    }
}

pub(super) fn moved(location: String) -> Response {
    html(301, page!("Moved Permanently", "This is a directory.")).with_field("Location", location)
}

fn html(status: u16, text: &'static str) -> Response {
    Response::new(status)
        .with_content_type("text/html; charset=utf-8")
        .with_field("X-Content-Type-Options", "nosniff")
        .with_body(text)
}
