//! The smallest application: one line, and the whole command line of `ferricorn`.

use ferricorn::{Request, Response};

fn main() -> std::process::ExitCode {
    ferricorn::run(|_request: &Request| Response::text("Hello, World!"))
}
