//! A file that is there whole, or not at all.
//!
//! It is written under another name beside its place, and moved there when it is done. Where there is something already
//! that is no file, a device or a pipe such as `/dev/null` or `/dev/fd/3`, that is written to as it is: moving a file
//! over it would put an end to it for everybody.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file in the making; dropped before it is finished, it leaves nothing.
pub(crate) struct WholeFile {
    place: Place,
}

enum Place {
    Beside(NamedTempFile, PathBuf),
    Straight(File),
}

impl WholeFile {
    /// Begins the file at `path`; where that is a link, the one that it leads to.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let place = match std::fs::metadata(path) {
            Ok(found) if !found.is_file() && !found.is_dir() => {
                Place::Straight(OpenOptions::new().write(true).open(path)?)
            }
            Ok(_) => beside(&std::fs::canonicalize(path)?)?,
            Err(_) => beside(path)?,
        };
        Ok(Self { place })
    }

    /// What is to be written to.
    pub(crate) fn writer(&self) -> io::Result<File> {
        match &self.place {
            Place::Beside(file, _) => file.as_file().try_clone(),
            Place::Straight(file) => file.try_clone(),
        }
    }

    /// Brings what was written to its place.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self.place {
            Place::Beside(file, path) => file.persist(path).map(drop).map_err(|error| error.error),
            Place::Straight(_) => Ok(()),
        }
    }
}

fn beside(path: &Path) -> io::Result<Place> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".answerlake-").suffix(".partial");
    // It becomes a file like any other, so it gets the rights of one.
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    Ok(Place::Beside(builder.tempfile_in(folder)?, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn write(path: &Path, text: &str) {
        let file = WholeFile::create(path).unwrap();
        file.writer().unwrap().write_all(text.as_bytes()).unwrap();
        file.finish().unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole_and_left_as_it_was_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a.json"), folder.path().join("link"));
        write(&path, "one");
        let unfinished = WholeFile::create(&path).unwrap();
        unfinished.writer().unwrap().write_all(b"half").unwrap();
        drop(unfinished);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write(&link, "two");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_no_file_stays_what_it_is() {
        use std::os::unix::fs::FileTypeExt;

        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        std::thread::scope(|scope| {
            let read = scope.spawn(|| {
                let mut text = String::new();
                File::open(&pipe)
                    .unwrap()
                    .read_to_string(&mut text)
                    .unwrap();
                text
            });
            write(&pipe, "through");
            assert_eq!(read.join().unwrap(), "through");
        });
        let left = std::fs::symlink_metadata(&pipe).unwrap();
        assert!(left.file_type().is_fifo());
    }
}
