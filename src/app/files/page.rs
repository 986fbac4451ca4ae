//! The answers that are not files: refusals and redirects, in the form of Gunicorn's error pages.

use nix::errno::Errno;

use crate::app::Response;
use crate::html;

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

pub(super) fn refusal(refusal: Refusal) -> Response {
    let (status, text) = match refusal {
        Refusal::BadRequest => (400, "The path of this address is not well-formed."),
        Refusal::Forbidden => (403, "The server may not read this file."),
        Refusal::NotFound => (404, "There is no such file."),
        Refusal::MethodNotAllowed => (405, "Files can only be read."),
        Refusal::NotAcceptable => (406, "The file is not there in an accepted encoding."),
        Refusal::PreconditionFailed => (412, "The file is not the one expected."),
        Refusal::RangeNotSatisfiable => (416, "The file is shorter than that."),
        Refusal::Internal => (500, "The file cannot be read."),
        Refusal::Unavailable => (503, "The server is too busy to read the file."),
    };
    let response = page(status, text);
    match refusal {
        Refusal::MethodNotAllowed => response.with_field("Allow", ALLOW),
        Refusal::NotAcceptable => response.with_field("Vary", "Accept-Encoding"),
        _ => response,
    }
}

pub(super) fn moved(location: String) -> Response {
    page(301, "This is a directory.").with_field("Location", location)
}

fn page(status: u16, text: &str) -> Response {
    Response::new(status)
        .with_content_type("text/html; charset=utf-8")
        .with_field("X-Content-Type-Options", "nosniff")
        .with_body(html::message(status, text))
}
