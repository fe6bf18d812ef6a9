//! Each layer against the conformance suite, with what it changes on purpose.

use conform::{Contract, Subject};
use instruments::Observe;

#[test]
fn observe_leaves_everything_alone() {
    let report = conform::check(Subject::layer(Observe::new), &Contract::transparent());
    assert!(report.conforms(), "{report}");
    insta::assert_snapshot!(report);
}
