use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::Mutex;

use super::requests::{Page, PageRequest, ServerInfo, Stats};
use super::{Result, Sessions, alive};
use crate::cluster::Members;
use crate::session::{Bucket, Monotonic, Session, Timestamp};
use crate::store::{EndReason, Filter, Step};

/// How old an answered count may be; the contract allows 15 s.
const STATS_MAX_AGE: Duration = Duration::from_secs(2);
/// How many buckets are asked at a time.
const CONCURRENCY: usize = 64;
/// How many sessions one step of a pass over a bucket ends.
const STEP: u32 = 200;

/// The last count, so that many askers cost one pass.
#[derive(Default)]
pub(super) struct StatsCache(Mutex<Option<(Monotonic, Arc<Stats>)>>);

impl Sessions {
    /// The fleet's counts, at most some seconds old.
    pub async fn stats(&self) -> Result<Arc<Stats>> {
        let mut cached = self.0.stats.0.lock().await;
        let now = self.0.clock.monotonic();
        if let Some((at, stats)) = cached.as_ref().filter(|(at, _)| now.since(*at) < STATS_MAX_AGE) {
            let _ = at;
            return Ok(Arc::clone(stats));
        }
        let stats = Arc::new(self.count_fleet().await?);
        *cached = Some((now, Arc::clone(&stats)));
        Ok(stats)
    }

    /// Counts every bucket now.
    pub async fn count_fleet(&self) -> Result<Stats> {
        let mut counts = stream::iter(Bucket::all())
            .map(|bucket| self.0.store.count(bucket))
            .buffer_unordered(CONCURRENCY);
        let mut stats = Stats::default();
        for class in self.0.settings.classes.names() {
            stats.by_class.insert(class.to_owned(), 0);
        }
        while let Some(bucket) = counts.try_next().await? {
            stats.users += bucket.users;
            self.count_expired(bucket.cleared);
            stats.as_of = stats.as_of.max(bucket.now);
            for (class, count) in bucket.by_class {
                stats.sessions += count;
                *stats.by_class.entry(class).or_default() += count;
            }
            for (server, count) in bucket.by_server {
                *stats.by_server.entry(server).or_default() += count;
            }
            stats.durations.merge(&bucket.durations);
        }
        Ok(stats)
    }

    /// The servers of the fleet, and those that have left sessions behind.
    pub async fn servers(&self) -> Result<Vec<ServerInfo>> {
        let stats = self.stats().await?;
        let view = self.view();
        let Members(members) = view.members.unwrap_or_default();
        let mut servers: Vec<_> = members
            .iter()
            .map(|member| ServerInfo {
                server_id: member.server_id.to_string(),
                state: Some(member.state),
                sessions: stats
                    .by_server
                    .get(member.server_id.as_str())
                    .copied()
                    .unwrap_or_default(),
                leader: view.leader.as_ref() == Some(&member.server_id),
            })
            .collect();
        for (server, sessions) in &stats.by_server {
            if !servers.iter().any(|known| known.server_id == *server) {
                let (server_id, sessions) = (server.clone(), *sessions);
                servers.push(ServerInfo {
                    server_id,
                    state: None,
                    sessions,
                    leader: false,
                });
            }
        }
        servers.sort_by(|one, other| one.server_id.cmp(&other.server_id));
        Ok(servers)
    }

