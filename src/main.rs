//! The command `ferricorn`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ferricorn::command()
}
