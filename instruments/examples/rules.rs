//! Prints the rules for Prometheus, for a service whose probe asks the given route: `cargo run -p instruments --example rules /health`.

use instruments::Alerts;

fn main() {
    let probe = std::env::args().nth(1).unwrap_or_else(|| "/health".to_owned());
    print!("{}", Alerts::new(&probe).rules());
}
