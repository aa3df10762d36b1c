use std::time::Duration;

use async_trait::async_trait;

use super::{BucketCall, RedisStore, Result, Script};
use crate::session::{Bucket, OperationId, clock_millis};
use crate::store::{Claim, Held, StoreError, ValueStore};

#[async_trait]
impl ValueStore for RedisStore {
    async fn value_or_claim(&self, name: &str, claim: Claim) -> Result<Held> {
        let patience = clock_millis(claim.patience).max(1).to_string();
        let script = &self.0.scripts.value_or_claim;
        let (status, value) = self.on_value(script, name, claim.id, &[patience.as_bytes()]).await?;
        match (status.as_str(), value) {
            ("found", Some(value)) => Ok(Held::Value(value)),
            ("claimed", None) => Ok(Held::Claimed),
            ("awaited", None) => Ok(Held::Awaited),
            (other, _) => Err(StoreError::Corrupt(format!("a script answered `{other}`"))),
        }
    }

    async fn hold_value(&self, name: &str, value: &str, ttl: Duration, claim: OperationId) -> Result<()> {
        let ttl = clock_millis(ttl).max(1).to_string();
        let arguments = [value.as_bytes(), ttl.as_bytes()];
        self.on_value(&self.0.scripts.hold_value, name, claim, &arguments)
            .await?;
        Ok(())
    }
}

impl RedisStore {
    /// Runs a script on one value: the first argument is the tag, which names the claim.
    async fn on_value(
        &self,
        script: &Script,
        name: &str,
        claim: OperationId,
        arguments: &[&[u8]],
    ) -> Result<(String, Option<String>)> {
        let (bucket, hash): (Bucket, String) = self.0.keyring.value_place(name);
        let (value, claimed) = (self.0.keys.value(bucket, &hash), self.0.keys.claim(bucket, &hash));
        let tag = claim.to_string();
        let arguments = [&[tag.as_bytes()], arguments].concat();
        let call = BucketCall {
            script,
            bucket,
            keys: &[value.as_bytes(), claimed.as_bytes()],
            arguments: &arguments,
            durable: false,
        };
        let done = self.run(call).await?;
        let (head, mut reply) = self.open(&done, &tag)?;
        let value = if head.status == "found" {
            Some(reply.text()?.to_owned())
        } else {
            None
        };
        Ok((head.status.to_owned(), value))
    }
}
