//! Which node orders what: an actor orders the commands of its node; the turn at a key orders those of all nodes.

use async_trait::async_trait;
use std::{any::Any, fmt, time::Duration};

/// A turn is held for so long at most, then the next one gets it: longer than any command takes that isn't stuck.
pub const LEASE: Duration = Duration::from_secs(8);

/// Says whose turn it is at a key, among all nodes.
#[async_trait]
pub trait Placement: Send + Sync + 'static {
    /// Waits for the turn at `key` of `kind`, for at most two seconds. Who can't have it (its owner is gone, slow, or somebody else
    /// has it for too long) gets an empty one and goes on without: the store's compare-and-set keeps the result right, at the price of
    /// a retry.
    async fn turn(&self, kind: &'static str, key: &[u8]) -> NodeTurn;
}

/// The turn at a key, among all nodes; given back when it is dropped.
#[must_use = "the turn is given back when this is dropped"]
pub struct NodeTurn(Option<Box<dyn Any + Send + Sync>>);

impl NodeTurn {
    /// A turn that is given back by dropping `held`.
    pub fn held(held: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(held)))
    }
    /// Nobody was asked, or nobody answered.
    pub fn none() -> Self {
        Self(None)
    }
}

impl fmt::Debug for NodeTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "NodeTurn(held)" } else { "NodeTurn(none)" })
    }
}

/// The only node: its actors are all the order there is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

#[async_trait]
impl Placement for Alone {
    async fn turn(&self, _: &'static str, _: &[u8]) -> NodeTurn {
        NodeTurn::none()
    }
}
