//! Passwords: what is a good one (`policy`, `common`, `strength`), how hashes are made and checked (`formats`, `kernel`),
//! and the pool in which that happens (`pool`): one bounded place per node, memory allocated once, nobody waits in vain.

pub mod common;
pub mod formats;
pub mod kernel;
pub mod policy;
pub mod pool;
pub mod strength;

pub use crate::domain::argon2::Argon2Params;
