//! Requests: reads, step by step through the product's own code, and writes.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::super::hit::{Hit, Step};
use super::super::mutant::Mutant;
use super::super::{Answer, Begun, ConnectionId, Fill, Monotonic, Product, Record, Source};
use super::oracle::Given;
use super::redis::{Command, Reply};
use super::world::{Event, World};
use super::{BUCKETS, IDS, Id, KEEP_ENDS, MS, SESSIONS, Time};

type Joining<'a> = Pin<Box<dyn Future<Output = Begun<'a, Id, u64, Product>> + 'a>>;

/// A read under way.
pub(super) struct Request<'a> {
    pub(super) pod: usize,
    session: usize,
    started: Time,
    clock: &'a Cell<u64>,
    /// The node that covered the bucket when its stamp was loaded.
    node: Option<usize>,
    phase: Phase<'a>,
}

enum Phase<'a> {
    Hit {
        hit: Hit<u64>,
        done: usize,
    },
    Begin,
    Join(Joining<'a>),
    Send(Fill<'a, Id, u64, Product>),
    Sent {
        fill: Fill<'a, Id, u64, Product>,
        to: usize,
    },
    Complete {
        fill: Fill<'a, Id, u64, Product>,
        from: usize,
        value: u64,
        elsewhere: bool,
    },
}

impl Request<'_> {
    fn given(&self, value: u64, node: Option<usize>) -> Given {
        Given {
            pod: self.pod,
            session: self.session,
            value,
            node,
            started: self.started,
        }
    }
}

impl<'a> World<'a> {
    pub(super) fn arrival(&mut self, pod: usize) {
        let session = self.prng.below(SESSIONS).min(self.prng.below(SESSIONS));
        let phase = Phase::Hit {
            hit: Hit::new(),
            done: 0,
        };
        let request = Request {
            pod,
            session,
            started: self.now,
            clock: &self.clocks[pod],
            node: None,
            phase,
        };
        let number = self.free.pop().unwrap_or(self.requests.len());
        if number == self.requests.len() {
            self.requests.push(None);
        }
        self.requests[number] = Some(request);
        self.step(number);
        let gap = self.about(self.weather.read_gap);
        self.after(gap, Event::Arrival(pod));
    }

    /// How long until a thread goes on.
    fn pause(&mut self) -> Time {
        if self.prng.permille(self.weather.starve_permille) {
            return self.prng.between(0, self.weather.starve);
        }
        if self.prng.permille(800) {
            0
        } else {
            self.prng.between(0, MS)
        }
    }

    fn later(&mut self, number: usize, request: Request<'a>) {
        self.requests[number] = Some(request);
        let delay = self.pause();
        self.after(delay, Event::Step(number));
    }

    pub(super) fn step(&mut self, number: usize) {
        let Some(mut request) = self.requests[number].take() else {
            return;
        };
        self.clock(request.pod);
        match request.phase {
            Phase::Hit { hit, done } => {
                request.phase = Phase::Begin;
                self.step_hit(number, request, hit, done);
            }
            Phase::Begin => {
                let (l1, clock) = (self.l1(request.pod), request.clock);
                let begun = l1.begin_fill(&IDS[request.session], || Monotonic::from_nanos(clock.get()));
                request.phase = Phase::Join(Box::pin(begun));
                self.poll(number, request);
            }
            Phase::Join(_) => self.poll(number, request),
            Phase::Send(fill) => {
                request.phase = Phase::Begin;
                self.send_read(number, request, fill);
            }
            Phase::Complete {
                fill,
                from,
                value,
                elsewhere,
            } => {
                request.phase = Phase::Begin;
                self.complete(number, &request, fill, from, value, elsewhere);
            }
            Phase::Sent { .. } => self.requests[number] = Some(request),
        }
    }

