//! One-time codes.

use super::*;
use crate::ephemeral::{CODE_LINGER, CodeRecord, Ephemeral};
use std::{collections::BTreeSet, sync::Arc};

type Store = Arc<dyn Ephemeral>;

async fn start_code(store: &Store, key: &CodeKey, now: Timestamp) -> CodeRecord {
    store.start_code(key, new_code(now), now).await.unwrap()
}

pub(crate) async fn what_was_put_in_comes_out(store: Store) {
    let (key, now) = (fresh_key(CodePurpose::Email), start());
    let new = NewCode { epoch: u64::from(u32::MAX) + 1, target: (0..=255).collect(), length: CodeLength::Eight, ..new_code(now) };
    let record = store.start_code(&key, new.clone(), now).await.unwrap();
    assert_eq!(
        record,
        CodeRecord {
            key: new.key,
            nonce: new.nonce,
            length: CodeLength::Eight,
            serial: record.serial,
            epoch: new.epoch,
            target: new.target,
            tries: 0,
            expires_at: new.expires_at
        }
    );
    assert_eq!(record.serial, now.millis().unsigned_abs());
    assert_eq!(store.peek_code(&key, now).await.unwrap(), Some(record.clone()));
    assert_eq!(store.try_code(&key, 5, now).await.unwrap(), Some(CodeRecord { tries: 1, ..record }));
}

pub(crate) async fn nobody_has_a_code_before_it_starts(store: Store) {
    let (key, now) = (fresh_key(CodePurpose::Phone), start());
    assert_eq!(store.peek_code(&key, now).await.unwrap(), None);
    assert_eq!(store.try_code(&key, 5, now).await.unwrap(), None);
    store.drop_code(&key, 1).await.unwrap();
    // Trying nothing has left nothing.
    assert_eq!(start_code(&store, &key, now).await.tries, 0);
}

pub(crate) async fn sixteen_tries_at_once_let_no_more_than_max_through(store: Store) {
    let (key, now) = (fresh_key(CodePurpose::Email), start());
    start_code(&store, &key, now).await;
    let tries: Vec<_> = (0..16)
        .map(|_| {
            let (store, key) = (Arc::clone(&store), key.clone());
            tokio::spawn(async move { store.try_code(&key, 5, now).await.unwrap().unwrap().tries })
        })
        .collect();
    let mut counts = Vec::new();
    for task in tries {
        counts.push(task.await.unwrap());
    }
    counts.sort_unstable();
    assert_eq!(counts[..5], [1, 2, 3, 4, 5], "each of the five is somebody's alone");
    assert!(counts[5..].iter().all(|count| *count == 6), "{counts:?}");
}

pub(crate) async fn past_the_last_try_the_count_stays(store: Store) {
    let (key, now) = (fresh_key(CodePurpose::Email), start());
    let record = start_code(&store, &key, now).await;
    for tries in [1, 2, 3, 3, 3] {
        assert_eq!(store.try_code(&key, 2, now).await.unwrap(), Some(CodeRecord { tries, ..record.clone() }));
    }
    assert_eq!(store.peek_code(&key, now).await.unwrap().map(|r| r.tries), Some(3));
}

pub(crate) async fn looking_counts_nothing(store: Store) {
    let (key, now) = (fresh_key(CodePurpose::Signup), start());
    start_code(&store, &key, now).await;
    for _ in 0..10 {
        assert_eq!(store.peek_code(&key, now).await.unwrap().map(|r| r.tries), Some(0));
    }
    assert_eq!(store.try_code(&key, 5, now).await.unwrap().map(|r| r.tries), Some(1));
}

pub(crate) async fn serials_grow_whatever_the_clock_does(store: Store) {
    let (key, now) = (fresh_key(CodePurpose::Email), start());
    let mut last = 0;
    // It stands, goes back by a minute, and on again; and the code is dropped in between.
    for millis in [0, 0, 0, -60_000, -59_999, 1, 1, 5_000] {
        let record = start_code(&store, &key, after(now, millis)).await;
        assert!(record.serial > last && record.serial >= after(now, millis).millis().unsigned_abs(), "{} after {last}", record.serial);
        last = record.serial;
        store.drop_code(&key, last).await.unwrap();
    }
    assert_eq!(last, after(now, 5_000).millis().unsigned_abs(), "the clock leads once it is ahead");
}

pub(crate) async fn starts_at_once_have_serials_of_their_own(store: Store) {
    let (key, now) = (fresh_key(CodePurpose::Email), start());
    let starts: Vec<_> = (0..16)
        .map(|_| {
            let (store, key) = (Arc::clone(&store), key.clone());
            tokio::spawn(async move { start_code(&store, &key, now).await })
        })
        .collect();
    let mut records = Vec::new();
    for task in starts {
        records.push(task.await.unwrap());
    }
    let serials: BTreeSet<u64> = records.iter().map(|r| r.serial).collect();
    assert_eq!(serials.len(), 16, "{serials:?}");
    let last = records.into_iter().max_by_key(|r| r.serial);
    assert_eq!(store.peek_code(&key, now).await.unwrap(), last, "the last one is the live one, whole");
}

