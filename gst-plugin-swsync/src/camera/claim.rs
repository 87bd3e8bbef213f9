//! Ensures that a camera has one user at a time on this machine, and tells who that is.
//!
//! A [`Claim`] is a listening Unix socket with an abstract name. The kernel gives a name to one socket only, frees it
//! when its process ends in whatever way, and tells a client which process listens. There is no file to clean up and no
//! folder to agree on. Processes in different network namespaces (some containers) do not see each other's claims.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::{fmt, process};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt::PeerCredentials,
};

use sha2::{Digest as _, Sha256};

/// Longer names are hashed. An abstract name has 107 bytes at most.
const LONGEST: usize = 80;

/// Attempts if a name is taken but nobody listens: its owner has just come, or has just gone.
const ATTEMPTS: usize = 10;

/// Who holds a claim, as far as that can be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// This process.
    ThisProcess,
    /// Another process.
    Process {
        /// Its id.
        id: u32,
        /// Its name, if that can be read.
        name: Option<String>,
    },
    /// An unknown process.
    Unknown,
}

impl Holder {
    fn of_id(id: i32) -> Self {
        match u32::try_from(id) {
            Ok(id) if id == process::id() => Self::ThisProcess,
            Ok(id) if id > 0 => {
                let name = fs::read_to_string(format!("/proc/{id}/comm")).ok();
                Self::Process { id, name: name.map(|name| name.trim_end().to_owned()) }
            }
            // It is in another process namespace.
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThisProcess => write!(f, "this process itself"),
            Self::Process { id, name: Some(name) } => write!(f, "{name} (process {id})"),
            Self::Process { id, name: None } => write!(f, "process {id}"),
            Self::Unknown => write!(f, "another process"),
        }
    }
}

/// Why a claim fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// It is claimed already.
    #[error("it is in use by {0}")]
    Held(Holder),
    /// The system gives no sockets.
    #[error("it cannot be claimed: {0}")]
    Io(#[from] io::Error),
}

/// The sole right to use something, until this is dropped or the process ends.
#[derive(Debug)]
pub struct Claim {
    _listener: UnixListener,
}

impl Claim {
    /// Claims `thing`: a name that all its users agree on.
    ///
    /// # Errors
    /// [`ClaimError::Held`] if it is claimed already, also by this process.
    pub fn new(thing: &str) -> Result<Self, ClaimError> {
        let name = name_of(thing);
        let address = SocketAddr::from_abstract_name(&name)?;
        for _ in 0..ATTEMPTS {
            match UnixListener::bind_addr(&address) {
                Ok(listener) => return Ok(Self { _listener: listener }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error.into()),
            }
            match listener_at(&name) {
                Ok(holder) => return Err(ClaimError::Held(holder)),
                Err(Errno::ECONNREFUSED) => std::thread::yield_now(),
                Err(_) => break,
            }
        }
        Err(ClaimError::Held(Holder::Unknown))
    }
}

fn name_of(thing: &str) -> String {
    let name = format!("swsync/{thing}");
    if name.len() <= LONGEST {
        return name;
    }
    let sum: String = Sha256::digest(thing).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("swsync/{sum}")
}

/// The process that listens at an abstract name. Does not block, even if the socket's queue is full.
fn listener_at(name: &str) -> Result<Holder, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let asking = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(asking.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
    Ok(Holder::of_id(getsockopt(&asking, PeerCredentials)?.pid()))
}

/// The process that uses the camera with this device number, by the lock that libcamera takes on media devices in use.
#[must_use]
pub fn user_of_video_device(device: u64) -> Option<Holder> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let nodes = fs::read_dir(format!("/sys/dev/char/{major}:{minor}/device")).ok()?;
    let names = nodes.filter_map(|node| node.ok()?.file_name().into_string().ok());
    let mut media = names.filter(|name| name.starts_with("media"));
    media.find_map(|name| lock_holder(&Path::new("/dev").join(name)))
}

/// The process with a POSIX lock on `file`. The file is not opened: closing it would end this process's own locks.
fn lock_holder(file: &Path) -> Option<Holder> {
    let file = fs::metadata(file).ok()?;
    let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
    let id = lock_holder_in(
        &fs::read_to_string("/proc/locks").ok()?,
        &format!("{major:02x}:{minor:02x}:{}", file.ino()),
    )?;
    Some(Holder::of_id(id))
}

/// The process with a POSIX lock on the file `inode`; `locks` is `/proc/locks` (proc_locks(5)).
fn lock_holder_in(locks: &str, inode: &str) -> Option<i32> {
    locks.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        // A process that waits for a lock has an arrow before the kind.
        [_, "POSIX", _, _, id, of, ..] if of == inode => id.parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    fn held(thing: &str) -> Holder {
        match Claim::new(thing) {
            Err(ClaimError::Held(holder)) => holder,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_claim_has_one_holder_until_it_is_dropped() {
        let thing = format!("test {}", process::id());
        let claim = Claim::new(&thing).unwrap();
        for _ in 0..200 {
            assert_eq!(held(&thing), Holder::ThisProcess);
        }
        let other = Claim::new(&format!("{thing} too")).unwrap();
        drop(claim);
        // A process that another test forks has this process's sockets until it execs.
        let again = (0..100).find_map(|_| {
            Claim::new(&thing).inspect_err(|_| std::thread::sleep(Duration::from_millis(10))).ok()
        });
        drop((again.expect("it is free"), other));
    }

    #[test]
    fn long_names_are_told_apart() {
        let long = |last: char| format!("{}{}{last}", process::id(), "x".repeat(200));
        let claim = Claim::new(&long('a')).unwrap();
        assert_eq!(held(&long('a')), Holder::ThisProcess);
        drop((claim, Claim::new(&long('b')).unwrap()));
    }

    #[test]
    fn holders_are_named_as_far_as_known() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let id = child.id();
        let holder = Holder::of_id(i32::try_from(id).unwrap());
        assert!(matches!(&holder, Holder::Process { id: of, name: Some(_) } if *of == id), "{holder:?}");
        assert!(holder.to_string().ends_with(&format!(" (process {id})")), "{holder}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Holder::of_id(i32::try_from(id).unwrap()).to_string(), format!("process {id}"));
        assert_eq!(Holder::of_id(0).to_string(), "another process");
    }

    #[test]
    fn lock_holders_are_found_by_file() {
        let locks = "1: FLOCK  ADVISORY  WRITE 17 00:05:400 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 1234 00:05:400 0 EOF\n\
                     2: -> POSIX  ADVISORY  WRITE 99 00:05:401 0 EOF\n\
                     3: POSIX  ADVISORY  READ  55 fd:10:400 0 0\n";
        assert_eq!(lock_holder_in(locks, "00:05:400"), Some(1234));
        assert_eq!(lock_holder_in(locks, "fd:10:400"), Some(55));
        assert_eq!(lock_holder_in(locks, "00:05:401"), None, "it only waits for its lock");
        assert_eq!(user_of_video_device(rustix::fs::makedev(4000, 1)), None);
    }

    #[test]
    fn the_kernel_lists_locks_as_expected() {
        let file = rustix::fs::memfd_create("swsync-claim", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        assert_eq!(lock_holder(Path::new(&path)), None);
        rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(lock_holder(Path::new(&path)), Some(Holder::ThisProcess));
    }
}
