//! CPU time a request, of the server and of Redis.

use std::time::Duration;

use redis::cluster::ClusterClient;
use tokio::time::Instant;

use crate::baseline::{Baseline, Canned};
use crate::fleet::{Fleet, Made, Server, made};
use crate::load::Order;
use crate::options::Options;
use crate::requests::Requests;

/// What a case is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Against {
    /// A bare axum handler that gives the same answer.
    Bare,
    /// An axum handler with one raw GET of as many bytes.
    RawGet,
}

/// One turn: what a request cost, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) cpu: f64,
    pub(crate) redis_cpu: f64,
    pub(crate) per_second: f64,
}

/// A case with its turns, and those of its baseline in the same rounds.
#[derive(Debug)]
pub(crate) struct Cost {
    pub(crate) name: &'static str,
    pub(crate) against: Against,
    /// The most that it may cost, as a multiple of the baseline.
    pub(crate) bar: Option<f64>,
    pub(crate) turns: Vec<Turn>,
    pub(crate) baseline: Vec<Turn>,
}

impl Cost {
    fn new(name: &'static str, against: Against, bar: Option<f64>) -> Self {
        Self {
            name,
            against,
            bar,
            turns: Vec::new(),
            baseline: Vec::new(),
        }
    }
}

/// Measures all cases, round by round.
pub(crate) async fn measure(fleet: &Fleet, options: &Options) -> Vec<Cost> {
    let warm = fleet.make(1_000_000, options.warm, options).await;
    let bench = Bench::start(fleet, options, &warm).await;
    let mut reads = bench.read_cases(&warm);
    let guarded = fleet.make_at(&fleet.guarded, 1_500_000, options.warm, options).await;
    reads.push(bench.guarded_case(&guarded));
    reads.retain(|case| options.wants(case.cost.name));
    let mut writes = Writes::new();
    for round in 0..options.rounds {
        for case in &mut reads {
            bench.take_turns(case).await;
        }
        if options.wants_all() || writes.costs().iter().any(|cost| options.wants(cost.name)) {
            bench.write(&mut writes, round, &warm).await;
        }
    }
    let reads = reads.into_iter().map(|case| case.cost);
    let writes = writes.into_costs().into_iter().filter(|cost| !cost.turns.is_empty());
    reads.chain(writes).collect()
}

/// A read that can be repeated for as long as one likes.
struct ReadCase<'a> {
    cost: Cost,
    server: &'a Server,
    requests: Vec<String>,
}

/// The cases that change sessions: each session goes through all of them.
struct Writes {
    miss: Cost,
    create: Cost,
    change: Cost,
    destroy: Cost,
}

impl Writes {
    fn new() -> Self {
        let case = |name| Cost::new(name, Against::RawGet, None);
        Self {
            miss: case("GET session, L1 miss"),
            create: case("create"),
            change: case("patch"),
            destroy: case("destroy"),
        }
    }

    fn costs(&self) -> [&Cost; 4] {
        [&self.miss, &self.create, &self.change, &self.destroy]
    }

    fn into_costs(self) -> [Cost; 4] {
        [self.miss, self.create, self.change, self.destroy]
    }
}

struct Bench<'a> {
    fleet: &'a Fleet,
    options: &'a Options,
    bare: Server,
    raw: Server,
    /// What Redis spends without any request, in microseconds a second.
    idle_redis_cpu: f64,
}

impl<'a> Bench<'a> {
    async fn start(fleet: &'a Fleet, options: &'a Options, warm: &[Made]) -> Self {
        let baseline = canned(fleet, &warm[0]).await;
        let bare = Server::of(baseline.start()).await;
        store_raw(fleet, warm, &baseline.session.body).await;
        let with_redis = Baseline {
            redis: Some(fleet.cluster.urls()),
            ..baseline
        };
        let raw = Server::of(with_redis.start()).await;
        let (before, started) = (fleet.redis_cpu().await, Instant::now());
        tokio::time::sleep(options.turn).await;
        let spent = fleet.redis_cpu().await.saturating_sub(before);
        Self {
            fleet,
            options,
            bare,
            raw,
            idle_redis_cpu: micros(spent) / started.elapsed().as_secs_f64(),
        }
    }

