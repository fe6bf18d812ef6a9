//! What an editor finds in the clone says what is so: the tasks of VS Code are commands of the runner, and the container for
//! development has the toolchain and the ports that they need.

use clap::Parser;
use ghosts::{checkout::Checkout, cli::Cli};
use serde_json::Value;

fn json(name: &str) -> Value {
    let text = Checkout::here().text(name).expect("it is part of the repository");
    serde_json::from_str(&text).expect("plain JSON")
}

#[test]
fn every_task_is_a_command_of_the_runner() {
    let tasks = json(".vscode/tasks.json");
    let tasks = tasks["tasks"].as_array().expect("tasks");
    let labels: Vec<&str> = tasks.iter().filter_map(|task| task["label"].as_str()).collect();
    assert_eq!(labels, ["check", "watch", "book"]);
    for task in tasks {
        let said: Vec<&str> = task["args"].as_array().expect("words").iter().filter_map(Value::as_str).collect();
        assert_eq!(task["command"], "cargo", "{said:?}");
        let mut words = said.split(|word| *word == "--");
        let (of_cargo, words) = (words.next().expect("words"), words.next().expect("the runner is called"));
        Cli::try_parse_from(["ghosts"].iter().chain(words)).expect("a command of the runner");
        // A file may be open that is deep in an exercise, or in no clone at all.
        let at_root = task["options"]["cwd"] == "${workspaceFolder}";
        assert!(at_root || of_cargo.contains(&"${workspaceFolder}/Cargo.toml"), "{said:?}");
        // With a shell, a space in the path would end the word.
        assert_eq!(task["type"], "process", "{said:?}");
    }
}

#[test]
fn the_container_has_the_toolchain_and_the_ports() {
    let container = json(".devcontainer/devcontainer.json");
    let least = env!("CARGO_PKG_RUST_VERSION");
    assert_eq!(container["image"], format!("rust:{least}"), "the toolchain that the manifest asks for");
    for (command, port) in [(&["ghosts", "serve", "hidden-flush"] as &[&str], 3000), (&["ghosts", "book"], 3001)] {
        let parsed = format!("{:?}", Cli::try_parse_from(command).expect("a command of the runner"));
        assert!(parsed.contains(&format!("port: {port}")), "{parsed}");
        let forwarded = container["forwardPorts"].as_array().expect("ports");
        assert!(forwarded.contains(&port.into()), "{forwarded:?}");
    }
}
