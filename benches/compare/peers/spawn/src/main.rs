//! The floor for CGI: for each request one `posix_spawn` of a program, its output read, and waited for. It looks for the end
//! of a head, checks nothing, and serves one connection at a time.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let (port, program) = match arguments.as_slice() {
        [_, port, program] => (port, program),
        _ => panic!("usage: peer-spawn PORT PROGRAM"),
    };
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    let (mut input, mut output) = ([0; 8192], Vec::new());
    for connection in listener.incoming() {
        let mut connection = connection?;
        connection.set_nodelay(true)?;
        let mut length = 0;
        while let Ok(count @ 1..) = connection.read(&mut input[length..]) {
            length += count;
            if !input[..length].ends_with(b"\r\n\r\n") {
                continue;
            }
            length = 0;
            // Without changes to groups, limits or the like, the standard library uses posix_spawn.
            let mut child = Command::new(program)
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()?;
            output.clear();
            child.stdout.take().expect("a pipe").read_to_end(&mut output)?;
            child.wait()?;
            let body = output.windows(2).position(|bytes| bytes == b"\n\n").map_or(0, |at| at + 2);
            let mut answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                output.len() - body
            )
            .into_bytes();
            answer.extend_from_slice(&output[body..]);
            if connection.write_all(&answer).is_err() {
                break;
            }
        }
    }
    Ok(())
}
