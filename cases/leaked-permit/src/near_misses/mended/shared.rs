//! The core of those near misses whose mistake is elsewhere: a request that stops waiting passes on what it was granted.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use crate::sync::{Arc, Mutex};

/// The right to have one connection, and the connection, unless it is still to be dialled.
pub(crate) struct Place<C> {
    /// From 0 to the size of the pool - 1.
    pub(crate) number: usize,
    pub(crate) connection: Option<C>,
}

/// A pool of places; clones are the same.
pub(crate) struct Pool<C> {
    state: Arc<Mutex<State<C>>>,
}

struct State<C> {
    free: Vec<Place<C>>,
    /// Who waits, by ticket: the lowest is the next.
    queue: BTreeMap<u64, Waker>,
    /// What was granted to those who waited, and is not fetched yet.
    granted: BTreeMap<u64, Place<C>>,
    last_ticket: u64,
}

/// One wait for a place; it queues from its first poll on.
pub(crate) struct Waiting<C> {
    pool: Pool<C>,
    ticket: Option<u64>,
}

impl<C> Pool<C> {
    /// Makes `size` places, none of which has a connection yet.
    pub(crate) fn new(size: usize) -> Self {
        let free = (0..size).rev().map(|number| Place { number, connection: None }).collect();
        let state = Mutex::new(State { free, queue: BTreeMap::new(), granted: BTreeMap::new(), last_ticket: 0 });
        Self { state: Arc::new(state) }
    }

    /// Waits for a place.
    pub(crate) fn place(&self) -> Waiting<C> {
        Waiting { pool: self.clone(), ticket: None }
    }

    /// Gives a place back, with its connection if that is still good.
    pub(crate) fn give_back(&self, place: Place<C>) {
        // Not woken under the lock: a waker runs code that is not ours.
        let next = self.state.lock().unwrap().pass_on(place);
        next.inspect(Waker::wake_by_ref);
    }
}

impl<C> State<C> {
    /// Grants the place to the next who waits, if there is one, and returns whom to wake.
    fn pass_on(&mut self, place: Place<C>) -> Option<Waker> {
        let Some((ticket, waker)) = self.queue.pop_first() else {
            // The last is taken first: those with a connection.
            self.free.insert(if place.connection.is_some() { self.free.len() } else { 0 }, place);
            return None;
        };
        self.granted.insert(ticket, place);
        Some(waker)
    }
}

impl<C> Future for Waiting<C> {
    type Output = Place<C>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Place<C>> {
        let this = self.get_mut();
        let mut state = this.pool.state.lock().unwrap();
        let ticket = this.ticket.take();
        let place = match ticket {
            Some(ticket) => state.granted.remove(&ticket),
            None => state.free.pop(),
        };
        if let Some(place) = place {
            return Poll::Ready(place);
        }
        let ticket = ticket.unwrap_or(state.last_ticket + 1);
        this.ticket = Some(ticket);
        state.last_ticket = state.last_ticket.max(ticket);
        state.queue.insert(ticket, cx.waker().clone());
        Poll::Pending
    }
}

impl<C> Drop for Waiting<C> {
    /// A request that stops waiting leaves the queue, and leaves to the next what it was granted and has not fetched.
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.pool.state.lock().unwrap();
        state.queue.remove(&ticket);
        let next = state.granted.remove(&ticket).and_then(|place| state.pass_on(place));
        drop(state);
        next.inspect(Waker::wake_by_ref);
    }
}

impl<C> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

impl<C> fmt::Debug for State<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free: Vec<usize> = self.free.iter().map(|place| place.number).collect();
        write!(f, "free {free:?}, queue {:?}, granted {:?}", self.queue.keys(), self.granted.keys())
    }
}
