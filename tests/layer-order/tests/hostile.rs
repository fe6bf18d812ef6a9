//! Apps that panic, hang or spin: what comes back is a report. A process of its own, because a thread that spins is
//! left behind and goes on.

use std::sync::Arc;

use lab::hostile::{Manner, first_lines};
use layer_order_spec::judge;

#[test]
fn an_app_that_misbehaves_is_a_line_of_the_report() {
    let lines =
        first_lines(&Manner::ALL, |manner, limits| judge(Arc::new(move |_, _, _, _, _, _, _| manner.app()), limits));
    insta::assert_snapshot!(lines);
}
