//! The marks in the twins' sources: the lines that a picture and a chapter speak of.
//!
//! A mark is an anchor whose name begins with `mark-`. Where the storyboard has a step of that name, the picture shows its lines
//! beside the step; in a listing each mark has a number.

use crate::{Refusal, checkout::Checkout};

/// How the name of an anchor begins that is a mark.
pub(super) const PREFIX: &str = "mark-";

/// Lines of a source, and their name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) name: String,
    pub(super) code: String,
}

/// The marks of a twin, from the tree `cases` or `fixed`.
///
/// # Errors
/// If a source cannot be read, or a mark has no end.
pub(super) fn of(checkout: &Checkout, tree: &str, slug: &str) -> Result<Vec<Mark>, Refusal> {
    let mut marks = Vec::new();
    for file in ["lib", "shared"] {
        let name = format!("{tree}/{slug}/src/{file}.rs");
        if checkout.has(&name) {
            let read = read(&checkout.text(&name)?).map_err(|why| Refusal::new(format!("{name}: {why}")))?;
            marks.extend(read);
        }
    }
    Ok(marks)
}

fn read(source: &str) -> Result<Vec<Mark>, String> {
    let begins = |line: &str| Some(line.trim().strip_prefix("// ANCHOR: ")?.strip_prefix(PREFIX)?.to_owned());
    let mut marks = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let Some(name) = begins(line) else { continue };
        let end = format!("// ANCHOR_END: {PREFIX}{name}");
        let rest: Vec<&str> = source.lines().skip(number + 1).collect();
        let length = rest.iter().position(|line| line.trim() == end);
        let length = length.ok_or_else(|| format!("the mark `{PREFIX}{name}` has no `{end}`"))?;
        let lines = rest.into_iter().take(length).filter(|line| !line.trim_start().starts_with("// ANCHOR"));
        marks.push(Mark { name, code: dedented(&lines.collect::<Vec<_>>()) });
    }
    Ok(marks)
}

/// The lines without the space that all of them begin with.
pub(super) fn dedented(lines: &[&str]) -> String {
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let least = lines.iter().filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
    lines.iter().map(|line| line.get(least..).unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_its_lines_without_their_indent() {
        let source = "fn f() {\n    // ANCHOR: mark-in\n    // ANCHOR: other\n    if a {\n        b();\n    }\n    \
                      // ANCHOR_END: mark-in\n}\n";
        assert_eq!(read(source).unwrap(), [Mark { name: "in".to_owned(), code: "if a {\n    b();\n}".to_owned() }]);
    }

    #[test]
    fn a_mark_without_an_end_is_refused() {
        let said = read("// ANCHOR: mark-in\nb();\n").unwrap_err();
        assert_eq!(said, "the mark `mark-in` has no `// ANCHOR_END: mark-in`");
    }
}
