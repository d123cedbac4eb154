//! ns per decision of the governor crate, keyed, at 1k and 1M keys: the peer of bench/micro/limits.ts.
use governor::{clock::QuantaClock, Quota, RateLimiter};
use std::{hint::black_box, num::NonZeroU32, time::Instant};

const DECISIONS: usize = 5_000_000;

/// The order of keys: the same generator as in bench/micro/limits.ts.
fn next(state: &mut u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    *state
}

/// One run with string keys, as a server has them; a burst that is never used up.
fn run(keys: usize) -> f64 {
    let quota = Quota::per_second(NonZeroU32::new(1_000_000_000).unwrap());
    let limiter = RateLimiter::dashmap_with_clock(quota, QuantaClock::default());
    let names: Vec<String> = (0..keys).map(|at| format!("key-{at}")).collect();
    for name in &names {
        black_box(limiter.check_key(name)).ok();
    }
    let mut state = 88_172_645;
    let began = Instant::now();
    for _ in 0..DECISIONS {
        let name = &names[next(&mut state) as usize % keys];
        black_box(limiter.check_key(name)).ok();
    }
    began.elapsed().as_nanos() as f64 / DECISIONS as f64
}

/// One cell, without a table of keys.
fn direct() -> f64 {
    let limiter = RateLimiter::direct_with_clock(Quota::per_second(NonZeroU32::new(1_000_000_000).unwrap()), QuantaClock::default());
    let began = Instant::now();
    for _ in 0..DECISIONS {
        black_box(limiter.check()).ok();
    }
    began.elapsed().as_nanos() as f64 / DECISIONS as f64
}

fn main() {
    for _ in 0..7 {
        println!("{{\"direct\":{:.1},\"keys1k\":{:.1},\"keys1M\":{:.1}}}", direct(), run(1_000), run(1_000_000));
    }
}
