//! The floor under a Python application: one epoll loop that takes what one `recv` brings for a request, calls the
//! application with a copy of the same environ each time, and sends its body behind a fixed head. It parses nothing and
//! checks nothing; what it costs more than the calls alone, no server that calls from such a loop can do without. (Nor can other threads of Python's ever run.)

use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::SystemTime;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};

/// Events fetched at a time.
const BATCH: usize = 256;
const READ_BUFFER: usize = 16 * 1024;

#[pymodule]
mod peer_called {
    #[pymodule_export]
    use super::serve;
}

/// Serves `application`; up to `together` answers leave together.
#[pyfunction]
fn serve(application: &Bound<'_, PyAny>, environ: &Bound<'_, PyDict>, port: u16, together: usize) -> PyResult<()> {
    let py = application.py();
    let (listener, epoll) = listen(port)?;
    let start_response = wrap_pyfunction!(accepting, py)?;
    let date = httpdate::fmt_http_date(SystemTime::now());
    let mut connections: Vec<Option<OwnedFd>> = Vec::new();
    let mut buffer = Vec::with_capacity(READ_BUFFER);
    let mut events = Vec::with_capacity(BATCH);
    let mut owed: Vec<(usize, Vec<u8>)> = Vec::with_capacity(together);
    loop {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
        for event in &events {
            let fd = event.data.u64() as usize;
            if fd == listener.as_raw_fd() as usize {
                accept(&listener, &epoll, &mut connections)?;
                continue;
            }
            buffer.clear();
            let Some(Some(connection)) = connections.get(fd) else { continue };
            match rustix::net::recv(connection, spare_capacity(&mut buffer), RecvFlags::empty()) {
                Ok((1.., _)) => {}
                Err(Errno::AGAIN) => continue,
                _ => {
                    connections[fd] = None;
                    continue;
                }
            }
            let result = application.call1((environ.copy()?, &start_response))?;
            owed.push((fd, answer(&result, &date)?));
            if owed.len() >= together {
                send(&mut owed, &mut connections);
            }
        }
        send(&mut owed, &mut connections);
    }
}

fn listen(port: u16) -> std::io::Result<(TcpListener, OwnedFd)> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
    rustix::io::ioctl_fionbio(&listener, true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, event_data(&listener), EventFlags::IN)?;
    Ok((listener, epoll))
}

fn accept(listener: &TcpListener, epoll: &OwnedFd, connections: &mut Vec<Option<OwnedFd>>) -> std::io::Result<()> {
    let Ok(fd) = rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) else {
        return Ok(());
    };
    let slot = fd.as_raw_fd() as usize;
    if slot >= connections.len() {
        connections.resize_with(slot + 1, || None);
    }
    epoll::add(epoll, &fd, event_data(&fd), EventFlags::IN | EventFlags::RDHUP | EventFlags::ET)?;
    connections[slot] = Some(fd);
    Ok(())
}

fn answer(result: &Bound<'_, PyAny>, date: &str) -> PyResult<Vec<u8>> {
    let mut body = Vec::new();
    if let Ok(parts) = result.cast_exact::<PyList>() {
        for part in parts {
            body.extend_from_slice(part.cast::<PyBytes>()?.as_bytes());
        }
    } else {
        for part in result.try_iter()? {
            body.extend_from_slice(part?.cast::<PyBytes>()?.as_bytes());
        }
        result.call_method0("close")?;
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: benchmark\r\nDate: {date}\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    Ok([head.as_bytes(), &body].concat())
}

fn send(owed: &mut Vec<(usize, Vec<u8>)>, connections: &mut [Option<OwnedFd>]) {
    for (fd, answer) in owed.drain(..) {
        let Some(connection) = connections.get_mut(fd) else { continue };
        let sent = connection.as_ref().map(|fd| rustix::net::send(fd, &answer, SendFlags::NOSIGNAL));
        if sent != Some(Ok(answer.len())) {
            *connection = None;
        }
    }
}

/// `start_response`, which takes anything.
#[pyfunction]
#[pyo3(signature = (_status, _fields, _exc_info=None))]
fn accepting(_status: &Bound<'_, PyAny>, _fields: &Bound<'_, PyAny>, _exc_info: Option<&Bound<'_, PyAny>>) {}

fn event_data(fd: &impl AsRawFd) -> EventData {
    EventData::new_u64(fd.as_raw_fd() as u64)
}
