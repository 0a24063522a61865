//! The outbox on real parts: SQLite, a mail server, the Messages API. `letters` and `invites` are what is sent and what is not, `failing` is
//! what happens when it can't be sent.

mod failing;
mod invites;
mod letters;
mod world;
