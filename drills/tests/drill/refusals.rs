//! What cannot be done is said in one sentence, with exit code 2.

use std::{net::TcpListener, process::Command};

use crate::support::PROGRAM;

fn refused(arguments: &[&str]) -> String {
    let ended = Command::new(PROGRAM).args(arguments).output().expect("it starts");
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
    String::from_utf8(ended.stderr).expect("text")
}

#[test]
fn a_ghost_that_is_none_is_named_with_the_nearest() {
    let said = refused(&["leaked-permits", "--terminal"]);
    assert_eq!(said, "drill: there is no ghost `leaked-permits`; did you mean `leaked-permit`?\n");
}

#[test]
fn a_port_that_is_taken_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let said = refused(&["--port", &port]);
    assert_eq!(
        said,
        format!("drill: port {port} is taken; choose another with --port N, or --port 0 for any free one\n")
    );
}

#[test]
fn a_seed_that_is_no_number_is_refused() {
    let said = refused(&["--seed", "seven"]);
    assert!(said.starts_with("error: invalid value 'seven' for '--seed <N>'"), "{said}");
}
