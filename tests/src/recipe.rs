//! docs/recipes.md, for tests that run what it says.

/// Every recipe: its heading and its shell lines.
pub fn recipes() -> Vec<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/recipes.md");
    let text = std::fs::read_to_string(path).expect("docs/recipes.md is there");
    let section = |section: &str| {
        let (heading, rest) = section.split_once('\n').expect("a heading has a line of its own");
        let lines = rest.split("```sh\n").nth(1).and_then(|code| code.split("```").next());
        (heading.to_string(), lines.unwrap_or_else(|| panic!("'{heading}' has no lines to run")).to_string())
    };
    text.split("\n## ").skip(1).map(section).collect()
}

/// The lines below `heading`.
pub fn recipe(heading: &str) -> String {
    let found = recipes().into_iter().find(|(h, _)| h == heading);
    found.unwrap_or_else(|| panic!("docs/recipes.md has no '{heading}'")).1
}
