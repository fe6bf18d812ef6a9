//! Several judgements at a time.

use std::{
    sync::{Mutex, PoisonError},
    thread,
};

use super::locked;

/// Does `work` with each of these, as many at a time as the machine has cores, and returns what came of them in their order.
/// Judgements have threads and runtimes of their own, and so are the same as one after another.
///
/// ```
/// assert_eq!(lab::abreast([1, 2, 3], |number| number * number), [1, 4, 9]);
/// ```
///
/// # Panics
/// If `work` does.
pub fn abreast<T: Send, R: Send>(items: impl IntoIterator<Item = T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let todo: Vec<Mutex<Option<T>>> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    let done: Vec<Mutex<Option<R>>> = todo.iter().map(|_| Mutex::new(None)).collect();
    let turn = Mutex::new(0..todo.len());
    let take_turns = || {
        loop {
            // The lock is held for this line only, or the others would wait for the work.
            let next = locked(&turn).next();
            let Some(place) = next else { return };
            let item = locked(&todo[place]).take().expect("each has one turn");
            let result = work(item);
            *locked(&done[place]) = Some(result);
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(todo.len());
    thread::scope(|threads| {
        for _ in 0..workers {
            threads.spawn(take_turns);
        }
    });
    let results = done.into_iter().map(|done| done.into_inner().unwrap_or_else(PoisonError::into_inner));
    results.map(|result| result.expect("each had its turn")).collect()
}
