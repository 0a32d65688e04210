//! systemd's socket activation: fds 3 and up that are for the container's command, as LISTEN_FDS says, if LISTEN_PID
//! says that it is said to us.

use chain::bytes::Bytes;

/// So many of them; none without the variables.
pub(crate) fn count() -> u32 {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u32>().ok());
    match number("LISTEN_PID") == Some(std::process::id()) {
        true => number("LISTEN_FDS").unwrap_or(0),
        false => 0,
    }
}

/// Tells the command, which is taken to be the first process of its pid namespace, as runc has it.
pub(crate) fn tell(env: &mut Vec<Bytes>) {
    let count = count();
    if count == 0 {
        return;
    }
    put(env, "LISTEN_FDS", count.to_string().as_bytes());
    put(env, "LISTEN_PID", b"1");
    if let Some(names) = std::env::var_os("LISTEN_FDNAMES") {
        put(env, "LISTEN_FDNAMES", &Bytes::from(names).0);
    }
}

/// Sets one variable, instead of any that has its name.
pub(crate) fn put(env: &mut Vec<Bytes>, name: &str, value: &[u8]) {
    let start = [name.as_bytes(), b"="].concat();
    env.retain(|entry| !entry.0.starts_with(&start));
    env.push(Bytes([&start, value].concat()));
}
