//! What tests share: `app` runs the real binary and talks to it, `client` is the HTTP side, `watch` looks for what must not be seen.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod app;
pub mod client;
pub mod watch;
