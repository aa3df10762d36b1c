use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::calls::parse_id;
use super::keys::slot_of_key;
use super::router::Call;
use super::{BucketCall, Done, RedisStore, Result, counted};
use crate::cluster::{self, Leadership, Member, MemberState, Members, Membership};
use crate::session::clock_millis as millis;
use crate::session::{Bucket, OperationId, ServerId, SessionId, Timestamp};
use crate::store::{BucketCounts, Durations, Ended, EventId, Filter, Lineage, Snapshot, Step, StoreError};
use crate::telemetry::trace::context_words;

/// How long a bookmark is kept: a week.
const BOOKMARKS_FOR_MILLIS: &[u8] = b"604800000";
/// How many expired sessions a count clears up in one go.
const SWEEP_WITH_COUNT: &[u8] = b"500";

impl RedisStore {
    /// Runs a script on a whole bucket: the first argument is the tag. What ends sessions remembers its answer.
    async fn on_bucket(&self, script: &super::Script, bucket: Bucket, arguments: &[&[u8]]) -> Result<(Done, String)> {
        let keys = &self.0.keys;
        let operation = OperationId::generate(&*self.0.random)?;
        let mut declared = vec![keys.counts(bucket), keys.invalidations(bucket), keys.events(bucket)];
        if script.name == self.0.scripts.end_bucket.name {
            declared.push(keys.operation(bucket, operation));
        }
        let declared: Vec<_> = declared.iter().map(String::as_bytes).collect();
        let tag = format!("{operation}{}", context_words());
        let arguments = [&[tag.as_bytes()], arguments].concat();
        let call = BucketCall {
            script,
            bucket,
            keys: &declared,
            arguments: &arguments,
            durable: false,
        };
        Ok((self.run(call).await?, tag))
    }

    pub(super) async fn end_some(&self, bucket: Bucket, before: Option<Timestamp>, limit: u32) -> Result<Step> {
        let before = before.map_or(0, Timestamp::as_millis).to_string();
        let limit = limit.to_string();
        let arguments = [before.as_bytes(), limit.as_bytes()];
        let (done, tag) = self.on_bucket(&self.0.scripts.end_bucket, bucket, &arguments).await?;
        let (head, mut reply) = self.told(&done, &tag)?;
        let ended = Ended {
            sessions: reply.parsed()?,
            kin: reply.parsed()?,
            durable: None,
        };
        Ok(Step {
            ended,
            more: reply.flag()?,
            now: head.now,
            ..Step::default()
        })
    }

    pub(super) async fn sweep_some(&self, bucket: Bucket, limit: u32) -> Result<Step> {
        let limit = limit.to_string();
        let (done, tag) = self
            .on_bucket(&self.0.scripts.sweep, bucket, &[limit.as_bytes()])
            .await?;
        let (head, mut reply) = self.told(&done, &tag)?;
        let ended = Ended {
            sessions: reply.parsed()?,
            ..Ended::default()
        };
        let more = reply.flag()?;
        Ok(Step {
            ended,
            more,
            now: head.now,
            behind: Duration::from_millis(reply.number()?),
            keys_audited: reply.number()?,
            keys_without_ttl: reply.texts()?.into_iter().map(str::to_owned).collect(),
        })
    }

    pub(super) async fn count_bucket(&self, bucket: Bucket) -> Result<BucketCounts> {
        let mut cleared = 0;
        loop {
            let (done, tag) = self
                .on_bucket(&self.0.scripts.count, bucket, &[SWEEP_WITH_COUNT])
                .await?;
            let (head, mut reply) = self.open(&done, &tag)?;
            cleared += reply.number()?;
            if head.status == "more" {
                continue;
            }
            let mut counts = BucketCounts {
                now: head.now,
                cleared,
                ..BucketCounts::default()
            };
            for (field, count) in reply.pairs()? {
                let count = parse_count(field, count)?;
                match field.split_at_checked(2) {
                    Some(("s:", server)) => counts.by_server.insert(server.to_owned(), count),
                    Some(("c:", class)) => counts.by_class.insert(class.to_owned(), count),
                    _ => None,
                };
            }
            counts.users = reply.number()?;
            for _ in 0..2 {
                counts.durations.merge(&durations(&reply.pairs()?)?);
            }
            return Ok(counts);
        }
    }

