//! The concurrent form under every order of threads that `shuttle` tries: requests against the connection's reader.
//!
//! The map is a stand-in (one place, one lock) under the same code; `quick_cache` has its own such tests. `shuttle`
//! tries orders of steps, not weaker memory: `Acquire` and `Release` are argued for where they stand.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use shuttle::Runner;
use shuttle::scheduler::PctScheduler;
use shuttle::sync::Mutex;
use shuttle::sync::atomic::AtomicU64 as Ticks;

use super::hit::{Hit, Step};
use super::mutant::Mutant;
use super::parts::{Entry, Guard, Keyed, Limits, Map, Parts, Value, Word};
use super::{Begun, Bounds, ConnectionId, L1, Monotonic, Record, Source};

/// The staleness bound, in ticks of a clock that the reader's thread turns on.
const B: u64 = 10;
const SCHEDULES: usize = 2000;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Id;

impl Keyed for Id {
    fn bucket(&self) -> u16 {
        0
    }
}

enum Shuttled {}

impl Parts for Shuttled {
    type Word = Ticks;
    type Map<K: Keyed, V: Value> = OnePlace<V>;
}

impl Word for Ticks {
    fn zero() -> Self {
        Self::new(0)
    }

    fn acquire(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    fn release(&self, value: u64) {
        self.store(value, Ordering::Release);
    }
}

enum Place<V> {
    Empty,
    Held(u64),
    Full(Entry<V>),
}

struct OnePlace<V> {
    place: Mutex<Place<V>>,
    tickets: AtomicUsize,
}

struct Ticket<'a, V> {
    map: &'a OnePlace<V>,
    number: u64,
}

impl<K: Keyed, V: Value> Map<K, V> for OnePlace<V> {
    type Guard<'a> = Ticket<'a, V>;

    fn with_limits(_: Limits) -> Self {
        Self {
            place: Mutex::new(Place::Empty),
            tickets: AtomicUsize::new(0),
        }
    }

    fn get(&self, _: &K) -> Option<Entry<V>> {
        match &*self.place.lock().unwrap() {
            Place::Full(entry) => Some(entry.clone()),
            _ => None,
        }
    }

    fn remove(&self, _: &K) {
        *self.place.lock().unwrap() = Place::Empty;
    }

    fn remove_if(&self, _: &K, stale: impl FnOnce(&Entry<V>) -> bool) {
        let mut place = self.place.lock().unwrap();
        if matches!(&*place, Place::Full(entry) if stale(entry)) {
            *place = Place::Empty;
        }
    }

    fn join<'a>(&'a self, _: &'a K) -> impl Future<Output = Result<Entry<V>, Self::Guard<'a>>> + Send + 'a {
        let mut place = self.place.lock().unwrap();
        if let Place::Full(entry) = &*place {
            return std::future::ready(Ok(entry.clone()));
        }
        let number = self.tickets.fetch_add(1, Ordering::Relaxed) as u64;
        *place = Place::Held(number);
        std::future::ready(Err(Ticket { map: self, number }))
    }

    fn weight(&self) -> u64 {
        Map::<K, V>::count(self) as u64
    }

    fn count(&self) -> usize {
        usize::from(matches!(&*self.place.lock().unwrap(), Place::Full(_)))
    }

    fn put(&self, _: K, entry: Entry<V>) {
        *self.place.lock().unwrap() = Place::Full(entry);
    }
}

impl<V: Value> Guard<V> for Ticket<'_, V> {
    fn fill(self, entry: Entry<V>) -> bool {
        let mut place = self.map.place.lock().unwrap();
        let stands = matches!(&*place, Place::Held(number) if *number == self.number);
        if stands {
            *place = Place::Full(entry);
        }
        stands
    }
}

/// One pod, one session, one connection. The session's value 1 was true until `superseded`.
struct Scene {
    l1: L1<Id, u64, Shuttled>,
    clock: Ticks,
    server: Ticks,
    superseded: Ticks,
    connection: ConnectionId,
}

impl Scene {
    /// The bucket is covered, the lease is of tick 1, and nothing is held yet.
    fn new(left_out: Option<Mutant>) -> Self {
        let bounds = Bounds {
            staleness: Duration::from_nanos(B),
            max_age: Duration::from_secs(1),
            keep_ends: Duration::from_secs(1),
            max_ends: 8,
            limits: Limits { entries: 1, bytes: 1 },
        };
        let l1 = L1::small(bounds, left_out);
        let connection = l1.cover().connection_begun(tick(1)).unwrap();
        assert!(l1.cover().subscribed(0, connection));
        let scene = Self {
            l1,
            clock: Ticks::new(1),
            server: Ticks::new(1),
            superseded: Ticks::new(u64::MAX),
            connection,
        };
        scene.heartbeat(connection, 1);
        scene
    }

    fn now(&self) -> Monotonic {
        tick(self.clock.load(Ordering::SeqCst))
    }

    fn set(&self, time: u64) {
        self.clock.store(time, Ordering::SeqCst);
    }

    fn heartbeat(&self, connection: ConnectionId, time: u64) {
        self.set(time);
        let nonce = self.l1.cover().heartbeat_sent(connection, tick(time)).unwrap();
        self.l1.cover().heartbeat_reply(connection, nonce, tick(time)).unwrap();
    }

