//! The skeleton of a new ghost in every tree. It is small, but it is whole: it compiles, and its tests pass.

use serde::Serialize;

use crate::{
    Refusal,
    catalogue::{generated, ghosts},
    checkout::Checkout,
    terminal::{print, print_json},
};

/// Where each template goes; `{slug}` and `{module}` stand for the two forms of the name.
const FILES: [(&str, &str); 12] = [
    ("book/src/{slug}.md", include_str!("../../templates/chapter.md")),
    ("cases/{slug}/Cargo.toml", include_str!("../../templates/case.Cargo.toml")),
    ("cases/{slug}/case.toml", include_str!("../../templates/case.toml")),
    ("cases/{slug}/src/lib.rs", include_str!("../../templates/broken.rs")),
    ("cases/{slug}/src/near_misses.rs", include_str!("../../templates/near_misses.rs")),
    ("cases/{slug}/src/near_misses/still_wrong.rs", include_str!("../../templates/near_miss.rs")),
    ("cases/{slug}/tests/reproduces.rs", include_str!("../../templates/reproduces.rs")),
    ("fixed/{slug}/Cargo.toml", include_str!("../../templates/case.Cargo.toml")),
    ("fixed/{slug}/src/lib.rs", include_str!("../../templates/fixed.rs")),
    ("fixed/{slug}/tests/holds.rs", include_str!("../../templates/holds.rs")),
    ("fixed/{slug}/tests/also_right/by_fallback.rs", include_str!("../../templates/also_right.rs")),
    ("tests/src/{module}.rs", include_str!("../../templates/specification.rs")),
];

#[derive(Serialize)]
struct Skeleton {
    schema: u32,
    slug: String,
    written: Vec<String>,
    by_hand: Vec<ByHand>,
}

/// Lines that a person adds to a file that is kept by hand.
#[derive(Serialize)]
struct ByHand {
    file: &'static str,
    lines: String,
}

/// Writes the skeleton of `slug` and prints the lines to add by hand.
///
/// # Errors
/// If `slug` is no name for a ghost, or any of its files is there already. Nothing is written then.
pub fn run(checkout: &Checkout, slug: &str, json: bool) -> Result<bool, Refusal> {
    named_well(slug)?;
    let (module, words) = (slug.replace('-', "_"), slug.replace('-', " "));
    let filled = |text: &str| text.replace("{slug}", slug).replace("{module}", &module).replace("{words}", &words);
    let files: Vec<(String, String)> = FILES.iter().map(|(name, text)| (filled(name), filled(text))).collect();
    if let Some((name, _)) = files.iter().find(|(name, _)| checkout.has(name)) {
        return Err(Refusal::new(format!("{name} is there already; choose another name, or remove it first")));
    }
    for (name, text) in &files {
        // Both twins share one manifest, but for the name.
        let fixed = name.starts_with("fixed/") && name.ends_with("Cargo.toml");
        let text = if fixed { text.replacen(slug, &format!("{slug}-fixed"), 1) } else { text.clone() };
        checkout.write(name, &text).map_err(|error| Refusal::new(format!("cannot write {name}: {error}")))?;
    }
    let skeleton = Skeleton {
        schema: 1,
        slug: slug.to_owned(),
        written: files.into_iter().map(|(name, _)| name).collect(),
        by_hand: by_hand(slug, &module),
    };
    if json {
        print_json(&skeleton)?
    } else {
        print(&skeleton.text())?
    }
    Ok(true)
}

fn named_well(slug: &str) -> Result<(), Refusal> {
    let word = |word: &str| !word.is_empty() && word.chars().all(|letter| letter.is_ascii_lowercase());
    if slug.split('-').count() < 2 || !slug.split('-').all(word) {
        return Err(Refusal::new(format!(
            "`{}` is no name for a ghost: it takes two or more lower-case words, such as `hidden-flush`",
            slug.escape_debug()
        )));
    }
    if ghosts::ALL.iter().any(|ghost| ghost.slug == slug) {
        return Err(Refusal::new(format!("there is a ghost `{slug}` already")));
    }
    Ok(())
}

fn by_hand(slug: &str, module: &str) -> Vec<ByHand> {
    let dependencies =
        format!("{slug} = {{ path = \"../cases/{slug}\" }}\n{slug}-fixed = {{ path = \"../fixed/{slug}\" }}");
    let entry = format!(
        "Ghost {{\n    slug: \"{slug}\",\n    broken: || spec::{module}::check({module}::app),\n    \
         fixed: || spec::{module}::check({module}_fixed::app),\n    \
         near_misses: || near_misses({module}::near_misses::ALL, |app, limits| spec::{module}::judge(Arc::new(app), limits)),\n    \
         serve: |fixed| if fixed {{ {module}_fixed::app() }} else {{ {module}::app() }},\n}},"
    );
    vec![
        ByHand { file: "tests/src/lib.rs", lines: format!("pub mod {module};") },
        ByHand { file: "book/src/SUMMARY.md", lines: format!("- [The {}]({slug}.md)", slug.replace('-', " ")) },
        ByHand { file: "workshop/Cargo.toml", lines: dependencies },
        ByHand { file: "workshop/src/catalogue/ghosts.rs", lines: entry },
    ]
}

impl Skeleton {
    fn text(&self) -> String {
        let mut text: String = self.written.iter().map(|name| format!("wrote {name}\n")).collect();
        for by_hand in &self.by_hand {
            text.push_str(&format!("\nAdd to {}:\n", by_hand.file));
            text.extend(by_hand.lines.lines().map(|line| format!("  {line}\n")));
        }
        text.push_str(&format!(
            "\nThen: INSTA_UPDATE=always cargo test -p {slug} -p {slug}-fixed, read the snapshots,\n\
             {}, and cargo test.\n",
            generated::COMMAND,
            slug = self.slug
        ));
        text
    }
}
