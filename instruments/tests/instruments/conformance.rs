//! Each layer against the conformance suite, with what it changes on purpose.

use conform::{Contract, Subject};
use instruments::{Chain, Faults, Observe};
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

#[test]
fn the_fault_layer_leaves_everything_alone_when_it_is_off_or_no_rule_fits() {
    let report = conform::check(Subject::layer(Faults::off), &Contract::transparent());
    assert!(report.conforms(), "{report}");
    insta::assert_snapshot!(report);
    let fits_nothing = || Faults::from_text("[[rule]]\nheader = \"x-chaos\"\nstatus = 503").expect("a good rule");
    assert_eq!(conform::check(Subject::layer(fits_nothing), &Contract::transparent()), report);
}

#[test]
fn a_rule_that_delays_changes_what_waits_for_no_clock() {
    let delays = || Faults::from_text("[[rule]]\ndelay-ms = 300").expect("a good rule");
    let late = "each answer is 300 ms late, and so is whatever the service does before it";
    let keys = [
        "ready-is-kept",
        "cancel-reaches-inner",
        "backpressure-passed-on",
        "last-waker-woken",
        "calls-overlap",
        "response-streams",
        "request-streams",
        "continue-when-read",
    ];
    let contract = keys.into_iter().fold(Contract::transparent(), |contract, key| contract.changes(key, late));
    let report = conform::check(Subject::layer(delays), &contract);
    assert!(report.conforms(), "{report}");
    assert_eq!(report.stale(), [""; 0]);
    insta::assert_snapshot!(report);
}
