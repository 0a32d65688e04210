//! "Did you mean": the known word nearest to one that is not known.

/// The candidate with the fewest edits from `word`, if they are few enough to be a slip of the fingers.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = 1 + word.len() / 5;
    let scored = known.map(|k| (edits(word, k), k)).filter(|(n, _)| *n <= most);
    scored.min_by_key(|(n, _)| *n).map(|(_, k)| k)
}

/// Edits that make `b` of `a`: insert, delete, replace, swap neighbours.
fn edits(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let known = ["mkdir", "mkdirat", "mknod", "mount"];
        assert_eq!(nearest("mkdri", known.into_iter()), Some("mkdir"));
        assert_eq!(nearest("muont", known.into_iter()), Some("mount"));
        assert_eq!(nearest("mkdira", known.into_iter()), Some("mkdir"));
        assert_eq!(nearest("frobnicate", known.into_iter()), None);
        assert_eq!(nearest("", known.into_iter()), None);
    }
}
