//! Many nodes as one, with real processes. `room` tests who is there and whose turn it is, on nodes that are nothing else (`node`);
//! `service` tests three servers on one Cassandra and one Redis. There are peers that talk nonsense (`rogue`) and connections that can be
//! cut (`proxy`).

mod node;
mod proxy;
mod rogue;
mod room;
mod service;
#[path = "../support/mod.rs"]
mod support;
