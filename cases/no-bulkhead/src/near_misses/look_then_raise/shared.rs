//! The book of places, without a lock.

use crate::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Order,
    Report,
}

/// The places of the shop. Waiting for one is not done here.
pub(crate) struct Places {
    places: usize,
    share: usize,
    inside: AtomicUsize,
    reports: AtomicUsize,
    orders_waiting: AtomicUsize,
}

impl Places {
    pub(crate) fn new(places: usize, share: usize) -> Self {
        let zero = || AtomicUsize::new(0);
        Self { places, share, inside: zero(), reports: zero(), orders_waiting: zero() }
    }

    /// Gives a request a place, if there is one for it now.
    pub(crate) fn admit(&self, class: Class) -> bool {
        let mut may = self.inside.load(SeqCst) < self.places;
        if class == Class::Report {
            may = may && self.reports.load(SeqCst) < self.share && self.orders_waiting.load(SeqCst) == 0;
        }
        if may {
            self.inside.fetch_add(1, SeqCst);
            self.reports.fetch_add(usize::from(class == Class::Report), SeqCst);
        }
        may
    }

    /// Takes the place of a request back.
    pub(crate) fn leave(&self, class: Class) {
        if class == Class::Report {
            self.reports.fetch_sub(1, SeqCst);
        }
        self.inside.fetch_sub(1, SeqCst);
    }

    /// A request waits from now on.
    pub(crate) fn wait(&self, class: Class) {
        if class == Class::Order {
            self.orders_waiting.fetch_add(1, SeqCst);
        }
    }

    /// A request waits no longer, with a place or without.
    pub(crate) fn stop_waiting(&self, class: Class) {
        if class == Class::Order {
            self.orders_waiting.fetch_sub(1, SeqCst);
        }
    }

    /// What the book says now, for people.
    pub(crate) fn told(&self) -> String {
        let (inside, reports) = (self.inside.load(SeqCst), self.reports.load(SeqCst));
        format!("{inside} in, {reports} of them reports; their share is {}\n", self.share)
    }
}
