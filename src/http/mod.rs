//! The API over HTTP: server loop, the one layer around all routes, DTOs and thin handlers, one error table, the document.
//! A handler parses, makes one service call and maps; nothing is decided here that the service room could decide.
//! `server` and `connection` know sockets, `frame` every request, the area files (`auth`, `me`, …) one route each.

pub mod connection;
pub mod cors;
pub mod envelope;
pub mod errors;
mod explain;
pub mod frame;
pub mod payload;
pub mod request;
pub mod routes;
pub mod server;
pub mod types;

#[cfg(test)]
mod frame_tests;
