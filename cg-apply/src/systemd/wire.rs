//! D-Bus messages as bytes: the D-Bus specification, "Message Protocol". Little-endian, and of the types those that
//! systemd's manager takes and answers with.

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// y
    Byte(u8),
    /// b
    Bool(bool),
    /// i
    I32(i32),
    /// u
    U32(u32),
    /// x
    I64(i64),
    /// t
    U64(u64),
    /// d
    F64(f64),
    /// s
    Str(String),
    /// The elements' type, and the elements.
    Array(String, Vec<Value>),
    /// (…)
    Struct(Vec<Value>),
    /// v
    Variant(Box<Value>),
}

impl Value {
    /// Its type, as the specification writes it.
    pub(crate) fn signature(&self) -> String {
        match self {
            Value::Byte(_) => "y".into(),
            Value::Bool(_) => "b".into(),
            Value::I32(_) => "i".into(),
            Value::U32(_) => "u".into(),
            Value::I64(_) => "x".into(),
            Value::U64(_) => "t".into(),
            Value::F64(_) => "d".into(),
            Value::Str(_) => "s".into(),
            Value::Array(of, _) => format!("a{of}"),
            Value::Struct(parts) => format!("({})", parts.iter().map(Value::signature).collect::<String>()),
            Value::Variant(_) => "v".into(),
        }
    }
}

/// In GVariant's text, near enough to be read.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Byte(n) => write!(f, "{n}"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::I32(n) => write!(f, "{n}"),
            Value::U32(n) => write!(f, "{n}"),
            Value::I64(n) => write!(f, "{n}"),
            Value::U64(u64::MAX) => f.write_str("infinity"),
            Value::U64(n) => write!(f, "{n}"),
            Value::F64(n) => write!(f, "{n}"),
            Value::Str(text) => write!(f, "'{text}'"),
            Value::Array(_, parts) | Value::Struct(parts) => {
                let shown: Vec<String> = parts.iter().map(Value::to_string).collect();
                write!(f, "[{}]", shown.join(", "))
            }
            Value::Variant(value) => value.fmt(f),
        }
    }
}

/// Bytes that grow.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, n: u32) {
        self.align(4);
        self.0.extend(n.to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn put(&mut self, value: &Value) {
        match value {
            Value::Byte(n) => self.0.push(*n),
            Value::Bool(b) => self.u32(u32::from(*b)),
            Value::I32(n) => self.u32(*n as u32),
            Value::U32(n) => self.u32(*n),
            Value::I64(n) => self.eight(n.to_le_bytes()),
            Value::U64(n) => self.eight(n.to_le_bytes()),
            Value::F64(n) => self.eight(n.to_le_bytes()),
            Value::Str(text) => self.string(text),
            Value::Array(of, elements) => {
                self.u32(0);
                let length = self.0.len() - 4;
                self.align(alignment(of));
                let start = self.0.len();
                elements.iter().for_each(|element| self.put(element));
                let size = (self.0.len() - start) as u32;
                self.0[length..length + 4].copy_from_slice(&size.to_le_bytes());
            }
            Value::Struct(parts) => {
                self.align(8);
                parts.iter().for_each(|part| self.put(part));
            }
            Value::Variant(value) => {
                self.signature(&value.signature());
                self.put(value);
            }
        }
    }

    fn eight(&mut self, bytes: [u8; 8]) {
        self.align(8);
        self.0.extend(bytes);
    }
}

fn alignment(of: &str) -> usize {
    match of.as_bytes().first() {
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        Some(b'y' | b'g' | b'v') => 1,
        _ => 4,
    }
}

/// A call of a method.
pub(crate) struct Call<'a> {
    /// Who is called.
    pub(crate) destination: &'a str,
    /// Which of its objects.
    pub(crate) path: &'a str,
    /// Which interface.
    pub(crate) interface: &'a str,
    /// Which method.
    pub(crate) member: &'a str,
    /// With what.
    pub(crate) body: Vec<Value>,
}

