//! Memory of the hashing pool: threads × their block, whatever waits and whatever the stored hashes ask for. What is read is the peak of a
//! whole process, so it runs in a child process: this very binary again, asked for this test alone, which by [`CHILD`] knows what it is.
#![cfg(target_os = "linux")]

use qeetid::{
    credentials::pool::{Class, Flow, Pool, PoolConfig, PoolError, PoolStats},
    domain::{hash::PasswordHash, network::Network, rng::SystemRng, secret::Password},
};
use std::{process::Command, sync::Arc, time::Duration};

const CHILD: &str = "QEETID_TEST_HASHING_MEMORY";

/// Peak resident memory of this process, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn flow(n: u32) -> Flow {
    let [_, _, a, b] = n.to_be_bytes();
    Flow { group: [a; 16], network: Network::V4([198, 51, a, b]) }
}

fn password() -> Password {
    Password::new("correct horse").unwrap()
}

async fn two_thousand_who_wait_and_hostile_hashes() {
    let config = PoolConfig { threads: 2, queue_per_thread: 2_000, deadline: Duration::from_secs(3_600), ..PoolConfig::default() };
    let pool = Pool::start(config, Arc::new(SystemRng)).unwrap();
    // Both blocks in use once, and the runtime warm.
    for n in 0..8 {
        pool.hash(password(), flow(n), Class::Interactive).await.unwrap();
    }
    let before = peak();

    let tasks: Vec<_> = (0..2_000)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.verify(password(), None, flow(n), Class::Interactive).await.map(|v| v.matches) })
        })
        .collect();
    // All have come, and hardly anybody is through.
    let before_them = pool.stats().done;
    let come = |stats: PoolStats| stats.done - before_them + (stats.running + stats.waiting) as u64;
    while come(pool.stats()) < 2_000 {
        tokio::task::yield_now().await;
    }
    assert!(pool.stats().waiting > 1_900, "{:?}", pool.stats());
    let mut tasks = tasks.into_iter();
    for _ in 0..20 {
        assert_eq!(tasks.next().unwrap().await.unwrap(), Ok(false));
    }
    let waiting = peak() - before;
    assert!(waiting < 12 * 1024, "2,000 who wait took {waiting} KiB");
    for task in tasks {
        task.abort();
        let _ = task.await;
    }

    let huge = "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQxMjM0NTY3OA$oVLnFW4Vdd+KZaNyuHNZYDlTeeRDSkyoACLFGAAhgLc";
    for hostile in [huge, &huge.replace("m=4194304", "m=131073"), &"$argon2id$".repeat(100_000), "$2b$31$abcdefghijklmnopqrstuu"] {
        let refused = pool.verify(password(), Some(PasswordHash::new(hostile)), flow(1), Class::Interactive).await.unwrap();
        assert!(!refused.matches);
    }
    let hostile = peak() - before;
    assert!(hostile < 16 * 1024, "hostile hashes took {hostile} KiB");

    // At the ceiling, many at once: one large block, not one for each.
    let ceiling = huge.replace("m=4194304", "m=131072");
    let tasks: Vec<_> = (0..6)
        .map(|n| {
            let (pool, hash) = (pool.clone(), PasswordHash::new(ceiling.clone()));
            tokio::spawn(async move { pool.verify(password(), Some(hash), flow(n), Class::Interactive).await })
        })
        .collect();
    for task in tasks {
        assert!(!task.await.unwrap().unwrap().matches);
    }
    let large = peak() - before;
    assert!((120 * 1024..150 * 1024).contains(&large), "six of 128 MiB took {large} KiB");
    pool.stop().await;
    assert_eq!(pool.verify(password(), None, flow(1), Class::Interactive).await.unwrap_err(), PoolError::Stopped);
    println!("waiting {waiting} KiB, hostile {hostile} KiB, large {large} KiB, peak {} KiB", peak());
}

/// The threads must not be through before all have come.
mod alone {
    use super::*;

    #[test]
    fn two_thousand_who_wait_and_hostile_hashes_take_no_memory() {
        if std::env::var_os(CHILD).is_some() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            return runtime.block_on(two_thousand_who_wait_and_hostile_hashes());
        }
        let name = "hashing_memory::alone::two_thousand_who_wait_and_hostile_hashes_take_no_memory";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let out = child.args(["--exact", "--nocapture", name]).env(CHILD, "1").output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
        print!("{stdout}");
    }
}
