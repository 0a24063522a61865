//! The pure heart: ids, secrets, contacts, entities and their rules, derived tokens, clock and randomness.
//! Nothing here is async, does I/O, or knows of another room; time and randomness come in as arguments.

pub mod api_key;
pub mod argon2;
pub mod audit;
pub mod authority;
pub mod breaker;
pub mod contact;
pub mod context;
pub mod hash;
pub mod ids;
pub mod invite;
pub mod jwt;
pub mod keyring;
pub mod mail_domain;
pub mod network;
pub mod notice;
pub mod outbox;
pub mod permission;
pub mod policy;
pub mod rng;
pub mod secret;
pub mod session;
pub mod tenant;
pub mod time;
pub mod token;
pub mod user;