    /// Another pod's write, at the node: this pod's reader has not heard of it yet.
    fn written(&self, time: u64) {
        self.set(time);
        self.superseded.store(time, Ordering::SeqCst);
        self.server.store(2, Ordering::SeqCst);
    }

    fn fill(&self) {
        let mut begun = pin!(self.l1.begin_fill(&Id, || self.now()));
        let Poll::Ready(Begun::Read(fill)) = begun.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            return;
        };
        let value = self.server.load(Ordering::SeqCst);
        let left = Duration::from_secs(1);
        let record = Record {
            id: Id,
            value,
            bytes: 1,
            idle_left: left,
            absolute_left: left,
            source: Source::Asked,
        };
        fill.complete(&self.l1, record, || self.now());
    }

    /// Whether a hit, step by step, gives value 1 more than B after it was superseded.
    fn hit_is_stale(&self) -> bool {
        let (mut hit, mut latest) = (Hit::new(), 0);
        for step in self.l1.order() {
            if step == Step::LookUp {
                latest = self.now().as_nanos().max(latest);
            }
            let read = std::cell::Cell::new(0);
            hit.take(step, &self.l1, &Id, &|| {
                let now = self.now();
                read.set(now.as_nanos());
                now
            });
            latest = latest.max(read.get());
        }
        let served = self.l1.judge(hit);
        served.is_ok_and(|served| served.value == 1)
            && latest > self.superseded.load(Ordering::SeqCst).saturating_add(B)
    }
}

fn tick(time: u64) -> Monotonic {
    Monotonic::from_nanos(time)
}

/// What runs against the reader.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    /// A hit on an entry that is there.
    Hit,
    /// A fill of an entry that is not.
    Fill,
}

/// How many of [`SCHEDULES`] end with a stale hit, during or after `request` runs against `reader`.
fn stale(left_out: Option<Mutant>, request: Request, reader: fn(&Scene)) -> usize {
    let bad = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&bad);
    let schedule = move || {
        let scene = Arc::new(Scene::new(left_out));
        if request == Request::Hit {
            scene.fill();
        }
        let other = Arc::clone(&scene);
        let reading = shuttle::thread::spawn(move || reader(&other));
        let during = match request {
            Request::Hit => scene.hit_is_stale(),
            Request::Fill => {
                scene.fill();
                false
            }
        };
        reading.join().unwrap();
        if during || scene.hit_is_stale() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    };
    // A few preemptions at chosen points find more than a toss-up at every step.
    let scheduler = PctScheduler::new_from_seed(1, 3, SCHEDULES);
    Runner::new(scheduler, shuttle::Config::default()).run(schedule);
    bad.load(Ordering::Relaxed)
}

/// F2: the removal, and only then the lease of a heartbeat that was sent after the write.
fn invalidates_then_extends(scene: &Scene) {
    scene.written(4);
    scene.l1.invalidate(&Id);
    scene.heartbeat(scene.connection, 9);
    scene.set(18);
}

/// The message is long on its way.
fn invalidates_late(scene: &Scene) {
    scene.written(4);
    scene.set(25);
    scene.l1.invalidate(&Id);
}

/// The message is lost with its connection; the next one takes over its place.
fn reconnects(scene: &Scene) {
    scene.written(4);
    scene.l1.cover().connection_ended(scene.connection);
    let next = scene.l1.cover().connection_begun(tick(5)).unwrap();
    scene.l1.cover().subscribed(0, next);
    scene.heartbeat(next, 9);
    scene.set(18);
}

fn holds(request: Request, reader: fn(&Scene)) {
    assert_eq!(stale(None, request, reader), 0);
}

fn is_caught(mutant: Mutant, request: Request, reader: fn(&Scene)) {
    let bad = stale(Some(mutant), request, reader);
    println!("{mutant:?}: {bad} of {SCHEDULES} schedules bad");
    assert!(bad > 0, "left out, {mutant:?} was not caught");
}

#[test]
fn a_hit_sees_every_removal_that_its_lease_vouches_for() {
    holds(Request::Hit, invalidates_then_extends);
    is_caught(Mutant::LeaseAfterLookUp, Request::Hit, invalidates_then_extends);
}

#[test]
fn a_hit_reads_the_clock_last() {
    holds(Request::Hit, invalidates_late);
    is_caught(Mutant::ClockBeforeLookUp, Request::Hit, invalidates_late);
}

#[test]
fn a_hit_takes_no_lease_for_that_of_an_earlier_connection() {
    holds(Request::Hit, reconnects);
    is_caught(Mutant::StampBeforeLease, Request::Hit, reconnects);
    is_caught(Mutant::StampNotChecked, Request::Hit, reconnects);
}

#[test]
fn a_fill_overtaken_by_an_invalidation_is_not_inserted() {
    holds(Request::Fill, invalidates_then_extends);
    is_caught(Mutant::NoPlaceholderGuard, Request::Fill, invalidates_then_extends);
}

#[test]
fn a_fill_keeps_the_stamp_that_it_noted() {
    holds(Request::Fill, reconnects);
    is_caught(Mutant::StampNotedAtInsert, Request::Fill, reconnects);
}
