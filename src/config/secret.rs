//! Secrets: never printed, and given as a value or in a file.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::watch::{Fingerprint, Watched, fingerprint};

/// What stands in the place of a secret, in print and logs.
pub(super) const MASK: &str = "********";

/// A file with more than this is no secret: bounds what a wrong path can cost.
const LARGEST_FILE: u64 = 1 << 20;

/// A text that must not be seen: `Debug` and `Display` are masked, and there is no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text as secret from here on.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for its one use; never for print or logs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// What can be read from the text of a secret.
pub trait SecretText: Sized + Clone + Send + Sync + 'static {
    /// Reads the text; the error must not repeat any of it.
    fn from_secret_text(text: &str) -> Result<Self, String>;
}

impl SecretText for Secret {
    fn from_secret_text(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Err("is empty".to_owned())
        } else {
            Ok(Self::new(text))
        }
    }
}

/// Several secrets, such as a ring of keys: separated by commas or by lines, at least one.
impl SecretText for Vec<Secret> {
    fn from_secret_text(text: &str) -> Result<Self, String> {
        text.split([',', '\n'])
            .map(|part| Secret::from_secret_text(part.trim()))
            .collect()
    }
}

/// A rule for a secret beyond its form; the error says what is allowed and repeats nothing of the secret.
pub type SecretRule<T> = fn(&T) -> Result<(), String>;

/// A secret together with where it came from: given as a value, or in a file that can be watched.
#[derive(Clone)]
pub struct Sourced<T> {
    value: T,
    file: Option<(PathBuf, Fingerprint)>,
    rule: SecretRule<T>,
}

/// One secret with its source.
pub type SecretSource = Sourced<Secret>;

/// A ring of secrets with its source, the newest first.
pub type SecretRing = Sourced<Vec<Secret>>;

impl<T: SecretText> Sourced<T> {
    /// Reads a secret that was given as a value.
    pub fn inline(text: &str, rule: SecretRule<T>) -> Result<Self, String> {
        let value = parse(text, rule)?;
        Ok(Self {
            value,
            file: None,
            rule,
        })
    }

    /// Reads a secret from a file, without the line ends at its end.
    pub fn from_file(file: PathBuf, rule: SecretRule<T>) -> Result<Self, String> {
        let bytes = read_small(&file)?;
        let value = parse_file(&bytes, rule).map_err(|problem| format!("{}: {problem}", file.display()))?;
        let seen = fingerprint(&[bytes]);
        Ok(Self {
            value,
            file: Some((file, seen)),
            rule,
        })
    }

    /// The secret as it was at start.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// The file it is kept in, if it was not given as a value.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| path.as_path())
    }

    /// The secret as it is now: follows the file; a secret that was given as a value never changes.
    pub fn watch(&self) -> Watched<T> {
        let Some((path, seen)) = self.file.clone() else {
            return Watched::fixed(self.value.clone());
        };
        let rule = self.rule;
        Watched::resume(self.value.clone(), vec![path], Some(seen), move |contents| {
            parse_file(contents.first().map_or(&[][..], Vec::as_slice), rule)
        })
    }
}

impl<T: SecretText + fmt::Debug> fmt::Debug for Sourced<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sourced")
            .field("value", &self.value)
            .field("file", &self.file())
            .finish_non_exhaustive()
    }
}

fn parse<T: SecretText>(text: &str, rule: SecretRule<T>) -> Result<T, String> {
    let value = T::from_secret_text(text)?;
    rule(&value)?;
    Ok(value)
}

fn parse_file<T: SecretText>(bytes: &[u8], rule: SecretRule<T>) -> Result<T, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    parse(text.trim_end_matches(['\r', '\n']), rule)
}

/// Reads a file of at most 1 MiB; the error names the file.
pub(super) fn read_small(path: &Path) -> Result<Vec<u8>, String> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    let bytes = read().map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(format!("cannot read {}: more than 1 MiB", path.display()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_least_four(secret: &Secret) -> Result<(), String> {
        if secret.expose().len() < 4 {
            Err("is shorter than 4 bytes".to_owned())
        } else {
            Ok(())
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "******** ********");
        let source = Sourced::inline("hunter2", at_least_four).unwrap();
        assert!(!format!("{source:?}").contains("hunter2"));
        assert_eq!(source.value().expose(), "hunter2");
    }

    #[test]
    fn a_file_is_read_without_its_last_line_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "hunter2 \r\n\n").unwrap();
        let source = Sourced::from_file(path.clone(), at_least_four).unwrap();
        assert_eq!(source.value().expose(), "hunter2 ");
        assert_eq!(source.file(), Some(path.as_path()));
    }

    #[test]
    fn files_that_hold_no_secret_are_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let refusal = || Sourced::from_file(path.clone(), at_least_four).unwrap_err();
        assert!(refusal().contains("cannot read"));
        for (content, problem) in [
            (&b"\n"[..], "is empty"),
            (b"abc\n", "shorter than 4"),
            (b"\xff\xfe\xfd\xfc", "UTF-8"),
        ] {
            std::fs::write(&path, content).unwrap();
            let message = refusal();
            assert!(message.contains(problem) && message.contains("/secret"), "{message}");
        }
        std::fs::write(&path, vec![b'a'; (1 << 20) + 1]).unwrap();
        assert!(refusal().contains("more than 1 MiB"));
    }

    #[test]
    fn a_ring_is_split_at_commas_and_lines() {
        let ring = Vec::<Secret>::from_secret_text("new, older\noldest").unwrap();
        assert_eq!(
            ring.iter().map(Secret::expose).collect::<Vec<_>>(),
            ["new", "older", "oldest"]
        );
        assert!(Vec::<Secret>::from_secret_text("new,,old").is_err());
        assert!(Vec::<Secret>::from_secret_text("").is_err());
    }
}