/// A store that has forgotten all, and a clock that runs behind the one that the last code was made by.
pub(crate) async fn a_serial_is_above_what_the_account_has_used(store: Store) {
    let (key, now) = (fresh_key(CodePurpose::Email), start());
    let used = after(now, 5_000).millis().unsigned_abs();
    let code = |above| NewCode { above, ..new_code(now) };
    assert_eq!(store.start_code(&key, code(used), now).await.unwrap().serial, used + 1);
    assert_eq!(store.start_code(&key, code(used), now).await.unwrap().serial, used + 2, "and above the one before");
    assert_eq!(store.peek_code(&key, now).await.unwrap().map(|r| r.serial), Some(used + 2));
}

pub(crate) async fn a_new_code_replaces_the_old_one(store: Store) {
    let (key, now) = (fresh_key(CodePurpose::EmailChange), start());
    let old = start_code(&store, &key, now).await;
    for _ in 0..9 {
        store.try_code(&key, 5, now).await.unwrap();
    }
    let later = after(now, 60_000);
    let new = start_code(&store, &key, later).await;
    assert_ne!(new.nonce, old.nonce);
    assert_eq!(store.try_code(&key, 5, later).await.unwrap(), Some(CodeRecord { tries: 1, ..new.clone() }), "its tries are its own");
    store.drop_code(&key, old.serial).await.unwrap();
    assert_eq!(store.peek_code(&key, later).await.unwrap().map(|r| r.serial), Some(new.serial), "the old serial drops nothing");
}

pub(crate) async fn an_expired_code_is_given_and_not_counted(store: Store) {
    let (key, now) = (fresh_key(CodePurpose::Email), start());
    let record = start_code(&store, &key, now).await;
    let end = record.expires_at;
    assert_eq!(store.try_code(&key, 5, after(end, -1)).await.unwrap().map(|r| r.tries), Some(1), "good to the last millisecond");
    let linger = i64::try_from(CODE_LINGER.as_millis()).unwrap();
    for millis in [0, 1, linger - 1] {
        let given = Some(CodeRecord { tries: 1, ..record.clone() });
        assert_eq!(store.try_code(&key, 5, after(end, millis)).await.unwrap(), given, "{millis} ms after its end");
        assert_eq!(store.peek_code(&key, after(end, millis)).await.unwrap(), given);
    }
    assert_eq!(store.try_code(&key, 5, after(end, linger)).await.unwrap(), None);
    assert_eq!(store.peek_code(&key, after(end, linger)).await.unwrap(), None);
}

pub(crate) async fn a_code_is_dropped_by_its_serial_alone(store: Store) {
    let (key, now) = (fresh_key(CodePurpose::Phone), start());
    let record = start_code(&store, &key, now).await;
    for other in [0, record.serial - 1, record.serial + 1] {
        store.drop_code(&key, other).await.unwrap();
        assert!(store.peek_code(&key, now).await.unwrap().is_some(), "{other} is another one");
    }
    store.drop_code(&key, record.serial).await.unwrap();
    assert_eq!(store.peek_code(&key, now).await.unwrap(), None);
    assert_eq!(store.try_code(&key, 5, now).await.unwrap(), None);
    store.drop_code(&key, record.serial).await.unwrap();
}

pub(crate) async fn purposes_and_subjects_are_apart(store: Store) {
    let (one, now) = (fresh_key(CodePurpose::Email), start());
    let others = [
        CodeKey { purpose: CodePurpose::Phone, ..one.clone() },
        CodeKey { purpose: CodePurpose::EmailChange, ..one.clone() },
        CodeKey { purpose: CodePurpose::Signup, ..one.clone() },
        CodeKey { subject: one.subject[..15].to_vec(), ..one.clone() },
        CodeKey { subject: [one.subject.as_slice(), &[0]].concat(), ..one.clone() },
        CodeKey { subject: one.subject.repeat(2), ..one.clone() },
    ];
    let record = start_code(&store, &one, now).await;
    for other in &others {
        assert_eq!(store.try_code(other, 5, now).await.unwrap(), None);
        let theirs = start_code(&store, other, now).await;
        store.try_code(other, 5, now).await.unwrap();
        store.drop_code(other, theirs.serial).await.unwrap();
    }
    assert_eq!(store.peek_code(&one, now).await.unwrap(), Some(record));
}

/// Lives years before the other cases: sweeping as of its time takes nothing of theirs.
pub(crate) async fn sweeping_takes_only_what_is_over(store: Store) {
    let now = Timestamp::from_millis(10_000 * 86_400_000);
    let (live, lingering) = (fresh_key(CodePurpose::Email), fresh_key(CodePurpose::Email));
    let (over, dropped) = (fresh_key(CodePurpose::Email), fresh_key(CodePurpose::Email));
    let (ttl, linger) = (i64::try_from(CODE_TTL.as_millis()).unwrap(), i64::try_from(CODE_LINGER.as_millis()).unwrap());
    start_code(&store, &live, now).await;
    start_code(&store, &lingering, after(now, -ttl - 1)).await;
    start_code(&store, &over, after(now, -ttl - linger)).await;
    let serial = start_code(&store, &dropped, now).await.serial;
    store.drop_code(&dropped, serial).await.unwrap();
    store.sweep(now).await.unwrap();
    assert!(store.peek_code(&live, now).await.unwrap().is_some());
    assert!(store.peek_code(&lingering, now).await.unwrap().is_some());
    assert_eq!(store.peek_code(&over, now).await.unwrap(), None);
    assert_eq!(store.peek_code(&over, after(now, -linger)).await.unwrap(), None, "it is gone, not just over");
    assert_eq!(start_code(&store, &dropped, now).await.serial, serial + 1, "a dropped one's serial is remembered");
}
