use std::time::Duration;

/// How much is measured.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// How often the baselines and the program take turns.
    pub(crate) rounds: usize,
    /// How long one turn of a read lasts.
    pub(crate) turn: Duration,
    /// Sessions that the cheap reads go round.
    pub(crate) warm: usize,
    /// Sessions that are made, missed, changed and destroyed in one round.
    pub(crate) written: usize,
    /// Sessions whose end is followed.
    pub(crate) destroyed: usize,
    /// Sessions by which Redis's memory is measured.
    pub(crate) stored: usize,
    /// Numbers of sessions in L1 at which the resident memory is read.
    pub(crate) held: [usize; 3],
    /// Connections of the load.
    pub(crate) connections: usize,
    /// Only the cases whose names contain one of these; all where there is none.
    pub(crate) only: Vec<String>,
    /// Whether servers and load share all processors.
    pub(crate) shared: bool,
}

const USAGE: &str = "usage: tests/bench/run [--quick] [--shared] [--rounds N] [--only CASE]...";

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Self {
        let mut options = if arguments.iter().any(|argument| argument == "--quick") {
            Self::quick()
        } else {
            Self::full()
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // What `cargo bench` adds by itself.
                "--quick" | "--bench" => {}
                "--shared" => options.shared = true,
                "--rounds" => options.rounds = arguments.next().and_then(|n| n.parse().ok()).expect(USAGE),
                "--only" => options.only.push(arguments.next().expect(USAGE).clone()),
                _ => panic!("{USAGE}"),
            }
        }
        options
    }

    fn full() -> Self {
        Self {
            // Short turns, for what disturbs a turn should disturb its baseline too.
            rounds: 21,
            turn: Duration::from_millis(400),
            warm: 1_000,
            written: 4_000,
            destroyed: 500,
            stored: 20_000,
            held: [0, 10_000, 100_000],
            connections: 16,
            only: Vec::new(),
            shared: false,
        }
    }

    fn quick() -> Self {
        Self {
            rounds: 1,
            turn: Duration::from_millis(250),
            warm: 50,
            written: 300,
            destroyed: 10,
            stored: 500,
            held: [0, 100, 500],
            ..Self::full()
        }
    }

    /// Whether a case was asked for.
    pub(crate) fn wants(&self, case: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| case.contains(part.as_str()))
    }

    /// Whether all of it was asked for, and not just some cases.
    pub(crate) fn wants_all(&self) -> bool {
        self.only.is_empty()
    }
}
