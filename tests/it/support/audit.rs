//! A full scan of a deployment's keys: everything that holds between them when nothing is under way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Pipeline};

use super::redis_cluster::RedisCluster;
use super::server::RedisServer;

/// How many commands go to a server in one pipeline.
const BATCH: usize = 2_000;

/// What a full scan found, expired sessions that were not yet swept included.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Audit {
    pub(crate) sessions: u64,
    pub(crate) users: u64,
    pub(crate) by_class: BTreeMap<String, u64>,
    pub(crate) by_server: BTreeMap<String, u64>,
    /// All keys of the deployment, of every kind.
    pub(crate) keys: u64,
}

/// Scans the primaries of a cluster for the keys of one prefix, and fails with everything that is amiss among them.
pub(crate) async fn audit(cluster: &RedisCluster, prefix: &str) -> Audit {
    let primaries = cluster.primaries().await;
    let contents = join_all(primaries.iter().map(|node| Contents::read(node, prefix))).await;
    Contents::merged(contents).check(prefix)
}

/// The same for a Redis that is no cluster.
pub(crate) async fn audit_single(server: &RedisServer, prefix: &str) -> Audit {
    Contents::read(server, prefix).await.check(prefix)
}

type Scores = BTreeMap<String, u64>;
type Fields = BTreeMap<String, String>;

/// Everything that is stored under a prefix, by what follows it in the key.
#[derive(Default)]
struct Contents {
    now: u64,
    /// The remaining time of every key, in milliseconds; -1 for ever.
    lives: BTreeMap<String, i64>,
    sets: BTreeMap<String, Scores>,
    hashes: BTreeMap<String, Fields>,
}

impl Contents {
    async fn read(server: &RedisServer, prefix: &str) -> Self {
        let keys = server.keys(&format!("{prefix}:*")).await;
        let mut connection = server.connect().await.expect("a connection");
        let short = |key: &String| key[prefix.len() + 1..].to_owned();
        let lives = ask_each(&mut connection, &keys, &["PTTL"]).await;
        // A key may have come to its end since it was listed.
        let lives = keys
            .iter()
            .zip(lives)
            .filter(|(_, life)| *life != -2)
            .map(|(key, life)| (short(key), life))
            .collect();
        let of = |kinds: &[&str]| -> Vec<String> {
            let is_wanted = |key: &&String| kinds.contains(&kind_of(&key[prefix.len() + 1..]).1);
            keys.iter().filter(is_wanted).cloned().collect()
        };
        let (sets, hashes) = (of(&["u", "x", "n"]), of(&["s", "h"]));
        let scores: Vec<BTreeMap<String, f64>> = read_sets(&mut connection, &sets).await;
        let fields: Vec<Fields> = ask_each(&mut connection, &hashes, &["HGETALL"]).await;
        let (seconds, micros): (u64, u64) = server.ask(&["TIME"]).await;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds")]
        let whole = |scores: BTreeMap<String, f64>| {
            scores
                .into_iter()
                .map(|(member, score)| (member, score as u64))
                .collect()
        };
        Self {
            now: seconds * 1_000 + micros / 1_000,
            lives,
            sets: sets.iter().map(short).zip(scores.into_iter().map(whole)).collect(),
            hashes: hashes.iter().map(short).zip(fields).collect(),
        }
    }

    fn merged(parts: Vec<Self>) -> Self {
        parts.into_iter().fold(Self::default(), |mut all, mut part| {
            all.now = all.now.max(part.now);
            all.lives.append(&mut part.lives);
            all.sets.append(&mut part.sets);
            all.hashes.append(&mut part.hashes);
            all
        })
    }

    /// Compares all with all.
    fn check(&self, prefix: &str) -> Audit {
        let mut faults = Faults::default();
        let mut audit = Audit {
            keys: self.lives.len() as u64,
            ..Audit::default()
        };
        self.check_lives(&mut faults);
        let buckets: BTreeSet<&str> = self
            .lives
            .keys()
            .filter_map(|key| Some(key.split_once('}')?.0))
            .collect();
        for bucket in buckets {
            self.check_bucket(&format!("{bucket}}}:"), &mut faults, &mut audit);
        }
        assert!(
            faults.0.is_empty(),
            "the keys of {prefix} are not in order:\n{}",
            faults.0
        );
        audit
    }

    fn check_lives(&self, faults: &mut Faults) {
        for (key, life) in &self.lives {
            let (base, kind) = kind_of(key);
            let is_known = ["s", "u", "x", "n", "h", "a", "e", "r", "o", "q", "l", "v", "w", "k"].contains(&kind);
            if base.is_empty() {
                let is_known = ["meta", "servers", "leader", "bookmarks"].contains(&key.as_str());
                faults.unless(is_known, || format!("{key}: an unknown key"));
            } else {
                faults.unless(is_known, || format!("{key}: an unknown kind of key"));
            }
            faults.unless((*life < 0) == (key == "meta"), || format!("{key}: lives {life} ms"));
            if kind == "o" {
                faults.unless(*life <= 30_000, || {
                    format!("{key}: an operation is remembered for {life} ms")
                });
            }
            if kind == "a" {
                let session = key.replacen(":a:", ":s:", 1);
                faults.unless(self.hashes.contains_key(&session), || {
                    format!("{key}: activities of no session")
                });
            }
        }
    }

