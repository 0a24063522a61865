//! qeetid: sign-up and passwords for many tenants. In one line: the store decides, the actor orders,
//! hashing happens in one bounded pool, nobody outside can tell who has an account.

pub mod actors;
pub mod app;
pub mod cluster;
pub mod config;
pub mod credentials;
pub mod domain;
pub mod ephemeral;
pub mod gateway;
pub mod http;
pub mod service;
pub mod sqlite;
pub mod store;
pub mod telemetry;
