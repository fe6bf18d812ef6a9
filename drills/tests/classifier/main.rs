//! The classifier, on what real drills show. They run on real sockets by the clock of the machine, and what it is busy with
//! besides is seen in them: so this is not in the plain suite, and `.ci/run` has it run alone.

use std::{path::Path, thread};

use drills::{classify::classify, matrix, services::Which};
use ghosts::checkout::Checkout;

const PROGRAM: &str = env!("CARGO_BIN_EXE_drills");

/// Three of them, and one seed: `cargo ghosts classify --all` measures them all with ten.
#[test]
fn three_broken_twins_are_told_and_nothing_is_claimed_of_the_fixed_ones() {
    let slugs = ["leaked-permit", "orphan-task", "silenced-error"];
    let said = |which: Which| {
        let twins = slugs.map(|slug| (slug, which));
        let evidence = matrix::seen(&Checkout::here(), &twins, 1, matrix::SPEED, Path::new(PROGRAM)).expect("evidence");
        let mut said: Vec<_> =
            classify(&evidence).causes.into_iter().map(|cause| (cause.service, cause.ghost)).collect();
        said.sort();
        said
    };
    let (broken, fixed) = thread::scope(|threads| {
        let [broken, fixed] = [Which::Broken, Which::Fixed].map(|which| threads.spawn(move || said(which)));
        (broken.join().expect("what was said"), fixed.join().expect("what was said"))
    });
    let expected = [("boards", "orphan-task"), ("invoices", "silenced-error"), ("stock", "leaked-permit")];
    assert_eq!(broken, expected.map(|(service, ghost)| (service.to_owned(), ghost)));
    assert_eq!(fixed, []);
}