    /// A page of all sessions: every session that is there throughout a listing appears in it once.
    pub async fn page(&self, request: PageRequest) -> Result<Page> {
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let first = request.after.map_or(0, |after| after.bucket().number());
        let filter: &Filter = &request.filter;
        let mut pages = stream::iter((first..Bucket::COUNT).map(Bucket::new))
            .map(|bucket| {
                let after = request.after.filter(|after| after.bucket() == bucket);
                self.0.store.page(bucket, after, request.limit, filter)
            })
            .buffered(CONCURRENCY);
        let mut page = Page::default();
        while let Some(snapshots) = pages.try_next().await? {
            let ended = |session: &Arc<Session>| self.has_ended(&session.id);
            for session in snapshots
                .into_iter()
                .filter_map(alive)
                .filter(|session| !ended(session))
            {
                page.sessions.push(session);
                if page.sessions.len() == limit {
                    page.next = page.sessions.last().map(|session| session.id);
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    /// Ends every session made before now, and tells how many.
    pub async fn end_all(&self) -> Result<u64> {
        stream::iter(Bucket::all())
            .map(|bucket| self.end_bucket(bucket))
            .buffer_unordered(CONCURRENCY)
            .try_fold(0, |sum, ended| async move { Ok(sum + ended) })
            .await
    }

    async fn end_bucket(&self, bucket: Bucket) -> Result<u64> {
        let (mut before, mut total) = (None::<Timestamp>, 0);
        loop {
            let seen = self.0.redo.lineage();
            let step = self.0.store.end_bucket(bucket, before, STEP).await?;
            self.note_ended(&step.ended, EndReason::All, &seen);
            total += step.ended.sessions.len() as u64;
            if !step.more {
                return Ok(total);
            }
            before = before.or(Some(step.now));
        }
    }

    /// Clears up after all expired sessions, and tells how long the most overdue one had been due. Any server may do it
    /// at any time; the leader does it regularly.
    pub async fn sweep(&self) -> Result<Duration> {
        let timer = self.0.metrics.sweep_duration.start_timer();
        let behind = stream::iter(Bucket::all())
            .map(|bucket| self.sweep_bucket(bucket))
            .buffer_unordered(CONCURRENCY)
            .try_fold(Duration::ZERO, |behind, due| async move { Ok(behind.max(due)) })
            .await?;
        timer.observe_duration();
        self.0.metrics.sweep_behind.set(behind.as_secs_f64());
        self.0.metrics.swept_at.set(seconds(self.0.clock.now()));
        Ok(behind)
    }

    fn count_expired(&self, sessions: u64) {
        let metrics = &self.0.metrics;
        metrics.swept.inc_by(sessions);
        let expired = metrics.sessions_ended.with_label_values(&[EndReason::Expired.as_str()]);
        expired.inc_by(sessions);
    }

    fn count_audit(&self, step: &Step) {
        let metrics = &self.0.metrics;
        metrics.keys_audited.inc_by(step.keys_audited);
        metrics.keys_without_ttl.inc_by(step.keys_without_ttl.len() as u64);
        for key in &step.keys_without_ttl {
            tracing::error!(key, "a key had no time to live: it has one now");
        }
    }

    async fn sweep_bucket(&self, bucket: Bucket) -> Result<Duration> {
        let mut behind = Duration::ZERO;
        loop {
            let step = self.0.store.sweep(bucket, STEP).await?;
            self.count_expired(step.ended.sessions.len() as u64);
            self.count_audit(&step);
            behind = behind.max(step.behind);
            if !step.more {
                return Ok(behind);
            }
        }
    }

    /// Shows the fleet's counts in this server's metrics: the leader's task.
    pub fn show_counts(&self, stats: &Stats) {
        let metrics = &self.0.metrics;
        metrics.fleet_sessions.reset();
        for (class, count) in &stats.by_class {
            metrics
                .fleet_sessions
                .with_label_values(&[class])
                .set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        metrics.fleet_sessions_by_server.reset();
        for (server, count) in &stats.by_server {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            metrics.fleet_sessions_by_server.with_label_values(&[server]).set(count);
        }
        metrics.fleet_users.set(i64::try_from(stats.users).unwrap_or(i64::MAX));
        let durations = &stats.durations;
        for (statistic, value) in [
            ("average", durations.average()),
            ("p50", durations.quantile(0.5)),
            ("p90", durations.quantile(0.9)),
            ("p99", durations.quantile(0.99)),
        ] {
            let gauge = metrics.session_duration.with_label_values(&[statistic]);
            gauge.set(value.unwrap_or_default());
        }
        metrics.fleet_counted_at.set(seconds(stats.as_of));
    }

    /// Stops showing the fleet's counts: another server leads.
    pub fn hide_counts(&self) {
        let settings = &self.0.settings;
        self.0
            .metrics
            .show_deployment(settings.classes.names(), settings.server_id.as_str());
    }

    /// One round of the redo log: repeats the ends that a failover may have undone.
    pub async fn redo_ends(&self) {
        let repeated = self.0.redo.run_once(&*self.0.store).await;
        self.0.metrics.redo_repeated.inc_by(repeated as u64);
        self.0
            .metrics
            .redo_entries
            .set(i64::try_from(self.0.redo.len()).unwrap_or(i64::MAX));
    }
}

/// Seconds since the Unix epoch, as metrics tell a time.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch fit a double")]
pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}
