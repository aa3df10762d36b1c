//! The rules one by one, without concurrency: what each method says.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::message::Message;
use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Id(u16);

impl Keyed for Id {
    fn bucket(&self) -> u16 {
        self.0 % 4
    }
}

impl std::str::FromStr for Id {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

type Cache = L1<Id, &'static str>;
const ONE: &Id = &Id(1);

/// So many milliseconds after some moment long after the clock's zero.
fn at(millis: u64) -> Monotonic {
    Monotonic::from_nanos(1_000_000_000_000).after(Duration::from_millis(millis))
}

fn cache() -> Cache {
    L1::new(Bounds {
        staleness: Duration::from_secs(1),
        max_age: Duration::from_mins(1),
        keep_ends: Duration::from_secs(5),
        max_ends: 8,
        limits: Limits {
            entries: 100,
            bytes: 100_000,
        },
    })
}

fn heartbeat(l1: &Cache, connection: ConnectionId, sent: u64, replied: u64) -> Result<(), EndConnection> {
    let nonce = l1.cover().heartbeat_sent(connection, at(sent))?;
    l1.cover().heartbeat_reply(connection, nonce, at(replied))
}

/// Bucket 1 is covered, the lease is of millisecond 0.
fn covered() -> (Cache, ConnectionId) {
    let l1 = cache();
    let connection = l1.cover().connection_begun(at(0)).unwrap();
    assert!(l1.cover().subscribed(1, connection));
    heartbeat(&l1, connection, 0, 5).unwrap();
    (l1, connection)
}

fn begin<'a>(l1: &'a Cache, id: &'a Id, now: u64) -> Begun<'a, Id, &'static str, Product> {
    match pin!(l1.begin_fill(id, || at(now))).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(begun) => begun,
        Poll::Pending => panic!("nobody else fills"),
    }
}

fn begin_read<'a>(l1: &'a Cache, id: &'a Id, now: u64) -> Fill<'a, Id, &'static str, Product> {
    match begin(l1, id, now) {
        Begun::Read(fill) => fill,
        Begun::Joined(_) | Begun::Ended => panic!("must read"),
    }
}

fn record(id: Id) -> Record<Id, &'static str> {
    let (idle_left, absolute_left) = (Duration::from_secs(30), Duration::from_secs(90));
    Record {
        id,
        value: "one",
        bytes: 100,
        idle_left,
        absolute_left,
        source: Source::Asked,
    }
}

fn filled() -> (Cache, ConnectionId) {
    filled_with(|_| ())
}

