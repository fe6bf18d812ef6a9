//! The book of places: how many requests are in, how many wait, and who may come in.

use std::fmt;

use super::sync::Mutex;

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Order,
    Report,
}

/// Requests of each class.
#[derive(Clone, Copy, Default)]
struct Count {
    orders: usize,
    reports: usize,
}

/// What the book says at one moment.
#[derive(Clone, Copy, Default)]
struct Page {
    inside: Count,
    waiting: Count,
}

/// The places of the shop. Waiting for one is not done here.
pub(crate) struct Places {
    places: usize,
    share: usize,
    page: Mutex<Page>,
}

impl Places {
    pub(crate) fn new(places: usize, share: usize) -> Self {
        Self { places, share, page: Mutex::default() }
    }

    // ANCHOR: defect
    /// Gives a request a place, if there is one for it now.
    pub(crate) fn admit(&self, class: Class) -> bool {
        let mut page = self.page.lock().unwrap();
        // ANCHOR: mark-in
        let may = page.inside.orders + page.inside.reports < self.places;
        // ANCHOR_END: mark-in
        if may {
            *page.inside.of(class) += 1;
        }
        may
    }
    // ANCHOR_END: defect

    /// Takes the place of a request back.
    pub(crate) fn leave(&self, class: Class) {
        *self.page.lock().unwrap().inside.of(class) -= 1;
    }

    /// A request waits from now on.
    pub(crate) fn wait(&self, class: Class) {
        *self.page.lock().unwrap().waiting.of(class) += 1;
    }

    /// A request waits no longer, with a place or without.
    pub(crate) fn stop_waiting(&self, class: Class) {
        *self.page.lock().unwrap().waiting.of(class) -= 1;
    }

    /// What the book says now, for people.
    pub(crate) fn told(&self) -> String {
        format!("{:?}; their share is {}\n", *self.page.lock().unwrap(), self.share)
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inside, waiting } = self;
        write!(f, "orders: {} in, {} waiting; ", inside.orders, waiting.orders)?;
        write!(f, "reports: {} in, {} waiting", inside.reports, waiting.reports)
    }
}

impl Count {
    fn of(&mut self, class: Class) -> &mut usize {
        match class {
            Class::Order => &mut self.orders,
            Class::Report => &mut self.reports,
        }
    }
}
