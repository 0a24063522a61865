//! Counts and digests of rows, table by table, in whatever order they come.

use super::{
    super::{
        effects::Effect,
        unit::{Family, List},
    },
    rows::Rows,
};
use aws_lc_rs::digest::{Context, SHA256};
use std::collections::{BTreeMap, HashSet};

/// Of the rows of one kind: how many, and the sum of their SHA-256 as four numbers of 64 bits. It tells what is missing, too
/// much or different by accident; it is no defence against somebody who makes rows that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// Rows.
    pub rows: u64,
    lanes: [u64; 4],
}

impl Sum {
    /// The first digits of the digest.
    pub fn short(&self) -> String {
        format!("{:016x}", self.lanes[0])
    }
    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        for (lane, more) in self.lanes.iter_mut().zip(other.lanes) {
            *lane = lane.wrapping_add(more);
        }
    }
}

/// Sums by table and kind of row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    sums: BTreeMap<String, Sum>,
    /// Notes of buckets that were counted: several things note the same one.
    noted: HashSet<(List, Vec<u8>)>,
}

impl Tally {
    /// Names and sums, in the order of the names.
    pub fn sums(&self) -> impl Iterator<Item = (&str, &Sum)> {
        self.sums.iter().map(|(name, sum)| (name.as_str(), sum))
    }
    /// The sum of a name; none of it is there: zero.
    pub fn sum(&self, name: &str) -> Sum {
        self.sums.get(name).copied().unwrap_or_default()
    }
    /// All names and sums in one digest, in hexadecimal.
    pub fn whole(&self) -> String {
        let mut sha = Context::new(&SHA256);
        sha.update(b"qeetid copy 1\0");
        for (name, sum) in &self.sums {
            sha.update(name.as_bytes());
            sha.update(b"\0");
            for number in [sum.rows].iter().chain(&sum.lanes) {
                sha.update(&number.to_be_bytes());
            }
        }
        sha.finish().as_ref().iter().map(|b| format!("{b:02x}")).collect()
    }
    /// Takes the sums of another part of the same tables.
    pub(super) fn join(&mut self, other: &Self) {
        for (name, sum) in &other.sums {
            self.sums.entry(name.clone()).or_default().add(sum);
        }
    }

    fn add(&mut self, name: String, parts: &[&[u8]]) {
        let mut sha = Context::new(&SHA256);
        for part in [name.as_bytes()].iter().chain(parts) {
            sha.update(&(part.len() as u64).to_be_bytes());
            sha.update(part);
        }
        let digest = sha.finish();
        let mut lanes = [0; 4];
        for (lane, bytes) in lanes.iter_mut().zip(digest.as_ref().chunks_exact(8)) {
            *lane = bytes.try_into().map_or(0, u64::from_be_bytes);
        }
        self.sums.entry(name).or_default().add(&Sum { rows: 1, lanes });
    }

    /// A row of a unit.
    pub(super) fn row(&mut self, family: Family, part: &[u8], kind: &str, key: &[u8], body: &str) {
        let holder = match part.iter().position(|b| *b == b'/') {
            // Addresses and slugs are claimed alike.
            Some(end) if family == Family::Claims => format!(" {}", String::from_utf8_lossy(&part[..end])),
            _ => String::new(),
        };
        self.add(format!("{} {kind}{holder}", family.table()), &[part, key, body.as_bytes()]);
    }

    /// An entry of a list.
    pub(super) fn entry(&mut self, list: List, bucket: &[u8], key: &[u8], body: &str) {
        // Such a note holds when it was made.
        let body = if list == List::Buckets { "" } else { body };
        self.add(list.table().to_owned(), &[bucket, key, body.as_bytes()]);
    }

    /// All of a thing.
    pub(super) fn rows(&mut self, rows: &Rows) {
        for (unit, own) in &rows.units {
            for (name, body) in own {
                self.row(unit.family, &unit.key.0, &name.kind, &name.key.0, body);
            }
        }
        for effect in &rows.entries {
            let Effect::Put { list, bucket, key, body, noted, .. } = effect else { continue };
            self.entry(*list, &bucket.0, &key.0, body);
            if *noted && self.noted.insert((*list, bucket.0.clone())) {
                self.entry(List::Buckets, list.table().as_bytes(), &bucket.0, "");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[(&str, &str)]) -> Tally {
        let mut tally = Tally::default();
        rows.iter().for_each(|(key, body)| tally.row(Family::Users, b"part", "session", key.as_bytes(), body));
        tally
    }

    #[test]
    fn order_does_not_matter_and_all_else_does() {
        let sum = |rows| of(rows).sum("users session");
        let good = sum(&[("a", "1"), ("b", "2")]);
        assert_eq!(good, sum(&[("b", "2"), ("a", "1")]));
        for other in [
            &[("a", "1")][..],
            &[("a", "1"), ("b", "3")],
            &[("a", "2"), ("b", "1")],
            &[("a", "1"), ("b", "2"), ("b", "2")],
            &[("a1", ""), ("b", "2")],
        ] {
            assert_ne!(good, sum(other), "{other:?}");
        }
        let mut parts = of(&[("a", "1")]);
        parts.join(&of(&[("b", "2")]));
        assert_eq!(parts.whole(), of(&[("b", "2"), ("a", "1")]).whole());
    }

    #[test]
    fn claims_of_addresses_and_of_slugs_are_told_apart() {
        let mut tally = Tally::default();
        tally.row(Family::Claims, b"email/x", "holder", b"-", "1");
        tally.row(Family::Claims, b"slug/x", "holder", b"-", "1");
        assert_eq!(
            tally.sums().map(|(name, sum)| (name, sum.rows)).collect::<Vec<_>>(),
            [("claims holder email", 1), ("claims holder slug", 1)]
        );
    }
}
