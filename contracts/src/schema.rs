//! JSON Schemas of the documents that people write, for editors. They say what keys there are and what each takes;
//! whether a document is right is for its reader to say, which knows what a schema cannot.

/// Of contracts, both shapes.
pub const CONTRACT: &str = include_str!("schema/contract.json");

/// Of policies.
pub const POLICY: &str = include_str!("schema/policy.json");

/// Of policy groups.
pub const POLICY_GROUP: &str = include_str!("schema/policy-group.json");

/// Of files of test cases.
pub const POLICY_TEST: &str = include_str!("schema/policy-test.json");

/// Of exemptions.
pub const EXEMPTION: &str = include_str!("schema/exemption.json");
