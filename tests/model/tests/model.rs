//! What the wrapper finds, how it tells it, and what it leaves alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Output};
use std::sync::PoisonError;

use model::sync;
use model::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use model::sync::{Arc, Mutex};
use model::{Bounds, Exploration, Interleaving, explore, note, require, thread};

#[path = "cores/counted/shared.rs"]
mod counted;
#[path = "cores/load_then_store/shared.rs"]
mod load_then_store;
#[path = "cores/swap/shared.rs"]
mod swap;

const ONCE: &str = "a slot that was taken once is free once";

/// So many threads, the model's own among them, end with the same slot.
fn finishers<S: Default + Send + Sync + 'static>(
    bounds: Bounds,
    threads: usize,
    give_back: fn(&S),
    free: fn(&S) -> usize,
) -> Exploration {
    explore(bounds, move || {
        let slot = Arc::new(S::default());
        let shares: Vec<_> = (1..threads).map(|_| slot.clone()).collect();
        let spawn = |slot: Arc<S>| thread::spawn("finisher", move || give_back(&slot));
        let ends: Vec<_> = shares.into_iter().map(spawn).collect();
        give_back(&slot);
        for end in ends {
            end.join().unwrap();
        }
        require(free(&slot) == 1, ONCE);
    })
}

fn right(bounds: Bounds, threads: usize) -> Exploration {
    finishers(bounds, threads, swap::Slot::give_back, swap::Slot::free)
}

/// The example of the documentation.
fn broken_slot() -> Interleaving {
    explore(Bounds::Exhaustive, || {
        let slot = Arc::new(load_then_store::Slot::default());
        let (end, drop) = (slot.clone(), slot.clone());
        let end = thread::spawn("end of stream", move || end.give_back());
        let drop = thread::spawn("drop of the body", move || drop.give_back());
        end.join().unwrap();
        drop.join().unwrap();
        note("the upload is over");
        require(slot.free() == 1, ONCE);
    })
    .fails()
}

#[test]
fn a_double_release_is_found_and_told() {
    insta::assert_snapshot!(broken_slot());
}

#[test]
fn the_documentation_shows_the_table_of_that_double_release() {
    let documented = |line: &str| format!("//! {line}").trim_end().to_owned();
    let table: Vec<_> = broken_slot().to_string().lines().map(documented).collect();
    assert!(include_str!("../src/lib.rs").contains(&table.join("\n")));
}

#[test]
fn the_same_failure_is_told_in_the_same_words_a_hundred_times() {
    let first = broken_slot();
    for _ in 0..100 {
        assert_eq!(broken_slot(), first);
        assert_eq!(broken_slot().to_string(), first.to_string());
    }
}

#[test]
fn an_interleaving_can_be_written_as_json() {
    let interleaving = explore(Bounds::Exhaustive, || {
        note("nobody asked");
        let answer = AtomicU8::new(41);
        require(answer.load(SeqCst) == 42, "the answer is 42");
    });
    insta::assert_snapshot!(serde_json::to_string_pretty(&interleaving.fails()).unwrap());
}

#[test]
fn a_swap_lets_one_of_two_release() {
    insta::assert_snapshot!(right(Bounds::Exhaustive, 2).holds());
}

#[test]
fn three_threads_are_explored_exhaustively_and_more_within_a_bound() {
    let all = right(Bounds::Exhaustive, 3).holds();
    let bounded = right(Bounds::Preemptions(2), 3).holds();
    let four = right(Bounds::Preemptions(2), 4).holds();
    insta::assert_snapshot!(format!("three: {all}, of these within the bound: {bounded}; four within it: {four}"));
}

#[test]
fn a_bound_that_is_too_low_finds_nothing_and_a_higher_one_finds_the_failure() {
    use load_then_store::Slot;
    let explore = |bounds| finishers(bounds, 3, Slot::give_back, Slot::free);
    assert_eq!(explore(Bounds::Preemptions(0)), Exploration::Holds { interleavings: 1 });
    assert_eq!(explore(Bounds::Preemptions(1)).fails().broken, ONCE);
}

#[test]
fn an_arc_whose_owners_are_counted_is_told_with_its_clones_and_drops() {
    let failing = explore(Bounds::Exhaustive, || {
        let slot = counted::Slot::default();
        let same = slot.share();
        let end = thread::spawn("end of stream", move || drop(same.give_back()));
        let free = slot.give_back();
        end.join().unwrap();
        require(free.load(SeqCst) == 1, ONCE);
    });
    insta::assert_snapshot!(failing.fails());
}

