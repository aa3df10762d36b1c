//! Encryption of what users put into sessions: what seals it, and what opens it.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::IntCounter;
use tokio::sync::Mutex;

use super::Result;
use crate::session::{Opened, Random, SealingKeys, Session, SessionId};
use crate::store::StoreError;
use crate::telemetry::Metrics;

/// So many turns are kept apart.
const TURNS: usize = 64;

/// Encryption of data at rest: off, or by a ring of keys that may be replaced while the server runs. Cheap to clone; the
/// clones share the ring.
#[derive(Clone, Debug, Default)]
pub struct Encryption(Option<Arc<Ring>>);

#[derive(Debug)]
struct Ring {
    keys: ArcSwap<SealingKeys>,
    plain: PlainRecords,
}

/// What becomes of records that are not sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainRecords {
    /// They are what is written; sealed ones are read too.
    Write,
    /// They are read, and sealed when they are next written.
    #[default]
    Read,
    /// They are refused as corrupt.
    Refuse,
}

impl Encryption {
    /// Encryption by this ring.
    pub fn new(keys: SealingKeys, plain: PlainRecords) -> Self {
        let keys = ArcSwap::from_pointee(keys);
        Self(Some(Arc::new(Ring { keys, plain })))
    }

    /// Replaces the ring. Takes effect with the next operation; does nothing where encryption is off.
    pub fn replace(&self, keys: SealingKeys) {
        if let Some(ring) = &self.0 {
            ring.keys.store(Arc::new(keys));
        }
    }

    /// Whether nobody else shares the ring.
    pub fn is_last(&self) -> bool {
        self.0.as_ref().is_none_or(|ring| Arc::strong_count(ring) == 1)
    }
}

/// How a record is kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// Whether it is sealed.
    pub(super) sealed: bool,
    /// Whether all of it is sealed by the first key of the ring.
    pub(super) by_first: bool,
    /// What the record says of the id under which the session was made.
    pub(super) origin: Option<String>,
}

impl Kept {
    /// The id under which the session was made, for which its activities are sealed.
    pub(super) fn origin_of(&self, session: &Session) -> String {
        self.origin.clone().unwrap_or_else(|| session.id.to_string())
    }
}

fn turns() -> Box<[Mutex<()>]> {
    (0..TURNS).map(|_| Mutex::new(())).collect()
}

/// A store's encryption.
pub(super) struct Vault {
    encryption: Encryption,
    random: Arc<dyn Random>,
    /// Records that were read, by how they were kept.
    first: IntCounter,
    older: IntCounter,
    plain: IntCounter,
    turns: Box<[Mutex<()>]>,
}

impl Vault {
    pub(super) fn new(encryption: Encryption, random: Arc<dyn Random>, metrics: &Metrics) -> Self {
        let read = |key| metrics.records_opened.with_label_values(&[key]);
        Self {
            encryption,
            random,
            first: read("first"),
            older: read("older"),
            plain: read("none"),
            turns: turns(),
        }
    }

    /// One without keys that counts nowhere.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn off() -> Option<Self> {
        let counter = || IntCounter::new("records", "Records.").ok();
        Some(Self {
            encryption: Encryption::default(),
            random: Arc::new(crate::session::SystemRandom),
            first: counter()?,
            older: counter()?,
            plain: counter()?,
            turns: turns(),
        })
    }

    /// Whether there are keys.
    pub(super) fn is_on(&self) -> bool {
        self.encryption.0.is_some()
    }

    fn plain_records(&self) -> PlainRecords {
        self.encryption
            .0
            .as_ref()
            .map_or(PlainRecords::Write, |ring| ring.plain)
    }

    /// Whether what is written is sealed.
    pub(super) fn seals(&self) -> bool {
        self.plain_records() != PlainRecords::Write
    }

    /// By how much longer than what it holds each value is that is written.
    pub(super) fn overhead(&self) -> usize {
        if self.seals() { SealingKeys::OVERHEAD } else { 0 }
    }

    /// Whether a record is kept as it would be written now.
    pub(super) fn is_settled(&self, kept: &Kept) -> bool {
        kept.sealed == self.seals() && kept.by_first
    }

    /// Seals a value for a place.
    pub(super) fn seal(&self, place: &[&str], value: &[u8]) -> Result<Vec<u8>> {
        let ring = self.encryption.0.as_ref();
        let ring = ring.ok_or_else(|| StoreError::Corrupt("encryption is off".to_owned()))?;
        Ok(ring.keys.load().seal(&*self.random, place, value)?)
    }

    /// Opens what was sealed for a place.
    pub(super) fn open(&self, place: &[&str], sealed: &[u8]) -> Result<Opened> {
        let ring = self.encryption.0.as_ref();
        let ring =
            ring.ok_or_else(|| StoreError::Corrupt("it is sealed, and encryption.keys is not set".to_owned()))?;
        let opened = ring.keys.load().open(place, sealed);
        opened.map_err(|error| StoreError::Corrupt(error.to_string()))
    }

    /// Notes that a record was read; refuses a plain one where only sealed ones are believed.
    pub(super) fn note(&self, sealed: bool, by_first: bool) -> Result<()> {
        if !self.is_on() {
            return Ok(());
        }
        if !sealed && self.plain_records() == PlainRecords::Refuse {
            return Err(StoreError::Corrupt(
                "it is not sealed, and encryption.plain is refuse".to_owned(),
            ));
        }
        match (sealed, by_first) {
            (false, _) => self.plain.inc(),
            (true, true) => self.first.inc(),
            (true, false) => self.older.inc(),
        }
        Ok(())
    }

    /// Whose turn it is among this server's own changes that must read a session first: one that waits loses no race.
    pub(super) fn turn(&self, id: &SessionId) -> &Mutex<()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(id);
        let turns = self.turns.len() as u64;
        &self.turns[usize::try_from(hash % turns).unwrap_or_default()]
    }
}
