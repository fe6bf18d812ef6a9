//! The names of routes: found in a request, and kept once.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use axum::extract::MatchedPath;
use http::{Extensions, Uri};

/// How a request's route is found: from its target and extensions.
pub type Template = for<'a> fn(&'a Uri, &'a Extensions) -> Option<&'a str>;

/// How many routes have a name of their own; those beyond it share `other`. axum's templates are far fewer: the bound holds where a
/// [`Template`] of the service's own lets something of the request through.
pub const MOST_ROUTES: usize = 500;

/// axum's own template.
pub(crate) const MATCHED: Template = |_, extensions| extensions.get::<MatchedPath>().map(MatchedPath::as_str);

pub(crate) const UNMATCHED: &str = "unmatched";
pub(crate) const OTHER: &str = "other";

/// Names that were seen, at most [`MOST_ROUTES`] and `other`.
#[derive(Default)]
pub(crate) struct Names(RwLock<HashSet<Arc<str>>>);

impl Names {
    pub(crate) fn name(&self, template: Option<&str>) -> Arc<str> {
        let template = template.unwrap_or(UNMATCHED);
        if let Some(name) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(template) {
            return name.clone();
        }
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let template = if names.len() < MOST_ROUTES { template } else { OTHER };
        let name = names.get(template).cloned().unwrap_or_else(|| Arc::from(template));
        names.insert(name.clone());
        name
    }
}
