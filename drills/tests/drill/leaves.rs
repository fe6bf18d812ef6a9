//! What a drill leaves behind: nothing.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpStream,
    process::{Command, Stdio},
};

use crate::support::{PROGRAM, lives, quick, until};

#[test]
fn a_drill_that_is_stopped_leaves_no_process_and_no_port() {
    let drill = quick(1, None);
    until(&drill, 5.0);
    let (load, edge) = (drill.load_id().expect("a load"), drill.edge());
    assert!(lives(load));
    assert!(TcpStream::connect(edge).is_ok());
    // Whoever takes a sample at this moment has it a little longer.
    drop(drill);
    assert!((0..200).any(|_| !lives(load) || idle()), "the load goes on");
    assert!((0..200).any(|_| TcpStream::connect(edge).is_err() || idle()), "the edge goes on");
}

#[test]
fn an_answered_drill_has_no_load_any_more() {
    let drill = quick(1, None);
    let load = drill.load_id().expect("a load");
    drill.answer(drills::answer::Answer::default());
    assert!(!lives(load));
    assert_eq!(drill.load_id(), None);
}

#[test]
fn the_load_ends_with_a_drill_that_is_killed() {
    let mut drill = Command::new(PROGRAM)
        .args(["--seed", "1", "--port", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the drill starts");
    let mut first = String::new();
    let mut said = BufReader::new(drill.stdout.take().expect("it is piped"));
    said.read_line(&mut first).expect("its address");
    assert!(first.starts_with("a drill on http://127.0.0.1:"), "{first}");
    let children = format!("/proc/{0}/task/{0}/children", drill.id());
    let load: u32 = fs::read_to_string(children).expect("its children").trim().parse().expect("one child");
    drill.kill().expect("it is killed");
    drill.wait().expect("it has ended");
    assert!((0..2000).any(|_| !lives(load) || idle()), "the load goes on");
}

/// Lets others run, and is no end.
fn idle() -> bool {
    std::thread::park_timeout(std::time::Duration::from_millis(5));
    false
}
