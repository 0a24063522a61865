//! Passwords: what is a good one (`policy`, `common`), how hashes are made and checked (`params`, `formats`, `kernel`),
//! and the pool in which that happens (`pool`): one bounded place per node, memory allocated once, nobody waits in vain.

pub mod common;
pub mod formats;
pub mod kernel;
pub mod params;
pub mod policy;
pub mod pool;

pub use params::Argon2Params;
