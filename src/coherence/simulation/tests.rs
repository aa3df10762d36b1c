//! The promise, over many seeds; and every rule left out once, which must be caught.

use std::cell::Cell;

use super::super::mutant::Mutant;
use super::oracle::Violation;
use super::world::World;
use super::{Caches, L1, bounds};

/// What one run came to.
struct Outcome {
    violation: Option<Violation>,
    hits: u64,
    promotions: u64,
    moves: u64,
}

fn run(seed: u64, mutant: Option<Mutant>) -> Outcome {
    let caches = Caches(std::array::from_fn(|_| L1::without(bounds(), mutant)));
    let clocks = std::array::from_fn(|_| Cell::new(0));
    let mut world = World::new(seed, mutant, &caches, &clocks);
    world.run();
    let violation = world.oracle.violations.first().cloned();
    Outcome {
        violation,
        hits: world.oracle.hits,
        promotions: world.promotions,
        moves: world.moves,
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[test]
fn nothing_older_than_the_bound_is_served_and_nothing_that_ended_comes_back() {
    if let Some(seed) = number("CLOAKROOM_SIM_SEED") {
        return replay(seed);
    }
    let runs = number("CLOAKROOM_SIM_RUNS").unwrap_or(150);
    let (mut hits, mut promotions, mut moves) = (0, 0, 0);
    for seed in 0..runs {
        let outcome = run(seed, None);
        if let Some(violation) = outcome.violation {
            panic!("seed {seed}: {violation:?}; again: CLOAKROOM_SIM_SEED={seed} cargo test --lib simulation");
        }
        hits += outcome.hits;
        promotions += outcome.promotions;
        moves += outcome.moves;
    }
    println!("0 of {runs} runs bad: {hits} hits, {promotions} promotions, {moves} slot moves");
    assert!(
        hits > 100 * runs && promotions > 0 && moves > 0,
        "the simulation must have done something"
    );
}

fn replay(seed: u64) {
    let wanted = std::env::var("CLOAKROOM_SIM_MUTANT").ok();
    let mutant = wanted.map(|name| {
        let found = Mutant::ALL.into_iter().find(|mutant| format!("{mutant:?}") == name);
        found.unwrap_or_else(|| panic!("CLOAKROOM_SIM_MUTANT must be one of {:?}", Mutant::ALL))
    });
    let outcome = run(seed, mutant);
    println!(
        "seed {seed}, left out {mutant:?}: {} hits, violation {:?}",
        outcome.hits, outcome.violation
    );
    assert!(mutant.is_some() || outcome.violation.is_none());
}

/// Where to begin, so that the rare ones (one run in hundreds) are met soon; if the simulation changes, just slower.
fn first_seed(mutant: Mutant) -> u64 {
    match mutant {
        Mutant::LeaseStampedAtReply => 175,
        Mutant::NoMajorityAndLapse => 170,
        Mutant::StampBeforeLease => 275,
        _ => 0,
    }
}

/// With `CLOAKROOM_SIM_RUNS`, how many of so many runs are bad; without, as many as it takes to catch it.
fn is_caught(mutant: Mutant) {
    let wanted = number("CLOAKROOM_SIM_RUNS");
    let (mut bad, mut tried, mut first) = (0, 0, None);
    let seeds = wanted.map_or(first_seed(mutant)..20_000, |runs| 0..runs);
    for seed in seeds {
        tried += 1;
        if let Some(violation) = run(seed, Some(mutant)).violation {
            bad += 1;
            first.get_or_insert((seed, violation));
            if wanted.is_none() {
                break;
            }
        }
    }
    println!("{mutant:?}: {bad} of {tried} runs bad; first {first:?}");
    assert!(bad > 0, "left out, {mutant:?} was not caught in {tried} runs");
}

macro_rules! caught {
    ($($test:ident: $mutant:ident),* $(,)?) => {
        $(#[test]
        fn $test() {
            is_caught(Mutant::$mutant);
        })*
    };
}

caught! {
    f2_left_out_is_caught: QueuedInvalidation,
    lease_after_look_up_is_caught: LeaseAfterLookUp,
    failed_subscribe_ignored_is_caught: FailedSubscribeIgnored,
    clock_stopping_in_suspend_is_caught: ClockStopsInSuspend,
    clock_before_look_up_is_caught: ClockBeforeLookUp,
    write_through_is_caught: WriteThrough,
    own_copy_kept_is_caught: OwnCopyKept,
    no_placeholder_guard_is_caught: NoPlaceholderGuard,
    lease_stamped_at_reply_is_caught: LeaseStampedAtReply,
    stamp_not_checked_is_caught: StampNotChecked,
    fill_from_another_node_is_caught: FillFromAnotherNode,
    stamp_noted_at_insert_is_caught: StampNotedAtInsert,
    ping_for_heartbeat_is_caught: PingForHeartbeat,
    no_majority_and_lapse_is_caught: NoMajorityAndLapse,
    stamp_before_lease_is_caught: StampBeforeLease,
    joined_unchecked_is_caught: JoinedUnchecked,
    sunsubscribe_overlooked_is_caught: SunsubscribeOverlooked,
    end_forgotten_is_caught: EndForgotten,
}
