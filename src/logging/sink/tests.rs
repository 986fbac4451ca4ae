use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixStream;

use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::pipe;

use super::*;
use crate::logging::scratch::Scratch;

fn is_nonblocking(fd: impl AsFd) -> bool {
    OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
}

/// Writes until nothing more is taken, and returns how much was.
fn fill(sink: &mut Sink) -> usize {
    let line = [b"a".repeat(99), b"\n".to_vec()].concat();
    let mut bytes = 0;
    loop {
        match sink.write(&line) {
            Ok(written) => bytes += written.bytes,
            Err(error) => {
                assert_eq!(error, Errno::EAGAIN);
                return bytes;
            }
        }
    }
}

#[test]
fn a_pipe_that_nobody_reads_blocks_neither_the_log_nor_its_other_owners() {
    let (reader, writer) = pipe().unwrap();
    let mut sink = Sink::shared(writer.as_fd()).unwrap();
    assert_eq!(sink.kind, Kind::NonBlocking);
    assert!(fill(&mut sink) >= PIECE);
    assert!(!is_nonblocking(&writer), "the description of others was changed");

    let mut reader = File::from(reader);
    reader.read_exact(&mut [0; 2 * PIECE]).unwrap();
    assert_eq!(sink.write(b"line\n"), Ok(Written { bytes: 5, lost: 0 }));
}

#[test]
fn a_description_that_cannot_be_opened_again_is_asked_before_each_write() {
    let (reader, writer) = pipe().unwrap();
    let mut sink = Sink { fd: writer, kind: Kind::Shared, torn: false };
    fill(&mut sink);
    let mut reader = File::from(reader);
    reader.read_exact(&mut [0; 2 * PIECE]).unwrap();
    assert_eq!(sink.write(b"line\n"), Ok(Written { bytes: 5, lost: 0 }));
}

#[test]
fn a_pipe_gets_whole_lines_in_pieces_that_it_takes_at_once() {
    let (reader, writer) = pipe().unwrap();
    let mut sink = Sink::shared(writer.as_fd()).unwrap();
    let line = [b"b".repeat(999), b"\n".to_vec()].concat();
    assert_eq!(sink.write(&line.repeat(10)), Ok(Written { bytes: 4000, lost: 0 }));
    drop((sink, writer));
    let mut read = Vec::new();
    File::from(reader).read_to_end(&mut read).unwrap();
    assert_eq!(read, line.repeat(4));
}

#[test]
fn a_reader_that_has_gone_is_an_error_and_no_signal() {
    let (reader, writer) = pipe().unwrap();
    let mut sink = Sink::shared(writer.as_fd()).unwrap();
    drop(reader);
    assert_eq!(sink.write(b"line\n"), Err(Errno::EPIPE));
    let (here, there) = UnixStream::pair().unwrap();
    let mut sink = Sink::shared(here.as_fd()).unwrap();
    drop(there);
    assert_eq!(sink.write(b"line\n"), Err(Errno::EPIPE));
}

#[test]
fn a_line_that_was_torn_is_lost_and_does_not_begin_the_next_one() {
    // A socket that does not block takes a part, as a disk does that becomes full.
    let (here, mut there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    let mut sink = Sink { fd: here.into(), kind: Kind::File, torn: false };
    let line = [b"t".repeat(98), b"\n".to_vec()].concat();
    let written = sink.write(&line.repeat(20_000)).unwrap();
    assert!(written.bytes < 20_000 * line.len() && written.lost == 1 && sink.torn, "{written:?}");
    assert_eq!(written.bytes % line.len(), 0);
    assert_eq!(sink.write(b"early\n"), Err(Errno::EAGAIN));

    let whole = written.bytes / line.len() - 1;
    let mut buffer = vec![0; whole * line.len()];
    there.read_exact(&mut buffer).unwrap();
    assert_eq!(buffer, line.repeat(whole));
    assert_eq!(sink.write(b"next\n"), Ok(Written { bytes: 5, lost: 0 }));
    drop(sink);
    let mut rest = String::new();
    there.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with('t') && rest.ends_with("t\nnext\n") && rest.len() < line.len() + 6, "{rest}");
}

#[test]
fn a_socket_is_asked_not_to_block() {
    let (here, mut there) = UnixStream::pair().unwrap();
    let mut sink = Sink::shared(here.as_fd()).unwrap();
    let bytes = fill(&mut sink);
    assert!(!is_nonblocking(&here));
    there.read_exact(&mut vec![0; bytes]).unwrap();
    assert_eq!(sink.write(b"line\n"), Ok(Written { bytes: 5, lost: 0 }));
}

#[test]
fn a_full_disk_is_an_error() {
    let mut sink = Sink::open(&Destination::named("/dev/full", Standard::Error).unwrap(), None).unwrap();
    assert_eq!(sink.write(b"line\n"), Err(Errno::ENOSPC));
}

#[test]
fn a_file_that_the_shell_opened_is_shared_with_its_offset() {
    let scratch = Scratch::new();
    let mut file =
        File::options().create(true).read(true).write(true).truncate(true).open(scratch.path("log")).unwrap();
    file.write_all(b"before\n").unwrap();
    let mut sink = Sink::shared(file.as_fd()).unwrap();
    assert_eq!(sink.write(b"line\nline\n"), Ok(Written { bytes: 10, lost: 0 }));
    file.write_all(b"after\n").unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "before\nline\nline\nafter\n");
}

#[test]
fn streams_are_known_by_their_names() {
    let scratch = Scratch::new();
    symlink("/dev/stderr", scratch.path("link")).unwrap();
    let named = |name: &str| Destination::named(name, Standard::Output).unwrap();
    assert_eq!(named("-"), Destination::Standard(Standard::Output));
    assert_eq!(named("/dev/stdout"), Destination::Standard(Standard::Output));
    assert_eq!(named("/dev/stderr"), Destination::Standard(Standard::Error));
    assert_eq!(named(scratch.path("link").to_str().unwrap()), Destination::Standard(Standard::Error));
    assert_eq!(named("/x/log"), Destination::File("/x/log".into()));
    assert_eq!(named("log"), Destination::File(std::env::current_dir().unwrap().join("log")));
}

#[test]
fn root_gives_away_only_files_that_it_makes_and_follows_nobodys_links() {
    crate::root::needed();
    let nobody = Uid::from_raw(65534);
    let owner = Some(Owner { user: Some(nobody), group: None });
    let scratch = Scratch::new();
    let (log, link, victim) = (scratch.path("log"), scratch.path("link"), scratch.path("victim"));
    let open = |path: &Path| Sink::open(&Destination::File(path.to_owned()), owner);
    open(&log).unwrap();
    assert_eq!(fs::metadata(&log).unwrap().uid(), nobody.as_raw());
    open(&log).unwrap();

    fs::write(&victim, "").unwrap();
    symlink(&victim, &link).unwrap();
    open(&link).unwrap();
    assert_eq!(fs::metadata(&victim).unwrap().uid(), 0);
    fs::remove_file(&link).unwrap();
    symlink(&victim, scratch.path("theirs")).unwrap();
    nix::unistd::fchownat(
        nix::fcntl::AT_FDCWD,
        &scratch.path("theirs"),
        Some(nobody),
        None,
        nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .unwrap();
    assert!(open(&scratch.path("theirs")).unwrap_err().to_string().contains("symbolic link"));
}
