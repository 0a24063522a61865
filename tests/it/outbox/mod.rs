//! The outbox on real parts: SQLite, a mail server, the Messages API. `letters`, `invites` and `notices` are what is sent and what is not,
//! `failing` is what happens when it can't be sent.

mod failing;
mod invites;
mod letters;
mod notices;
mod world;
