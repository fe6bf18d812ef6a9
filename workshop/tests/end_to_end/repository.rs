//! The links to the sources: they are there where the manifest says where these are, and nowhere else.

use std::fs;

use ghosts::{checkout::Checkout, read::book};

#[test]
fn pages_lead_to_their_sources_where_the_repository_is_known() {
    let copy = crate::copy::of_the_workspace("a-known-repository");
    let chapter = |checkout: &Checkout| {
        let built = book::build(checkout).unwrap_or_else(|refusal| panic!("{refusal}"));
        fs::read_to_string(built.join("hidden-flush.html")).expect("a chapter")
    };
    let manifest = fs::read_to_string(copy.join("Cargo.toml")).expect("a manifest");
    let unknown: String =
        manifest.lines().filter(|line| !line.starts_with("repository")).map(|line| format!("{line}\n")).collect();
    fs::write(copy.join("Cargo.toml"), &unknown).expect("our own file");
    let page = chapter(&Checkout::at(&copy));
    assert!(!page.contains("git-repository-button") && !page.contains("git-edit-button"), "{page}");

    let known =
        unknown.replace("[workspace.package]", "[workspace.package]\nrepository = \"https://example.org/ghosts/\"");
    fs::write(copy.join("Cargo.toml"), known).expect("our own file");
    let page = chapter(&Checkout::at(&copy));
    for link in ["https://example.org/ghosts\"", "https://example.org/ghosts/edit/main/book/src/hidden-flush.md\""] {
        assert!(page.contains(&format!("href=\"{link}")), "no {link}");
    }
}
