//! The ghosts: for each one the two twins, the near misses and the specification that tells them apart.

use std::sync::Arc;

use axum::Router;
use spec::{Limits, Report, unready_clone::BoxedLayer};

use crate::Refusal;

/// One ghost, ready to be judged and served.
#[derive(Clone, Copy, Debug)]
pub struct Ghost {
    /// Its one name.
    pub slug: &'static str,
    /// Judges the broken twin.
    pub broken: fn() -> Report,
    /// Judges the fixed twin.
    pub fixed: fn() -> Report,
    /// The near misses, in their order.
    pub near_misses: fn() -> Vec<NearMiss>,
    /// A twin with believable surroundings: the broken one, or the fixed one if true. Called inside a runtime.
    pub serve: fn(bool) -> Router,
}

/// A near miss, ready to be judged.
pub struct NearMiss {
    /// Its name.
    pub name: &'static str,
    /// Judges it.
    pub check: Box<dyn FnOnce(Limits<'_>) -> Report + Send>,
}

/// Every ghost, in the order of the tour.
pub const ALL: &[Ghost] = &[
    Ghost {
        slug: "closure-captured-state",
        broken: || spec::closure_captured_state::check(closure_captured_state::app),
        fixed: || spec::closure_captured_state::check(closure_captured_state_fixed::app),
        near_misses: || {
            near_misses(closure_captured_state::near_misses::ALL, |app, limits| {
                spec::closure_captured_state::judge(Arc::new(app), limits)
            })
        },
        serve: |fixed| {
            let app = if fixed { closure_captured_state_fixed::app } else { closure_captured_state::app };
            let (warehouse, access_log) = spec::closure_captured_state::stand_ins();
            app(warehouse, access_log)
        },
    },
    Ghost {
        slug: "hidden-flush",
        broken: || spec::hidden_flush::check(hidden_flush::app),
        fixed: || spec::hidden_flush::check(hidden_flush_fixed::app),
        near_misses: || {
            near_misses(hidden_flush::near_misses::ALL, |app, limits| spec::hidden_flush::judge(Arc::new(app), limits))
        },
        serve: |fixed| {
            let app = if fixed { hidden_flush_fixed::app } else { hidden_flush::app };
            let logs = spec::hidden_flush::stand_ins();
            app(logs)
        },
    },
    Ghost {
        slug: "body-double-close",
        broken: || spec::body_double_close::check(body_double_close::app),
        fixed: || spec::body_double_close::check(body_double_close_fixed::app),
        near_misses: || {
            near_misses(body_double_close::near_misses::ALL, |app, limits| {
                spec::body_double_close::judge(Arc::new(app), limits)
            })
        },
        serve: |fixed| {
            let app = if fixed { body_double_close_fixed::app } else { body_double_close::app };
            let (slots, uploads, audit) = spec::body_double_close::stand_ins();
            app(slots, uploads, audit)
        },
    },
    Ghost {
        slug: "swallowed-panic",
        broken: || spec::swallowed_panic::check(swallowed_panic::app),
        fixed: || spec::swallowed_panic::check(swallowed_panic_fixed::app),
        near_misses: || {
            near_misses(swallowed_panic::near_misses::ALL, |app, limits| {
                spec::swallowed_panic::judge(Arc::new(app), limits)
            })
        },
        serve: |fixed| {
            let app = if fixed { swallowed_panic_fixed::app } else { swallowed_panic::app };
            let (routes, tenant, in_flight, access_log) = spec::swallowed_panic::stand_ins();
            app(routes, tenant, in_flight, access_log)
        },
    },
    Ghost {
        slug: "ignored-deadline",
        broken: || spec::ignored_deadline::check(ignored_deadline::app),
        fixed: || spec::ignored_deadline::check(ignored_deadline_fixed::app),
        near_misses: || {
            near_misses(ignored_deadline::near_misses::ALL, |app, limits| {
                spec::ignored_deadline::judge(Arc::new(app), limits)
            })
        },
        serve: |fixed| {
            let app = if fixed { ignored_deadline_fixed::app } else { ignored_deadline::app };
            let (bank, seal, ledger, budget) = spec::ignored_deadline::stand_ins();
            app(bank, seal, ledger, budget)
        },
    },
    Ghost {
        slug: "unready-clone",
        broken: || spec::unready_clone::check(unready_clone::layer),
        fixed: || spec::unready_clone::check(unready_clone_fixed::layer),
        near_misses: || {
            near_misses(unready_clone::near_misses::ALL, |app, limits| {
                spec::unready_clone::judge(Arc::new(app), limits)
            })
        },
        serve: |fixed| {
            let layer = || match fixed {
                true => BoxedLayer::new(unready_clone_fixed::layer()),
                false => BoxedLayer::new(unready_clone::layer()),
            };
            let shop = spec::unready_clone::stand_ins();
            shop.behind(layer())
        },
    },
    Ghost {
        slug: "leaked-permit",
        broken: || spec::leaked_permit::check(leaked_permit::app),
        fixed: || spec::leaked_permit::check(leaked_permit_fixed::app),
        near_misses: || {
            near_misses(leaked_permit::near_misses::ALL, |app, limits| {
                spec::leaked_permit::judge(Arc::new(app), limits)
            })
        },
        serve: |fixed| {
            let app = if fixed { leaked_permit_fixed::app } else { leaked_permit::app };
            #[cfg(feature = "sqlite")]
            let app = |size, wait, _in_memory| app(size, wait, super::sqlite::stand_in());
            let (size, wait, connect) = spec::leaked_permit::stand_ins();
            app(size, wait, connect)
        },
    },
    Ghost {
        slug: "unread-body",
        broken: || spec::unread_body::check(unread_body::app),
        fixed: || spec::unread_body::check(unread_body_fixed::app),
        near_misses: || {
            near_misses(unread_body::near_misses::ALL, |app, limits| spec::unread_body::judge(Arc::new(app), limits))
        },
        serve: |fixed| {
            let app = if fixed { unread_body_fixed::app } else { unread_body::app };
            let dial = spec::unread_body::stand_ins();
            app(dial)
        },
    },
    Ghost {
        slug: "lying-health-check",
        broken: || spec::lying_health_check::check(lying_health_check::app),
        fixed: || spec::lying_health_check::check(lying_health_check_fixed::app),
        near_misses: || {
            near_misses(lying_health_check::near_misses::ALL, |app, limits| {
                spec::lying_health_check::judge(Arc::new(app), limits)
            })
        },
        serve: |fixed| {
            let app = if fixed { lying_health_check_fixed::app } else { lying_health_check::app };
            let (database, pool, period) = spec::lying_health_check::stand_ins();
            app(database, pool, period)
        },
    },
];

fn near_misses<A: Copy + Send + 'static>(
    all: &[(&'static str, A)],
    check: fn(A, Limits<'_>) -> Report,
) -> Vec<NearMiss> {
    all.iter().map(|&(name, app)| NearMiss { name, check: Box::new(move |limits| check(app, limits)) }).collect()
}

/// The ghost with this slug.
///
/// # Errors
/// If there is none: the sentence proposes the nearest.
pub fn find(slug: &str) -> Result<&'static Ghost, Refusal> {
    if let Some(ghost) = ALL.iter().find(|ghost| ghost.slug == slug) {
        return Ok(ghost);
    }
    let likeness = |ghost: &&Ghost| (strsim::jaro_winkler(ghost.slug, slug) * 1000.0) as u32;
    let next = match ALL.iter().max_by_key(likeness).filter(|ghost| likeness(ghost) > 700) {
        Some(ghost) => format!("did you mean `{}`?", ghost.slug),
        None => "`cargo run` lists them".to_owned(),
    };
    Err(Refusal::new(format!("there is no ghost `{}`; {next}", slug.escape_debug())))
}
