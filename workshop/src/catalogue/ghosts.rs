//! The ghosts: for each one the two twins, the near misses and the specification that tells them apart.

use std::{
    fmt,
    sync::{LazyLock, OnceLock},
};

use axum::Router;
use lab::{Asked, Ghost as Specified, Limits, Report, abreast};

use crate::Refusal;

/// Every ghost, in the order of the tour.
#[rustfmt::skip] // One line a ghost.
pub static ALL: LazyLock<Vec<Ghost>> = LazyLock::new(|| {
    use unready_clone_spec::BoxedLayer;
    vec![
        Ghost::of::<closure_captured_state_spec::Spec>(closure_captured_state::app, closure_captured_state_fixed::app, closure_captured_state::near_misses::ALL),
        Ghost::of::<hidden_flush_spec::Spec>(hidden_flush::app, hidden_flush_fixed::app, hidden_flush::near_misses::ALL),
        Ghost::of::<body_double_close_spec::Spec>(body_double_close::app, body_double_close_fixed::app, body_double_close::near_misses::ALL),
        Ghost::of::<swallowed_panic_spec::Spec>(swallowed_panic::app, swallowed_panic_fixed::app, swallowed_panic::near_misses::ALL),
        Ghost::of::<ignored_deadline_spec::Spec>(ignored_deadline::app, ignored_deadline_fixed::app, ignored_deadline::near_misses::ALL),
        Ghost::of::<cancelled_cleanup_spec::Spec>(cancelled_cleanup::app, cancelled_cleanup_fixed::app, cancelled_cleanup::near_misses::ALL),
        Ghost::of::<orphan_task_spec::Spec>(orphan_task::app, orphan_task_fixed::app, orphan_task::near_misses::ALL),
        Ghost::of::<unready_clone_spec::Spec>(|| BoxedLayer::new(unready_clone::layer()), || BoxedLayer::new(unready_clone_fixed::layer()), unready_clone::near_misses::ALL),
        Ghost::of::<extension_collision_spec::Spec>(extension_collision::app, extension_collision_fixed::app, extension_collision::near_misses::ALL),
        Ghost::of::<layer_order_spec::Spec>(layer_order::app, layer_order_fixed::app, layer_order::near_misses::ALL),
        Ghost::among::<leaked_permit_spec::Spec>(leaked_permit::app, leaked_permit_fixed::app, leaked_permit::near_misses::ALL, with_a_database),
        Ghost::of::<blocked_log_channel_spec::Spec>(blocked_log_channel::app, blocked_log_channel_fixed::app, blocked_log_channel::near_misses::ALL),
        Ghost::of::<no_bulkhead_spec::Spec>(no_bulkhead::app, no_bulkhead_fixed::app, no_bulkhead::near_misses::ALL),
        Ghost::of::<unread_body_spec::Spec>(unread_body::app, unread_body_fixed::app, unread_body::near_misses::ALL),
        Ghost::of::<lying_health_check_spec::Spec>(lying_health_check::app, lying_health_check_fixed::app, lying_health_check::near_misses::ALL),
        Ghost::of::<silenced_error_spec::Spec>(silenced_error::app, silenced_error_fixed::app, silenced_error::near_misses::ALL),
        Ghost::of::<broken_chain_spec::Spec>(broken_chain::app, broken_chain_fixed::app, broken_chain::near_misses::ALL),
    ]
});

/// What leaked-permit is served with: a database in memory, or SQLite where the feature is on.
fn with_a_database() -> <leaked_permit_spec::Spec as Specified>::StandIns {
    let stand_ins = leaked_permit_spec::Spec::stand_ins();
    #[cfg(feature = "sqlite")]
    let stand_ins = (stand_ins.0, stand_ins.1, super::sqlite::stand_in());
    stand_ins
}

/// One ghost, ready to be judged and served.
pub struct Ghost {
    /// Its one name.
    pub slug: &'static str,
    /// What its specification demands beside the promises' own sentences.
    pub asked: &'static [Asked],
    /// The near misses, in their order.
    pub near_misses: Vec<NearMiss>,
    broken: Judge,
    fixed: Judge,
    serve: Serve,
    stage: Serve,
    judgement: OnceLock<Judgement>,
}

