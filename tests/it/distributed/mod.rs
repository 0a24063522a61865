//! The service on Cassandra and Redis where something goes wrong, or two processes don't know of each other: `schema` is a keyspace of
//! another version, `tls` whom it connects to, `histories` what two processes did, checked by `linear` against the rules in `models`; in the
//! long half `outage` is a store that hangs and dies, `in_time` one that hangs while requests are under way, `nodes` one of three that is killed,
//! `faults` three of which one after the other sleeps, dies or is cut off.
//! `statements` counts what operations cost, `clock` is a node whose clock is off.

mod clock;
mod histories;
mod linear;
mod long {
    mod faults;
    mod in_time;
    mod nodes;
    mod outage;
}
mod models;
mod schema;
mod statements;
mod tls;

/// Those that ask much of the machine, or count what nobody else may disturb, come one after the other, also when they are run by name.
pub async fn in_turn() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}
