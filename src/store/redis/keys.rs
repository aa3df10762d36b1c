use crate::session::{Bucket, OperationId, SessionId};

/// How many slots a Redis Cluster has.
pub(super) const SLOTS: u16 = 16_384;

/// Names the keys of a deployment. The hash tag of every key of a bucket is the bucket's label, so that all keys of one
/// user are in one slot.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    pub(super) fn meta(&self) -> String {
        format!("{}:meta", self.prefix)
    }

    pub(super) fn servers(&self) -> String {
        format!("{}:servers", self.prefix)
    }

    pub(super) fn bookmarks(&self) -> String {
        format!("{}:bookmarks", self.prefix)
    }

    pub(super) fn leader(&self) -> String {
        format!("{}:leader", self.prefix)
    }

    pub(super) fn session(&self, id: &SessionId) -> String {
        self.in_bucket(id.bucket(), &["s", id.text().as_str()])
    }

    pub(super) fn alias(&self, id: &SessionId) -> String {
        self.in_bucket(id.bucket(), &["r", id.text().as_str()])
    }

    /// The index of a bucket's users; they are named by hashes, never by input (S50).
    pub(super) fn users(&self, bucket: Bucket) -> String {
        self.in_bucket(bucket, &["u"])
    }

    pub(super) fn operation(&self, bucket: Bucket, operation: OperationId) -> String {
        self.in_bucket(bucket, &["o", &operation.to_string()])
    }

    /// An application's value; it is named by a hash, never by input (S50).
    pub(super) fn value(&self, bucket: Bucket, hash: &str) -> String {
        self.in_bucket(bucket, &["v", hash])
    }

    /// Who computes that value.
    pub(super) fn claim(&self, bucket: Bucket, hash: &str) -> String {
        self.in_bucket(bucket, &["w", hash])
    }

    /// What an application counts; named by a hash likewise.
    pub(super) fn tally(&self, bucket: Bucket, hash: &str) -> String {
        self.in_bucket(bucket, &["k", hash])
    }

    pub(super) fn counts(&self, bucket: Bucket) -> String {
        self.in_bucket(bucket, &["h"])
    }

    pub(super) fn stream(&self, bucket: Bucket) -> String {
        self.in_bucket(bucket, &["e"])
    }

    /// The channel of a bucket's invalidations. No key of this name may ever exist.
    pub(super) fn invalidations(&self, bucket: Bucket) -> String {
        self.in_bucket(bucket, &["inv"])
    }

    /// The channel of a bucket's events. No key of this name may ever exist.
    pub(super) fn events(&self, bucket: Bucket) -> String {
        self.in_bucket(bucket, &["ev"])
    }

    /// The prefix, the bucket's hash tag, and parts; by hand, for every command has such a key.
    fn in_bucket(&self, bucket: Bucket, parts: &[&str]) -> String {
        /// What most keys have besides the prefix fits in, in bytes.
        const USUAL: usize = 48;
        let mut key = String::with_capacity(self.prefix.len() + USUAL);
        key.push_str(&self.prefix);
        key.push_str(":{");
        key.extend(bucket.label().map(char::from));
        key.push('}');
        for part in parts {
            key.push(':');
            key.push_str(part);
        }
        key
    }

    /// The bucket that a channel belongs to.
    pub(super) fn bucket_of(channel: &[u8]) -> Option<Bucket> {
        let open = channel.iter().position(|byte| *byte == b'{')?;
        let label = channel.get(open + 1..open + 3)?.try_into().ok()?;
        Bucket::from_label(label)
    }
}

/// The slot of a bucket's keys: that of its label, the hash tag.
pub(super) fn slot_of_bucket(bucket: Bucket) -> u16 {
    crc16(&bucket.label()) % SLOTS
}

/// The slot of a key without a hash tag.
pub(super) fn slot_of_key(key: &str) -> u16 {
    crc16(key.as_bytes()) % SLOTS
}

/// CRC-16/XMODEM, by which Redis Cluster spreads keys over slots.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis_cluster() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot_of_key("foo"), 12_182);
        assert_eq!(slot_of_key("cloakroom:meta"), crc16(b"cloakroom:meta") % SLOTS);
    }

    #[test]
    fn a_channel_names_its_bucket() {
        let keys = Keys::new("my:app");
        for bucket in Bucket::all() {
            assert_eq!(Keys::bucket_of(keys.events(bucket).as_bytes()), Some(bucket));
        }
        assert_eq!(Keys::bucket_of(b"nothing"), None);
    }
}
