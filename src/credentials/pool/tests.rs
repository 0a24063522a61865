use super::*;
use crate::domain::rng::SystemRng;

fn password(text: &str) -> Password {
    Password::new(text).unwrap()
}

fn flow(group: u8, network: u8) -> Flow {
    Flow { group: [group; 16], network: Network::V4([192, 0, 2, network]) }
}

fn pool(threads: usize, queue_per_thread: usize, deadline_ms: u64) -> Pool {
    let config = PoolConfig { threads, queue_per_thread, deadline: Duration::from_millis(deadline_ms), ..PoolConfig::default() };
    Pool::start(config, Arc::new(SystemRng)).unwrap()
}

#[tokio::test]
async fn what_is_hashed_is_verified_and_nothing_else_is() {
    let pool = pool(1, 16, 10_000);
    let hash = pool.hash(password("correct horse"), flow(1, 1), Class::Interactive).await.unwrap();
    assert!(hash.reveal().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "form");
    let good = pool.verify(password("correct horse"), Some(hash.clone()), flow(1, 1), Class::Interactive).await.unwrap();
    assert!(good.matches && !good.outdated);
    let bad = pool.verify(password("correct horsf"), Some(hash), flow(1, 1), Class::Interactive).await.unwrap();
    assert!(!bad.matches && !bad.outdated);
    let nobody = pool.verify(password("correct horse"), None, flow(1, 1), Class::Interactive).await.unwrap();
    assert!(!nobody.matches && !nobody.outdated);
    pool.stop().await;
    assert_eq!(pool.hash(password("correct horse"), flow(1, 1), Class::Interactive).await.unwrap_err(), PoolError::Stopped);
}
