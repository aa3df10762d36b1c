//! The outcome as Markdown, printed as it comes: a run that was cut short shows what it found.

use std::time::Duration;

use crate::costs::{Against, Cost, Turn};
use crate::memory::RedisBytes;
use crate::options::Options;
use crate::tracing::Traced;

/// What the numbers are about.
pub(crate) fn begin(options: &Options, has_parted: bool) {
    println!("# What a request costs\n");
    println!("{}, {}", today(), machine());
    let Options {
        rounds,
        turn,
        connections,
        warm,
        ..
    } = options;
    let processors = if has_parted {
        "servers on the first half of the processors, load and Redis on the rest"
    } else {
        "servers, load and Redis share all processors"
    };
    println!(
        "{rounds} rounds, turns of {turn:?}, {connections} connections, {warm} warm sessions; medians over the rounds; \
         {processors}.\n"
    );
}

pub(crate) fn costs(costs: &[Cost]) {
    if costs.is_empty() {
        return;
    }
    println!("| request | CPU us | baseline | CPU us | ratio | bar | requests/s | baseline's | Redis CPU us |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for cost in costs {
        let cpu = median(&cost.turns, |turn| turn.cpu);
        let ratio = median_of(
            cost.turns
                .iter()
                .zip(&cost.baseline)
                .map(|(own, base)| own.cpu / base.cpu),
        );
        let against = match cost.against {
            Against::Bare => "bare axum",
            Against::RawGet => "axum + GET",
        };
        println!(
            "| {} | {cpu:.1} | {against} | {:.1} | {ratio:.2} | {} | {:.0} | {:.0} | {:.1} |",
            cost.name,
            median(&cost.baseline, |turn| turn.cpu),
            cost.bar.map_or_else(|| "-".to_owned(), |bar| format!("{bar:.1}")),
            median(&cost.turns, |turn| turn.per_second),
            median(&cost.baseline, |turn| turn.per_second),
            median(&cost.turns, |turn| turn.redis_cpu),
        );
    }
    let raw = costs.iter().find(|cost| cost.against == Against::RawGet);
    if let Some(raw) = raw {
        let redis = median(&raw.baseline, |turn| turn.redis_cpu);
        println!(
            "\nA raw GET costs Redis {redis:.1} us. Redis's CPU is that of all six nodes, without what they spend idle."
        );
    }
    println!();
}

pub(crate) fn traced(cases: &[Traced]) {
    if cases.is_empty() {
        return;
    }
    println!("| from memory | CPU us | traces, 1 % of requests | ratio | all traced | ratio |");
    println!("|---|---|---|---|---|---|");
    for Traced { name, rounds } in cases {
        let cost = |index: usize| median_of(rounds.iter().map(|round| round[index]));
        let ratio = |index: usize| median_of(rounds.iter().map(|round| round[index] / round[0]));
        println!(
            "| {name} | {:.2} | {:.2} | {:.3} | {:.2} | {:.2} |",
            cost(0),
            cost(1),
            ratio(1),
            cost(2),
            ratio(2),
        );
    }
    println!();
}

pub(crate) fn destroy(delays: &[Duration]) {
    if delays.is_empty() {
        return;
    }
    let mut delays = delays.to_vec();
    delays.sort_unstable();
    let quantile = |hundredths: usize| delays[(delays.len() * hundredths / 100).min(delays.len() - 1)];
    println!(
        "Destroy -> gone on 3 replicas (from the request to the last replica's first 404, {} sessions): \
             p50 {:.2} ms, p99 {:.2} ms, at most {:.2} ms (bar: p99 10 ms).\n",
        delays.len(),
        millis(quantile(50)),
        millis(quantile(99)),
        millis(delays[delays.len() - 1]),
    );
}

pub(crate) fn redis_memory(bytes: Option<&RedisBytes>) {
    if let Some(bytes) = bytes {
        println!(
            "Redis: {:.0} B a session with all indexes, of which {:.0} B are the streams of events ({} sessions of as \
                 many users; bar: 900 B); connect-redis's string for the same content, without any index: {:.0} B.\n",
            bytes.ours, bytes.streams, bytes.sessions, bytes.express,
        );
    }
}

pub(crate) fn resident(resident: &[(usize, u64)]) {
    if resident.is_empty() {
        return;
    }
    let texts: Vec<String> = resident
        .iter()
        .map(|(sessions, bytes)| format!("{} MiB with {sessions}", bytes / (1 << 20)))
        .collect();
    println!("Resident memory by sessions in L1: {}.\n", texts.join(", "));
}

pub(crate) fn finish(took: Duration) {
    println!("Measured in {} s.", took.as_secs());
}

fn median(turns: &[Turn], what: impl Fn(&Turn) -> f64) -> f64 {
    median_of(turns.iter().map(what))
}

fn median_of(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn today() -> String {
    use cloakroom::session::{Clock as _, SystemClock};

    SystemClock.now().to_string()[..10].to_owned()
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name\t: "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{cores} cores of {}, Linux {}, load average {} before it began.",
        model.unwrap_or("an unknown processor"),
        kernel.trim(),
        load.split(' ').next().unwrap_or("unknown"),
    )
}