    /// `/auth` with signed cookie, proof of origin by the CSRF token, and binding to address and browser.
    fn guarded_case(&self, guarded: &[Made]) -> ReadCase<'a> {
        let request = |made: &Made| Requests::guarded_auth(&made.cookie, &made.csrf_token);
        ReadCase {
            cost: Cost::new("/auth guarded, L1 hit", Against::Bare, Some(1.4)),
            server: &self.fleet.guarded,
            requests: guarded.iter().map(request).collect(),
        }
    }

    fn read_cases(&self, warm: &[Made]) -> Vec<ReadCase<'a>> {
        let requests = &self.fleet.requests;
        let case = |name, against, bar, request: &dyn Fn(&Made) -> String| ReadCase {
            cost: Cost::new(name, against, Some(bar)),
            server: self.fleet.first(),
            requests: warm.iter().map(request).collect(),
        };
        vec![
            case("/auth, L1 hit", Against::Bare, 1.2, &|made| Requests::auth(&made.token)),
            case("GET session, L1 hit", Against::Bare, 1.4, &|made| {
                requests.read(&made.id)
            }),
            case("validate, L1 hit", Against::Bare, 1.6, &|made| {
                requests.validate(&made.token)
            }),
            case("GET session, strong", Against::RawGet, 1.5, &|made| {
                requests.read_strong(&made.id)
            }),
        ]
    }

    /// The baseline and the program, one after the other.
    async fn take_turns(&self, case: &mut ReadCase<'_>) {
        let order = |server: &Server, turn: Duration| Order {
            address: server.address,
            connections: self.options.connections,
            millis: Some(u64::try_from(turn.as_millis()).expect("a short turn")),
            requests: case.requests.clone(),
            status: 200,
            keep_bodies: false,
        };
        for (server, turns) in [
            (self.baseline(case.cost.against), &mut case.cost.baseline),
            (case.server, &mut case.cost.turns),
        ] {
            order(server, self.options.turn / 10).run().await;
            turns.push(self.turn(server, &order(server, self.options.turn)).await.0);
        }
    }

    /// Makes sessions, misses, changes and destroys them, with turns of the baseline in between.
    async fn write(&self, writes: &mut Writes, round: usize, warm: &[Made]) {
        let requests = &self.fleet.requests;
        let once = |requests: Vec<String>, status| Order {
            address: self.fleet.first().address,
            connections: self.options.connections,
            millis: None,
            requests,
            status,
            keep_bodies: status == 201,
        };
        let first_user = 2_000_000 + round * self.options.written;
        let users = first_user..first_user + self.options.written;
        let order = once(users.map(|user| requests.create(user)).collect(), 201);
        let (turn, bodies) = self.turn(self.fleet.first(), &order).await;
        writes.create.turns.push(turn);
        let sessions: Vec<Made> = bodies.iter().map(|body| made(body)).collect();

        let raw: Vec<String> = warm
            .iter()
            .map(|made| requests.read(&made.id))
            .cycle()
            .take(sessions.len())
            .collect();
        let raw = Order {
            address: self.raw.address,
            ..once(raw, 200)
        };
        let baseline = self.turn(&self.raw, &raw).await.0;

        let each = |request: &dyn Fn(&Made) -> String, status| once(sessions.iter().map(request).collect(), status);
        for (cost, order) in [
            (&mut writes.miss, each(&|made| requests.read(&made.id), 200)),
            (&mut writes.change, each(&|made| requests.change(&made.id), 200)),
            (&mut writes.destroy, each(&|made| requests.destroy(&made.id), 204)),
        ] {
            cost.turns.push(self.turn(self.fleet.first(), &order).await.0);
        }
        for cost in [
            &mut writes.miss,
            &mut writes.create,
            &mut writes.change,
            &mut writes.destroy,
        ] {
            cost.baseline.push(baseline);
        }
    }

    async fn turn(&self, server: &Server, order: &Order) -> (Turn, Vec<String>) {
        let redis_before = self.fleet.redis_cpu().await;
        let before = server.program.cpu_time();
        let done = order.run().await;
        let spent = micros(server.program.cpu_time().saturating_sub(before));
        let redis_spent =
            micros(self.fleet.redis_cpu().await.saturating_sub(redis_before)) - self.idle_redis_cpu * done.seconds;
        #[expect(clippy::cast_precision_loss, reason = "a count of requests is small")]
        let requests = done.requests as f64;
        let turn = Turn {
            cpu: spent / requests,
            redis_cpu: (redis_spent / requests).max(0.0),
            per_second: requests / done.seconds,
        };
        (turn, done.bodies)
    }

    fn baseline(&self, against: Against) -> &Server {
        match against {
            Against::Bare => &self.bare,
            Against::RawGet => &self.raw,
        }
    }
}

/// The program's own answers about a session.
async fn canned(fleet: &Fleet, session: &Made) -> Baseline {
    let mut connection = fleet.connect(0).await;
    let mut take = async |request: String| {
        let (head, body) = connection.ask_whole(&request).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        Canned::of(head, body)
    };
    Baseline {
        auth: take(Requests::auth(&session.token)).await,
        session: take(fleet.requests.read(&session.id)).await,
        validate: take(fleet.requests.validate(&session.token)).await,
        redis: None,
    }
}

/// Puts the raw GET's values in place.
async fn store_raw(fleet: &Fleet, sessions: &[Made], value: &str) {
    let client = ClusterClient::new(fleet.cluster.urls()).expect("the cluster's URLs");
    let mut connection = client.get_async_connection().await.expect("connect to the cluster");
    for session in sessions {
        let mut set = redis::cmd("SET");
        let () = set
            .arg(&session.id)
            .arg(value)
            .query_async(&mut connection)
            .await
            .expect("SET");
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
