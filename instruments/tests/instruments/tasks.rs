use std::{future::pending, time::Duration};

use instruments::{
    Tasks,
    tasks::{Snapshot, State},
};

use crate::support::Recorded;
use tokio::{
    task::{JoinSet, yield_now},
    time::{advance, sleep},
};

/// Lines move.
fn without_lines(text: &str) -> String {
    let words = text.split(".rs:").enumerate();
    words
        .map(|(n, rest)| {
            if n == 0 {
                rest.to_owned()
            } else {
                format!(".rs{}", rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':'))
            }
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_names_what_runs_with_place_age_and_state() {
    let tasks = Tasks::new();
    let line = line!() + 1;
    let waiting = tasks.spawn("wait", pending::<()>());
    tokio::spawn(pending::<()>());
    advance(Duration::from_millis(250)).await;
    let _new = tasks.spawn("new", pending::<()>());

    let seen = tasks.snapshot();
    assert_eq!((seen.at_ms, seen.unnamed), (250, Some(1)));
    let told: Vec<_> =
        seen.tasks.iter().map(|task| (task.name.as_str(), task.age_ms, task.state, task.polls)).collect();
    assert_eq!(told, [("wait", 250, State::Waiting, 1), ("new", 0, State::New, 0)]);
    assert!(seen.tasks[0].place.ends_with(&format!("tests/instruments/tasks.rs:{line}:25")), "{}", seen.tasks[0].place);

    waiting.abort();
    waiting.await.unwrap_err();
    assert_eq!(tasks.snapshot().tasks.len(), 1, "an aborted task is gone");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_looks_at_the_list_is_running() {
    let tasks = Tasks::new();
    let list = tasks.clone();
    let seen = tasks.spawn("look", async move { list.snapshot() }).await.unwrap();
    assert_eq!(seen.tasks[0].state, State::Running);
    assert_eq!(seen.unnamed, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panicked_is_gone() {
    let tasks = Tasks::new();
    tasks.spawn("panic", async { panic!("on purpose") }).await.unwrap_err();
    assert!(tasks.snapshot().tasks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_future_that_something_else_spawns_is_listed_from_the_start() {
    let tasks = Tasks::new();
    let named = tasks.named("fetch", async { 7 });
    assert_eq!(tasks.snapshot().tasks[0].state, State::New);
    let mut set = JoinSet::new();
    set.spawn(named);
    assert_eq!(set.join_next().await.unwrap().unwrap(), 7);
    assert!(tasks.snapshot().tasks.is_empty());
}

#[test]
fn outside_a_runtime_nothing_is_known_of_the_others() {
    assert_eq!(Tasks::new().snapshot().unnamed, None);
}

#[tokio::test(start_paused = true)]
async fn the_difference_groups_by_place_and_tells_what_only_grows() {
    let tasks = Tasks::new();
    let mut churning = JoinSet::new();
    let churn = |set: &mut JoinSet<()>, millis| {
        set.spawn(tasks.named("churn", sleep(Duration::from_millis(millis))));
    };
    for _ in 0..3 {
        churn(&mut churning, 1_000);
    }
    let leak = || tasks.spawn("notify", pending::<()>());
    leak();
    yield_now().await;
    let before = tasks.snapshot();
    for _ in 0..4 {
        leak();
        churn(&mut churning, 9_000);
    }
    sleep(Duration::from_millis(5_000)).await;
    let difference = before.difference(&tasks.snapshot());
    insta::assert_snapshot!(without_lines(&difference.to_string()));
    let names = |threshold| difference.only_growing(threshold).map(|group| group.name.as_str()).collect::<Vec<_>>();
    assert_eq!((names(0), names(4), names(5)), (vec!["notify"], vec!["notify"], vec![]));
    // The same from what was written and read again.
    let read = |snapshot: &Snapshot| Snapshot::from_json(&snapshot.to_json()).unwrap();
    assert_eq!(read(&before).difference(&read(&tasks.snapshot())), difference);
}

#[tokio::test(start_paused = true)]
async fn what_ends_before_the_deadline_is_no_leak() {
    let tasks = Tasks::new();
    let _stays = tasks.spawn("stays", pending::<()>());
    let before = tasks.snapshot();
    for seconds in 1..=5 {
        tasks.spawn("flush", sleep(Duration::from_secs(seconds)));
    }
    tasks.back_to(&before, Duration::from_millis(5_001)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_ends_after_it_is_named_with_its_place() {
    let tasks = Tasks::new();
    let _stays = tasks.spawn("stays", pending::<()>());
    let before = tasks.snapshot();
    for seconds in [1, 5, 6] {
        tasks.spawn("flush", sleep(Duration::from_secs(seconds)));
    }
    let leak = tasks.back_to(&before, Duration::from_millis(4_999)).await.unwrap_err();
    assert_eq!(leak.left().len(), 2);
    insta::assert_snapshot!(without_lines(&leak.to_string()));
}

#[test]
fn what_is_no_snapshot_is_refused_in_a_sentence() {
    let whole = Tasks::new().snapshot().to_json();
    for text in ["", "{}", "[]", "null", &whole[..whole.len() - 3], &whole.replace("\"schema\":1", "\"schema\":2")] {
        let refused = Snapshot::from_json(text).unwrap_err().to_string();
        assert!(refused.starts_with("this is no snapshot of tasks: "), "{refused}");
        assert!(!refused.contains('\n'));
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_whose_tasks_have_all_ended_goes_back_to_nothing() {
    let recorded = Recorded::default();
    let _local = metrics::set_default_local_recorder(&recorded);
    let tasks = Tasks::new();
    tokio::spawn(pending::<()>());
    let flushing = [tasks.spawn("flush", sleep(Duration::from_secs(1))), tasks.spawn("flush", pending())];
    tasks.publish();
    assert_eq!(recorded.lines(), "tasks_alive{name=flush} 2\ntasks_alive{name=unnamed} 1\n");
    flushing[1].abort();
    sleep(Duration::from_secs(2)).await;
    tasks.publish();
    assert_eq!(recorded.lines(), "tasks_alive{name=flush} 0\ntasks_alive{name=unnamed} 1\n");
}
