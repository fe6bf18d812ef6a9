//! What would end the process ends a child, and is never taken for a verdict.

use std::{
    env, fs,
    hint::{self, black_box},
    process::{self, Command},
    sync::Mutex,
    thread,
    time::Duration,
};

use lab::{
    Asked, Ended, Lab, Limits, Proof, Report, Specification, child_of_hearing, child_of_telling, in_child,
    in_child_within, require,
};

use crate::{judged, observed};

fn doing(deed: impl FnOnce() + Send + 'static) -> Report {
    judged(async move |_, ()| {
        deed();
        Ok(())
    })
}

fn ended(result: Result<Report, Ended>) -> String {
    result.expect_err("no verdict").to_string()
}

#[test]
fn an_exit_with_success_is_no_verdict() {
    let result = in_child("child::an_exit_with_success_is_no_verdict", || doing(|| process::exit(0)));
    assert_eq!(ended(result), "ended without a verdict: the app took its process down (exit code 0)");
}

#[test]
fn an_exit_with_a_code_is_no_verdict() {
    let result = in_child("child::an_exit_with_a_code_is_no_verdict", || doing(|| process::exit(3)));
    assert_eq!(ended(result), "ended without a verdict: the app took its process down (exit code 3)");
}

#[test]
fn an_abort_is_no_verdict() {
    let result = in_child("child::an_abort_is_no_verdict", || doing(|| process::abort()));
    assert!(ended(result).starts_with("ended without a verdict"));
}

#[test]
fn a_stack_overflow_is_no_verdict() {
    fn dig(depth: u64) -> u64 {
        let below = if black_box(depth) == u64::MAX { 0 } else { dig(depth + 1) };
        black_box(below + depth)
    }
    let overflow = || {
        black_box(dig(0));
    };
    let ended = in_child("child::a_stack_overflow_is_no_verdict", || doing(overflow)).expect_err("no verdict");
    assert!(ended.said().contains("overflowed its stack"), "{}", ended.said());
}

#[test]
fn a_panic_in_drop_while_unwinding_is_no_verdict() {
    struct PanicsInDrop;
    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("in Drop")
        }
    }
    let panics_twice = || {
        let _held = PanicsInDrop;
        panic!("first")
    };
    let result = in_child("child::a_panic_in_drop_while_unwinding_is_no_verdict", || doing(panics_twice));
    assert!(ended(result).starts_with("ended without a verdict"));
}

#[test]
fn a_report_comes_through_whole() {
    let check = || {
        println!("a word to standard output");
        eprintln!("a word to standard error");
        judged(async |lab, ()| {
            lab.scene("a scene").note("app", "does \"something\"\n\u{1f47b}");
            require(false, "broken, as it should be")
        })
    };
    let report = in_child("child::a_report_comes_through_whole", check).expect("a verdict");
    assert_eq!(report, check());
}

#[test]
fn what_a_child_prints_is_not_heard() {
    if env::var_os("GHOST_CHILD_FOLDER").is_some() {
        return;
    }
    let output = Command::new(env::current_exe().expect("this binary"))
        .args(["--exact", "child::what_only_the_child_prints", "--nocapture"])
        .output()
        .expect("this binary again");
    let all = [output.stdout, output.stderr].concat();
    let all = String::from_utf8_lossy(&all);
    assert!(all.contains("1 passed") && !all.contains("whispers"), "{all}");
}

#[test]
fn what_only_the_child_prints() {
    let quiet = in_child("child::what_only_the_child_prints", || {
        println!("whispers");
        eprintln!("whispers");
        7
    });
    assert_eq!(quiet, Ok(7));
}

#[test]
fn a_child_that_never_ends_is_killed() {
    let limit = Duration::from_millis(500);
    let result = in_child_within(limit, "child::a_child_that_never_ends_is_killed", || {
        // For ever, and quietly.
        let (_held, never) = std::sync::mpsc::channel::<Report>();
        never.recv().expect("nothing ever comes")
    });
    assert_eq!(
        ended(result),
        "ended without a verdict: the app took its process down (killed: it had not ended after 500ms)"
    );
}

#[test]
fn two_children_of_one_test_at_once_do_not_meet() {
    let child = || in_child("child::two_children_of_one_test_at_once_do_not_meet", process::id);
    let (one, other) = thread::scope(|threads| {
        let both = (threads.spawn(child), threads.spawn(child));
        (both.0.join().expect("a result"), both.1.join().expect("a result"))
    });
    let own = process::id();
    assert!(one.is_ok() && other.is_ok() && one != other && one != Ok(own), "{one:?} {other:?} {own}");
}

#[test]
fn a_test_that_is_not_there_is_told() {
    let panic = thread::spawn(|| in_child("child::no_such_test", || 1)).join().expect_err("no such test");
    let said = panic.downcast_ref::<String>().expect("a sentence");
    assert_eq!(said, "the child did not come to this call: has this test binary a test `child::no_such_test`?");
}

