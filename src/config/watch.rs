//! Values that follow files: secrets and certificates that are renewed while the service runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::secret::read_small;

/// How often files are looked at: with some seconds to spread a Kubernetes secret, a change stands within a minute.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// Reads a value from the contents of its files, in the order of the files; the error must repeat no secret.
type Read<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync>;

/// SHA-256 of the contents: modification times are coarser than changes, and these files are small.
pub(super) type Fingerprint = Vec<[u8; 32]>;

/// A value that is read anew when its files change; content that cannot be used leaves the last good value in place.
pub struct Watched<T> {
    files: Vec<PathBuf>,
    read: Read<T>,
    sender: watch::Sender<Arc<T>>,
    seen: Mutex<Seen>,
}

struct Seen {
    /// Of the contents that gave the present value; none where there are no files.
    good: Option<Fingerprint>,
    /// Said once, not at every look.
    last_failure: Option<String>,
}

/// What a look at the files brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The files are as they were.
    Unchanged,
    /// There is a new value.
    Changed,
    /// The files cannot be read or used, and the last good value stays; says why.
    Failed(String),
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// A value that never changes.
    pub fn fixed(value: T) -> Self {
        Self::resume(value, Vec::new(), None, |_| Err("has no files".to_owned()))
    }

    /// Watches `files` from a value on that was read from contents of this fingerprint.
    pub(super) fn resume(
        value: T,
        files: Vec<PathBuf>,
        good: Option<Fingerprint>,
        read: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        let sender = watch::Sender::new(Arc::new(value));
        let seen = Mutex::new(Seen {
            good,
            last_failure: None,
        });
        Self {
            files,
            read: Box::new(read),
            sender,
            seen,
        }
    }

    /// Reads `files` now and watches them; fails where the first content cannot be read or used.
    pub fn load(
        files: Vec<PathBuf>,
        read: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let contents = read_all(&files)?;
        let first = read(&contents)?;
        Ok(Self::resume(first, files, Some(fingerprint(&contents)), read))
    }

    /// The present value.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.sender.borrow())
    }

    /// Tells of every new value, for what must act on it (a new Redis password, say).
    pub fn subscribe(&self) -> watch::Receiver<Arc<T>> {
        self.sender.subscribe()
    }

    /// Looks at the files once; blocks while it reads them.
    pub fn poll(&self) -> Look {
        if self.files.is_empty() {
            return Look::Unchanged;
        }
        let mut seen = self.seen.lock();
        let outcome = read_all(&self.files).and_then(|contents| self.take(&mut seen, &contents));
        match outcome {
            Ok(look) => {
                seen.last_failure = None;
                look
            }
            Err(problem) => {
                if seen.last_failure.as_ref() != Some(&problem) {
                    tracing::error!(files = ?self.files, problem, "keeping the last good value of a watched file");
                    seen.last_failure = Some(problem.clone());
                }
                Look::Failed(problem)
            }
        }
    }

    fn take(&self, seen: &mut Seen, contents: &[Vec<u8>]) -> Result<Look, String> {
        let found = fingerprint(contents);
        if seen.good.as_ref() == Some(&found) {
            return Ok(Look::Unchanged);
        }
        let value = (self.read)(contents)?;
        seen.good = Some(found);
        self.sender.send_replace(Arc::new(value));
        tracing::info!(files = ?self.files, "took over a changed file");
        Ok(Look::Changed)
    }

    /// Looks at the files every `interval` (see [`WATCH_INTERVAL`]) until `stop`; returns at once where there are none.
    pub async fn follow(self: Arc<Self>, interval: Duration, stop: CancellationToken) {
        if self.files.is_empty() {
            return;
        }
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let watched = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || watched.poll()).await.is_err() {
                tracing::error!(files = ?self.files, "reading a watched file panicked");
            }
        }
    }
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn read_all(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    files.iter().map(|file| read_small(file)).collect()
}

/// The fingerprint of these contents.
pub(super) fn fingerprint(contents: &[Vec<u8>]) -> Fingerprint {
    let of_one = |content: &Vec<u8>| {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, content).as_ref());
        bytes
    };
    contents.iter().map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::config::secret::Sourced;
    use std::fs;

    fn number(contents: &[Vec<u8>]) -> Result<u32, String> {
        let text = String::from_utf8_lossy(&contents[0]);
        text.trim().parse().map_err(|_| format!("{text:?} is no number"))
    }

    #[test]
    fn a_changed_file_gives_a_new_value_and_a_bad_one_keeps_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("number");
        fs::write(&path, "1").unwrap();
        let watched = Watched::load(vec![path.clone()], number).unwrap();
        let mut news = watched.subscribe();
        assert_eq!((watched.poll(), *watched.current()), (Look::Unchanged, 1));

        fs::write(&path, "2").unwrap();
        assert_eq!((watched.poll(), *watched.current()), (Look::Changed, 2));
        assert!(news.has_changed().unwrap());
        assert_eq!(**news.borrow_and_update(), 2);

        fs::write(&path, "two").unwrap();
        assert_eq!(
            (watched.poll(), *watched.current()),
            (Look::Failed("\"two\" is no number".to_owned()), 2)
        );
        fs::remove_file(&path).unwrap();
        assert!(matches!(watched.poll(), Look::Failed(problem) if problem.contains("cannot read")));

        fs::write(&path, "2").unwrap();
        assert_eq!(watched.poll(), Look::Unchanged);
        fs::write(&path, "3").unwrap();
        assert_eq!((watched.poll(), *watched.current()), (Look::Changed, 3));
    }

    #[test]
    fn a_bad_first_content_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("number");
        assert!(
            Watched::load(vec![path.clone()], number)
                .unwrap_err()
                .contains("cannot read")
        );
        fs::write(&path, "one").unwrap();
        assert!(Watched::load(vec![path], number).unwrap_err().contains("no number"));
    }

    #[test]
    fn a_secret_file_is_followed_and_a_given_secret_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, "first\n").unwrap();
        let watched = Sourced::<Secret>::from_file(path.clone(), |_| Ok(())).unwrap().watch();
        assert_eq!(watched.poll(), Look::Unchanged);
        fs::write(&path, "second\n").unwrap();
        assert_eq!(watched.poll(), Look::Changed);
        assert_eq!(watched.current().expose(), "second");
        fs::write(&path, "\n").unwrap();
        assert_eq!(watched.poll(), Look::Failed("is empty".to_owned()));

        let given = Sourced::<Secret>::inline("given", |_| Ok(())).unwrap().watch();
        assert_eq!((given.poll(), given.current().expose()), (Look::Unchanged, "given"));
    }

    #[tokio::test]
    async fn follow_takes_a_change_over_and_stops_when_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("number");
        fs::write(&path, "1").unwrap();
        let watched = Arc::new(Watched::load(vec![path.clone()], number).unwrap());
        let mut news = watched.subscribe();
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&watched).follow(Duration::from_millis(5), stop.clone()));
        fs::write(&path, "2").unwrap();
        let arrived = tokio::time::timeout(Duration::from_secs(10), news.wait_for(|value| **value == 2)).await;
        assert!(arrived.is_ok_and(|value| value.is_ok()));
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), task)
            .await
            .unwrap()
            .unwrap();
    }
}