    pub(super) async fn page_of(
        &self,
        bucket: Bucket,
        after: Option<SessionId>,
        limit: u32,
        filter: &Filter,
    ) -> Result<Vec<Snapshot>> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let limit = limit.to_string();
        let class = filter.class.as_ref().map_or("", |class| class.as_str());
        let server = filter.server_id.as_ref().map_or("", |server| server.as_str());
        let arguments = [after.as_bytes(), limit.as_bytes(), class.as_bytes(), server.as_bytes()];
        let (done, tag) = self.on_bucket(&self.0.scripts.page, bucket, &arguments).await?;
        self.snapshots(&done, &tag)
    }

    /// The sessions in an answer: a list of ids with their fields.
    pub(super) fn snapshots(&self, done: &Done, tag: &str) -> Result<Vec<Snapshot>> {
        let (head, mut reply) = self.told(done, tag)?;
        (0..reply.array()?)
            .map(|_| {
                reply.array()?;
                let id = parse_id(reply.text()?)?;
                self.snapshot(done, &mut reply, id, &head)
            })
            .collect()
    }

    /// A primary's line of writes is told by its replication id, which changes when another primary takes over or when
    /// the same one starts anew; where INFO is refused, by its address and by any end of a connection of L1 (rule W3).
    pub(super) async fn read_lineage(&self) -> Result<Lineage> {
        let topology = self.0.router.topology();
        let lines_ended = self.0.lines_ended.load(Ordering::Relaxed);
        let lineages = join_all(topology.primaries.iter().map(|node| async move {
            let info = self
                .0
                .router
                .ask_node(node, redis::cmd("INFO").arg("replication"))
                .await;
            let mut hasher = DefaultHasher::new();
            let told = match info {
                Ok(value) => redis::from_redis_value::<String>(value).unwrap_or_default(),
                Err(error) if error.code().is_some_and(|code| code == "NOPERM") => {
                    lines_ended.hash(&mut hasher);
                    String::new()
                }
                Err(_) => return None,
            };
            let field = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            if field("role:").is_some_and(|role| role != "master") {
                return None;
            }
            (&node.address, field("master_replid:")).hash(&mut hasher);
            Some(hasher.finish().max(1))
        }))
        .await;
        if lineages.contains(&None) {
            self.0.router.refresh().await;
        }
        let lineage_of = |bucket| {
            let primary = topology.primary_of(bucket)?;
            let index = topology
                .primaries
                .iter()
                .position(|node| node.address == primary.address)?;
            lineages.get(index).copied().flatten()
        };
        Ok(Lineage::new(
            Bucket::all()
                .map(|bucket| lineage_of(bucket).unwrap_or_default())
                .collect(),
        ))
    }

    /// Runs a script on a key of the whole fleet.
    async fn on_fleet(&self, script: &super::Script, key: &str, arguments: &[&[u8]]) -> Result<(Done, String)> {
        let tag = OperationId::generate(&*self.0.random)?.to_string();
        let arguments = [&[tag.as_bytes()], arguments].concat();
        let keys = [key.as_bytes()];
        let call = Call {
            script,
            slot: slot_of_key(key),
            keys: &keys,
            arguments: &arguments,
            durable: false,
        };
        let answer = counted(script, self.0.router.call(&call)).await?;
        let done = Done {
            value: answer.value,
            node: answer.node,
            asked: answer.asked,
            durable: None,
        };
        Ok((done, tag))
    }

    async fn tell_servers(&self, me: &ServerId, state: &str, timeout: Duration) -> Result<Members> {
        let timeout = millis(timeout).to_string();
        let arguments = [me.as_str().as_bytes(), state.as_bytes(), timeout.as_bytes()];
        let (done, tag) = self
            .on_fleet(&self.0.scripts.announce, &self.0.keys.servers(), &arguments)
            .await?;
        let (_, mut reply) = self.told(&done, &tag)?;
        let mut members = Vec::new();
        for _ in 0..reply.array()? {
            reply.array()?;
            let (server, state) = (reply.text()?, reply.text()?);
            let state = if state == MemberState::Draining.as_str() {
                MemberState::Draining
            } else {
                MemberState::Live
            };
            members.extend(ServerId::new(server).ok().map(|server_id| Member { server_id, state }));
        }
        members.sort_by(|one, other| one.server_id.cmp(&other.server_id));
        Ok(Members(members))
    }

    pub(super) async fn keep_bookmark(&self, reader: &str, at: Option<EventId>) -> Result<Option<EventId>> {
        let position = at.map(|at| at.to_string()).unwrap_or_default();
        let arguments = [reader.as_bytes(), position.as_bytes(), BOOKMARKS_FOR_MILLIS];
        let (done, tag) = self
            .on_fleet(&self.0.scripts.bookmark, &self.0.keys.bookmarks(), &arguments)
            .await?;
        let (_, mut reply) = self.told(&done, &tag)?;
        Ok(reply.text()?.parse().ok())
    }

    async fn hold_lease(&self, me: &ServerId, ttl: Duration) -> Result<Option<ServerId>> {
        let ttl = millis(ttl).to_string();
        let arguments = [me.as_str().as_bytes(), ttl.as_bytes()];
        let (done, tag) = self
            .on_fleet(&self.0.scripts.lead, &self.0.keys.leader(), &arguments)
            .await?;
        let (_, mut reply) = self.told(&done, &tag)?;
        Ok(ServerId::new(reply.text()?).ok())
    }
}

#[async_trait]
impl Membership for RedisStore {
    async fn announce(&self, me: &ServerId, state: MemberState, timeout: Duration) -> cluster::Result<Members> {
        Ok(self.tell_servers(me, state.as_str(), timeout).await?)
    }

    async fn withdraw(&self, me: &ServerId) -> cluster::Result<()> {
        // Any timeout will do: whoever announces itself next judges the others by its own.
        self.tell_servers(me, "", Duration::from_hours(1)).await?;
        Ok(())
    }
}

#[async_trait]
impl Leadership for RedisStore {
    async fn acquire(&self, me: &ServerId, ttl: Duration) -> cluster::Result<Option<ServerId>> {
        Ok(self.hold_lease(me, ttl).await?)
    }

    async fn release(&self, me: &ServerId) -> cluster::Result<()> {
        self.hold_lease(me, Duration::ZERO).await?;
        Ok(())
    }
}

fn parse_count(field: &str, count: &str) -> Result<u64> {
    count
        .parse()
        .map_err(|_| StoreError::Corrupt(format!("count {field} is `{count}`")))
}

fn durations(fields: &[(&str, &str)]) -> Result<Durations> {
    let mut durations = Durations {
        bins: BTreeMap::new(),
        ..Durations::default()
    };
    for (field, count) in fields {
        let number = parse_count(field, count)?;
        match *field {
            "n" => durations.count = number,
            "s" => durations.sum_millis = number,
            bin => {
                let bin = bin.strip_prefix('b').and_then(|bin| bin.parse().ok());
                let bin = bin.ok_or_else(|| StoreError::Corrupt(format!("duration bin {field}")))?;
                durations.bins.insert(bin, number);
            }
        }
    }
    Ok(durations)
}
