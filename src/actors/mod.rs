//! Actors: one per user, per tenant and per contact put commands in a row; the store's compare-and-set stays the authority.
//! `directory` finds the actor of a key and bounds who waits for it, `entity` is what they have in common,
//! `supervisor` is their parent; `outbox` sends the messages.

pub mod contact;
pub mod directory;
pub mod entity;
pub mod outbox;
pub mod placement;
pub mod supervisor;
pub mod tenant;
pub mod user;

#[cfg(test)]
mod tests;