/// Loom's own `Arc` takes a count before a drop for settled, and would never let the drop go first.
#[test]
fn a_count_is_explored_before_and_after_a_drop_whichever_runs_first() {
    for expected in [1, 2] {
        let model = move || {
            let first = Arc::new(0);
            let second = first.clone();
            let counts = thread::spawn("counts", move || Arc::strong_count(&first));
            drop(second);
            require(counts.join().unwrap() == expected, "as expected");
        };
        explore(Bounds::Exhaustive, model).fails();
    }
}

#[test]
fn a_mutex_keeps_every_update() {
    let explored = explore(Bounds::Exhaustive, || {
        let total = Arc::new(Mutex::new(0));
        let same = total.clone();
        let second = thread::spawn("second", move || *same.lock().unwrap() += 1);
        *total.lock().unwrap() += 1;
        second.join().unwrap();
        require(*total.lock().unwrap() == 2, "two were added, so there are two");
    });
    insta::assert_snapshot!(explored.holds());
}

#[test]
fn a_mutex_tells_what_was_found_and_what_was_left() {
    let failing = explore(Bounds::Exhaustive, || {
        let user = Arc::new(Mutex::new(String::new()));
        let same = user.clone();
        let ben = thread::spawn("Ben's request", move || "ben".clone_into(&mut same.lock().unwrap()));
        "ada".clone_into(&mut user.lock().unwrap());
        note("Ada's request is suspended while the warehouse looks for her orders, which takes a while");
        let seen = user.lock().unwrap().clone();
        ben.join().unwrap();
        require(seen == "ada", "Ada's request is served as Ada's");
    });
    insta::assert_snapshot!(failing.fails());
}

#[test]
fn a_deadlock_is_told_with_the_lines_that_wait() {
    let failing = explore(Bounds::Exhaustive, || {
        let (pool, log) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
        let (same_pool, same_log) = (pool.clone(), log.clone());
        let other = thread::spawn("other", move || {
            let _log = same_log.lock().unwrap();
            let _pool = same_pool.lock().unwrap();
        });
        {
            let _pool = pool.lock().unwrap();
            let _log = log.lock().unwrap();
        }
        other.join().unwrap();
    });
    insta::assert_snapshot!(failing.fails());
}

#[test]
fn a_thread_that_waits_in_a_loop_is_told_by_its_first_steps() {
    let failing = explore(Bounds::Exhaustive, || {
        let open = AtomicBool::new(false);
        while !open.load(SeqCst) {}
    })
    .fails();
    assert_eq!(failing.broken, "a thread waits in a loop for another and never ends");
    assert_eq!(failing.steps.len(), 20);
}

#[test]
fn a_load_sees_the_newest_value_whatever_its_ordering() {
    explore(Bounds::Exhaustive, || {
        let first = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let second = first.clone();
        let writes = thread::spawn("writes", move || {
            first.0.store(1, Relaxed);
            first.1.store(1, Relaxed);
        });
        if second.1.load(Relaxed) == 1 {
            require(second.0.load(Relaxed) == 1, "what was written first is seen first");
        }
        writes.join().unwrap();
    })
    .holds();
}

#[test]
fn every_operation_says_what_it_did() {
    let failing = explore(Bounds::Exhaustive, || {
        let (flag, number) = (AtomicBool::new(false), AtomicI64::new(5));
        flag.store(true, SeqCst);
        flag.swap(false, SeqCst);
        flag.fetch_or(true, SeqCst);
        _ = flag.compare_exchange(true, false, SeqCst, SeqCst);
        _ = flag.compare_exchange(true, false, SeqCst, SeqCst);
        number.fetch_add(1, SeqCst);
        number.fetch_sub(2, SeqCst);
        number.fetch_max(9, SeqCst);
        _ = number.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1));
        _ = number.fetch_update(SeqCst, SeqCst, |_| None);
        require(false, "that was all");
    });
    insta::assert_snapshot!(failing.fails());
}

#[test]
fn a_failing_assertion_in_a_spawned_thread_is_told() {
    let failing = explore(Bounds::Exhaustive, || {
        let slots = Arc::new(AtomicUsize::new(1));
        let left = thread::spawn("reader", move || assert_eq!(slots.load(SeqCst), 2, "two slots"));
        left.join().unwrap();
    });
    insta::assert_snapshot!(failing.fails());
}

