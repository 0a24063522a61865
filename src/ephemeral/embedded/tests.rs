//! The suite, and what is true of this backend alone.

use super::*;
use crate::{
    domain::{
        rng::{self, SystemRng},
        token::{CodeLength, CodePurpose},
    },
    ephemeral::conformance::ephemeral_conformance_suite,
};
use std::sync::Arc;

async fn make() -> (Arc<dyn Ephemeral>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Arc::new(open(&dir).await), dir)
}

async fn open(dir: &tempfile::TempDir) -> Embedded {
    Embedded::open(File::open(&dir.path().join("codes.db"), 1).unwrap()).await.unwrap()
}

ephemeral_conformance_suite!(make().await);

fn key() -> CodeKey {
    CodeKey { purpose: CodePurpose::Email, subject: rng::bytes::<16>(&SystemRng).to_vec() }
}

fn code(expires_at: i64) -> NewCode {
    let expires_at = Timestamp::from_millis(expires_at);
    NewCode {
        key: KeyId(rng::bytes(&SystemRng)),
        nonce: rng::bytes(&SystemRng),
        length: CodeLength::Six,
        epoch: 1,
        target: vec![1, 2, 3],
        expires_at,
        above: 0,
    }
}

#[tokio::test]
async fn a_restart_loses_no_code_no_try_and_no_serial() {
    let dir = tempfile::tempdir().unwrap();
    let (live, dropped, now) = (key(), key(), Timestamp::from_millis(1_700_000_000_000));
    let before = open(&dir).await;
    let record = before.start_code(&live, code(1_700_000_600_000), now).await.unwrap();
    before.try_code(&live, 5, now).await.unwrap();
    let gone = before.start_code(&dropped, code(1_700_000_600_000), now).await.unwrap();
    before.drop_code(&dropped, gone.serial).await.unwrap();
    drop(before);

    let after = open(&dir).await;
    assert_eq!(after.try_code(&live, 5, now).await.unwrap(), Some(CodeRecord { tries: 2, ..record.clone() }));
    assert_eq!(after.peek_code(&dropped, now).await.unwrap(), None);
    // The clock has gone back meanwhile.
    let earlier = Timestamp::from_millis(1_600_000_000_000);
    for (key, serial) in [(&live, record.serial), (&dropped, gone.serial)] {
        assert_eq!(after.start_code(key, code(1_700_000_600_000), earlier).await.unwrap().serial, serial + 1);
    }
}

#[tokio::test]
async fn a_sweep_takes_all_that_is_over_in_one_call() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&dir).await);
    let codes = 2 * SWEPT_AT_ONCE + 7;
    let insert = move |c: &Connection| {
        let mut row = c.prepare("INSERT INTO codes SELECT 'email', ?1, x'00', x'00', 1, 1, x'00', 0, 1, 1000, 6")?;
        (0..codes).try_for_each(|n: u32| row.execute([n.to_be_bytes()]).map(drop))
    };
    store.file.write(insert).await.unwrap();
    store.sweep(Timestamp::from_millis(1_700_000_000_000)).await.unwrap();
    let left: i64 = store.file.read(|c| c.query_row("SELECT count(*) FROM codes", [], |row| row.get(0))).await.unwrap();
    assert_eq!(left, 0);
}
