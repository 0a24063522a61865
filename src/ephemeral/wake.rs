//! A knock at the doors of all nodes.

use async_trait::async_trait;

/// Tells the readers of revocations, on all nodes, that the store has something to read. It carries nothing, may be lost, and may come for
/// nothing: readers look by themselves twice a second, and only sooner when they are told.
#[async_trait]
pub trait Wake: Send + Sync + 'static {
    /// Tells all nodes, this one included. Waits for nothing.
    fn tell(&self);
    /// Ends when somebody has told since the last time.
    async fn told(&self);
}
