//! Many names and small files of a lake on a disk, read by a few threads that block.
//!
//! Through the store, each of tens of thousands of manifests would cost a look at the file and a hand-over to another
//! thread, which is most of the time that `status` may take.

use std::io::ErrorKind;
use std::path::Path as FilePath;

use object_store::path::Path;

use crate::error::LoadError;

/// Fewer items than this are not worth a thread.
const MIN_SHARE: usize = 64;

/// The paths of all files below `prefix`, those after `offset` if there is one.
pub(crate) fn paths_below(
    root: &FilePath,
    prefix: &Path,
    offset: Option<&Path>,
) -> Result<Vec<Path>, LoadError> {
    let mut files = Vec::new();
    let mut level = vec![prefix.to_string()];
    // Level by level, so that the wide ones, where the time goes, are read by all threads.
    while !level.is_empty() {
        let read = in_threads(&level, |folder| entries(root, folder, offset))?;
        level = Vec::new();
        for (folders, names) in read {
            level.extend(folders);
            files.extend(names);
        }
    }
    Ok(files)
}

/// Reads files and makes something of each; `None` for one that is not there.
pub(crate) fn read_each<T: Send>(
    root: &FilePath,
    paths: &[Path],
    make: &(impl Fn(&Path, &[u8]) -> Result<T, LoadError> + Sync),
) -> Result<Vec<Option<T>>, LoadError> {
    in_threads(paths, |path| {
        match std::fs::read(root.join(path.as_ref())) {
            Ok(bytes) => make(path, &bytes).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", path, error)),
        }
    })
}

/// The folders in a folder, and its files.
fn entries(
    root: &FilePath,
    folder: &str,
    offset: Option<&Path>,
) -> Result<(Vec<String>, Vec<Path>), LoadError> {
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    let at = || Path::from(folder);
    let listed = match std::fs::read_dir(root.join(folder)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((folders, files)),
        listed => listed.map_err(|error| failed("list", &at(), error))?,
    };
    for entry in listed {
        let entry = entry.map_err(|error| failed("list", &at(), error))?;
        let name = entry.file_name();
        // Names that no path of a lake can have are not ours.
        let path = name.to_str().map(|name| match folder {
            "" => name.to_owned(),
            _ => format!("{folder}/{name}"),
        });
        let Some(path) = path else {
            continue;
        };
        let kind = entry
            .file_type()
            .map_err(|error| failed("list", &at(), error))?;
        let is_folder = if kind.is_symlink() {
            entry.path().is_dir()
        } else {
            kind.is_dir()
        };
        if is_folder {
            // All that lies in a folder sorts with the folder's own name.
            let is_before = offset.is_some_and(|offset| {
                path.as_str() < offset.as_ref() && !offset.as_ref().starts_with(&path)
            });
            if !is_before {
                folders.push(path);
            }
        } else if !name.to_str().is_some_and(is_in_the_making)
            && let Ok(path) = Path::parse(&path)
            && offset.is_none_or(|offset| path > *offset)
        {
            files.push(path);
        }
    }
    Ok((folders, files))
}

/// Whether the store shows a file of this name to nobody, because it is not written whole yet: `name#1`.
pub(crate) fn is_in_the_making(name: &str) -> bool {
    name.split_once('#').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

pub(crate) fn failed(action: &'static str, path: &Path, error: std::io::Error) -> LoadError {
    LoadError::store(action, path)(object_store::Error::Generic {
        store: "LocalFileSystem",
        source: error.into(),
    })
}

/// Does `work` for each item, in a thread a core when there are many; what came of them, in their order.
fn in_threads<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(&I) -> Result<T, LoadError> + Sync,
) -> Result<Vec<T>, LoadError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if items.len() < MIN_SHARE || threads == 1 {
        return items.iter().map(work).collect();
    }
    let share = items.len().div_ceil(threads);
    let work = &work;
    std::thread::scope(|scope| {
        let shares: Vec<_> = items
            .chunks(share)
            .map(|items| scope.spawn(move || items.iter().map(work).collect::<Result<Vec<T>, _>>()))
            .collect();
        let mut done = Vec::with_capacity(items.len());
        for share in shares {
            let share = share
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done.extend(share?);
        }
        Ok(done)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_lists_is_found() {
        let root = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for app in ["app_id=a", "app_id=b"] {
            for day in 10..80 {
                let folder = format!("commits/{app}/dt=20{day}");
                std::fs::create_dir_all(root.path().join(&folder)).unwrap();
                let file = format!("{folder}/00000001.json");
                std::fs::write(root.path().join(&file), day.to_string()).unwrap();
                // Writers that are at it, or were killed.
                let in_the_making = format!("{folder}/00000002.json#{day}");
                std::fs::write(root.path().join(in_the_making), "cut").unwrap();
                expected.push(Path::from(file));
            }
        }
        let list = |prefix: &str, offset: Option<&str>| {
            let offset = offset.map(Path::from);
            let mut paths = paths_below(root.path(), &Path::from(prefix), offset.as_ref()).unwrap();
            paths.sort();
            paths
        };
        assert_eq!(list("commits", None), expected);
        assert_eq!(
            list("commits/app_id=b", Some("commits/app_id=b/dt=2030")),
            expected[90..]
        );
        assert_eq!(
            list("commits", Some("commits/app_id=a/dt=2079")),
            expected[69..]
        );
        assert_eq!(list("nowhere", None), []);

        let mut asked = expected.clone();
        asked.push(Path::from("commits/nowhere"));
        let read = read_each(root.path(), &asked, &|_, bytes| Ok(bytes.to_vec())).unwrap();
        assert_eq!(read.len(), 141);
        assert_eq!(read[0].as_deref(), Some(&b"10"[..]));
        assert_eq!(read[139].as_deref(), Some(&b"79"[..]));
        assert_eq!(read[140], None);
    }
}