fn filled_with(differ: impl FnOnce(&mut Record<Id, &'static str>)) -> (Cache, ConnectionId) {
    let (l1, connection) = covered();
    let mut record = record(*ONE);
    differ(&mut record);
    let completed = begin_read(&l1, ONE, 10).complete(&l1, record, || at(20));
    assert_eq!(completed.inserted, Ok(()));
    (l1, connection)
}

#[test]
fn h1_a_covered_entry_is_served_for_as_long_as_the_lease_allows() {
    let (l1, connection) = filled();
    let served = l1.lookup(ONE, || at(1000)).unwrap();
    assert_eq!(
        served,
        Served {
            value: "one",
            until: at(1000)
        }
    );
    assert_eq!(l1.lookup(ONE, || at(1001)), Err(Miss::LeaseLapsed));
    heartbeat(&l1, connection, 900, 950).unwrap();
    assert_eq!(l1.lookup(ONE, || at(1001)).unwrap().until, at(1900));
    assert_eq!(l1.lookup(&Id(5), || at(20)), Err(Miss::Absent));
}

#[test]
fn h1_deadlines_count_from_before_the_read_was_sent() {
    for (idle, absolute) in [(700, 90_000), (90_000, 700)] {
        let (l1, _) = covered();
        let (idle_left, absolute_left) = (Duration::from_millis(idle), Duration::from_millis(absolute));
        let short = Record {
            idle_left,
            absolute_left,
            ..record(*ONE)
        };
        begin_read(&l1, ONE, 10)
            .complete(&l1, short, || at(500))
            .inserted
            .unwrap();
        assert_eq!(l1.lookup(ONE, || at(709)).unwrap().until, at(710));
        assert_eq!(l1.lookup(ONE, || at(710)), Err(Miss::PastDeadline));
    }
}

#[test]
fn h1_no_entry_outlives_the_maximum_age() {
    let (l1, connection) = covered();
    let long = Duration::from_mins(15);
    let record = Record {
        idle_left: long,
        absolute_left: long,
        ..record(*ONE)
    };
    begin_read(&l1, ONE, 10)
        .complete(&l1, record, || at(20))
        .inserted
        .unwrap();
    for millis in (500..=60_000).step_by(500) {
        heartbeat(&l1, connection, millis, millis + 1).unwrap();
    }
    assert!(l1.lookup(ONE, || at(60_009)).is_ok());
    assert_eq!(l1.lookup(ONE, || at(60_010)), Err(Miss::PastDeadline));
}

#[test]
fn l2_late_lapsed_and_foreign_replies_end_the_connection() {
    let (l1, connection) = filled();
    assert_eq!(heartbeat(&l1, connection, 100, 1101), Err(EndConnection::ReplyTooLate));
    assert_eq!(l1.lookup(ONE, || at(20)), Err(Miss::NoCover));
    assert_eq!(heartbeat(&l1, connection, 200, 210), Err(EndConnection::Ended));

    let (l1, connection) = filled();
    assert_eq!(heartbeat(&l1, connection, 900, 1001), Err(EndConnection::LeaseLapsed));
    assert_eq!(l1.cover().covered(), 0);

    let (l1, connection) = filled();
    l1.cover().heartbeat_sent(connection, at(100)).unwrap();
    let foreign = l1.cover().heartbeat_reply(connection, Nonce::from_reply(77), at(101));
    assert_eq!(foreign, Err(EndConnection::UnknownNonce));
    assert_eq!(l1.cover().covered(), 0);

    let (l1, connection) = filled();
    l1.cover().heartbeat_sent(connection, at(100)).unwrap();
    assert_eq!(
        l1.cover().heartbeat_sent(connection, at(1101)),
        Err(EndConnection::ReplyTooLate)
    );
}

#[test]
fn l2_the_answer_of_the_majority_is_good_for_the_bound_only() {
    let l1 = cache();
    let connection = l1.cover().connection_begun(at(0)).unwrap();
    assert_eq!(heartbeat(&l1, connection, 900, 1001), Err(EndConnection::LeaseLapsed));
    assert!(
        !l1.cover().subscribed(1, connection),
        "an acknowledgement that comes after the end counts for nothing"
    );
}

#[test]
fn c_whatever_ends_a_subscription_ends_its_cover() {
    type Ending = fn(&Cache, ConnectionId);
    let endings: [(Ending, Miss); 4] = [
        (|l1, connection| l1.cover().connection_ended(connection), Miss::NoCover),
        (|l1, connection| l1.cover().unsubscribed(1, connection), Miss::NoCover),
        (|l1, _| l1.cover().bucket_moved(1), Miss::NoCover),
        (|l1, _| l1.invalidate_bucket(1), Miss::OtherStamp),
    ];
    for (ending, miss) in endings {
        let (l1, connection) = filled();
        let other = l1.cover().connection_begun(at(0)).unwrap();
        l1.cover().unsubscribed(1, other);
        l1.cover().connection_ended(other);
        assert!(
            l1.lookup(ONE, || at(20)).is_ok(),
            "another connection's end is not this one's"
        );
        ending(&l1, connection);
        assert_eq!(l1.lookup(ONE, || at(20)), Err(miss));
    }
}

#[test]
fn f1_only_what_the_stamps_node_said_becomes_an_entry() {
    let (l1, connection) = covered();
    let fill = begin_read(&l1, ONE, 10);
    assert_eq!(fill.connection(), Some(connection));
    let moved = Record {
        source: Source::Elsewhere,
        ..record(*ONE)
    };
    let completed = fill.complete(&l1, moved, || at(20));
    assert_eq!(completed.inserted, Err(Refusal::Elsewhere));
    assert_eq!(
        completed.answer,
        Answer::Serve(Served {
            value: "one",
            until: at(1010)
        })
    );

    let uncovered = begin_read(&l1, &Id(2), 10);
    assert_eq!(uncovered.connection(), None);
    assert_eq!(
        uncovered.complete(&l1, record(Id(2)), || at(20)).inserted,
        Err(Refusal::NoCover)
    );

    let overtaken = begin_read(&l1, ONE, 30);
    l1.invalidate(ONE);
    assert_eq!(
        overtaken.complete(&l1, record(*ONE), || at(40)).inserted,
        Err(Refusal::Overtaken)
    );
    assert!(l1.is_empty());
}

#[test]
fn f1_absence_is_not_held() {
    let (l1, _) = covered();
    begin_read(&l1, ONE, 10).absent();
    assert_eq!(l1.lookup(ONE, || at(20)), Err(Miss::Absent));
    begin_read(&l1, ONE, 30)
        .complete(&l1, record(*ONE), || at(40))
        .inserted
        .unwrap();
}

#[test]
fn a_nothing_is_held_or_answered_under_another_id() {
    let (l1, _) = covered();
    let completed = begin_read(&l1, ONE, 10).complete(&l1, record(Id(5)), || at(20));
    assert_eq!(
        completed,
        Completed {
            answer: Answer::OtherId,
            inserted: Err(Refusal::OtherId)
        }
    );
    begin_read(&l1, ONE, 10).alias();
    assert!(l1.is_empty());
}

#[test]
fn f3_a_slow_reader_does_not_answer() {
    let (l1, _) = covered();
    let completed = begin_read(&l1, ONE, 10).complete(&l1, record(*ONE), || at(1011));
    assert_eq!(completed.answer, Answer::TooSlow);
}

#[test]
fn f3_what_a_joined_fill_gives_is_judged_by_the_lease_before_the_call() {
    for (done, served) in [(900, true), (1200, false)] {
        let (l1, connection) = covered();
        let fill = begin_read(&l1, ONE, 10);
        let time = std::cell::Cell::new(20);
        let mut joining = pin!(l1.begin_fill(ONE, || at(time.get())));
        let mut context = Context::from_waker(Waker::noop());
        assert!(joining.as_mut().poll(&mut context).is_pending());
        heartbeat(&l1, connection, 800, 850).unwrap();
        time.set(done);
        fill.complete(&l1, record(*ONE), || at(done)).inserted.unwrap();
        let begun = joining.as_mut().poll(&mut context);
        assert_eq!(
            matches!(begun, Poll::Ready(Begun::Joined(_))),
            served,
            "done at {done} ms"
        );
    }
}

#[test]
fn w2_the_writer_drops_its_copy_and_the_fill_under_way() {
    let (l1, _) = filled();
    l1.drop_own(ONE);
    assert_eq!(l1.lookup(ONE, || at(20)), Err(Miss::Absent));
    let before = begin_read(&l1, ONE, 30);
    l1.drop_own(ONE);
    assert_eq!(
        before.complete(&l1, record(*ONE), || at(40)).inserted,
        Err(Refusal::Overtaken)
    );
}

#[test]
fn w3_nothing_is_answered_for_an_end_that_was_heard() {
    let (l1, _) = filled();
    let under_way = begin_read(&l1, &Id(5), 20);
    let message = Message::parse::<Id>(b"1 e 9 1 5").unwrap();
    l1.heard(1, &message, at(30));
    assert_eq!(l1.lookup(ONE, || at(40)), Err(Miss::Absent));
    assert!(matches!(begin(&l1, ONE, 40), Begun::Ended));
    let completed = under_way.complete(&l1, record(Id(5)), || at(40));
    assert_eq!(
        completed,
        Completed {
            answer: Answer::Ended,
            inserted: Err(Refusal::Ended)
        }
    );
    assert!(l1.has_ended(ONE, at(5029)) && !l1.has_ended(ONE, at(5030)));
    l1.heard(1, &Message::parse::<Id>(b"1 r 9 9").unwrap(), at(50));
    assert!(!l1.has_ended(&Id(9), at(50)), "a rotation is no end");
}

#[test]
fn serve_stale_widens_the_bound_and_nothing_else() {
    let (l1, connection) = filled();
    let extra = Duration::from_secs(10);
    l1.cover().connection_ended(connection);
    assert_eq!(l1.lookup(ONE, || at(20)), Err(Miss::NoCover));
    let stale = |extra: Option<Duration>, now| l1.lookup_stale(ONE, |_| extra, || at(now));
    assert_eq!(stale(Some(extra), 11_000).unwrap().age, Duration::from_secs(11));
    assert_eq!(stale(Some(extra), 11_001), Err(Miss::LeaseLapsed));
    assert_eq!(stale(None, 20), Err(Miss::LeaseLapsed), "only for those who chose it");
    l1.end(ONE, at(30));
    assert_eq!(stale(Some(extra), 40), Err(Miss::Absent));
}

#[test]
fn serve_stale_knows_no_maximum_age_and_every_deadline() {
    let (l1, connection) = filled_with(|record| {
        record.idle_left = Duration::from_mins(5);
        record.absolute_left = Duration::from_hours(1);
    });
    l1.cover().connection_ended(connection);
    let stale = |now| l1.lookup_stale(ONE, |_| Some(Duration::from_hours(1)), || at(now));
    assert!(stale(200_000).is_ok(), "a minute is the maximum age");
    assert!(stale(10 + 299_999).is_ok());
    assert_eq!(stale(10 + 300_000), Err(Miss::PastDeadline));
}

#[test]
fn serve_stale_counts_from_the_read_where_the_cover_has_changed_since() {
    let (l1, connection) = filled();
    heartbeat(&l1, connection, 500, 510).unwrap();
    l1.cover().connection_ended(connection);
    let age = |now| {
        l1.lookup_stale(ONE, |_| Some(Duration::from_hours(1)), || at(now))
            .unwrap()
            .age
    };
    assert_eq!(age(1_500), Duration::from_secs(1), "the last lease of its cover");
    let next = l1.cover().connection_begun(at(600)).unwrap();
    assert!(l1.cover().subscribed(1, next));
    heartbeat(&l1, next, 600, 610).unwrap();
    l1.cover().connection_ended(next);
    assert_eq!(age(1_510), Duration::from_millis(1_500), "the read was sent at 10");
}

#[test]
fn serve_stale_answers_with_nothing_that_was_changed_as_far_as_was_heard() {
    let (l1, connection) = filled();
    l1.heard(1, &Message::parse::<Id>(b"1 c 2 1").unwrap(), at(20));
    l1.cover().connection_ended(connection);
    assert_eq!(
        l1.lookup_stale(ONE, |_| Some(Duration::from_hours(1)), || at(30)),
        Err(Miss::Absent)
    );
}

#[test]
fn entries_and_bytes_are_both_bounded() {
    let (l1, connection) = covered();
    for bucket in 0..4 {
        l1.cover().subscribed(bucket, connection);
    }
    let ids: Vec<Id> = (0..500).map(Id).collect();
    for (id, bytes) in ids.iter().zip([1, 5000].into_iter().cycle()) {
        let _ = begin_read(&l1, id, 10).complete(&l1, Record { bytes, ..record(*id) }, || at(20));
    }
    assert!(l1.len() <= 110, "{} entries", l1.len());
}
