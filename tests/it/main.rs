//! The service from outside, and its rooms on real parts. One program, so that it is linked once. `./test` runs what stands in modules called
//! `alone` one after the other, and what stands in modules called `long` only when asked for the long half.

mod api;
mod architecture;
mod breach;
mod cluster;
mod copy;
mod delivery;
mod distributed;
mod documents;
mod hashing_memory;
mod openapi;
mod outbox;
mod redis_fails;
mod sqlite;
mod support;
mod turns;
mod upgrade;
