//! The right fixes that are not ours: whole files among the tests of the fixed twins. They are measured with the feature
//! `also-right`, and no drill serves them. Without it there are none, for they would be built for every drill.

#![cfg_attr(feature = "also-right", expect(unreachable_pub, reason = "each right fix is a whole lib.rs"))]

/// What a right fix exports: an app, or a layer, which has a type of its own and is put into a box.
#[cfg(feature = "also-right")]
macro_rules! made {
    (unready_clone $module:ident) => {
        || tower::util::BoxCloneSyncServiceLayer::new($module::layer())
    };
    ($krate:ident $module:ident) => {
        $module::app
    };
}

/// Names the files of each ghost.
macro_rules! fixes {
    ($($constant:ident $slug:literal $krate:ident: $($name:literal = $module:ident),*;)*) => {
        $(pub(crate) const $constant: &[(&str, $krate::near_misses::App)] = &[$(
            #[cfg(feature = "also-right")]
            ($name, made!($krate $module)),
        )*];)*

        /// The names of each ghost's.
        pub(crate) const ALL: &[(&str, &[&str])] = &[$(($slug, &[$(
            #[cfg(feature = "also-right")]
            $name,
        )*])),*];
    };
}

fixes! {
    BLOCKED_LOG_CHANNEL "blocked-log-channel" blocked_log_channel:
        "drops-the-oldest" = blocked_log_channel_drops_the_oldest,
        "in-batches" = blocked_log_channel_in_batches,
        "places-by-semaphore" = blocked_log_channel_places_by_semaphore,
        "try-send" = blocked_log_channel_try_send;
    BODY_DOUBLE_CLOSE "body-double-close" body_double_close:
        "guard-in-the-body" = body_double_close_guard_in_the_body,
        "lease-taken" = body_double_close_lease_taken,
        "once" = body_double_close_once,
        "one-word" = body_double_close_one_word,
        "owned-permit" = body_double_close_owned_permit;
    BROKEN_CHAIN "broken-chain" broken_chain:
        "in-the-body" = broken_chain_in_the_body,
        "inline-block" = broken_chain_inline_block,
        "on-early-drop" = broken_chain_on_early_drop,
        "response-future" = broken_chain_response_future,
        "tower-http-layers" = broken_chain_tower_http_layers,
        "wrapped-whole" = broken_chain_wrapped_whole;
    CANCELLED_CLEANUP "cancelled-cleanup" cancelled_cleanup:
        "abort-on-drop" = cancelled_cleanup_abort_on_drop,
        "disarmed-by-a-423" = cancelled_cleanup_disarmed_by_a_423,
        "in-line" = cancelled_cleanup_in_line,
        "lease-task" = cancelled_cleanup_lease_task,
        "sweeper" = cancelled_cleanup_sweeper,
        "to-the-end-of-the-body" = cancelled_cleanup_to_the_end_of_the_body;
    CLOSURE_CAPTURED_STATE "closure-captured-state" closure_captured_state:
        "guarded-map" = closure_captured_state_guarded_map,
        "local-in-the-service" = closure_captured_state_local_in_the_service,
        "own-cells" = closure_captured_state_own_cells,
        "own-header" = closure_captured_state_own_header,
        "task-local" = closure_captured_state_task_local;
    EXTENSION_COLLISION "extension-collision" extension_collision:
        "extractors" = extension_collision_extractors,
        "one-context" = extension_collision_one_context,
        "own-headers" = extension_collision_own_headers,
        "task-local" = extension_collision_task_local,
        "told-by-the-answer" = extension_collision_told_by_the_answer;
    HIDDEN_FLUSH "hidden-flush" hidden_flush:
        "compression-layer" = hidden_flush_compression_layer,
        "flush-each-frame" = hidden_flush_flush_each_frame,
        "known-length-only" = hidden_flush_known_length_only,
        "watchful-pump" = hidden_flush_watchful_pump;
    IGNORED_DEADLINE "ignored-deadline" ignored_deadline:
        "abort-on-drop" = ignored_deadline_abort_on_drop,
        "cancellation-token" = ignored_deadline_cancellation_token,
        "join-set" = ignored_deadline_join_set,
        "no-task" = ignored_deadline_no_task,
        "one-lock" = ignored_deadline_one_lock,
        "own-thread" = ignored_deadline_own_thread;
    LAYER_ORDER "layer-order" layer_order:
        "by-tower-http" = layer_order_by_tower_http,
        "cors-outside-the-log" = layer_order_cors_outside_the_log,
        "early-401" = layer_order_early_401,
        "in-sequence" = layer_order_in_sequence,
        "limit-outside" = layer_order_limit_outside,
        "read-from-below" = layer_order_read_from_below,
        "recovery-innermost" = layer_order_recovery_innermost,
        "recovery-twice" = layer_order_recovery_twice,
        "round-the-router" = layer_order_round_the_router;
    LEAKED_PERMIT "leaked-permit" leaked_permit:
        "channel-of-connections" = leaked_permit_channel_of_connections,
        "deadpool" = leaked_permit_deadpool,
        "owned-permit" = leaked_permit_owned_permit,
        "owner-in-the-channel" = leaked_permit_owner_in_the_channel;
    LYING_HEALTH_CHECK "lying-health-check" lying_health_check:
        "cached-check" = lying_health_check_cached_check,
        "lease" = lying_health_check_lease,
        "orders-tell-too" = lying_health_check_orders_tell_too,
        "supervised-checker" = lying_health_check_supervised_checker;
    NO_BULKHEAD "no-bulkhead" no_bulkhead:
        "actor" = no_bulkhead_actor,
        "owner-in-the-channel" = no_bulkhead_owner_in_the_channel,
        "reports-wait-for-their-share" = no_bulkhead_reports_wait_for_their_share,
        "reserved-and-common" = no_bulkhead_reserved_and_common,
        "two-semaphores" = no_bulkhead_two_semaphores;
    ORPHAN_TASK "orphan-task" orphan_task:
        "counted-in-the-map" = orphan_task_counted_in_the_map,
        "hub" = orphan_task_hub,
        "sender-closed" = orphan_task_sender_closed,
        "told-by-a-status" = orphan_task_told_by_a_status,
        "weak-and-abort" = orphan_task_weak_and_abort;
    SILENCED_ERROR "silenced-error" silenced_error:
        "error-in-the-answer" = silenced_error_error_in_the_answer,
        "joined-by-hand" = silenced_error_joined_by_hand,
        "no-span" = silenced_error_no_span,
        "trace-layer" = silenced_error_trace_layer,
        "wrapped-archive" = silenced_error_wrapped_archive;
    SWALLOWED_PANIC "swallowed-panic" swallowed_panic:
        "aborted-task" = swallowed_panic_aborted_task,
        "catch-panic-layer" = swallowed_panic_catch_panic_layer,
        "chained-hook" = swallowed_panic_chained_hook,
        "logging-hook" = swallowed_panic_logging_hook;
    UNREAD_BODY "unread-body" unread_body:
        "bounded-drain" = unread_body_bounded_drain,
        "breaks-off" = unread_body_breaks_off,
        "lines-of-text" = unread_body_lines_of_text;
    UNREADY_CLONE "unready-clone" unready_clone:
        "asked-again" = unready_clone_asked_again,
        "called-in-place" = unready_clone_called_in_place,
        "one-to-clone" = unready_clone_one_to_clone,
        "tower-http-layers" = unready_clone_tower_http_layers;
}

