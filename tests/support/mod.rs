//! What tests share: `app` runs the real binary and talks to it, `client` is the HTTP side, `watch` looks for what must not be seen,
//! `stack` are the stores that it runs on, `rows` what lies in them, `ports` addresses that are free, `redis` and `cassandra` servers that
//! may fail, `smtp` is a mail server, `twilio` speaks the Messages API, `breach` the range API, and `certs` signs certificates.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod app;
pub mod breach;
pub mod cassandra;
pub mod certs;
pub mod client;
pub mod ports;
pub mod redis;
pub mod rows;
pub mod smtp;
pub mod stack;
pub mod twilio;
pub mod watch;
