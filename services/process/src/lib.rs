//! What the services have in common as processes: how they log, how they are probed, how a panic ends them.

pub mod log;
pub mod probe;

/// From now on a panic ends the program, and the pod starts it again: a task that had died alone would be missed by nobody.
pub fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
}
