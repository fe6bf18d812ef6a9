//! The model of `closure-captured-state`: two requests, and the context that their middleware captured.
//!
//! It is generic over the core, so that broken, fixed and anybody's `shared.rs` are explored alike: `make` is called
//! once, as the factory of the middleware does, and its value is cloned for each request, as axum clones the closure.

use crate::{Bounds, Exploration, explore, require, thread};

/// Ada's request and Bob's at the same time: each must read its own user, under an id of its own.
pub fn overlapping<C, L>(
    make: impl Fn() -> C + Send + Sync + 'static,
    begin: impl Fn(&mut C, &str) + Copy + Send + Sync + 'static,
    read: impl Fn(&C) -> (L, String) + Copy + Send + Sync + 'static,
) -> Exploration
where
    C: Clone + Send + 'static,
    L: PartialEq + Send + 'static,
{
    explore(Bounds::Exhaustive, move || {
        let captured = make();
        let requests = ["Ada", "Bob"].map(|user| {
            let context = captured.clone();
            thread::spawn(format!("request of {user}"), move || request(context, user, begin, read))
        });
        let [ada, bob] = requests.map(|request| request.join().expect("a failing thread ends the model"));
        require(ada != bob, "both requests have the same log id");
    })
}

/// The control: Bob's request begins when Ada's has ended.
pub fn in_turn<C, L>(
    make: impl Fn() -> C + Send + Sync + 'static,
    begin: impl Fn(&mut C, &str) + Copy + Send + Sync + 'static,
    read: impl Fn(&C) -> (L, String) + Copy + Send + Sync + 'static,
) -> Exploration
where
    C: Clone + Send + 'static,
    L: PartialEq + Send + 'static,
{
    explore(Bounds::Exhaustive, move || {
        let captured = make();
        let ada = request(captured.clone(), "Ada", begin, read);
        let bob = request(captured, "Bob", begin, read);
        require(ada != bob, "both requests have the same log id");
    })
}

/// What a request does with its context: before it is suspended, and after.
fn request<C, L>(mut context: C, user: &str, begin: impl Fn(&mut C, &str), read: impl Fn(&C) -> (L, String)) -> L {
    begin(&mut context, user);
    let (log_id, read) = read(&context);
    require(read == user, &format!("the request of {user} reads the user {read}"));
    log_id
}
