//! A folder for what is not yet in its place, or only tried.
//!
//! It goes when it is done with. An interrupt leaves it behind, and then the next of its kind clears it away: the lock in a folder
//! that is in use is held.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    process,
};

use crate::checkout::names_in;

const LOCK: &str = ".lock";

/// A folder of this process.
pub(super) struct Aside {
    folder: PathBuf,
    _held: File,
}

impl Aside {
    /// Clears away what was left of this kind, and makes a folder `within` another.
    pub(super) fn new(within: &Path, kind: &str) -> io::Result<Self> {
        let begin = format!(".{kind}-");
        for name in names_in(within).iter().filter(|name| name.starts_with(&begin)) {
            let left = within.join(name);
            if !in_use(&left) {
                // What cannot be removed has a name that says what it is.
                let _ = fs::remove_dir_all(left);
            }
        }
        let folder = within.join(format!("{begin}{}", process::id()));
        fs::create_dir_all(&folder)?;
        let held = File::create(folder.join(LOCK))?;
        // Where there are no locks, nothing is cleared away.
        let _ = held.try_lock();
        Ok(Self { folder, _held: held })
    }

    pub(super) fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
        // The folder round it too, if it was made for this: one with anything in it stays.
        let _ = self.folder.parent().map(fs::remove_dir);
    }
}

fn in_use(left: &Path) -> bool {
    match File::open(left.join(LOCK)).map(|lock| lock.try_lock()) {
        Ok(Ok(())) => false,
        Ok(Err(TryLockError::WouldBlock | TryLockError::Error(_))) => true,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interrupt_has_left_is_cleared_away_and_what_is_in_use_is_not() {
        let within = std::env::temp_dir().join(format!("ghosts-aside-{}", process::id()));
        for left in [".kit-1/vendor/bytes", ".kit-2", ".preflight-3", "kit-4"] {
            fs::create_dir_all(within.join(left)).unwrap();
        }
        fs::write(within.join(".kit-2").join(LOCK), "").unwrap();
        let used = File::create(within.join(".preflight-3").join(LOCK)).unwrap();
        used.lock().unwrap();
        let own = format!(".kit-{}", process::id());
        {
            let aside = Aside::new(&within, "kit").unwrap();
            assert_eq!(aside.path(), within.join(&own));
            assert_eq!(names_in(&within), [own.as_str(), ".preflight-3", "kit-4"]);
            Aside::new(&within, "preflight").unwrap();
            assert_eq!(names_in(&within), [own.as_str(), ".preflight-3", "kit-4"]);
        }
        drop(used);
        Aside::new(&within, "preflight").unwrap();
        assert_eq!(names_in(&within), ["kit-4"]);
        fs::remove_dir(within.join("kit-4")).unwrap();
        drop(Aside::new(&within, "kit").unwrap());
        assert!(!within.exists(), "it was made for nothing else");
    }
}