    fn check_bucket(&self, base: &str, faults: &mut Faults, audit: &mut Audit) {
        let mut counts = BTreeMap::new();
        let mut latest: BTreeMap<&str, u64> = BTreeMap::new();
        let mut members = BTreeSet::new();
        for (key, ids) in self.sets_of(base, "x:") {
            for (id, score) in ids {
                let Some(session) = self.session(base, id) else {
                    faults.add(&format!("{key}: {id} is no session"));
                    continue;
                };
                let class = &key[base.len() + 2..];
                faults.unless(session.class == class && session.expires == *score, || {
                    format!(
                        "{key}: {id} at {score}, its record says {} at {}",
                        session.class, session.expires
                    )
                });
                *counts.entry(format!("c:{class}")).or_insert(0_u64) += 1;
                *counts.entry(format!("s:{}", session.server)).or_insert(0) += 1;
                *audit.by_class.entry(class.to_owned()).or_default() += 1;
                *audit.by_server.entry(session.server.clone()).or_default() += 1;
                audit.sessions += 1;
                if let Some(user) = session.user {
                    let member = format!("{user}{}", &id[2..]);
                    let listed = self.sets.get(&format!("{base}u")).and_then(|all| all.get(&member));
                    faults.unless(listed == Some(&0), || format!("{base}u: {member} at {listed:?}"));
                    let entry = latest.entry(user).or_default();
                    *entry = (*entry).max(*score);
                    members.insert(member);
                }
            }
        }
        let listed = self.sets.get(&format!("{base}u")).cloned().unwrap_or_default();
        for member in listed.keys().filter(|member| !members.contains(*member)) {
            faults.add(&format!("{base}u: {member} is no session of a user"));
        }
        let users = self.sets.get(&format!("{base}n")).cloned().unwrap_or_default();
        let listed: BTreeMap<&str, u64> = users.iter().map(|(user, score)| (user.as_str(), *score)).collect();
        faults.unless(listed == latest, || {
            format!("{base}n: {listed:?}, the users' sessions say {latest:?}")
        });
        audit.users += users.len() as u64;
        let stored = self.hashes.get(&format!("{base}h")).cloned().unwrap_or_default();
        let counted = counts
            .iter()
            .map(|(name, count)| (name.clone(), count.to_string()))
            .collect();
        faults.unless(stored == counted, || {
            format!("{base}h: {stored:?}, a scan says {counted:?}")
        });
        self.check_records(base, faults);
    }

    /// Every record is its own key's, and every live one is indexed.
    fn check_records(&self, base: &str, faults: &mut Faults) {
        let start = format!("{base}s:");
        for key in self.hashes.keys().filter(|key| key.starts_with(&start)) {
            let id = &key[start.len()..];
            let Some(session) = self.session(base, id) else {
                faults.add(&format!("{key}: a record that cannot be read"));
                continue;
            };
            faults.unless(session.id == id, || format!("{key}: the record of {}", session.id));
            let indexed = self.sets.get(&format!("{base}x:{}", session.class));
            let is_indexed = indexed.is_some_and(|ids| ids.contains_key(id));
            faults.unless(is_indexed || session.expires <= self.now, || {
                format!("{key}: alive and not indexed")
            });
        }
    }

    fn sets_of(&self, base: &str, kind: &str) -> impl Iterator<Item = (&String, &Scores)> {
        let start = format!("{base}{kind}");
        self.sets.iter().filter(move |(key, _)| key.starts_with(&start))
    }

    fn session(&self, base: &str, id: &str) -> Option<Record<'_>> {
        let fields = self.hashes.get(&format!("{base}s:{id}"))?;
        let core: serde_json::Value = serde_json::from_str(fields.get("c")?).ok()?;
        let meta: Vec<&str> = fields.get("m")?.split(' ').collect();
        let number = |index: usize| meta.get(index)?.parse::<u64>().ok();
        Some(Record {
            id: (*meta.first()?).to_owned(),
            server: core["server_id"].as_str()?.to_owned(),
            expires: number(2)? + (number(3)? + number(4)?).min(number(5)?),
            class: meta.get(7)?,
            user: meta.get(8).copied().filter(|user| *user != "-"),
        })
    }
}

/// What indexes say about a session.
struct Record<'a> {
    id: String,
    server: String,
    expires: u64,
    class: &'a str,
    user: Option<&'a str>,
}

#[derive(Default)]
struct Faults(String);

impl Faults {
    fn add(&mut self, fault: &str) {
        let _ = writeln!(self.0, "{fault}");
    }

    fn unless(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.add(&fault());
        }
    }
}

/// The bucket's part of a key, and the kind of key; a key of the whole deployment has no bucket.
fn kind_of(key: &str) -> (&str, &str) {
    match key.split_once("}:") {
        Some((bucket, rest)) => (bucket, rest.split(':').next().unwrap_or(rest)),
        None => ("", key),
    }
}

async fn read_sets(connection: &mut MultiplexedConnection, keys: &[String]) -> Vec<BTreeMap<String, f64>> {
    ask_each(connection, keys, &["ZRANGE", "0", "-1", "WITHSCORES"]).await
}

/// Runs one command a key: its name, the key, what follows.
async fn ask_each<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    keys: &[String],
    command: &[&str],
) -> Vec<T> {
    let mut answers = Vec::with_capacity(keys.len());
    for batch in keys.chunks(BATCH) {
        let mut pipeline = Pipeline::new();
        for key in batch {
            pipeline.cmd(command[0]).arg(key).arg(&command[1..]);
        }
        let part: Vec<T> = pipeline.query_async(connection).await.expect("a scan of all keys");
        answers.extend(part);
    }
    answers
}
