//! The committed document is what the handlers say.

#[test]
fn the_committed_document_is_up_to_date() {
    let committed = include_str!("../../openapi/openapi.json");
    let made = qeetid::http::openapi::document();
    let differs = committed.lines().zip(made.lines()).position(|(a, b)| a != b).map_or(committed.lines().count(), |line| line) + 1;
    assert!(committed == made, "openapi/openapi.json differs from line {differs} on; run: cargo run -- openapi > openapi/openapi.json");
}
