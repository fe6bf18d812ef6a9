//! The book of places: how many requests are in, how many wait, and who may come in.

use super::sync::Mutex;

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Order,
    Report,
}

/// Requests of each class.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) orders: usize,
    pub(crate) reports: usize,
}

/// What the book says at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Page {
    pub(crate) inside: Count,
    pub(crate) waiting: Count,
}

/// The places of the shop. Waiting for one is not done here.
#[derive(Debug)]
pub(crate) struct Places {
    places: usize,
    share: usize,
    page: Mutex<Page>,
}

impl Places {
    pub(crate) fn new(places: usize, share: usize) -> Self {
        Self { places, share, page: Mutex::default() }
    }

    // ANCHOR: fix
    /// Gives a request a place, if there is one for it now.
    pub(crate) fn admit(&self, class: Class) -> bool {
        let mut page = self.page.lock().unwrap();
        let free = page.inside.orders + page.inside.reports < self.places;
        let may = match class {
            Class::Order => free,
            Class::Report => free && page.inside.reports < self.share && page.waiting.orders == 0,
        };
        if may {
            *page.inside.of(class) += 1;
        }
        may
    }
    // ANCHOR_END: fix

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

    pub(crate) fn page(&self) -> Page {
        *self.page.lock().unwrap()
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
