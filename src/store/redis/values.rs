//! Values of the application, sealed as the content of sessions is.

use std::time::Duration;

use async_trait::async_trait;

use super::vault::Kept;
use super::{BucketCall, Done, RedisStore, Result, Script};
use crate::session::{Bucket, OperationId, SealingKeys, clock_millis};
use crate::store::{Claim, Count, Held, StoreError, ValueStore};

/// What sets the places of values apart from those of sessions, whose ids are longer.
const VALUE: &str = "value";

/// Where a value is kept.
struct Place {
    bucket: Bucket,
    /// What stands for its name: keyed, hence another in each deployment.
    hash: String,
}

#[async_trait]
impl ValueStore for RedisStore {
    async fn value_or_claim(&self, name: &str, claim: Claim) -> Result<Held> {
        let (place, tag) = (self.place(name), claim.id.to_string());
        let patience = clock_millis(claim.patience).max(1).to_string();
        let script = &self.0.scripts.value_or_claim;
        let done = self
            .on_value(script, &place, &[tag.as_bytes(), patience.as_bytes()])
            .await?;
        let (head, mut reply) = self.open(&done, &tag)?;
        match head.status {
            "found" => {
                let kept = reply.bytes()?;
                let (value, is_settled) = self.opened(&done, &place, kept)?;
                if !is_settled {
                    self.keep_anew(&place, kept, &value).await;
                }
                Ok(Held::Value(value))
            }
            "claimed" => Ok(Held::Claimed),
            "awaited" => Ok(Held::Awaited),
            other => Err(StoreError::Corrupt(format!("a script answered `{other}`"))),
        }
    }

    async fn hold_value(&self, name: &str, value: &str, ttl: Duration, claim: OperationId) -> Result<()> {
        let place = self.place(name);
        let kept = self.kept(&[VALUE, &place.hash], value.as_bytes())?;
        let ttl = clock_millis(ttl).max(1).to_string();
        self.settle(&place, claim, &[&kept, ttl.as_bytes()]).await
    }

    async fn count_up(&self, name: &str, window: Duration, operation: OperationId) -> Result<Count> {
        let window = clock_millis(window).max(1).to_string();
        self.tally(name, operation, window.as_bytes()).await
    }

    async fn forget_count(&self, name: &str, operation: OperationId) -> Result<()> {
        self.tally(name, operation, b"").await.map(|_| ())
    }

    async fn give_back(&self, name: &str, claim: OperationId) -> Result<()> {
        self.settle(&self.place(name), claim, &[]).await
    }
}

impl RedisStore {
    fn place(&self, name: &str) -> Place {
        let (bucket, hash) = self.0.keyring.value_place(name);
        Place { bucket, hash }
    }

    /// A value that is kept at a place, and whether it is kept as it would be now.
    fn opened(&self, done: &Done, place: &Place, kept: &[u8]) -> Result<(String, bool)> {
        let vault = &self.0.vault;
        let open = || {
            let sealed = kept.first() == Some(&SealingKeys::FORM);
            let (value, by_first) = if sealed {
                let opened = vault.open(&[VALUE, &place.hash], kept)?;
                (opened.value, opened.by_first)
            } else {
                (kept.to_vec(), true)
            };
            vault.note(sealed, by_first)?;
            let value = String::from_utf8(value).map_err(|error| StoreError::Corrupt(error.to_string()))?;
            let kept = Kept {
                sealed,
                by_first,
                origin: None,
            };
            Ok((value, vault.is_settled(&kept)))
        };
        let in_words = |error| match error {
            StoreError::Corrupt(why) => StoreError::Corrupt(format!("the value {}: {why}", place.hash)),
            other => other,
        };
        open().map_err(|error| self.distrust(done, in_words(error)))
    }

    /// Keeps a value under the first key, or in another form, for as long as it was to be kept. It is no worse where that
    /// fails: whoever reads it next tries again.
    async fn keep_anew(&self, place: &Place, kept: &[u8], value: &str) {
        let anew = async {
            let tag = OperationId::generate(&*self.0.random)?.to_string();
            let anew = self.kept(&[VALUE, &place.hash], value.as_bytes())?;
            let script = &self.0.scripts.reseal_value;
            let done = self.on_value(script, place, &[tag.as_bytes(), kept, &anew]).await?;
            self.open(&done, &tag).map(|_| ())
        };
        match anew.await {
            Ok(()) => self.0.metrics.records_resealed.inc(),
            Err(error) => tracing::debug!(%error, "a value is not kept anew"),
        }
    }

    /// Counts up within a window, or forgets the count where that is empty.
    async fn tally(&self, name: &str, operation: OperationId, window: &[u8]) -> Result<Count> {
        let (place, tag) = (self.place(name), operation.to_string());
        let key = self.0.keys.tally(place.bucket, &place.hash);
        let call = BucketCall {
            script: &self.0.scripts.count_up,
            bucket: place.bucket,
            keys: &[key.as_bytes()],
            arguments: &[tag.as_bytes(), window],
            durable: false,
        };
        let done = self.run(call).await?;
        let (_, mut reply) = self.told(&done, &tag)?;
        Ok(Count {
            times: reply.number()?,
            ends_in: Duration::from_millis(reply.number()?),
        })
    }

    /// Ends a claim, with a value and its time or without.
    async fn settle(&self, place: &Place, claim: OperationId, held: &[&[u8]]) -> Result<()> {
        let tag = claim.to_string();
        let arguments = [&[tag.as_bytes()], held].concat();
        let done = self.on_value(&self.0.scripts.hold_value, place, &arguments).await?;
        self.told(&done, &tag).map(|_| ())
    }

    /// Runs a script on one value: the first argument is the tag.
    async fn on_value(&self, script: &Script, place: &Place, arguments: &[&[u8]]) -> Result<Done> {
        let (value, claimed) = (
            self.0.keys.value(place.bucket, &place.hash),
            self.0.keys.claim(place.bucket, &place.hash),
        );
        let call = BucketCall {
            script,
            bucket: place.bucket,
            keys: &[value.as_bytes(), claimed.as_bytes()],
            arguments,
            durable: false,
        };
        self.run(call).await
    }
}
