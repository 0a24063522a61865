//! What tests share: `app` is a server as a test sees it, `server` the real binary as a process, `client` the HTTP side, `mail` the development
//! mailbox, `watch` looks for what must not be seen,
//! `stack` are the stores that it runs on, `rows` what lies in them, `ports` addresses that are free, `redis` and `cassandra` servers that
//! may fail, `smtp` is a mail server, `twilio` speaks the Messages API, `breach` the range API, `dns` is a DNS server, and `certs` signs certificates.

pub mod app;
pub mod breach;
pub mod cassandra;
pub mod certs;
pub mod client;
pub mod dns;
pub mod links;
pub mod mail;
pub mod ports;
pub mod redis;
pub mod rows;
pub mod server;
pub mod smtp;
pub mod stack;
pub mod twilio;
pub mod watch;
