//! Many nodes as one, with real processes. `room` tests who is there and whose turn it is, on nodes that are nothing else (`node`),
//! with peers that talk nonsense (`rogue`), connections that can be cut (`proxy`) and certificates made on the spot (`certs`).

mod certs;
mod node;
mod proxy;
mod rogue;
mod room;
