//! The ghost appears: two layers store a value of one type.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    routing::get,
};
use extension_collision::near_misses;
use extension_collision_spec::check;
use tokio::sync::mpsc::unbounded_channel;
use tower::ServiceExt;

#[test]
fn the_owner_of_a_mailbox_is_taken_for_whoever_asks() {
    let report = check(extension_collision::app);
    assert!(!report.all_kept());
    insta::assert_snapshot!("broken", report);
}

// ANCHOR: notice
/// The kind of test to write for a service of one's own: who asks is one user, and what they ask for is another's.
#[tokio::test]
async fn whoever_asks_for_letters_asks_as_their_owner() {
    let may_read = Arc::new(|caller: &str, mailbox: &str| caller == mailbox);
    let store = Router::new().route(
        "/letters",
        get(|request: Request<Body>| async move {
            assert_eq!(request.headers()["x-caller"], "bob");
            "letters"
        }),
    );
    let (audit, mut trail) = unbounded_channel();
    let app = extension_collision::app(may_read, store, audit);

    let request = Request::get("/users/bob/letters").header("authorization", "Bearer carol").body(Body::empty());
    let answer = app.oneshot(request.unwrap()).await.unwrap();

    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(trail.recv().await.unwrap(), ("bob".into(), "bob".into(), StatusCode::OK));
}
// ANCHOR_END: notice

#[test]
fn whoever_comes_first_is_now_the_owner_of_the_mailbox() {
    miss("insert-if-absent", "may-read-asked-about-both");
}

#[test]
fn a_string_is_also_where_another_layer_keeps_its_id() {
    miss("string-and-arc-str", "others-extensions-are-others");
}

#[test]
fn an_audit_that_was_forgotten_still_says_that_the_owner_asked() {
    miss("parsed-again", "audit-names-both");
}

#[test]
fn in_the_other_order_the_mailbox_is_replaced() {
    miss("other-order", "stranger-stays-a-stranger");
}

#[test]
fn an_alias_is_no_type() {
    miss("type-aliases", "may-read-asked-about-both");
}

#[test]
fn a_map_that_each_layer_makes_anew_is_replaced_too() {
    miss("map-made-anew", "store-told-both");
}

#[test]
fn one_name_in_a_shared_map_is_one_place() {
    miss("one-key", "may-read-asked-about-both");
}

#[test]
fn in_a_list_a_strangers_place_is_the_owners() {
    miss("first-and-last", "stranger-stays-a-stranger");
}

#[test]
fn a_check_before_the_collision_saves_only_the_check() {
    miss("checked-early", "store-told-both");
}

#[test]
fn a_header_set_for_callers_only_is_the_strangers() {
    miss("set-only", "client-names-nobody");
}

#[test]
fn a_header_that_is_added_stands_behind_the_clients() {
    miss("appended", "client-names-nobody");
}

#[test]
fn a_thread_has_served_others_when_the_store_answers() {
    miss("thread-local", "requests-keep-apart");
}

#[test]
fn under_a_prefix_template_and_path_do_not_count_alike() {
    miss("by-template", "mounted-anywhere");
}

#[test]
fn the_answers_extensions_are_the_stores_as_well() {
    miss("string-in-answer", "others-extensions-are-others");
}

/// The near miss breaks the promise that the chapter explains; which others, the snapshot says.
fn miss(name: &str, breaks: &str) {
    let (_, app) = near_misses::ALL.iter().find(|(known, _)| *known == name).expect("a near miss of that name");
    let report = check(*app);
    insta::assert_snapshot!(name, report.verdicts());
    assert!(report.broken().contains(&breaks));
}
