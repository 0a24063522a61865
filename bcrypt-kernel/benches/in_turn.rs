//! Does it pay to check several bcrypt hashes in turn on one thread? Lanes beside the crate. Times are of one hash: that of a round
//! divided by its lanes.

use bcrypt_kernel::{Input, bcrypt};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// What other systems' hashes usually have; a debug build only tries whether it runs.
const COST: u32 = if cfg!(debug_assertions) { 4 } else { 10 };

fn lanes(c: &mut Criterion, lanes: u8) {
    let inputs: Vec<_> = (0..lanes).map(|n| Input { key: b"correct horse\0", salt: [n; 16] }).collect();
    c.benchmark_group("bcrypt").sample_size(20).bench_function(BenchmarkId::new("lanes", lanes), |b| {
        b.iter_custom(|times| {
            let began = Instant::now();
            for _ in 0..times {
                black_box(bcrypt(COST, black_box(&inputs)));
            }
            began.elapsed() / u32::from(lanes)
        });
    });
}

fn compare(c: &mut Criterion) {
    c.benchmark_group("bcrypt")
        .sample_size(20)
        .measurement_time(Duration::from_secs(8))
        .bench_function("the crate", |b| b.iter(|| ::bcrypt::bcrypt(COST, [7; 16], black_box(b"correct horse\0"))));
    (1..=4).for_each(|count| lanes(c, count));
}

criterion_group!(benches, compare);
criterion_main!(benches);
