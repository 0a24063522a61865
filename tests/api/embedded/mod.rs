//! Of the embedded store alone: these look into the SQLite file from beside the service, and change it.

mod stored_hashes;
mod tenants_apart;
