//! What a request costs: the built program against a bare axum handler, and against one raw GET, on a real cluster.
//!
//! `tests/bench/run` explains itself. All servers and the load are processes of their own; the CPU time is read from
//! `/proc`, for on a shared machine it is far steadier than throughput. Baselines and program take turns in every round,
//! and what is reported are medians over the rounds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that cannot go on should stop here and say why"
)]

mod baseline;
mod costs;
mod cpus;
mod destroy;
mod fleet;
mod load;
mod memory;
mod options;
mod report;
mod requests;
#[path = "../../tests/it/support/mod.rs"]
mod support;
mod tracing;

use options::Options;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(load::ROLE) => load::run(),
        Some(baseline::ROLE) => baseline::run(&arguments[1..]),
        _ => {
            let options = Options::parse(&arguments);
            let has_parted = !options.shared && cpus::part();
            measure(&options, has_parted);
        }
    }
}

#[tokio::main]
async fn measure(options: &Options, has_parted: bool) {
    let started = tokio::time::Instant::now();
    let fleet = fleet::Fleet::start().await;
    report::begin(options, has_parted);
    report::redis_memory(memory::redis_bytes(&fleet, options).await.as_ref());
    report::costs(&costs::measure(&fleet, options).await);
    report::traced(&tracing::measure(&fleet, options).await);
    report::destroy(&destroy::measure(&fleet, options).await);
    report::resident(&memory::resident(&fleet, options).await);
    report::finish(started.elapsed());
}
