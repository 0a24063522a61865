//! Many nodes as one, with real processes. `room` tests who is there and whose turn it is, on nodes that are nothing else (`node`);
//! the rest tests `three` servers on one Cassandra and one Redis, under `load`: `service` kills, freezes and restarts one, `revoked` is what must
//! not be honoured any more; and in the long half `faults` what is wrong between them, `duties` what one of them does, `chaos` all of it at random.
//! There are peers that talk nonsense (`rogue`) and connections that can be cut (`proxy`).

mod load;
mod long {
    mod chaos;
    mod duties;
    mod faults;
}
mod node;
mod proxy;
mod revoked;
mod rogue;
mod room;
mod service;
mod three;
