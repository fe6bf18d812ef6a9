//! Each layer against the conformance suite, with what it changes on purpose.

use conform::{Contract, Subject};
use instruments::{Chain, Observe};
use tower::ServiceBuilder;

#[test]
fn observe_leaves_everything_alone() {
    let report = conform::check(Subject::layer(Observe::new), &Contract::transparent());
    assert!(report.conforms(), "{report}");
    insta::assert_snapshot!(report);
}

#[test]
fn the_chain_leaves_everything_alone() {
    let chain = || {
        let chain = Chain::new();
        ServiceBuilder::new().layer(chain.mark("outer")).layer(chain.mark("inner"))
    };
    let report = conform::check(Subject::layer(chain), &Contract::transparent());
    assert!(report.conforms(), "{report}");
    insta::assert_snapshot!(report);
}