impl Call<'_> {
    /// The message. The answer will name this serial number.
    pub(crate) fn message(&self, serial: u32) -> Vec<u8> {
        let mut body = Writer::default();
        self.body.iter().for_each(|value| body.put(value));
        let mut w = Writer::default();
        // Little-endian, a method call, no flags, version 1.
        w.0.extend(b"l\x01\x00\x01");
        w.u32(body.0.len() as u32);
        w.u32(serial);
        w.u32(0);
        let start = w.0.len();
        let fields = [
            (1, "o", self.path),
            (2, "s", self.interface),
            (3, "s", self.member),
            (6, "s", self.destination),
        ];
        for (code, kind, text) in fields {
            w.align(8);
            w.0.push(code);
            w.signature(kind);
            w.string(text);
        }
        if !self.body.is_empty() {
            w.align(8);
            w.0.push(8);
            w.signature("g");
            w.signature(&self.body.iter().map(Value::signature).collect::<String>());
        }
        let size = (w.0.len() - start) as u32;
        w.0[start - 4..start].copy_from_slice(&size.to_le_bytes());
        w.align(8);
        w.0.extend(body.0);
        w.0
    }
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// 2: an answer, 3: an error, 4: a signal.
    pub(crate) kind: u8,
    /// Of the call that it answers.
    pub(crate) reply_to: u32,
    /// Of a signal.
    pub(crate) member: String,
    /// Of an error.
    pub(crate) error: String,
    /// The strings and object paths of its body, up to the first thing that is none; numbers are passed over.
    pub(crate) strings: Vec<String>,
}