/// What came of a ghost's twins and near misses, each held against every promise.
#[derive(Debug)]
pub struct Judgement {
    /// The report of the broken twin.
    pub broken: Report,
    /// The report of the fixed twin.
    pub fixed: Report,
    /// Those of the near misses, in their order, or none where they were not asked for.
    pub near_misses: Vec<Report>,
}

/// A near miss, ready to be judged.
pub struct NearMiss {
    /// Its name.
    pub name: &'static str,
    judge: Judge,
}

/// Serves the fixed twin, or the broken one.
type Serve = Box<dyn Fn(bool) -> Router + Send + Sync>;

/// Judges one app.
type Judge = Box<dyn Fn(Limits<'_>) -> Report + Send + Sync>;

impl Ghost {
    /// The ghost of a specification, with its twins and near misses.
    fn of<S: Specified + 'static>(broken: S::App, fixed: S::App, near_misses: &[(&'static str, S::App)]) -> Self {
        Self::among::<S>(broken, fixed, near_misses, S::stand_ins)
    }

    /// The same, served in other surroundings than those of the specification.
    fn among<S: Specified + 'static>(
        broken: S::App,
        fixed: S::App,
        near_misses: &[(&'static str, S::App)],
        stand_ins: fn() -> S::StandIns,
    ) -> Self {
        let judge = |app: S::App| -> Judge { Box::new(move |limits| S::judge(app, limits)) };
        let among = |stand_ins: fn() -> S::StandIns| -> Serve {
            Box::new(move |is_fixed| S::serve(if is_fixed { fixed } else { broken }, stand_ins()))
        };
        Self {
            slug: S::SLUG,
            asked: S::ASKED,
            near_misses: near_misses.iter().map(|(name, app)| NearMiss { name, judge: judge(*app) }).collect(),
            broken: judge(broken),
            fixed: judge(fixed),
            serve: among(stand_ins),
            stage: among(S::stand_ins),
            judgement: OnceLock::new(),
        }
    }

    /// Judges the broken twin.
    pub fn broken(&self, limits: Limits<'_>) -> Report {
        (self.broken)(limits)
    }

    /// Judges the fixed twin.
    pub fn fixed(&self, limits: Limits<'_>) -> Report {
        (self.fixed)(limits)
    }

    /// Holds the twins against every promise, and the near misses too if they are asked for.
    pub fn judge(&self, near_misses: bool) -> Judgement {
        let near_misses: &[NearMiss] = if near_misses { &self.near_misses } else { &[] };
        let judges =
            [&self.broken, &self.fixed].into_iter().chain(near_misses.iter().map(|near_miss| &near_miss.judge));
        let mut reports = abreast(judges, |judge| judge(Limits::default())).into_iter();
        let mut next = || reports.next().expect("a report of each twin");
        let (broken, fixed) = (next(), next());
        Judgement { broken, fixed, near_misses: reports.collect() }
    }

    /// What comes of it with its near misses. A report is the same each time, so that it is judged once in a process.
    pub fn judgement(&self) -> &Judgement {
        self.judgement.get_or_init(|| self.judge(true))
    }

    /// A twin with believable surroundings: the fixed one if `is_fixed`, else the broken one. To be called inside a runtime.
    pub fn serve(&self, is_fixed: bool) -> Router {
        (self.serve)(is_fixed)
    }

    /// The same among the specification's own stand-ins, which can be played in virtual time.
    pub fn stage(&self, is_fixed: bool) -> Router {
        (self.stage)(is_fixed)
    }
}

impl NearMiss {
    /// Judges it.
    pub fn judge(&self, limits: Limits<'_>) -> Report {
        (self.judge)(limits)
    }
}

impl fmt::Debug for Ghost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ghost").field("slug", &self.slug).finish_non_exhaustive()
    }
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
