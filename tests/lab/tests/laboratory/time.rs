//! The clock: virtual, whole milliseconds, right on every thread, and each scene's own.

use std::{thread, time::Duration};

use lab::{Outcome, Protocol, require};
use tokio::time::{advance, sleep};

use crate::{get, holds, judged, misbehaving, observed, transcript};

#[test]
fn days_pass_in_no_time_and_stamps_are_exact() {
    let report = judged(async |lab, ()| {
        let scene = lab.scene("a long night");
        scene.patience(Duration::from_secs(2_000_000));
        scene.note("ghost", "appears");
        sleep(Duration::from_millis(1)).await;
        scene.note("ghost", "rattles");
        sleep(Duration::from_secs(86_400)).await;
        scene.note("ghost", "is bored");
        advance(Duration::from_millis(250)).await;
        scene.note("ghost", "leaves");
        Ok(())
    });
    insta::assert_snapshot!(transcript(&report));
}

#[test]
fn each_scene_begins_at_zero_with_nothing_of_the_one_before() {
    let report = judged(async |lab, ()| {
        let first = lab.scene("first");
        first.note("ghost", "appears");
        tracing::info!("in the first");
        first.id("raw");
        sleep(Duration::from_secs(7)).await;
        let second = lab.scene("second");
        require(second.now_ms() == 0, "the second scene does not begin at 0")?;
        require(first.now_ms() == 7000, "the first scene has lost its time")?;
        require(second.logs().is_empty(), "the second scene has the logs of the first")?;
        require(second.id("other") == "id 1", "the second scene knows the ids of the first")?;
        sleep(Duration::from_secs(2)).await;
        first.note("ghost", "comes late");
        second.note("ghost", "appears again");
        require(second.now_ms() == 2000 && first.now_ms() == 9000, "time does not pass alike")
    });
    assert!(report.all_kept(), "{report}");
    let scenes = &report.promises[0].scenes;
    assert_eq!(scenes.len(), 2);
    assert_eq!(scenes[0].events.len(), 2, "{}", scenes[0]);
    assert_eq!(scenes[1].to_string(), "   2000 ms  ghost  appears again\n");
}

#[test]
fn what_the_connections_of_an_earlier_scene_still_do_stands_in_no_later_one() {
    let report = judged(async |lab, ()| {
        let first = lab.scene("first");
        let (feed, body) = first.feed("source");
        let app = misbehaving::logging_until_dropped(body);
        let client = first.serve(app).connect("client", Protocol::Http2).await;
        let answer = client.send(get("/")).await?;
        // Neither is told to leave: their handles just go, as at the end of a loop's body.
        drop((answer, client));
        let second = lab.scene("second");
        second.settle().await;
        require(feed.dropped_at_ms() == Some(0), "the source was not dropped")?;
        require(second.logs().is_empty(), format!("the second scene has {:?}", second.logs()))?;
        tracing::info!("in the second");
        require(second.logs().len() == 1, "the second scene has no logs of its own")
    });
    assert!(report.all_kept(), "{report}");
    assert_eq!(transcript(&report), "      1 ms  log  INFO in the second\n");
}

#[test]
fn the_clock_is_right_on_a_thread_without_a_runtime() {
    holds(async |lab, ()| {
        sleep(Duration::from_secs(3)).await;
        let scene = lab.scene("threads");
        sleep(Duration::from_secs(5)).await;
        let (there, asking) = (scene.clone(), scene.clone());
        let now = thread::spawn(move || {
            there.note("thread", "looks at the clock");
            asking.now_ms()
        });
        let now = now.join().expect("a thread that does not panic");
        require(now == 5000, format!("another thread sees {now} ms"))
    });
}

#[test]
fn the_clock_stands_still_once_the_proof_is_over() {
    holds(async |lab, ()| {
        let scene = lab.scene("the end");
        sleep(Duration::from_secs(5)).await;
        let (feed, body) = scene.feed("source");
        lab.afterwards(move || {
            drop(body);
            require(feed.dropped_at_ms() == Some(5000), format!("dropped at {:?} ms", feed.dropped_at_ms()))
        });
        Ok(())
    });
}

#[test]
fn patience_is_the_scenes_own_and_heard_at_once() {
    let after = |patience: Duration| {
        judged(async move |lab, ()| {
            let impatient = lab.scene("impatient");
            // The guard already waits when it is told.
            impatient.settle().await;
            impatient.patience(patience);
            sleep(Duration::from_secs(3600)).await;
            Ok(())
        })
    };
    let told =
        |time| format!("in impatient: still waiting after {time} of virtual time, which only tokio's timers follow");
    assert_eq!(observed(&after(Duration::from_secs(2))), told("2 s"));
    assert_eq!(observed(&after(Duration::from_millis(1500))), told("1500 ms"));
    assert_eq!(observed(&after(Duration::from_secs(3601))), "kept");
    assert_eq!(observed(&after(Duration::MAX)), "kept");
}

#[test]
fn a_new_scene_has_new_patience() {
    let report = judged(async |lab, ()| {
        for title in ["first", "second", "third"] {
            let scene = lab.scene(title);
            sleep(Duration::from_secs(59)).await;
            scene.note("ghost", "waited");
        }
        lab.scene("fourth").patience(Duration::from_secs(1));
        lab.scene("fifth");
        sleep(Duration::from_secs(61)).await;
        Ok(())
    });
    assert_eq!(report.promises[0].outcome, Outcome::Broken);
    assert_eq!(report.promises[0].scenes.len(), 5);
    assert_eq!(
        observed(&report),
        "in fifth: still waiting after 60 s of virtual time, which only tokio's timers follow"
    );
}
