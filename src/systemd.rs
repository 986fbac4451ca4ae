//! What systemd and its like say to a service, and hear from it: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::RawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::clock::Moment;
use crate::process;
use crate::sys;

/// The number of the first descriptor that is passed.
const LISTEN_FDS_START: RawFd = 3;
/// More descriptors than that are a mistake.
const LISTEN_FDS_MAX: RawFd = 4096;

/// The sockets that the service manager passed to this process. Its variables are cleared: children would misread them.
///
/// To be called while the process has one thread.
pub(crate) fn listen_fds() -> Vec<RawFd> {
    let count = passed(|name| env::var_os(name), process::pid());
    clear(&["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]);
    (LISTEN_FDS_START..).take(count).collect()
}

fn passed(variable: impl Fn(&str) -> Option<OsString>, pid: i32) -> usize {
    if number::<i32>(variable("LISTEN_PID")) != Some(pid) {
        return 0;
    }
    let count = number::<RawFd>(variable("LISTEN_FDS")).filter(|count| (0..=LISTEN_FDS_MAX).contains(count));
    count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

fn number<T: std::str::FromStr>(value: Option<OsString>) -> Option<T> {
    value?.to_str()?.parse().ok()
}

fn clear(names: &[&str]) {
    for name in names.iter().filter(|name| env::var_os(name).is_some()) {
        if let Err(error) = sys::remove_variable(name) {
            log::warn!("Can't remove {name} from the environment, children will see it: {error}");
        }
    }
}

/// Tells the service manager what the server does, if there is one that listens. Nothing here ever waits for it.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    peer: Option<Peer>,
    watchdog: Option<Watchdog>,
}

#[derive(Debug)]
struct Peer {
    /// Made at the start, so that a process without descriptors to spare can still speak.
    socket: UnixDatagram,
    address: SocketAddr,
    name: OsString,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watchdog {
    microseconds: u64,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`, and clears them. To be called while the process has one
    /// thread.
    pub(crate) fn from_environment() -> Self {
        let notifier = Self::from_variables(|name| env::var_os(name), process::pid());
        clear(&["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]);
        notifier
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>, pid: i32) -> Self {
        let peer = variable("NOTIFY_SOCKET")
            .filter(|name| !name.is_empty())
            .and_then(|name| Peer::new(name).inspect_err(|error| log::warn!("Can't use NOTIFY_SOCKET: {error}")).ok());
        let for_us = variable("WATCHDOG_PID").is_none_or(|value| number(Some(value)) == Some(pid));
        let microseconds = number(variable("WATCHDOG_USEC")).filter(|microseconds| *microseconds > 0 && for_us);
        Self { peer, watchdog: microseconds.map(|microseconds| Watchdog { microseconds }) }
    }

    /// Variables with which a successor finds the same service manager.
    pub(crate) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let socket = self.peer.iter().map(|peer| ("NOTIFY_SOCKET", peer.name.clone()));
        let watchdog = self.watchdog.iter().map(|watchdog| ("WATCHDOG_USEC", watchdog.microseconds.to_string().into()));
        socket.chain(watchdog).collect()
    }

    /// The server serves; `status` is for people.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}\n", status.replace('\n', " ")));
    }

    /// It reloads; [`Self::ready`] ends that. `now` lets the manager know which of its reloads this is.
    pub(crate) fn reloading(&self, now: Moment) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", now.as_nanos() / 1000));
    }

    /// It stops.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\n");
    }

    /// Another process is the one to watch now.
    pub(crate) fn main_pid(&self, pid: i32) {
        self.tell(&format!("MAINPID={pid}\n"));
    }

    /// How often [`Self::watchdog`] is to be called: in half the time after which the manager gives the service up.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| Duration::from_micros(watchdog.microseconds / 2))
    }

    /// It lives.
    pub(crate) fn watchdog(&self) {
        self.tell("WATCHDOG=1\n");
    }

    fn tell(&self, message: &str) {
        if let Some(peer) = &self.peer
            && let Err(error) = peer.socket.send_to_addr(message.as_bytes(), &peer.address)
        {
            log::warn!("Can't notify the service manager: {error}");
        }
    }
}

impl Peer {
    fn new(name: OsString) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
            path @ [b'/', ..] => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
            _ => return Err(io::Error::other("it is neither a path nor an abstract address")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address, name })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use std::process::Command;

    use super::*;
    use crate::scenario::{self, Scratch};

    type Variables = &'static [(&'static str, &'static str)];

    fn lookup<'a>(variables: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn sockets_are_those_passed_to_this_process() {
        let cases: [(Variables, usize); 9] = [
            (&[], 0),
            (&[("LISTEN_PID", "7"), ("LISTEN_FDS", "2")], 2),
            (&[("LISTEN_PID", "8"), ("LISTEN_FDS", "2")], 0),
            (&[("LISTEN_FDS", "2")], 0),
            (&[("LISTEN_PID", "7")], 0),
            (&[("LISTEN_PID", "7"), ("LISTEN_FDS", "-1")], 0),
            (&[("LISTEN_PID", "7"), ("LISTEN_FDS", "2147483647")], 0),
            (&[("LISTEN_PID", "7"), ("LISTEN_FDS", "x")], 0),
            (&[("LISTEN_PID", "7"), ("LISTEN_FDS", "0")], 0),
        ];
        for (variables, count) in cases {
            assert_eq!(passed(lookup(variables), 7), count, "{variables:?}");
        }
    }

    #[test]
    fn variables_are_read_once_and_kept_from_children() {
        let script = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=a:b NOTIFY_SOCKET=@x WATCHDOG_PID=$$ WATCHDOG_USEC=3000000 \
                      exec \"$0\"";
        let output = scenario::script(script, "service manager's variables").output().unwrap();
        assert_eq!(
            scenario::lines(&output),
            ["[3, 4]", r#"[("NOTIFY_SOCKET", "@x"), ("WATCHDOG_USEC", "3000000")]"#, "Some(1.5s)", "[]", "children: "]
        );
    }

    pub(crate) fn read_variables() {
        scenario::print(format_args!("{:?}", listen_fds()));
        let notifier = Notifier::from_environment();
        scenario::print(format_args!("{:?}", notifier.variables()));
        scenario::print(format_args!("{:?}", notifier.watchdog_interval()));
        scenario::print(format_args!("{:?}", listen_fds()));
        let children = Command::new("sh").args(["-c", "env | grep -E 'LISTEN|NOTIFY|WATCHDOG'"]).output().unwrap();
        scenario::print(format_args!("children: {}", String::from_utf8(children.stdout).unwrap()));
    }

    #[test]
    fn the_watchdog_counts_when_it_is_meant_for_this_process() {
        let cases: [(Variables, Option<Duration>); 6] = [
            (&[], None),
            (&[("WATCHDOG_USEC", "10000000")], Some(Duration::from_secs(5))),
            (&[("WATCHDOG_USEC", "10000000"), ("WATCHDOG_PID", "7")], Some(Duration::from_secs(5))),
            (&[("WATCHDOG_USEC", "10000000"), ("WATCHDOG_PID", "8")], None),
            (&[("WATCHDOG_USEC", "0")], None),
            (&[("WATCHDOG_USEC", "soon")], None),
        ];
        for (variables, interval) in cases {
            assert_eq!(Notifier::from_variables(lookup(variables), 7).watchdog_interval(), interval, "{variables:?}");
        }
    }

    fn notifier(address: &str) -> Notifier {
        Notifier::from_variables(lookup(&[("NOTIFY_SOCKET", address)]), 7)
    }

    #[test]
    fn the_service_manager_hears_each_state_at_a_path_or_an_abstract_address() {
        let scratch = Scratch::new();
        let path = scratch.join("notify.sock");
        let name = format!("ferricorn-test-{}", std::process::id());
        let manager_at_path = UnixDatagram::bind(&path).unwrap();
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager_at_name = UnixDatagram::bind_addr(&abstract_address).unwrap();
        for (manager, address) in [(manager_at_path, path.display().to_string()), (manager_at_name, format!("@{name}"))]
        {
            let notifier = notifier(&address);
            notifier.ready("2 workers\nREADY=0");
            notifier.reloading(Moment::from_nanos(5_000_999));
            notifier.stopping();
            notifier.main_pid(123);
            notifier.watchdog();
            for message in [
                "READY=1\nSTATUS=2 workers READY=0\n",
                "RELOADING=1\nMONOTONIC_USEC=5000\n",
                "STOPPING=1\n",
                "MAINPID=123\n",
                "WATCHDOG=1\n",
            ] {
                let mut buffer = [0; 100];
                let length = manager.recv(&mut buffer).unwrap();
                assert_eq!(std::str::from_utf8(&buffer[..length]).unwrap(), message);
            }
        }
    }

    #[test]
    fn a_service_manager_that_does_not_listen_holds_nobody_up() {
        let scratch = Scratch::new();
        let path = scratch.join("notify.sock");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = notifier(&path.display().to_string());
        for _ in 0..10_000 {
            notifier.watchdog();
        }
        drop(manager);
        notifier.stopping();
        let nobody = Notifier::default();
        nobody.ready("");
        assert_eq!(nobody.watchdog_interval(), None);
        assert!(nobody.variables().is_empty());
    }

    #[test]
    fn an_address_of_another_kind_is_ignored() {
        for address in ["", "vsock:2:1234", "relative", &format!("/{}", "x".repeat(200))] {
            assert!(notifier(address).peer.is_none(), "{address}");
        }
    }
}
