//! Passwords: what is a good one, how hashes are made and checked, and the pool in which that happens.
