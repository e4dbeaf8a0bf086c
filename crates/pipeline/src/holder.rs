//! Who holds a claim: a process, told apart from all others there are and were.
//!
//! A run that was killed holds its claim still, and nobody else could tell it from one that is slow. On the machine that
//! it ran on, the system knows.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// The machine since its last start, and on it the space in which process ids count: a container has its own.
    machine: String,
    process: u32,
    /// When it started, as the system counts: ids of processes that are gone are given again.
    started: String,
}

impl Holder {
    /// This process; `None` where the system does not tell.
    pub(crate) fn this() -> Option<Self> {
        let process = std::process::id();
        Some(Self {
            machine: machine()?,
            process,
            started: started(process)?,
        })
    }

    /// Whether the process is known to be no more.
    pub(crate) fn is_gone(&self) -> bool {
        machine().is_some_and(|machine| machine == self.machine)
            && started(self.process).is_none_or(|started| started != self.started)
    }
}

fn machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), space.display()))
}

/// The 22nd field of a process's line; its name, the second, may hold blanks and brackets.
fn started(process: u32) -> Option<String> {
    let path = Path::new("/proc").join(process.to_string()).join("stat");
    let line = std::fs::read_to_string(path).ok()?;
    let (_, after_name) = line.rsplit_once(')')?;
    after_name.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_gone_when_it_has_ended() {
        let this = Holder::this().unwrap();
        assert!(!this.is_gone());
        let mut other = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let holder = Holder {
            process: other.id(),
            started: started(other.id()).unwrap(),
            ..this.clone()
        };
        assert!(!holder.is_gone());
        let another = Holder {
            started: "1".to_owned(),
            ..holder.clone()
        };
        assert!(another.is_gone(), "its id was given again");
        let elsewhere = Holder {
            machine: "elsewhere".to_owned(),
            ..another
        };
        assert!(!elsewhere.is_gone(), "who knows");
        drop(other.stdin.take());
        other.wait().unwrap();
        assert!(holder.is_gone());
    }
}
