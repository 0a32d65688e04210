//! Values of unit properties as annotations write them, in GVariant's text: `uint64 5`, `'text'`, `true`, `['a', 'b']`,
//! `@as []`. Of the types those that properties of units have.

use super::wire::Value;

/// Reads one value, all of the text.
pub(crate) fn parse(text: &str) -> Option<Value> {
    let mut rest = text.trim();
    let value = value(&mut rest, None)?;
    rest.trim().is_empty().then_some(value)
}

const TYPES: [(&str, char); 8] = [
    ("boolean", 'b'),
    ("byte", 'y'),
    ("int32", 'i'),
    ("uint32", 'u'),
    ("int64", 'x'),
    ("uint64", 't'),
    ("double", 'd'),
    ("string", 's'),
];

fn value(rest: &mut &str, kind: Option<char>) -> Option<Value> {
    *rest = rest.trim_start();
    if let Some(after) = rest.strip_prefix('@') {
        let (signature, after) = after.split_once(' ')?;
        *rest = after;
        return typed(rest, signature);
    }
    for (word, letter) in TYPES {
        if let Some(after) = rest.strip_prefix(word).filter(|after| after.starts_with(' ')) {
            *rest = after;
            return value(rest, Some(letter));
        }
    }
    match rest.chars().next()? {
        '[' => array(rest, kind),
        quote @ ('\'' | '"') => (kind.is_none_or(|k| k == 's')).then(|| string(rest, quote))?.map(Value::Str),
        _ => word(rest, kind),
    }
}

/// `@as []`, `@t 5`.
fn typed(rest: &mut &str, signature: &str) -> Option<Value> {
    let (kind, is_array) = match signature.strip_prefix('a') {
        Some(of) => (of, true),
        None => (signature, false),
    };
    let mut letters = kind.chars();
    let letter = letters.next().filter(|_| letters.as_str().is_empty())?;
    TYPES.iter().find(|(_, l)| *l == letter)?;
    *rest = rest.trim_start();
    if is_array { array(rest, Some(letter)) } else { value(rest, Some(letter)) }
}

fn array(rest: &mut &str, kind: Option<char>) -> Option<Value> {
    *rest = rest.strip_prefix('[')?;
    let mut elements: Vec<Value> = Vec::new();
    loop {
        *rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(']') {
            *rest = after;
            break;
        }
        if !elements.is_empty() {
            *rest = rest.strip_prefix(',')?;
        }
        elements.push(value(rest, kind.or_else(|| elements.first()?.signature().chars().next()))?);
    }
    let of = elements.first().map(Value::signature).or(kind.map(String::from))?;
    elements.iter().all(|e| e.signature() == of).then_some(Value::Array(of, elements))
}

fn string(rest: &mut &str, quote: char) -> Option<String> {
    let mut text = String::new();
    let mut letters = rest[1..].char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => match letters.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                plain @ ('\\' | '\'' | '"') => text.push(plain),
                _ => return None,
            },
            _ if letter == quote => {
                *rest = &rest[1 + at + letter.len_utf8()..];
                return Some(text);
            }
            _ => text.push(letter),
        }
    }
    None
}

fn word(rest: &mut &str, kind: Option<char>) -> Option<Value> {
    let end = rest.find([',', ']', ' ', '\n', '\t']).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    match (kind, word) {
        (None | Some('b'), "true") => Some(Value::Bool(true)),
        (None | Some('b'), "false") => Some(Value::Bool(false)),
        (Some('y'), _) => number(word)?.try_into().ok().map(Value::Byte),
        (None | Some('i'), _) => number(word)?.try_into().ok().map(Value::I32),
        (Some('u'), _) => number(word)?.try_into().ok().map(Value::U32),
        (Some('x'), _) => number(word)?.try_into().ok().map(Value::I64),
        (Some('t'), _) => number(word)?.try_into().ok().map(Value::U64),
        (Some('d'), _) => word.parse().ok().map(Value::F64),
        _ => None,
    }
}

fn number(word: &str) -> Option<i128> {
    match word.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Value {
        Value::Array("s".into(), words.iter().map(|word| Value::Str((*word).into())).collect())
    }

    #[test]
    fn what_annotations_say() {
        let cases = [
            ("true", Value::Bool(true)),
            ("uint64 123456789", Value::U64(123_456_789)),
            ("-5", Value::I32(-5)),
            ("uint32 0x10", Value::U32(16)),
            ("byte 7", Value::Byte(7)),
            ("'inactive-or-failed'", Value::Str("inactive-or-failed".into())),
            (r#""it's""#, Value::Str("it's".into())),
            (r"'a\'b'", Value::Str("a'b".into())),
            ("['a.service', 'b.service']", strings(&["a.service", "b.service"])),
            ("@as []", strings(&[])),
            ("[uint64 1, 2]", Value::Array("t".into(), vec![Value::U64(1), Value::U64(2)])),
            ("@ay [1, 2]", Value::Array("y".into(), vec![Value::Byte(1), Value::Byte(2)])),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_value() {
        for text in [
            "",
            "[]",
            "'open",
            "uint32 -1",
            "byte 256",
            "5 6",
            "['a', 1]",
            "uint64",
            "yes",
            "@(sv) 1",
            "[1",
            "'a' 'b'",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