/// How long the message is of which these are the first 16 bytes; None if it is none, or longer than a manager's answer
/// ever is.
pub(crate) fn length(head: &[u8]) -> Option<usize> {
    if head.first() != Some(&b'l') || head.get(3) != Some(&1) {
        return None;
    }
    let (body, fields) = (number(head, 4)? as usize, number(head, 12)? as usize);
    const MOST: usize = 1 << 20;
    let length = (16 + fields.min(MOST)).next_multiple_of(8) + body.min(MOST);
    (fields <= MOST && body <= MOST).then_some(length)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Reads a whole message.
pub(crate) fn read(bytes: &[u8]) -> Option<Message> {
    let fields = number(bytes, 12)? as usize;
    let mut message = Message { kind: *bytes.get(1)?, ..Message::default() };
    let end = 16usize.checked_add(fields)?;
    let (mut at, mut signature) = (16, String::new());
    while at < end {
        at = at.next_multiple_of(8);
        let code = *bytes.get(at)?;
        let (kind, next) = short(bytes, at + 1)?;
        at = next;
        match kind.as_str() {
            "u" => {
                at = at.next_multiple_of(4);
                if code == 5 {
                    message.reply_to = number(bytes, at)?;
                }
                at += 4;
            }
            "g" => (signature, at) = short(bytes, at)?,
            "s" | "o" => {
                let (text, next) = string(bytes, at)?;
                at = next;
                match code {
                    3 => message.member = text,
                    4 => message.error = text,
                    _ => {}
                }
            }
            _ => return None,
        }
    }
    at = end.next_multiple_of(8);
    let body = bytes.get(at..)?;
    at = 0;
    for kind in signature.bytes() {
        match kind {
            b's' | b'o' => {
                let (text, next) = string(body, at)?;
                message.strings.push(text);
                at = next;
            }
            b'u' | b'i' | b'b' => at = at.next_multiple_of(4) + 4,
            _ => break,
        }
    }
    Some(message)
}

fn string(bytes: &[u8], at: usize) -> Option<(String, usize)> {
    let at = at.next_multiple_of(4);
    let size = number(bytes, at)? as usize;
    let end = (at + 4).checked_add(size)?;
    // A NUL ends it, which its length does not count.
    bytes.get(end).filter(|byte| **byte == 0)?;
    Some((String::from_utf8(bytes.get(at + 4..end)?.to_vec()).ok()?, end + 1))
}

fn short(bytes: &[u8], at: usize) -> Option<(String, usize)> {
    let end = at + 1 + usize::from(*bytes.get(at)?);
    Some((String::from_utf8(bytes.get(at + 1..end)?.to_vec()).ok()?, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(body: Vec<Value>) -> Vec<u8> {
        Call { destination: "a.b", path: "/x", interface: "c.d", member: "M", body }.message(7)
    }

    #[test]
    fn a_call_is_laid_out_as_the_specification_has_it() {
        let bytes = call(vec![Value::Str("hi".into())]);
        assert_eq!(&bytes[..8], b"l\x01\x00\x01\x07\x00\x00\x00");
        assert_eq!(number(&bytes, 8), Some(7));
        assert_eq!(length(&bytes), Some(bytes.len()));
        assert!(bytes.ends_with(b"\x02\x00\x00\x00hi\x00"), "{bytes:?}");
        // Fields start at multiples of eight; the path is the first.
        assert_eq!(&bytes[16..27], b"\x01\x01o\x00\x02\x00\x00\x00/x\x00");
        assert_eq!(call(Vec::new()).len() % 8, 0);
    }

    #[test]
    fn values_are_aligned_by_their_types() {
        let body = |value: Value| {
            let mut w = Writer(vec![9]);
            w.put(&value);
            w.0
        };
        assert_eq!(body(Value::U64(1)), [9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(body(Value::Byte(3)), [9, 3]);
        assert_eq!(body(Value::Bool(true)), [9, 0, 0, 0, 1, 0, 0, 0]);
        // The length of an array does not count the padding before its first element.
        let pairs = Value::Array("(t)".into(), vec![Value::Struct(vec![Value::U64(2)])]);
        assert_eq!(body(pairs), [9, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(body(Value::Variant(Box::new(Value::U32(5)))), [9, 1, b'u', 0, 5, 0, 0, 0]);
        let property =
            Value::Struct(vec![Value::Str("A".into()), Value::Variant(Box::new(Value::Str("x".into())))]);
        assert_eq!(property.signature(), "(sv)");
    }

    #[test]
    fn what_comes_back_is_read() {
        // A signal JobRemoved(uoss) as systemd sends it, by our own writer.
        let mut w = Writer::default();
        w.0.extend(b"l\x04\x01\x01");
        let mut body = Writer::default();
        body.put(&Value::U32(12));
        ["/job/12", "x.scope", "done"].iter().for_each(|text| body.string(text));
        w.u32(body.0.len() as u32);
        w.u32(1);
        let mut fields = Writer(vec![0; 16]);
        for (code, kind, text) in [(1u8, "o", "/m"), (3, "s", "JobRemoved")] {
            fields.align(8);
            fields.0.push(code);
            fields.signature(kind);
            fields.string(text);
        }
        fields.align(8);
        fields.0.push(8);
        fields.signature("g");
        fields.signature("uoss");
        w.u32(fields.0.len() as u32 - 16);
        w.0.extend(&fields.0[16..]);
        w.align(8);
        w.0.extend(body.0);
        let message = read(&w.0).expect("it is one");
        assert_eq!((message.kind, message.member.as_str()), (4, "JobRemoved"));
        assert_eq!(message.strings, ["/job/12", "x.scope", "done"]);
        // Cut off anywhere it is no message, and no panic.
        for end in 0..w.0.len() {
            let cut = read(&w.0[..end]);
            assert!(cut.is_none_or(|m| m.strings.len() < 3), "{end}");
        }
        assert_eq!(length(b"B\x01\x00\x01"), None);
        assert_eq!(length(&[b'l', 1, 0, 1, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255]), None);
    }
}