#[cfg(feature = "also-right")]
#[path = "../../fixed/blocked-log-channel/tests/also_right/drops_the_oldest.rs"]
mod blocked_log_channel_drops_the_oldest;
#[cfg(feature = "also-right")]
#[path = "../../fixed/blocked-log-channel/tests/also_right/in_batches.rs"]
mod blocked_log_channel_in_batches;
#[cfg(feature = "also-right")]
#[path = "../../fixed/blocked-log-channel/tests/also_right/places_by_semaphore.rs"]
mod blocked_log_channel_places_by_semaphore;
#[cfg(feature = "also-right")]
#[path = "../../fixed/blocked-log-channel/tests/also_right/try_send.rs"]
mod blocked_log_channel_try_send;
#[cfg(feature = "also-right")]
#[path = "../../fixed/body-double-close/tests/also_right/guard_in_the_body.rs"]
mod body_double_close_guard_in_the_body;
#[cfg(feature = "also-right")]
#[path = "../../fixed/body-double-close/tests/also_right/lease_taken.rs"]
mod body_double_close_lease_taken;
#[cfg(feature = "also-right")]
#[path = "../../fixed/body-double-close/tests/also_right/once.rs"]
mod body_double_close_once;
#[cfg(feature = "also-right")]
#[path = "../../fixed/body-double-close/tests/also_right/one_word.rs"]
mod body_double_close_one_word;
#[cfg(feature = "also-right")]
#[path = "../../fixed/body-double-close/tests/also_right/owned_permit.rs"]
mod body_double_close_owned_permit;
#[cfg(feature = "also-right")]
#[path = "../../fixed/broken-chain/tests/also_right/in_the_body.rs"]
mod broken_chain_in_the_body;
#[cfg(feature = "also-right")]
#[path = "../../fixed/broken-chain/tests/also_right/inline_block.rs"]
mod broken_chain_inline_block;
#[cfg(feature = "also-right")]
#[path = "../../fixed/broken-chain/tests/also_right/on_early_drop.rs"]
mod broken_chain_on_early_drop;
#[cfg(feature = "also-right")]
#[path = "../../fixed/broken-chain/tests/also_right/response_future.rs"]
mod broken_chain_response_future;
#[cfg(feature = "also-right")]
#[path = "../../fixed/broken-chain/tests/also_right/tower_http_layers.rs"]
mod broken_chain_tower_http_layers;
#[cfg(feature = "also-right")]
#[path = "../../fixed/broken-chain/tests/also_right/wrapped_whole.rs"]
mod broken_chain_wrapped_whole;
#[cfg(feature = "also-right")]
#[path = "../../fixed/cancelled-cleanup/tests/also_right/abort_on_drop.rs"]
mod cancelled_cleanup_abort_on_drop;
#[cfg(feature = "also-right")]
#[path = "../../fixed/cancelled-cleanup/tests/also_right/disarmed_by_a_423.rs"]
mod cancelled_cleanup_disarmed_by_a_423;
#[cfg(feature = "also-right")]
#[path = "../../fixed/cancelled-cleanup/tests/also_right/in_line.rs"]
mod cancelled_cleanup_in_line;
#[cfg(feature = "also-right")]
#[path = "../../fixed/cancelled-cleanup/tests/also_right/lease_task.rs"]
mod cancelled_cleanup_lease_task;
#[cfg(feature = "also-right")]
#[path = "../../fixed/cancelled-cleanup/tests/also_right/sweeper.rs"]
mod cancelled_cleanup_sweeper;
#[cfg(feature = "also-right")]
#[path = "../../fixed/cancelled-cleanup/tests/also_right/to_the_end_of_the_body.rs"]
mod cancelled_cleanup_to_the_end_of_the_body;
#[cfg(feature = "also-right")]
#[path = "../../fixed/closure-captured-state/tests/also_right/guarded_map.rs"]
mod closure_captured_state_guarded_map;
#[cfg(feature = "also-right")]
#[path = "../../fixed/closure-captured-state/tests/also_right/local_in_the_service.rs"]
mod closure_captured_state_local_in_the_service;
#[cfg(feature = "also-right")]
#[path = "../../fixed/closure-captured-state/tests/also_right/own_cells.rs"]
mod closure_captured_state_own_cells;
#[cfg(feature = "also-right")]
#[path = "../../fixed/closure-captured-state/tests/also_right/own_header.rs"]
mod closure_captured_state_own_header;
#[cfg(feature = "also-right")]
#[path = "../../fixed/closure-captured-state/tests/also_right/task_local.rs"]
mod closure_captured_state_task_local;
#[cfg(feature = "also-right")]
#[path = "../../fixed/extension-collision/tests/also_right/extractors.rs"]
mod extension_collision_extractors;
#[cfg(feature = "also-right")]
#[path = "../../fixed/extension-collision/tests/also_right/one_context.rs"]
mod extension_collision_one_context;
#[cfg(feature = "also-right")]
#[path = "../../fixed/extension-collision/tests/also_right/own_headers.rs"]
mod extension_collision_own_headers;
#[cfg(feature = "also-right")]
#[path = "../../fixed/extension-collision/tests/also_right/task_local.rs"]
mod extension_collision_task_local;
#[cfg(feature = "also-right")]
#[path = "../../fixed/extension-collision/tests/also_right/told_by_the_answer.rs"]
mod extension_collision_told_by_the_answer;
#[cfg(feature = "also-right")]
#[path = "../../fixed/hidden-flush/tests/also_right/compression_layer.rs"]
mod hidden_flush_compression_layer;
#[cfg(feature = "also-right")]
#[path = "../../fixed/hidden-flush/tests/also_right/flush_each_frame.rs"]
mod hidden_flush_flush_each_frame;
#[cfg(feature = "also-right")]
#[path = "../../fixed/hidden-flush/tests/also_right/known_length_only.rs"]
mod hidden_flush_known_length_only;
#[cfg(feature = "also-right")]
#[path = "../../fixed/hidden-flush/tests/also_right/watchful_pump.rs"]
mod hidden_flush_watchful_pump;
#[cfg(feature = "also-right")]
#[path = "../../fixed/ignored-deadline/tests/also_right/abort_on_drop.rs"]
mod ignored_deadline_abort_on_drop;
#[cfg(feature = "also-right")]
#[path = "../../fixed/ignored-deadline/tests/also_right/cancellation_token.rs"]
mod ignored_deadline_cancellation_token;
#[cfg(feature = "also-right")]
#[path = "../../fixed/ignored-deadline/tests/also_right/join_set.rs"]
mod ignored_deadline_join_set;
#[cfg(feature = "also-right")]
#[path = "../../fixed/ignored-deadline/tests/also_right/no_task.rs"]
mod ignored_deadline_no_task;
#[cfg(feature = "also-right")]
#[path = "../../fixed/ignored-deadline/tests/also_right/one_lock.rs"]
mod ignored_deadline_one_lock;
#[cfg(feature = "also-right")]
#[path = "../../fixed/ignored-deadline/tests/also_right/own_thread.rs"]
mod ignored_deadline_own_thread;
#[cfg(feature = "also-right")]
#[path = "../../fixed/layer-order/tests/also_right/by_tower_http.rs"]
mod layer_order_by_tower_http;
#[cfg(feature = "also-right")]
#[path = "../../fixed/layer-order/tests/also_right/cors_outside_the_log.rs"]
mod layer_order_cors_outside_the_log;
#[cfg(feature = "also-right")]
#[path = "../../fixed/layer-order/tests/also_right/early_401.rs"]
mod layer_order_early_401;
#[cfg(feature = "also-right")]
#[path = "../../fixed/layer-order/tests/also_right/in_sequence.rs"]
mod layer_order_in_sequence;
#[cfg(feature = "also-right")]
#[path = "../../fixed/layer-order/tests/also_right/limit_outside.rs"]
mod layer_order_limit_outside;
#[cfg(feature = "also-right")]
#[path = "../../fixed/layer-order/tests/also_right/read_from_below.rs"]
mod layer_order_read_from_below;
#[cfg(feature = "also-right")]
#[path = "../../fixed/layer-order/tests/also_right/recovery_innermost.rs"]
mod layer_order_recovery_innermost;
#[cfg(feature = "also-right")]
#[path = "../../fixed/layer-order/tests/also_right/recovery_twice.rs"]
mod layer_order_recovery_twice;
#[cfg(feature = "also-right")]
#[path = "../../fixed/layer-order/tests/also_right/round_the_router.rs"]
mod layer_order_round_the_router;
#[cfg(feature = "also-right")]
#[path = "../../fixed/leaked-permit/tests/also_right/channel_of_connections.rs"]
mod leaked_permit_channel_of_connections;
#[cfg(feature = "also-right")]
#[path = "../../fixed/leaked-permit/tests/also_right/deadpool.rs"]
mod leaked_permit_deadpool;
#[cfg(feature = "also-right")]
#[path = "../../fixed/leaked-permit/tests/also_right/owned_permit.rs"]
mod leaked_permit_owned_permit;
#[cfg(feature = "also-right")]
#[path = "../../fixed/leaked-permit/tests/also_right/owner_in_the_channel.rs"]
mod leaked_permit_owner_in_the_channel;
#[cfg(feature = "also-right")]
#[path = "../../fixed/lying-health-check/tests/also_right/cached_check.rs"]
mod lying_health_check_cached_check;
#[cfg(feature = "also-right")]
#[path = "../../fixed/lying-health-check/tests/also_right/lease.rs"]
mod lying_health_check_lease;
#[cfg(feature = "also-right")]
#[path = "../../fixed/lying-health-check/tests/also_right/orders_tell_too.rs"]
mod lying_health_check_orders_tell_too;
#[cfg(feature = "also-right")]
#[path = "../../fixed/lying-health-check/tests/also_right/supervised_checker.rs"]
mod lying_health_check_supervised_checker;
#[cfg(feature = "also-right")]
#[path = "../../fixed/no-bulkhead/tests/also_right/actor.rs"]
mod no_bulkhead_actor;
#[cfg(feature = "also-right")]
#[path = "../../fixed/no-bulkhead/tests/also_right/owner_in_the_channel.rs"]
mod no_bulkhead_owner_in_the_channel;
#[cfg(feature = "also-right")]
#[path = "../../fixed/no-bulkhead/tests/also_right/reports_wait_for_their_share.rs"]
mod no_bulkhead_reports_wait_for_their_share;
#[cfg(feature = "also-right")]
#[path = "../../fixed/no-bulkhead/tests/also_right/reserved_and_common.rs"]
mod no_bulkhead_reserved_and_common;
#[cfg(feature = "also-right")]
#[path = "../../fixed/no-bulkhead/tests/also_right/two_semaphores.rs"]
mod no_bulkhead_two_semaphores;
#[cfg(feature = "also-right")]
#[path = "../../fixed/orphan-task/tests/also_right/counted_in_the_map.rs"]
mod orphan_task_counted_in_the_map;
#[cfg(feature = "also-right")]
#[path = "../../fixed/orphan-task/tests/also_right/hub.rs"]
mod orphan_task_hub;
#[cfg(feature = "also-right")]
#[path = "../../fixed/orphan-task/tests/also_right/sender_closed.rs"]
mod orphan_task_sender_closed;
#[cfg(feature = "also-right")]
#[path = "../../fixed/orphan-task/tests/also_right/told_by_a_status.rs"]
mod orphan_task_told_by_a_status;
#[cfg(feature = "also-right")]
#[path = "../../fixed/orphan-task/tests/also_right/weak_and_abort.rs"]
mod orphan_task_weak_and_abort;
#[cfg(feature = "also-right")]
#[path = "../../fixed/silenced-error/tests/also_right/error_in_the_answer.rs"]
mod silenced_error_error_in_the_answer;
#[cfg(feature = "also-right")]
#[path = "../../fixed/silenced-error/tests/also_right/joined_by_hand.rs"]
mod silenced_error_joined_by_hand;
#[cfg(feature = "also-right")]
#[path = "../../fixed/silenced-error/tests/also_right/no_span.rs"]
mod silenced_error_no_span;
#[cfg(feature = "also-right")]
#[path = "../../fixed/silenced-error/tests/also_right/trace_layer.rs"]
mod silenced_error_trace_layer;
#[cfg(feature = "also-right")]
#[path = "../../fixed/silenced-error/tests/also_right/wrapped_archive.rs"]
mod silenced_error_wrapped_archive;
#[cfg(feature = "also-right")]
#[path = "../../fixed/swallowed-panic/tests/also_right/aborted_task.rs"]
mod swallowed_panic_aborted_task;
#[cfg(feature = "also-right")]
#[path = "../../fixed/swallowed-panic/tests/also_right/catch_panic_layer.rs"]
mod swallowed_panic_catch_panic_layer;
#[cfg(feature = "also-right")]
#[path = "../../fixed/swallowed-panic/tests/also_right/chained_hook.rs"]
mod swallowed_panic_chained_hook;
#[cfg(feature = "also-right")]
#[path = "../../fixed/swallowed-panic/tests/also_right/logging_hook.rs"]
mod swallowed_panic_logging_hook;
#[cfg(feature = "also-right")]
#[path = "../../fixed/unread-body/tests/also_right/bounded_drain.rs"]
mod unread_body_bounded_drain;
#[cfg(feature = "also-right")]
#[path = "../../fixed/unread-body/tests/also_right/breaks_off.rs"]
mod unread_body_breaks_off;
#[cfg(feature = "also-right")]
#[path = "../../fixed/unread-body/tests/also_right/lines_of_text.rs"]
mod unread_body_lines_of_text;
#[cfg(feature = "also-right")]
#[path = "../../fixed/unready-clone/tests/also_right/asked_again.rs"]
mod unready_clone_asked_again;
#[cfg(feature = "also-right")]
#[path = "../../fixed/unready-clone/tests/also_right/called_in_place.rs"]
mod unready_clone_called_in_place;
#[cfg(feature = "also-right")]
#[path = "../../fixed/unready-clone/tests/also_right/one_to_clone.rs"]
mod unready_clone_one_to_clone;
#[cfg(feature = "also-right")]
#[path = "../../fixed/unready-clone/tests/also_right/tower_http_layers.rs"]
mod unready_clone_tower_http_layers;

#[cfg(all(test, feature = "also-right"))]
mod tests {
    use std::{collections::BTreeSet, fs};

    use ghosts::checkout::Checkout;

    #[test]
    fn no_right_fix_is_left_out() {
        for (slug, names) in super::ALL {
            let folder = Checkout::here().root().join(format!("fixed/{slug}/tests/also_right"));
            let files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
            let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
            let files: BTreeSet<String> =
                files.map(|file| file.file_stem().expect("a name").to_string_lossy().replace('_', "-")).collect();
            assert_eq!(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), files, "{slug}");
        }
    }
}