#[test]
fn a_second_call_in_one_test_is_told() {
    let name = "child::a_second_call_in_one_test_is_told";
    assert_eq!(in_child(name, || 1), Ok(1));
    let panic = thread::spawn(move || in_child(name, || 2)).join().expect_err("the child began at the top");
    let said = panic.downcast_ref::<String>().expect("a sentence");
    assert_eq!(said, "`child::a_second_call_in_one_test_is_told` calls `in_child` twice: give each call a test");
}

#[test]
fn a_child_leaves_nothing_behind() {
    let folder = in_child("child::a_child_leaves_nothing_behind", || {
        env::var("GHOST_CHILD_FOLDER").expect("it is set in children")
    });
    assert!(fs::metadata(folder.expect("a path")).is_err());
}

#[test]
fn a_panic_outside_of_a_promise_is_no_verdict() {
    let result =
        in_child("child::a_panic_outside_of_a_promise_is_no_verdict", || -> Report { panic!("while it was made") });
    let ended = result.expect_err("no verdict");
    assert!(ended.said().contains("while it was made"), "{}", ended.said());
}

#[test]
fn a_broken_promise_in_a_child_is_a_verdict() {
    let report = in_child("child::a_broken_promise_in_a_child_is_a_verdict", || doing(|| panic!("in the app")));
    let report = report.expect("a verdict");
    assert!(observed(&report).contains("tests/lab/tests/laboratory/child.rs:"), "{report}");
}

/// Spins at two of its promises.
fn spinning_twice() -> Report {
    async fn yields(_: Lab, (): ()) -> Proof {
        Ok(())
    }
    async fn spins(lab: Lab, (): ()) -> Proof {
        lab.scene("a busy loop");
        loop {
            hint::spin_loop();
        }
    }
    Specification::of("spins-twice", ())
        .promise(Asked::new("first", "It yields."), yields)
        .promise(Asked::new("second", "It spins."), spins)
        .promise(Asked::new("third", "It yields again."), yields)
        .promise(Asked::new("fourth", "It spins again."), spins)
        .promise(Asked::new("fifth", "It would yield."), yields)
        .judge(Limits { unresponsive: Duration::from_millis(1500), only: None, beside: true })
}

#[test]
fn what_comes_after_a_spin_is_judged_in_a_process_that_is_ended() {
    let report = in_child("child::what_comes_after_a_spin_is_judged_in_a_process_that_is_ended", spinning_twice);
    insta::assert_snapshot!(report.expect("a verdict").verdicts());
}

#[test]
fn an_app_that_does_not_yield_so_far_is_told_meanwhile() {
    let told = Mutex::new(Vec::new());
    let mut binary = Command::new(env::current_exe().expect("this binary"));
    let test = "child::what_comes_after_a_spin_is_judged_in_a_process_that_is_ended";
    let tell = |line: &str| told.lock().expect("nothing panics").push(line.to_owned());
    let report =
        child_of_telling::<Report>(&mut binary, test, &tell).expect("it starts").expect("it comes to its call");
    assert_eq!(report.expect("a verdict").broken(), ["second", "fourth"]);
    let told = told.into_inner().expect("nothing panics");
    let does_not = |key| format!("`{key}`: the app has not yielded so far; it is given up after 1500 ms");
    assert_eq!(told, [does_not("second"), does_not("fourth")]);
}

#[test]
fn what_an_app_says_and_panics_with_is_heard_by_promise() {
    let name = "child::what_an_app_says_and_panics_with_is_heard_by_promise";
    let check = || {
        Specification::of("talkative", ())
            .promise(Asked::new("first", "It is quiet."), async |_: Lab, ()| Ok(()))
            .promise(Asked::new("second", "It talks."), async |_: Lab, ()| {
                println!("one");
                eprintln!("two");
                println!("three");
                Ok(())
            })
            .judge(Limits::default())
    };
    if env::var_os("GHOST_CHILD_FOLDER").is_some() {
        let _ = in_child(name, check);
    }
    let mut binary = Command::new(env::current_exe().expect("this binary"));
    let heard =
        child_of_hearing::<Report>(&mut binary, name, &|_| ()).expect("it starts").expect("it comes to its call");
    assert!(heard.result.expect("a verdict").all_kept());
    let of = |promise: &str| {
        let said = heard.said.iter().find(|said| said.promise.as_deref() == Some(promise));
        said.expect("a promise that was judged").last.clone()
    };
    assert_eq!((of("first").as_str(), of("second").as_str()), ("", "one\ntwo\nthree\n"));
}

#[test]
fn a_panic_of_the_app_is_heard_with_its_message() {
    let name = "child::a_panic_of_the_app_is_heard_with_its_message";
    let check = || doing(|| panic!("what it panicked with"));
    if env::var_os("GHOST_CHILD_FOLDER").is_some() {
        let _ = in_child(name, check);
    }
    let mut binary = Command::new(env::current_exe().expect("this binary"));
    let heard =
        child_of_hearing::<Report>(&mut binary, name, &|_| ()).expect("it starts").expect("it comes to its call");
    let said: String = heard.said.into_iter().map(|said| said.last).collect();
    assert!(said.contains("what it panicked with"), "{said}");
}