/// Gives back what it guards while the thread unwinds, as the guard of a ghost does.
struct Guard {
    released: Arc<AtomicBool>,
    ledger: Arc<Mutex<Vec<&'static str>>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.released.store(true, SeqCst);
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).push("released");
    }
}

#[test]
fn a_drop_may_use_atomics_and_locks_while_its_thread_unwinds() {
    let failing = explore(Bounds::Exhaustive, || {
        let guard = Guard { released: Arc::default(), ledger: Arc::default() };
        let ledger = guard.ledger.clone();
        let reader = thread::spawn("reader", move || ledger.lock().unwrap().len());
        require(!guard.released.load(SeqCst), "not released yet");
        require(reader.join().unwrap() > 0, "the reader sees an entry");
    });
    assert_eq!(failing.fails().broken, "the reader sees an entry");
}

#[test]
fn a_panic_under_a_lock_fails_the_model_and_the_same_unwinding_finds_it_poisoned() {
    let failing = explore(Bounds::Exhaustive, || {
        let guard = Guard { released: Arc::default(), ledger: Arc::default() };
        let ledger = guard.ledger.clone();
        let _entries = ledger.lock().unwrap();
        require(guard.released.load(SeqCst), "the first panic is the one that is told");
    });
    assert_eq!(failing.fails().broken, "the first panic is the one that is told");
}

#[test]
fn one_interleaving_proves_nothing() {
    let alone = || explore(Bounds::Exhaustive, || require(AtomicBool::new(true).load(SeqCst), "a control"));
    assert_eq!(alone(), Exploration::Holds { interleavings: 1 });
    insta::assert_snapshot!(panic_of(|| alone().holds()));
}

#[test]
fn the_wrong_expectation_is_said_with_what_was_found() {
    let told = panic_of(|| right(Bounds::Exhaustive, 2).fails());
    insta::assert_snapshot!("holds_but_was_to_fail", told);
    let told = panic_of(|| Exploration::Fails(broken_slot()).holds());
    assert_eq!(told, format!("the model fails\n\n{}\n", broken_slot()));
}

#[test]
fn the_table_is_never_wider_than_a_hundred_columns() {
    let failing = explore(Bounds::Exhaustive, || {
        let text = Mutex::new("a value that is longer than the column in which it stands".repeat(3));
        note("a long note ".repeat(30));
        require(
            text.lock().unwrap().is_empty(),
            "a statement that needs more than one line of the table to be said in full",
        );
    });
    let table = failing.fails().to_string();
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn a_subscriber_of_the_test_hears_nothing_of_loom() {
    struct Deaf;
    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Deaf {
        fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            panic!("heard {event:?}");
        }
    }
    use tracing_subscriber::layer::SubscriberExt;
    // The process's own, as tracing-test's is.
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Deaf)).unwrap();
    broken_slot();
}

#[test]
fn variables_that_loom_reads_change_nothing() {
    let output = again(
        &["--skip", "variables"],
        &[
            ("LOOM_MAX_PREEMPTIONS", "0"),
            ("LOOM_MAX_BRANCHES", "1"),
            ("LOOM_MAX_PERMUTATIONS", "1"),
            ("LOOM_MAX_DURATION", "0"),
            ("LOOM_CHECKPOINT_INTERVAL", "1"),
            ("LOOM_CHECKPOINT_FILE", "never-written"),
            ("LOOM_LOCATION", "1"),
            ("LOOM_LOG", "trace"),
        ],
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_panics_of_a_model_are_not_printed_and_others_are() {
    let model = again(&["--exact", "--nocapture", "a_double_release_is_found_and_told"], &[]);
    assert_eq!(String::from_utf8_lossy(&model.stderr), "");
    let other = again(&["--exact", "--nocapture", "one_interleaving_proves_nothing"], &[]);
    assert!(String::from_utf8_lossy(&other.stderr).contains("proves nothing"));
}

/// Runs tests of this binary in a process of their own, where their environment and output are theirs.
fn again(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .args(["--skip", "the_panics_of_a_model"])
        .envs(variables.iter().copied())
        .env("INSTA_UPDATE", "no")
        .output()
        .unwrap()
}

fn panic_of<R>(act: impl FnOnce() -> R) -> String {
    let panic = catch_unwind(AssertUnwindSafe(act)).err().expect("it panics");
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref().map(|text: &&str| (*text).to_owned()))
        .unwrap()
}
