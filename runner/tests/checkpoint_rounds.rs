//! Images that lack what an earlier folder has, for a container whose root is a user outside; with a real criu. Few kernels
//! can tell which pages were written to, so the second dump is a whole one, of which what the first has too is taken out
//! by hand, as criu would have left it out.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use catena_tests::{Leftovers, requires, shell};
use common::criu::{COUNTS, counting, counts_on, images, restore};
use serde_json::json;
use std::collections::HashMap;
use std::path::Path;

const PAGE: usize = 4096;

/// Of criu's pagemap.h.
const PARENT: u64 = 1;
const PRESENT: u64 = 4;

/// A run of pages: criu's `pagemap_entry`.
struct Run {
    start: u64,
    pages: usize,
    flags: u64,
}

/// The numbers of a message that has nothing else, by their tags.
fn numbers(mut message: &[u8]) -> HashMap<u64, u64> {
    let mut number = || {
        let end = message.iter().position(|byte| byte & 0x80 == 0)?;
        let (bytes, rest) = message.split_at(end + 1);
        message = rest;
        Some(bytes.iter().rev().fold(0, |n, byte| n << 7 | u64::from(byte & 0x7f)))
    };
    let mut found = HashMap::new();
    while let Some(key) = number() {
        assert_eq!(key & 7, 0, "a number");
        found.insert(key >> 3, number().unwrap());
    }
    found
}

fn message(numbers: &[(u64, u64)]) -> Vec<u8> {
    let mut text = Vec::new();
    for mut n in numbers.iter().flat_map(|(tag, n)| [tag << 3, *n]) {
        while n > 0x7f {
            text.push(n as u8 | 0x80);
            n >>= 7;
        }
        text.push(n as u8);
    }
    text
}

/// What is in front, the runs, and the name of the file that has the pages.
fn pagemap(folder: &Path, name: &str) -> (Vec<u8>, Vec<Run>, String) {
    let text = std::fs::read(folder.join(name)).unwrap();
    let mut at = 8;
    let mut next = || {
        let size = u32::from_le_bytes(text.get(at..at + 4)?.try_into().unwrap()) as usize;
        at += 4 + size;
        Some((at, numbers(&text[at - size..at])))
    };
    let (end, head) = next().unwrap();
    let run = |(_, entry): (usize, HashMap<u64, u64>)| {
        let pages = entry.get(&5).or(entry.get(&2)).unwrap();
        Run { start: entry[&1], pages: *pages as usize, flags: entry[&4] }
    };
    let runs = std::iter::from_fn(|| next().map(run)).collect();
    (text[..end].to_vec(), runs, format!("pages-{}.img", head[&1]))
}

/// The runs that are there, with their pages.
fn present(folder: &Path, name: &str) -> HashMap<u64, Vec<u8>> {
    let (_, runs, pages) = pagemap(folder, name);
    let memory = std::fs::read(folder.join(pages)).unwrap();
    let mut at = 0;
    let there = runs.into_iter().filter(|run| run.flags & PRESENT != 0);
    let with_pages = there.flat_map(|run| {
        let from = at;
        at += run.pages * PAGE;
        let page = |n: usize| memory[from + n * PAGE..from + (n + 1) * PAGE].to_vec();
        (0..run.pages).map(|n| (run.start + (n * PAGE) as u64, page(n))).collect::<Vec<_>>()
    });
    with_pages.collect()
}

/// Takes out what the folder before has too; how many pages that were.
fn leave_out(before: &Path, folder: &Path, name: &str) -> usize {
    let (mut text, runs, pages) = pagemap(folder, name);
    let (old, new) = (present(before, name), present(folder, name));
    let (mut memory, mut left_out) = (Vec::new(), 0);
    for run in runs {
        let places: Vec<u64> = (0..run.pages).map(|n| run.start + (n * PAGE) as u64).collect();
        let same = |place: &u64| old.get(place).is_some_and(|page| new.get(place) == Some(page));
        let mut entry = vec![(1, run.start), (2, run.pages as u64), (4, run.flags)];
        if run.flags & PRESENT != 0 && places.iter().all(same) {
            entry.splice(2.., [(3, 1), (4, PARENT)]);
            left_out += run.pages;
        } else if run.flags & PRESENT != 0 {
            memory.extend(places.iter().flat_map(|place| &new[place]));
        }
        entry.push((5, run.pages as u64));
        let entry = message(&entry);
        text.extend((entry.len() as u32).to_le_bytes());
        text.extend(entry);
    }
    std::fs::write(folder.join(name), text).unwrap();
    std::fs::write(folder.join(pages), memory).unwrap();
    left_out
}

#[test]
fn what_a_round_before_has_is_found_there_by_a_root_that_is_a_user_outside() {
    if !requires::criu() {
        return;
    }
    let leftovers = Leftovers::watch();
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let bundle = counting(&format!("a=$(head -c 3000000 /dev/zero | tr '\\0' x); {COUNTS}"))
        .set("/linux/namespaces/-", json!({"type": "user"}))
        .set("/linux/uidMappings", maps.clone())
        .set("/linux/gidMappings", maps);
    let dir = bundle.dir().to_string();
    let own =
        format!("cd {dir} && : >out && : >out2 && chmod 755 . && chown -R 100000:100000 rootfs out out2");
    shell(&own).run().succeeds();
    let bundle = bundle.up();
    counts_on(&bundle);
    let (img, round) = (images(&bundle), bundle.rootfs.parent().join("round"));
    let checkpoint = || bundle.runner(["checkpoint", "--image-path"]);
    checkpoint().arg(&round).arg("--leave-running").arg(&bundle.id).run().succeeds();
    counts_on(&bundle);
    checkpoint().arg(&img).arg(&bundle.id).run().succeeds();
    // The sizes that it has written down are those of all of it.
    std::fs::remove_file(img.join("catena-manifest.json")).unwrap();
    std::os::unix::fs::symlink("../round", img.join("parent")).unwrap();
    let left_out = leave_out(&round, &img, "pagemap-1.img");
    assert!(left_out > 100, "{left_out} pages");
    // Closed to that user, as the one is.
    let mode =
        |folder: &Path| std::os::unix::fs::PermissionsExt::mode(&folder.metadata().unwrap().permissions());
    assert_eq!((mode(&round) & 0o777, mode(&img) & 0o777), (0o700, 0o700));
    let out = restore(&bundle, "");
    out.succeeds();
    counts_on(&bundle);
    drop(bundle);
    leftovers.check();
}
