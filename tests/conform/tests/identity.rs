//! A layer that does nothing keeps every clause.

use conform::{Contract, Outcome, Subject};
use tower::layer::util::Identity;

#[test]
fn the_identity_keeps_every_clause() {
    for subject in [
        Subject::layer(Identity::new),
        Subject::infallible(Identity::new),
        Subject::boxed(Identity::new),
        Subject::unclonable(Identity::new),
        Subject::app(|routes| routes),
    ] {
        let report = conform::check(subject, &Contract::transparent());
        let fine = |outcome| outcome == Outcome::Kept || outcome == Outcome::NotApplicable;
        assert!(report.clauses.iter().all(|judged| fine(judged.outcome)), "{report}");
    }
}