    /// Rule H1, with anything happening between two steps.
    fn step_hit(&mut self, number: usize, mut request: Request<'a>, mut hit: Hit<u64>, mut done: usize) {
        let l1 = self.l1(request.pod);
        for step in l1.order().into_iter().skip(done) {
            hit.take(step, l1, &IDS[request.session], &|| {
                Monotonic::from_nanos(request.clock.get())
            });
            if step == Step::Stamp {
                request.node = self.covering(request.pod, request.session);
            }
            done += 1;
            // The answer is given when the clock is read.
            let atomic = self.weather.starve_permille == 0 || done == l1.order().len();
            let delay = if atomic { 0 } else { self.pause() };
            if delay > 0 {
                request.phase = Phase::Hit { hit, done };
                self.requests[number] = Some(request);
                self.after(delay, Event::Step(number));
                return;
            }
        }
        match l1.judge(hit) {
            Ok(served) => {
                self.oracle
                    .answered_from_l1(request.given(served.value, request.node), self.now);
                self.free.push(number);
            }
            Err(_) => self.later(number, request),
        }
    }

    fn poll(&mut self, number: usize, mut request: Request<'a>) {
        let Phase::Join(joining) = &mut request.phase else {
            return;
        };
        let Poll::Ready(begun) = joining.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            let pod = request.pod;
            if !self.pods[pod].joining.contains(&number) {
                self.pods[pod].joining.push(number);
            }
            self.requests[number] = Some(request);
            return;
        };
        self.pods[request.pod].joining.retain(|joining| *joining != number);
        match begun {
            Begun::Joined(served) => {
                let node = self.covering(request.pod, request.session);
                self.oracle
                    .answered_from_l1(request.given(served.value, node), self.now);
                self.free.push(number);
            }
            Begun::Ended => self.free.push(number),
            Begun::Read(fill) => {
                request.phase = Phase::Send(fill);
                self.later(number, request);
            }
        }
    }

    /// Rule F1: from the node whose connection gave the stamp.
    fn send_read(&mut self, number: usize, mut request: Request<'a>, fill: Fill<'a, Id, u64, Product>) {
        let session = request.session;
        let asked = fill
            .connection()
            .and_then(|connection| self.node_of(request.pod, connection));
        let node = asked.unwrap_or(self.primary[self.owner[session % BUCKETS]]);
        let elsewhere = self.prng.permille(if self.mutant == Some(Mutant::FillFromAnotherNode) {
            400
        } else {
            30
        });
        let read = Command::Read {
            request: number,
            session,
        };
        let (to, command) = if elsewhere {
            (
                node ^ 1,
                Command::ReadAnyway {
                    request: number,
                    session,
                },
            )
        } else {
            (node, read)
        };
        request.phase = Phase::Sent { fill, to };
        let pod = request.pod;
        self.requests[number] = Some(request);
        let delay = self.latency();
        self.after(delay, Event::Run { node: to, pod, command });
    }

    fn complete(
        &mut self,
        number: usize,
        request: &Request<'a>,
        fill: Fill<'a, Id, u64, Product>,
        from: usize,
        value: u64,
        elsewhere: bool,
    ) {
        if value == 0 {
            fill.absent();
        } else {
            let source = if elsewhere { Source::Elsewhere } else { Source::Asked };
            let record = record(request.session, value, source);
            let clock = request.clock;
            let completed = fill.complete(self.l1(request.pod), record, || Monotonic::from_nanos(clock.get()));
            if let (Answer::Serve(served), false) = (completed.answer, elsewhere) {
                self.oracle
                    .answered_from_read(request.given(served.value, Some(from)), self.now);
            }
        }
        self.free.push(number);
        self.wake_joining(request.pod, request.session);
    }

    fn wake_joining(&mut self, pod: usize, session: usize) {
        for number in self.pods[pod].joining.clone() {
            if self.requests[number]
                .as_ref()
                .is_some_and(|request| request.session == session)
            {
                let delay = self.pause();
                self.after(delay, Event::Step(number));
            }
        }
    }

    pub(super) fn write(&mut self, pod: usize) {
        let session = self.prng.below(SESSIONS);
        let shard = self.owner[session % BUCKETS];
        let mut node = self.primary[shard];
        if self.nodes[node ^ 1].primary && self.prng.permille(400) {
            node ^= 1;
        }
        let ends = self.prng.permille(self.weather.end_permille);
        let command = if ends {
            Command::End { session }
        } else {
            Command::Write { session }
        };
        let delay = self.latency();
        self.after(delay, Event::Run { node, pod, command });
        let gap = self.about(self.weather.write_gap);
        self.after(gap, Event::Write(pod));
    }

    pub(super) fn replied(&mut self, pod: usize, node: usize, reply: &Reply) {
        let now = self.clock(pod);
        match *reply {
            Reply::Read {
                request,
                value,
                elsewhere,
            } => self.read_replied(request, node, value, elsewhere),
            Reply::Written { session, value, ran } => {
                self.drop_own(pod, session, value);
                self.oracle.answered_write(pod, session, ran, self.now);
            }
            Reply::Ended { session, ran } => {
                self.l1(pod).end(&IDS[session], now);
                self.pods[pod].redo[session] = self.now + KEEP_ENDS;
                self.oracle.heard_end(pod, session, self.now);
                self.oracle.answered_write(pod, session, ran, self.now);
            }
            Reply::Refused { session, end } => {
                if end && self.pods[pod].redo[session] > self.now {
                    self.after(100 * MS, Event::Redo { pod, session });
                }
            }
        }
    }

    fn read_replied(&mut self, number: usize, node: usize, value: Option<u64>, elsewhere: bool) {
        let Some(mut request) = self.requests[number].take() else {
            return;
        };
        let Phase::Sent { fill, to } = request.phase else {
            return;
        };
        let pod = request.pod;
        if let Some(value) = value {
            request.phase = Phase::Complete {
                fill,
                from: node,
                value,
                elsewhere,
            };
            return self.later(number, request);
        }
        // MOVED: ask where it leads; such an answer is not for the cache.
        request.phase = Phase::Sent { fill, to };
        let session = request.session;
        self.requests[number] = Some(request);
        let delay = MS + self.latency();
        let node = self.primary[self.owner[session % BUCKETS]];
        self.after(
            delay,
            Event::Run {
                node,
                pod,
                command: Command::ReadAnyway {
                    request: number,
                    session,
                },
            },
        );
    }

    /// Rule W2.
    fn drop_own(&mut self, pod: usize, session: usize, value: u64) {
        let l1 = self.l1(pod);
        if self.mutant != Some(Mutant::OwnCopyKept) {
            l1.drop_own(&IDS[session]);
        }
        if self.mutant == Some(Mutant::WriteThrough) {
            let clock = &self.clocks[pod];
            let now = || Monotonic::from_nanos(clock.get());
            let mut begun = Box::pin(l1.begin_fill(&IDS[session], now));
            if let Poll::Ready(Begun::Read(fill)) = begun.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                fill.complete(l1, record(session, value, Source::Asked), now);
            }
        }
        self.wake_joining(pod, session);
    }

    /// Rule W3: the ends of `shard` are run again at its new primary.
    pub(super) fn redo_for(&mut self, shard: usize) {
        for pod in 0..self.pods.len() {
            for session in self.sessions_of(shard) {
                if self.pods[pod].redo[session] > self.now {
                    let delay = self.prng.between(20 * MS, 500 * MS);
                    self.after(delay, Event::Redo { pod, session });
                }
            }
        }
    }

    pub(super) fn redo(&mut self, pod: usize, session: usize) {
        self.pods[pod].redo[session] = self.now + KEEP_ENDS;
        let node = self.primary[self.owner[session % BUCKETS]];
        let delay = self.latency();
        self.after(
            delay,
            Event::Run {
                node,
                pod,
                command: Command::End { session },
            },
        );
    }

    /// The node at the other end of the connection that covers the session's bucket.
    fn covering(&self, pod: usize, session: usize) -> Option<usize> {
        let (_, connection) = self.l1(pod).cover().noted(u16::try_from(session % BUCKETS).unwrap())?;
        self.node_of(pod, connection)
    }

    fn node_of(&self, pod: usize, connection: ConnectionId) -> Option<usize> {
        self.links
            .iter()
            .rev()
            .find(|link| link.pod == pod && link.id == connection)
            .map(|link| link.node)
    }
}

fn record(session: usize, value: u64, source: Source) -> Record<Id, u64> {
    let (idle_left, absolute_left) = (Duration::from_secs(30), Duration::from_mins(1));
    Record {
        id: IDS[session],
        value,
        bytes: 100,
        idle_left,
        absolute_left,
        source,
    }
}
